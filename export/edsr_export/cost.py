"""Parameters and Mult-Adds of a network, before and after folding.

Mult-Adds as super-resolution papers count them: every multiply-add of every convolution once; bias, sums, activations,
mean shift, luma and bicubic enlargement not at all; for an HR picture of 1280x720. A transposed convolution counts its
whole kernel for every output pixel, as those papers do for FSRCNN, though most of it meets the zeros between.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edsr_train.models.blocks import MeanShift

PAPER_HR = (720, 1280)  # (H, W); Ahn et al., "CARN", ECCV 2018, section 4.3, and the papers after it


@dataclass(frozen=True)
class Cost:
    """What a network costs."""

    parameters: int
    """Numbers in everything that is trained, mean shift left out as in the papers."""
    mult_adds: float
    """Multiply-adds for one picture."""
    weights: int
    """Numbers in the weights of convolutions alone, which is what some papers call parameters."""
    floats_per_pixel: int
    """Numbers per LR pixel that the convolution which takes most of them takes: memory goes by it."""


def cost_at_paper_size(network: nn.Module, scale: int) -> Cost:
    """``cost_at`` HR 1280x720."""
    return cost_at(PAPER_HR, network, scale)


@torch.inference_mode()
def cost_at(hr_hw: tuple[int, int], network: nn.Module, scale: int) -> Cost:
    """Count one pass; where the scale does not divide the sides, in proportion to the area.

    Args:
        hr_hw: (H, W) of the enlarged picture.
        network: takes (N, 3, H, W), LR. It is not run: only shapes are computed.
        scale: its enlargement.
    """
    shapes_only = copy.deepcopy(network).to("meta")
    height, width = (round(side / scale) for side in hr_hw)
    mult_adds, largest = 0, 0

    def count(convolution: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal mult_adds, largest
        assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
        largest = max(largest, inputs[0].numel())
        mult_adds += convolution.weight.numel() * output.shape[2] * output.shape[3]

    modules = list(shapes_only.modules())
    convolutions = [
        m for m in modules if isinstance(m, nn.Conv2d | nn.ConvTranspose2d) and not isinstance(m, MeanShift)
    ]
    for each in convolutions:
        each.register_forward_hook(count)
    shapes_only(torch.zeros(1, 3, height, width, device="meta"))
    shifts = {id(p) for m in modules if isinstance(m, MeanShift) for p in m.parameters()}
    parameters = sum(p.numel() for p in shapes_only.parameters() if id(p) not in shifts)
    weights = sum(each.weight.numel() for each in convolutions)
    area = hr_hw[0] * hr_hw[1] / (height * width * scale**2)
    return Cost(parameters, mult_adds * area, weights, largest // (height * width))
