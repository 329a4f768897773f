"""Parameters and Mult-Adds of a network, before and after folding.

Mult-Adds as super-resolution papers count them: every multiply-add of every convolution once; bias, sums, activations
and mean shift not at all; for an HR picture of 1280x720.
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
    """Numbers in weights and biases of convolutions, mean shift left out as in the papers."""
    mult_adds: float
    """Multiply-adds for one picture."""


@torch.inference_mode()
def cost_at_paper_size(network: nn.Module, scale: int) -> Cost:
    """Count one pass for HR 1280x720; where the scale does not divide that, in proportion to the area.

    Args:
        network: takes (N, 3, H, W), LR. It is not run: only shapes are computed.
        scale: its enlargement.
    """
    shapes_only = copy.deepcopy(network).to("meta")
    height, width = (round(side / scale) for side in PAPER_HR)
    mult_adds = 0

    def count(conv: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal mult_adds
        assert isinstance(conv, nn.Conv2d)
        mult_adds += conv.weight.numel() * output.shape[2] * output.shape[3]

    convs = [m for m in shapes_only.modules() if isinstance(m, nn.Conv2d) and not isinstance(m, MeanShift)]
    for conv in convs:
        conv.register_forward_hook(count)
    shapes_only(torch.zeros(1, 3, height, width, device="meta"))
    area = PAPER_HR[0] * PAPER_HR[1] / (height * width * scale**2)
    return Cost(sum(p.numel() for conv in convs for p in conv.parameters()), mult_adds * area)
