"""MATLAB's bicubic enlargement by a whole number, as a layer: for networks that work on the enlarged picture."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edsr_runtime.resize import imresize
from edsr_train.models.colours import full_precision

_REACH = 2  # LR pixels to each side that an HR pixel sees


class Bicubic(nn.Module):
    """``imresize(picture, scale)`` without rounding, exact to the border; not trained and not stored.

    For a whole number the weights repeat from one LR pixel to the next: a convolution of each colour with 5x5 taps to
    scale^2 phases, and a pixel shuffle. Outside the picture, MATLAB mirrors it, edge pixel included.
    """

    kernel: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        phases = torch.from_numpy(_phases(scale))
        kernel = torch.einsum("iy,jx->ijyx", phases, phases).flatten(0, 1).unsqueeze(1)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, scale*H, scale*W); any H and W from 1."""
        colours = x.shape[1]
        with full_precision(x) as x:
            padded = _mirrored(_mirrored(x, 2), 3)
            kernel = self.kernel.to(x.dtype).repeat(colours, 1, 1, 1)
            return F.pixel_shuffle(F.conv2d(padded, kernel, groups=colours), self.scale)


def _phases(scale: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """(scale, 5): the weights of an LR pixel's neighbours for each of the HR pixels that take its place."""
    length = 2 * _REACH + 1
    impulses = np.eye(3 * length)[:, None, :]  # one channel for each place of the impulse, along the height
    response = imresize(impulses, scale)[:, 0, :]
    middle = length + _REACH
    return np.ascontiguousarray(response[scale * middle : scale * (middle + 1), length : 2 * length])


def _mirrored(x: Tensor, axis: int) -> Tensor:
    """Two more pixels at both ends, one after the other: so a single pixel can be mirrored too."""
    x = torch.cat([x.narrow(axis, 0, 1), x, _from_end(x, axis, 1)], axis)
    return torch.cat([x.narrow(axis, 2, 1), x, _from_end(x, axis, 3)], axis)


def _from_end(x: Tensor, axis: int, place: int) -> Tensor:
    """The pixel in this place from the end, 1 for the last."""
    cut = slice(-place, -place + 1 or None)
    return x[(slice(None),) * axis + (cut,)]
