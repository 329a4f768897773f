"""What every peer is given, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.errors import EdsrError

if TYPE_CHECKING:
    from torch import nn

Rgb = NDArray[np.uint8]
"""(H, W, 3)."""


@dataclass(frozen=True)
class Subject:
    """One network, in the forms that peers read."""

    network: "nn.Module"
    """Unfolded: (N, 3, H, W) of 0..255 -> (N, 3, scale*H, scale*W), not clamped."""
    onnx: Path
    """The same as ONNX, with symbolic height and width."""
    folder: Path
    """For files of their own."""


@dataclass(frozen=True)
class Running:
    """A peer that has loaded the network."""

    description: str
    """For people: with what it computes."""
    precision: str
    """Of the convolutions: ``fp32`` or ``bf16``."""
    upscale_float: Callable[[Rgb], NDArray[np.float32]]
    """(H, W, 3) -> (scale*H, scale*W, 3) of 0..255, neither clamped nor rounded."""
    upscale: Callable[[Rgb], Rgb]
    """The same, clamped and rounded half to even."""
    close: Callable[[], None] = lambda: None
    fewer_multiplications: float = 1.0
    """How many times fewer than the definition it may do: above 1 where it computes convolutions by Winograd's way."""


class PeerFailedError(EdsrError):
    """A peer is installed, and cannot run the network."""

    exit_code = 4


def to_planes(lr: Rgb) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32, as the scripts of all peers do it."""
    return np.ascontiguousarray(lr.transpose(2, 0, 1)[None], np.float32)


def from_planes(sr: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, 3, H, W) -> (H, W, 3)."""
    return np.ascontiguousarray(np.squeeze(sr, axis=0).transpose(1, 2, 0))


def rounded(run: Callable[[Rgb], NDArray[np.float32]]) -> Callable[[Rgb], Rgb]:
    """Clamp and round what ``run`` gives, half to even."""
    return lambda lr: np.rint(run(lr).clip(0, 255)).astype(np.uint8)
