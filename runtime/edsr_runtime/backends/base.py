"""The interface between the upscaler and an inference engine."""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Precision = Literal["fp32", "bf16", "fp16"]


class Backend(Protocol):
    """A loaded model. Calls from several threads are allowed; they may run one after another."""

    name: str
    """``openvino``, ``onnxruntime``, ``tensorrt``."""
    device: str
    """Where it runs and with what, for people: ``CPU, AVX512-BF16``."""
    precision: Precision
    """Of the convolutions."""

    def run_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, H, W) of 0..255 -> (N, 3, sH, sW), not clamped; the caller's own.

        Raises:
            NonFiniteError: NaN or infinity inside.
        """
        ...

    def run_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(N, H, W, 3) -> (N, sH, sW, 3), clamped and rounded half to even; the caller's own.

        Raises:
            NonFiniteError: NaN or infinity inside, which a uint8 cannot show.
        """
        ...

    def close(self) -> None:
        """Give back memory; no call may follow."""
        ...


@runtime_checkable
class DeviceBackend(Backend, Protocol):
    """One with a device and memory of its own. Its runs raise ``DeviceMemoryError`` where that is not enough."""

    workers: int
    """Calls that it works on at the same time, from as many threads."""
    largest_hw: tuple[int, int]
    """Of what it takes, LR pixels."""
    smallest_side: int
    """The same."""

    def mean_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """``run_float``, but the mean over the eight views, of one picture."""
        ...

    def mean_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The same for ``run_uint8``; averaged before rounding."""
        ...


class NonFiniteError(Exception):
    """A network's output is not a number somewhere; the upscaler decides what follows."""


def to_uint8(sr: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(N, 3, H, W) float -> (N, H, W, 3) uint8, clamped and rounded half to even."""
    return np.rint(np.clip(sr, 0, 255)).astype(np.uint8).transpose(0, 2, 3, 1)
