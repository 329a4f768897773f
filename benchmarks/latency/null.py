"""Candidates that compute nothing: what the harness costs, and what our runtime costs around a network."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ours import AUTO
from benchmarks.pictures import Rgb
from edsr_runtime.backends.base import Precision
from edsr_runtime.upscaler import Upscaler


class Null:
    """Gives the same picture every time, which is there before."""

    def __init__(self, lr: Rgb, scale: int) -> None:
        self._sr = np.zeros((lr.shape[0] * scale, lr.shape[1] * scale, 3), np.uint8)

    def upscale(self, lr: Rgb) -> Rgb:
        """Returns at once."""
        return self._sr


class NullBackend:
    """A backend of our runtime that has its results ready; see ``Backend``."""

    name = "null"
    device = "nothing"
    precision: Precision = "fp32"

    def __init__(self, scale: int) -> None:
        self._scale = scale
        self._ready: dict[tuple[int, ...], NDArray[np.uint8]] = {}

    def run_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Black."""
        count, height, width, _ = lr.shape
        shape = (count, height * self._scale, width * self._scale, 3)
        if shape not in self._ready:
            self._ready[shape] = np.zeros(shape, np.uint8)
        return self._ready[shape]

    def run_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Black."""
        return self.run_uint8(lr.transpose(0, 2, 3, 1).astype(np.uint8)).transpose(0, 3, 1, 2).astype(np.float32)

    def close(self) -> None:
        """Nothing to give back."""


def open_null_runtime(model: Path) -> Upscaler:
    """Our runtime around nothing: checks, tiles, and the picture put together."""
    upscaler = AUTO.open(model)
    upscaler._backend.close()
    upscaler._backend = NullBackend(upscaler.scale)
    return upscaler
