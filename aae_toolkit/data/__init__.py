"""Images and labels: sources, splits, and the data directory that holds them."""
