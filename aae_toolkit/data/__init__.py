"""Images and labels: sources, splits, and data directories."""
