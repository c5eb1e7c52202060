"""Self-contained HTML pages: rendering and the parts that they share."""
