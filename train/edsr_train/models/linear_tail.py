"""Tails without an activation: convolutions and pixel shuffles that are one 5x5 convolution at LR resolution.

Export makes one of them for good. Training may go through it too: far fewer operations for the same weights.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edsr_train.models.branch import Branch

RADIUS = 2  # LR pixels that one pixel of the tail's output can see, for any number of 3x3 convolutions and shuffles


def is_linear(part: nn.Module) -> bool:
    """True if a part of a network is made of convolutions and pixel shuffles only."""
    return all(isinstance(m, nn.Conv2d | nn.PixelShuffle) for m in layers_of(part))


def is_collapsible(tail: nn.Module) -> bool:
    """True if the tail is linear, of several plain 3x3 convolutions: one convolution is left as it is."""
    convolutions = [m for m in layers_of(tail) if isinstance(m, nn.Conv2d)]
    are_plain = all(m.kernel_size == (3, 3) and m.groups == 1 for m in convolutions)
    return is_linear(tail) and len(convolutions) > 1 and are_plain


def picture_channels(tail: nn.Module) -> int:
    """Channels of the picture that a tail gives: those of its last convolution, but for a pixel shuffle after it."""
    *_, last = layers_of(tail)
    cells = last.upscale_factor**2 if isinstance(last, nn.PixelShuffle) else 1
    convolution = next(m for m in reversed(layers_of(tail)) if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    return int(convolution.out_channels // cells)


def layers_of(part: nn.Module) -> list[Any]:
    """What does the work, in order: ``nn.Sequential`` taken apart, everything else whole."""
    if not isinstance(part, nn.Sequential):
        return [part]
    return [layer for inner in part for layer in layers_of(inner)]


def one_convolution(tail: nn.Module, scale: int) -> tuple[Tensor, Tensor]:
    """The tail away from the picture's border, as a function of its weights that gradients go through.

    The chain rule is applied from the output backwards, on the few pixels that one output cell sees.

    Args:
        tail: see ``is_collapsible``.
        scale: its enlargement.

    Returns:
        Kernel (C scale^2, F, 5, 5) and bias (C scale^2) of the convolution that a pixel shuffle follows.
    """
    layers = layers_of(tail)
    side = 2 * RADIUS + 1
    weight = layers[0].weight
    cells = picture_channels(tail) * scale**2
    still = functional.pixel_unshuffle(tail(weight.new_zeros(1, weight.shape[1], side, side)), scale)
    derivative = weight.new_zeros(cells, cells, side - 2, side - 2)  # all but the first convolution see one pixel less
    derivative[:, :, RADIUS - 1, RADIUS - 1] = torch.eye(cells)
    derivative = functional.pixel_shuffle(derivative, scale)
    for layer in reversed(layers[1:]):
        if isinstance(layer, nn.PixelShuffle):
            derivative = functional.pixel_unshuffle(derivative, layer.upscale_factor)
        else:
            derivative = functional.conv_transpose2d(derivative, layer.weight, padding=1)
    # without padding: the first convolution sees one pixel more
    return functional.conv_transpose2d(derivative, weight), still[0, :, RADIUS, RADIUS]


def can_collapse(branch: Branch) -> bool:
    """Whether ``CollapsedBranch`` takes it."""
    return is_collapsible(branch.tail) and branch.base is None


class CollapsedBranch(nn.Module):
    """A branch that ``can_collapse``, with its tail computed as one convolution; its parameters are the branch's."""

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, lr: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..255 -> (N, 3, scale*(H-2), scale*(W-2)).

        The outermost LR pixels are left out: there, zero padding between the tail's convolutions makes a difference.
        """
        branch = self.branch
        with torch.autocast(lr.device.type, enabled=False):  # small, and everything is multiplied by it
            kernel, bias = one_convolution(branch.tail, branch.scale)
        x = functional.conv2d(branch.features(branch.sub_mean(lr)), kernel, bias, padding=RADIUS - 1)
        sr: Tensor = branch.add_mean(functional.pixel_shuffle(x, branch.scale))
        return sr
