"""Export of a trained model to ONNX, TorchScript, torch.export and AOTInductor, with a manifest."""
