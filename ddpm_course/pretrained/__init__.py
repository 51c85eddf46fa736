"""Trained weights as files: safetensors beside JSON, and the layout of 🤗 diffusers."""
