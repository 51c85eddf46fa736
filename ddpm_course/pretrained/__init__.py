"""Trained weights as files: safetensors beside JSON, the layout of 🤗 diffusers, and ONNX."""
