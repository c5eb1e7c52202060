"""Several training processes."""
