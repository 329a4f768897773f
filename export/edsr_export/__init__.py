"""Fold trained networks and write them as ONNX, proven equal."""
