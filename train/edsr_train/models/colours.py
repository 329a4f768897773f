"""Fixed maps of colours, the same at every pixel: what stands before and after the trained layers.

Luma is that of MATLAB's ``rgb2ycbcr`` (BT.601, 16 to 235 of 255), by which the field trains and measures. In terms of
RGB, ``rgb = chroma(rgb) + grey(luma(rgb))``: the same grey is added to all three colours, and what is left has luma 0.
So a network for luma needs no other colour space: its output is the grey, and the rest is enlarged beside it.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edsr_runtime.metrics import LUMA_OFFSET, LUMA_RGB
from edsr_train.models.blocks import MeanShift

WHITE = 255.0
"""Of the pixels that networks take and give, whatever they compute in."""

_GREY_PER_LUMA = 1 / float(LUMA_RGB.sum())  # white is 235, black 16


class ColourMap(nn.Module):
    """``matrix @ colours + offset`` at every pixel, not trained and not stored."""

    weight: Tensor
    bias: Tensor

    def __init__(self, matrix: Sequence[Sequence[float]], offset: Sequence[float] | None = None) -> None:
        super().__init__()
        # On the CPU even where networks are built without memory: these values are nowhere else.
        weight = torch.tensor(matrix, dtype=torch.float64, device="cpu")[:, :, None, None]
        bias = torch.zeros(len(weight), dtype=torch.float64, device="cpu")
        if offset is not None:
            bias += torch.tensor(offset, dtype=torch.float64, device="cpu")
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        with full_precision(x) as x:
            return F.conv2d(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class SubMean(nn.Module):
    """RGB of 0..255 -> RGB of 0..``pixel_range`` less the mean, stored as CARN's and LESRCNN's checkpoints have it:
    ``sub_mean.shifter.weight``."""

    def __init__(self, pixel_range: float) -> None:
        super().__init__()
        self.to_range = to_range(pixel_range)
        self.shifter = MeanShift(-1, pixel_range)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> the same shape."""
        shifted: Tensor = self.shifter(self.to_range(x))
        return shifted


class AddMean(nn.Module):
    """The inverse of ``SubMean``."""

    def __init__(self, pixel_range: float) -> None:
        super().__init__()
        self.shifter = MeanShift(+1, pixel_range)
        self.from_range = from_range(pixel_range)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> the same shape."""
        restored: Tensor = self.from_range(self.shifter(x))
        return restored


@contextlib.contextmanager
def full_precision(x: Tensor) -> Iterator[Tensor]:
    """What autocast must not touch: 8 bits of a picture are all that bfloat16 has."""
    kind = x.device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        yield x
        return
    with torch.autocast(kind, enabled=False):
        yield x.float()


def to_range(pixel_range: float) -> ColourMap:
    """RGB of 0..255 -> RGB of 0..``pixel_range``."""
    return _scaled(pixel_range / WHITE)


def from_range(pixel_range: float) -> ColourMap:
    """The inverse of ``to_range``."""
    return _scaled(WHITE / pixel_range)


def luma(pixel_range: float) -> ColourMap:
    """RGB of 0..255 -> luma, 16/255 to 235/255 of ``pixel_range``."""
    gain = pixel_range / WHITE
    return ColourMap([[gain * float(weight) for weight in LUMA_RGB]], [gain * LUMA_OFFSET])


def grey(pixel_range: float) -> ColourMap:
    """Luma -> the part of RGB of 0..255 that has it: the same for all three colours."""
    gain = _GREY_PER_LUMA * WHITE / pixel_range
    return ColourMap([[gain]] * 3, [-_GREY_PER_LUMA * LUMA_OFFSET] * 3)


def grey_difference(pixel_range: float) -> ColourMap:
    """A difference of luma -> the difference in RGB of 0..255."""
    return ColourMap([[_GREY_PER_LUMA * WHITE / pixel_range]] * 3)


def chroma() -> ColourMap:
    """RGB -> what is left of it without its grey."""
    grey_of = [_GREY_PER_LUMA * float(weight) for weight in LUMA_RGB]
    return ColourMap([[float(row == column) - grey_of[column] for column in range(3)] for row in range(3)])


def _scaled(gain: float) -> ColourMap:
    return ColourMap([[gain * (row == column) for column in range(3)] for row in range(3)])
