"""Pictures: learning curves, and pictures of trained models; drawn without a display."""
