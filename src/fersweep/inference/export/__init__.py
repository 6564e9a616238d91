"""Export of a trained network: ONNX, ``torch.export``, safetensors, a model card, the Hugging Face Hub."""
