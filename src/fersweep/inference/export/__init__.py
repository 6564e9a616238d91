"""A trained network for use elsewhere: ONNX, ``torch.export``, safetensors, a model card, the Hugging Face Hub."""
