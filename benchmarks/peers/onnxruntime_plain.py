"""onnxruntime with its defaults, on the unfolded graph."""

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.peers.peer import Rgb, Running, Subject, from_planes, rounded, to_planes

_ERRORS_ONLY = 3


def open_peer(subject: Subject) -> Running:
    """Load the graph."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = ort.InferenceSession(str(subject.onnx), options, providers=["CPUExecutionProvider"])

    def upscale_float(lr: Rgb) -> NDArray[np.float32]:
        (sr,) = session.run(None, {"input": to_planes(lr)})
        return from_planes(np.asarray(sr, np.float32))

    return Running(f"onnxruntime {ort.__version__}, unfolded", "fp32", upscale_float, rounded(upscale_float))
