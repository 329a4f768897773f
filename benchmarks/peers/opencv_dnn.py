"""OpenCV's DNN module with its defaults, on the unfolded graph."""

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import PeerFailedError, Rgb, Running, Subject, from_planes, rounded, to_planes

# 4x4 outputs of 3x3 kernels at a time, as its Winograd convolution on CPUs does: 36 products in place of 144
_WINOGRAD = 144 / 36


def open_peer(subject: Subject) -> Running:
    """Load the graph.

    Raises:
        PeerFailedError: it has something that OpenCV does not know.
    """
    try:
        net = cv2.dnn.readNetFromONNX(str(subject.onnx))
    except cv2.error as err:
        raise PeerFailedError(f"OpenCV {cv2.__version__} cannot read the graph: {err.err}") from err

    def upscale_float(lr: Rgb) -> NDArray[np.float32]:
        net.setInput(to_planes(lr))
        try:
            return from_planes(np.asarray(net.forward(), np.float32))
        except cv2.error as err:
            raise PeerFailedError(f"OpenCV {cv2.__version__} cannot run the graph: {err.err}") from err

    description = f"OpenCV {cv2.__version__} DNN, unfolded, {cv2.getNumThreads()} threads"
    return Running(description, "fp32", upscale_float, rounded(upscale_float), fewer_multiplications=_WINOGRAD)
