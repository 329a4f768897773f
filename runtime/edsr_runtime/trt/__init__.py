"""TensorRT and TensorRT-RTX: engines are built, described, kept and checked here, and run by ``backends.trt``."""
