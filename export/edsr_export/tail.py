"""Tail collapse: the linear tail of EDSR and MDSR as one 5x5 convolution and one pixel shuffle, exact everywhere.

There is no activation after the body, so convolution, pixel shuffle, (again), convolution is one affine map. Seen at
LR resolution it is a 5x5 convolution from F to 3*s^2 channels followed by one pixel shuffle, except in the outermost
ring of LR pixels: there the zero padding *between* the convolutions cuts off contributions that a single convolution
would have. In the ring the map is still affine and still invariant along each side, so rows, columns and corners get
small kernels of their own, and the nine regions are put together again.
"""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from edsr_train.models.linear_tail import RADIUS, layers_of, picture_channels

MIN_SIDE = RADIUS + 1  # below that, a pixel is in the first and in the last ring at once

_SIDES = ("first", "inner", "last")


@torch.no_grad()
def collapse(tail: nn.Module, scale: int) -> "CollapsedTail":
    """Read the kernels of a linear tail off its impulse responses.

    Args:
        tail: linear (see ``is_collapsible``), zero padded to keep the size, seeing ``RADIUS`` LR pixels; float64.
        scale: its enlargement.

    Returns:
        An equal module, for inputs of at least ``MIN_SIDE`` pixels a side.
    """
    collapsed = CollapsedTail(layers_of(tail)[0].in_channels, picture_channels(tail) * scale**2, scale)
    for vertical, horizontal, conv in collapsed.regions():
        kernel, bias = _response(tail, scale, vertical, horizontal)
        assert conv.bias is not None
        conv.weight.copy_(kernel)
        conv.bias.copy_(bias)
    return collapsed


class CollapsedTail(nn.Module):
    """Nine convolutions, one for each kind of place: inner part, four sides, four corners; then one pixel shuffle."""

    def __init__(self, in_channels: int, out_channels: int, scale: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        for vertical, horizontal in product(_SIDES, _SIDES):
            size = (_extent(vertical), _extent(horizontal))
            # one LR pixel less than "same" padding: the ring is left to the other convolutions
            padding = (int(vertical == "inner"), int(horizontal == "inner"))
            conv = nn.Conv2d(in_channels, out_channels, size, padding=padding, dtype=torch.float64)
            self.add_module(f"{vertical}_{horizontal}", conv)
        self.shuffle = nn.PixelShuffle(scale)

    def regions(self) -> Iterator[tuple[str, str, nn.Conv2d]]:
        """(vertical side, horizontal side, convolution) of each of the nine regions."""
        for vertical, horizontal in product(_SIDES, _SIDES):
            conv = self.get_submodule(f"{vertical}_{horizontal}")
            assert isinstance(conv, nn.Conv2d)
            yield vertical, horizontal, conv

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) -> (N, 3, scale*H, scale*W); H, W >= ``MIN_SIDE``."""
        convs = {(vertical, horizontal): conv for vertical, horizontal, conv in self.regions()}
        rows = []
        for vertical in _SIDES:
            strip = _cut(x, 2, vertical)
            rows.append(torch.cat([convs[vertical, side](_cut(strip, 3, side)) for side in _SIDES], dim=3))
        sr: Tensor = self.shuffle(torch.cat(rows, dim=2))
        return sr


def _cut(x: Tensor, dim: int, side: str) -> Tensor:
    if side == "inner":
        return x
    return x.narrow(dim, 0, MIN_SIDE) if side == "first" else x[(slice(None),) * dim + (slice(-MIN_SIDE, None),)]


def _extent(side: str) -> int:
    return 2 * RADIUS + 1 if side == "inner" else MIN_SIDE


def _response(tail: nn.Module, scale: int, vertical: str, horizontal: str) -> tuple[Tensor, Tensor]:
    """Derivative of one output cell by every input pixel that it sees, and its value for zero input.

    The probe is as large as what the cell sees, and the cell lies in it so that the picture's border, where there is
    one, is the probe's border. The chain rule is applied from the output backwards: outputs are far fewer than inputs.
    """
    layers = layers_of(tail)
    height, width = _extent(vertical), _extent(horizontal)
    row, column = _position(vertical), _position(horizontal)
    probe = torch.zeros(1, layers[0].in_channels, height, width, dtype=torch.float64)
    value = functional.pixel_unshuffle(tail(probe), scale)[0, :, row, column]
    cells = torch.zeros(len(value), len(value), height, width, dtype=torch.float64)
    cells[:, :, row, column] = torch.eye(len(value))
    derivative = functional.pixel_shuffle(cells, scale)
    for layer in reversed(layers):
        if isinstance(layer, nn.PixelShuffle):
            derivative = functional.pixel_unshuffle(derivative, layer.upscale_factor)
        else:
            derivative = _derivative_by_input(derivative, layer.weight)
    return derivative, value


def _derivative_by_input(by_output: Tensor, weight: Tensor) -> Tensor:
    """Chain rule through a convolution that keeps the size: (K, out, h, w) -> (K, in, h, w).

    One matrix product for each pixel that matters, which are few; PyTorch's float64 convolution over the whole probe
    took several times as long.
    """
    _, channels, size, _ = weight.shape
    count, _, height, width = by_output.shape
    border = size // 2
    padded = torch.zeros(count, channels, height + 2 * border, width + 2 * border, dtype=weight.dtype)
    for row, column in by_output.abs().amax(dim=(0, 1)).nonzero().tolist():
        spread = by_output[:, :, row, column] @ weight.flatten(1)
        padded[:, :, row : row + size, column : column + size] += spread.view(count, channels, size, size)
    return padded[:, :, border : border + height, border : border + width]


def _position(side: str) -> int:
    """Where on its probe an output of this kind lies."""
    return {"first": 0, "inner": RADIUS, "last": MIN_SIDE - 1}[side]
