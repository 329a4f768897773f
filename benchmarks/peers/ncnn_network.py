"""ncnn in FP32 on all cores, on the unfolded graph."""

import os

import ncnn
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.ncnn_files import write_ncnn_files
from benchmarks.peers.peer import PeerFailedError, Rgb, Running, Subject, from_planes, rounded, to_planes

# 6x6 outputs of 3x3 kernels at a time at the most: 64 products in place of 324 (ncnn, Winograd F(6x6, 3x3))
_WINOGRAD = 324 / 64


def open_peer(subject: Subject) -> Running:
    """Translate and load the graph.

    Raises:
        PeerFailedError: the graph cannot be translated, or not be loaded.
    """
    text, numbers, output = write_ncnn_files(subject.onnx, subject.folder)
    net = ncnn.Net()  # pyright: ignore[reportAttributeAccessIssue]
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if net.load_param(str(text)) != 0 or net.load_model(str(numbers)) != 0:
        raise PeerFailedError("ncnn cannot load the graph")

    def upscale_float(lr: Rgb) -> NDArray[np.float32]:
        extractor = net.create_extractor()
        planes = np.squeeze(to_planes(lr), axis=0)
        extractor.input("input", ncnn.Mat(planes))  # pyright: ignore[reportAttributeAccessIssue]
        code, sr = extractor.extract(output)
        if code != 0:
            raise PeerFailedError(f"ncnn cannot run the graph (code {code})")
        return from_planes(np.array(sr, np.float32)[None])

    description = f"ncnn {ncnn.__version__}, FP32, unfolded, {net.opt.num_threads} threads"
    return Running(
        description, "fp32", upscale_float, rounded(upscale_float), net.clear, fewer_multiplications=_WINOGRAD
    )
