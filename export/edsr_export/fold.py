"""Fold what is linear into the convolutions beside it: fewer operations, the same function.

All folds are done in float64. Whether the result is equal is not assumed here: ``verify`` compares the written graph
with the unfolded network. What is *not* folded: the mean subtraction into the head's bias. Zero padding comes after the
subtraction, so that fold would change the border ring.

Source of the ideas: residual scaling and mean shift are those of Lim et al., arXiv:1707.02921; tail collapse is ours.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edsr_export.tail import collapse, is_linear, is_single_convolution
from edsr_train.models.blocks import ResBlock
from edsr_train.models.branch import Branch

_FP16_HEADROOM = 8.0  # measured maxima stay this far below the largest FP16 number
_FP16_MAX = 65504.0


@dataclass(frozen=True)
class Folded:
    """A branch after folding: ``tail(features((lr + shift_in) * 2^-range_shift)) + shift_out``."""

    scale: int
    features: nn.Module
    tail: nn.Module
    shift_in: Tensor
    """(1, 3, 1, 1): minus the mean."""
    shift_out: Tensor | None
    """(1, 3, 1, 1): the mean, where it was left out of the tail's bias."""
    range_shift: int
    folds: tuple[str, ...]
    """One line for each fold that changed something."""


@torch.no_grad()
def fold(branch: Branch, *, collapse_tail: bool, mean_in_bias: bool, range_shift: int) -> Folded:
    """Fold a copy of ``branch``.

    Args:
        branch: one scale of a network; not changed.
        collapse_tail: make one 5x5 convolution of a linear tail.
        mean_in_bias: add the mean in the last convolution's bias; otherwise it comes back as ``shift_out``, to be added
            in FP32 after a network in FP16.
        range_shift: k of ``choose_range_shift``.
    """
    work = copy.deepcopy(branch).double()
    done: list[str] = []
    done += _fold_residual_scaling(work.features)
    done += _shift_range(work, range_shift)
    color, shift_in = _as_affine(work.sub_mean)
    if not torch.equal(color, torch.eye(3, dtype=color.dtype)):
        _transform_input(work.features, color)
        done.append("colour matrix of the mean shift into the head")
        shift_in = torch.linalg.solve(color, shift_in)
    color, mean = _as_affine(work.add_mean)
    _transform_output(work.tail, color, mean if mean_in_bias else torch.zeros_like(mean))
    if mean_in_bias and bool(mean.any()):
        done.append("mean into the bias of the last convolution")
    tail: nn.Module = work.tail
    if collapse_tail and is_linear(tail) and not is_single_convolution(tail):
        tail = collapse(tail, work.scale)
        done.append(f"tail into one 5x5 convolution to {3 * work.scale**2} channels, border ring exact")
    shift_out = None if mean_in_bias else mean.view(1, 3, 1, 1)
    return Folded(work.scale, work.features, tail, shift_in.view(1, 3, 1, 1), shift_out, range_shift, tuple(done))


@torch.no_grad()
def choose_range_shift(branch: Branch) -> int:
    """The smallest k >= 0 for which the activations, times 2^-k, leave headroom in FP16.

    Convolution, ReLU and sum are positively homogeneous, so scaling the input and every bias by 2^-k scales every
    activation, bit-exactly but for subnormal numbers. Measured on noise, flat areas and edges of full contrast.
    """
    largest = 0.0

    def watch(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, float(output.abs().max()))

    hooks = [m.register_forward_hook(watch) for part in (branch.features, branch.tail) for m in part.modules()]
    try:
        branch(_stress_picture())
    finally:
        for hook in hooks:
            hook.remove()
    return max(0, math.ceil(math.log2(max(largest, 1.0) * _FP16_HEADROOM / _FP16_MAX)))


def _stress_picture() -> Tensor:
    """(4, 3, 48, 48): uniform noise, black and white noise, black and white halves, white."""
    random = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 48, 48, generator=random) * 255
    halves = torch.zeros(3, 48, 48)
    halves[:, :, 24:] = 255
    return torch.stack([noise, (noise > 127) * 255.0, halves, torch.full_like(noise, 255)])


def _fold_residual_scaling(features: nn.Module) -> list[str]:
    blocks = [m for m in features.modules() if isinstance(m, ResBlock) and m.res_scale != 1]
    scales = sorted({block.res_scale for block in blocks})
    for block in blocks:
        last = block.body[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        last.weight *= block.res_scale
        last.bias *= block.res_scale
        block.res_scale = 1.0
    return [f"residual scaling {scale:g} into the second convolution of {len(blocks)} blocks" for scale in scales]


def _shift_range(branch: Branch, k: int) -> list[str]:
    if k == 0:
        return []
    for bias in (m.bias for m in branch.features.modules() if isinstance(m, nn.Conv2d)):
        assert bias is not None
        bias *= 2.0**-k
    first = next(m for m in branch.tail.modules() if isinstance(m, nn.Conv2d))
    first.weight *= 2.0**k
    return [f"range of the activations times 2^-{k}"]


def _as_affine(shift: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution of three channels as (3, 3) matrix and (3,) offset."""
    assert shift.kernel_size == (1, 1) and shift.bias is not None
    return shift.weight[:, :, 0, 0].clone(), shift.bias.clone()


def _transform_input(features: nn.Module, color: Tensor) -> None:
    """Let the first convolution see ``color @ rgb``: exact, since zero padding stays zero under a matrix."""
    first = next(m for m in features.modules() if isinstance(m, nn.Conv2d))
    first.weight.copy_(torch.einsum("oiyx,ij->ojyx", first.weight, color))


def _transform_output(tail: nn.Module, color: Tensor, offset: Tensor) -> None:
    """Apply ``color @ rgb + offset`` in the last convolution; a pixel shuffle behind it keeps colours in blocks."""
    last = [m for m in tail.modules() if isinstance(m, nn.Conv2d)][-1]
    assert last.bias is not None
    cells = last.out_channels // 3
    weight = last.weight.reshape(3, cells, *last.weight.shape[1:])
    bias = last.bias.reshape(3, cells)
    last.weight.copy_(torch.einsum("cd,dkiyx->ckiyx", color, weight).flatten(0, 1))
    last.bias.copy_((color @ bias + offset[:, None]).flatten())
