"""The parity gate: the ONNX file against the network it came from, before anything is written."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch
from onnx import ModelProto
from torch import Tensor

from edsr_export.deploy import unview, view
from edsr_runtime.contract import Parity
from edsr_runtime.dihedral import VIEWS
from edsr_runtime.errors import GateError

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tolerance:
    """What is allowed, in grey levels of 0..255."""

    largest: float
    rms: float


TOLERANCES = {
    "fp32": Tolerance(1e-3, 3e-4),  # sums in another order: 6e-5 at most on EDSR-baseline, 4e-4 on MDSR
    # half a grey level: at most the next uint8 value; 0.055 rms was measured on networks without mean shift
    "fp16": Tolerance(0.5, 0.1),
}
_ROUNDING = 0.5  # a uint8 output may differ by this much more, from any network


def shapes_to_compare(min_side: int) -> tuple[tuple[int, ...], ...]:
    """The smallest picture, a batch with odd sides, one wider than high, one higher than wide; (N, 3, H, W)."""
    return (1, 3, min_side, min_side), (2, 3, 17, 23), (1, 3, 24, 41), (1, 3, 37, 16)


def ensemble(network: Network, lr: Tensor) -> Tensor:
    """The paper's x8 self-ensemble in plain PyTorch, averaged before rounding."""
    return torch.stack([unview(network(view(lr, v)), v) for v in VIEWS]).mean(0)


@torch.inference_mode()
def compare(
    model: ModelProto, network: Network, *, uint8: bool, tolerance: Tolerance, shapes: tuple[tuple[int, ...], ...]
) -> Parity:
    """Run ``model`` in onnxruntime on the CPU and compare with ``network`` at every pixel.

    Args:
        model: the graph, with its weights.
        network: (N, 3, H, W) float32 in 0..255 -> (N, 3, sH, sW), not rounded: the unfolded PyTorch network.
        uint8: the graph takes and gives (N, H, W, 3) uint8; the clamp is then applied to the reference too.
        tolerance: for floating-point output. Rounding to uint8 is allowed on top, and then says nothing of small
            errors: prove the same network with floating-point output too.
        shapes: (N, 3, H, W) of the inputs.

    Raises:
        GateError: a difference beyond the tolerance, with its place.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    if uint8:
        tolerance = Tolerance(tolerance.largest + _ROUNDING, _ROUNDING)
    largest, squares, count = 0.0, 0.0, 0
    for shape in shapes:
        lr = random.integers(0, 256, shape).astype(np.float32)
        expected = network(torch.from_numpy(lr)).numpy()
        if uint8:
            outputs = session.run(None, {"input": lr.astype(np.uint8).transpose(0, 2, 3, 1)})
            output, expected = np.asarray(outputs[0]).transpose(0, 3, 1, 2), expected.clip(0, 255)
        else:
            output = np.asarray(session.run(None, {"input": lr})[0])
        if output.shape != expected.shape:
            raise GateError(f"ONNX gives {output.shape} where PyTorch gives {expected.shape}. Nothing was written.")
        difference = np.abs(output.astype(np.float64) - expected)
        if not np.isfinite(difference).all():
            raise GateError(f"ONNX or PyTorch gives NaN or infinity for an input of {shape}. Nothing was written.")
        worst = np.unravel_index(int(difference.argmax()), difference.shape)
        if difference[worst] > tolerance.largest:
            _, channel, row, column = (int(i) for i in worst)
            raise GateError(
                f"ONNX and PyTorch differ by {difference[worst]:.2g} grey levels (allowed {tolerance.largest:g}) at "
                f"channel {channel}, row {row}, column {column} for an input of {shape}. Nothing was written."
            )
        largest = max(largest, float(difference[worst]))
        squares, count = squares + float((difference**2).sum()), count + difference.size
    rms = float(np.sqrt(squares / count))
    if rms > tolerance.rms:
        raise GateError(
            f"ONNX and PyTorch differ by {rms:.2g} grey levels rms (allowed {tolerance.rms:g}). Nothing was written."
        )
    return Parity(largest, rms, shapes)
