"""Training: a loop over phases, each one optimizer step's worth of loss."""
