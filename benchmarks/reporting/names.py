"""Candidates as people know them."""

_NAMES = {
    "torch-eager-fp32": "PyTorch eager FP32",
    "torch-channels-last-fp32": "PyTorch channels_last FP32",
    "torch-compile-fp32": "torch.compile FP32",
    "torch-bf16": "PyTorch BF16",
    "peer-onnxruntime": "onnxruntime, unfolded",
    "peer-openvino": "OpenVINO, unfolded",
    "peer-ncnn": "ncnn",
    "peer-opencv": "OpenCV DNN",
    "auto": "edsr-toolkit, auto",
    "auto-no-collapse": "edsr-toolkit, auto, without tail collapse",
    "auto-ensemble": "edsr-toolkit, auto, with self-ensemble",
    "auto-tiles": "edsr-toolkit, auto, in small tiles",
    "amx": "edsr-toolkit, AMX kernels",
    "openvino-bf16": "edsr-toolkit, OpenVINO BF16",
    "openvino-fp32": "edsr-toolkit, OpenVINO FP32",
    "openvino-fp32-ensemble": "edsr-toolkit, OpenVINO FP32, with self-ensemble",
    "openvino-fp32-no-collapse": "edsr-toolkit, OpenVINO FP32, without tail collapse",
    "onnxruntime": "edsr-toolkit, onnxruntime",
    "onnxruntime-gpu": "edsr-toolkit, onnxruntime on a GPU",
    "tensorrt": "edsr-toolkit, TensorRT FP16",
    "null": "nothing: the harness alone",
    "null-runtime": "edsr-toolkit around nothing",
}


def shown(name: str) -> str:
    """The name for tables."""
    return _NAMES[name]


def missing(found: dict[str, str]) -> list[str]:
    """A line for each candidate that was not there."""
    return [f"{shown(name)} is missing: {reason}" for name, reason in found.items()]
