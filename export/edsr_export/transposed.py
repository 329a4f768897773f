"""A transposed convolution as a convolution at LR resolution and a pixel shuffle: the same sums, in another order.

The HR pixels that take the place of one LR pixel each have their own part of the kernel, so each is a channel of an
ordinary convolution. Exact to the border: beyond it neither of the two finds anything.
"""

from itertools import product

import torch
from torch import nn


@torch.no_grad()
def as_convolution(tail: nn.Sequential) -> nn.Sequential:
    """``tail`` with its transposed convolutions replaced; each must enlarge by exactly its stride."""
    layers: list[nn.Module] = []
    for layer in tail:
        layers += _replaced(layer) if isinstance(layer, nn.ConvTranspose2d) else [layer]
    return nn.Sequential(*layers)


def _replaced(layer: nn.ConvTranspose2d) -> list[nn.Module]:
    scale, kernel, extra = layer.stride[0], layer.kernel_size[0], layer.output_padding[0]
    assert not isinstance(layer.padding, str)
    padding = layer.padding[0]
    assert layer.groups == 1 and kernel - 2 * padding + extra == scale
    first, last = padding - kernel + 1, padding + scale - 1  # of phase minus scale times tap
    reach = max(-(first // scale), last // scale)
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels * scale**2,
        2 * reach + 1,
        padding=reach,
        dtype=layer.weight.dtype,
    )
    taps = [
        (phase, tap + reach, place)
        for phase, tap in product(range(scale), range(-reach, reach + 1))
        if 0 <= (place := phase - scale * tap + padding) < kernel
    ]
    conv.weight.zero_()
    by_phase = conv.weight.view(layer.out_channels, scale, scale, layer.in_channels, *conv.kernel_size)
    for (row, y, from_row), (column, x, from_column) in product(taps, taps):
        by_phase[:, row, column, :, y, x] = layer.weight[:, :, from_row, from_column].T
    assert conv.bias is not None
    conv.bias.zero_()
    if layer.bias is not None:
        conv.bias.copy_(layer.bias.repeat_interleave(scale**2))
    return [conv, nn.PixelShuffle(scale)]
