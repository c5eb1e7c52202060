"""Pictures: learning curves, and what a trained model has learned. Nothing here needs a display."""
