"""Upscale pictures with exported networks; needs neither PyTorch nor ONNX."""
