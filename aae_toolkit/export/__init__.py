"""Export of a trained model to ONNX, TorchScript and torch.export, with a manifest that says what was written."""
