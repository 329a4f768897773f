"""OpenVINO with its defaults, on the unfolded graph: in BF16 where the CPU computes in it, else in FP32."""

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from benchmarks.peers.peer import Rgb, Running, Subject, from_planes, rounded, to_planes

_NAMES = {ov.Type.bf16: "bf16", ov.Type.f32: "fp32", ov.Type.f16: "fp16"}


def open_peer(subject: Subject) -> Running:
    """Compile the graph."""
    core = ov.Core()
    compiled = core.compile_model(core.read_model(str(subject.onnx)), "CPU")
    request = compiled.create_infer_request()
    precision = _NAMES[compiled.get_property("INFERENCE_PRECISION_HINT")]

    def upscale_float(lr: Rgb) -> NDArray[np.float32]:
        request.infer([to_planes(lr)], share_inputs=True)
        return from_planes(np.array(request.get_output_tensor(0).data, np.float32))

    description = f"OpenVINO {ov.__version__.partition('-')[0]}, {precision}, unfolded"
    return Running(description, precision, upscale_float, rounded(upscale_float))
