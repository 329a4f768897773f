"""Fold what is linear into the convolutions beside it: fewer operations, the same function.

All folds are done in float64. Whether the result is equal is not assumed here: ``verify`` compares the written graph
with the unfolded network. What is *not* folded: the mean subtraction into the head's bias. Zero padding comes after the
subtraction, so that fold would change the border ring.

Every fold looks for what it applies to in what a network is made of, and knows no network by name.

Source of the ideas: residual scaling and mean shift are those of Lim et al., arXiv:1707.02921; tail collapse is ours.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edsr_export.tail import collapse
from edsr_export.transposed import as_convolution
from edsr_train.models.bicubic import Bicubic
from edsr_train.models.blocks import ResBlock, SumOf
from edsr_train.models.branch import Branch
from edsr_train.models.linear_tail import is_collapsible, is_linear, picture_channels

_FP16_HEADROOM = 8.0  # measured maxima stay this far below the largest FP16 number
_FP16_MAX = 65504.0


@dataclass(frozen=True)
class Folded:
    """A branch after folding.

    ``tail(features(entry(lr + shift_in) * 2^-range_shift)) + shift_out + base(lr)``
    """

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
    entry: nn.Module | None = None
    """Fixed linear maps before the first convolution, for which FP16 is too coarse: luma, bicubic enlargement."""
    base: nn.Module | None = None
    """A fixed linear map of LR that is added; the tail may have one channel then, which is added to all colours."""


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
    work = copy.deepcopy(branch).eval().double()
    done: list[str] = []
    done += _fold_batch_norm(work)
    done += _fold_residual_scaling(work.features)
    done += _sum_before_upsampling(work)
    done += _shift_range(work, range_shift)
    entry, shift_in, colours_in = _fold_colours_in(work)
    mean, colours_out = _fold_colours_out(work, mean_in_bias)
    done += [*colours_in, *colours_out]
    tail: nn.Module = work.tail
    if any(isinstance(m, nn.ConvTranspose2d) for m in tail.modules()):
        tail = as_convolution(work.tail)
        done.append("transposed convolution into a convolution at LR and a pixel shuffle")
    if collapse_tail and is_collapsible(tail):
        tail = collapse(tail, work.scale)
        done.append(f"tail into one 5x5 convolution to {tail.out_channels} channels, border ring exact")
    shift_out = None if mean_in_bias else mean.view(1, 3, 1, 1)
    shift_in = shift_in.view(1, 3, 1, 1)
    return Folded(work.scale, work.features, tail, shift_in, shift_out, range_shift, tuple(done), entry, base=work.base)


@torch.no_grad()
def choose_range_shift(branch: Branch) -> int:
    """The smallest k >= 0 for which the activations, times 2^-k, leave headroom in FP16.

    Convolution, ReLU, PReLU and sum are positively homogeneous, so scaling the input and every bias by 2^-k scales
    every activation, bit-exactly but for subnormal numbers. Where an activation is not (tanh), k is 0. Measured on
    noise, flat areas and edges of full contrast.
    """
    if any(isinstance(m, nn.Tanh) for m in branch.modules()):
        return 0
    largest = 0.0

    def watch(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        nonlocal largest
        for tensor in output if isinstance(output, tuple) else (output,):
            largest = max(largest, float(tensor.abs().max()))

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


def _fold_batch_norm(work: nn.Module) -> list[str]:
    """Batch norm is affine at every pixel; behind a convolution it goes into weight and bias, padding and all."""
    count = 0
    for chain in [m for m in work.modules() if isinstance(m, nn.Sequential)]:
        for index in reversed(range(1, len(chain))):
            before, norm = chain[index - 1], chain[index]
            if isinstance(before, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                chain[index - 1] = fuse_conv_bn_eval(before, norm)
                del chain[index]
                count += 1
    return [f"batch norm into the convolution before it, {count} times"] if count else []


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


class _OfSum(nn.Module):
    """``layer(a + b)``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        first, second = pair
        result: Tensor = self.layer(first + second)
        return result


def _sum_before_upsampling(work: nn.Module) -> list[str]:
    """For an affine map, the sum of two results is the result of the sum with every bias twice as large."""
    done = []
    for parent in list(work.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SumOf) and is_linear(child.layer):
                for conv in _convolutions(child.layer):
                    if conv.bias is not None:
                        conv.bias *= 2
                setattr(parent, name, _OfSum(child.layer))
                done.append("two upsamplings with the same weights into one, of the sum")
    return done


def _shift_range(branch: Branch, k: int) -> list[str]:
    if k == 0:
        return []
    *inner, last = _convolutions(nn.ModuleList([branch.features, branch.tail]))
    for conv in inner:
        if conv.bias is not None:
            conv.bias *= 2.0**-k
    last.weight *= 2.0**k
    return [f"range of the activations times 2^-{k}"]


def _fold_colours_in(work: Branch) -> tuple[nn.Module | None, Tensor, list[str]]:
    """What stays before the features, the colour that is added to LR, and what was folded.

    A matrix of colours goes into the first convolution, where that does not make it larger; what is only moved there,
    bicubic enlargement included, treats all colours alike. The offset would be wrong in the border ring.
    """
    matrix, offset = _as_affine(work.sub_mean, 3)
    entry, features = [], work.features
    if isinstance(features, nn.Sequential) and isinstance(features[0], Bicubic):
        entry, work.features = [features[0]], features[1:]
    if len(matrix) != matrix.shape[1]:
        return nn.Sequential(work.sub_mean, *entry), torch.zeros_like(matrix[0]), []
    shift, done = offset, []
    if not torch.equal(matrix, torch.eye(3, dtype=matrix.dtype)):
        first = next(_convolutions(work.features))
        # exact, since zero padding stays zero under a matrix
        first.weight.copy_(torch.einsum("oiyx,ij->ojyx", first.weight, matrix))
        shift = torch.linalg.solve(matrix, offset)
        done = ["colour matrix of the mean shift into the head"]
    return nn.Sequential(*entry) if entry else None, shift, done


def _fold_colours_out(work: Branch, mean_in_bias: bool) -> tuple[Tensor, list[str]]:
    """Apply the colours' matrix in the last convolution, and their offset too if ``mean_in_bias``; the offset.

    A pixel shuffle behind the convolution keeps colours in blocks. Where a single channel is added to all three
    colours alike, one is enough: the sum with the base spreads it.
    """
    *_, last = _convolutions(work.tail)
    channels = picture_channels(work.tail)
    matrix, offset = _as_affine(work.add_mean, channels)
    mean = offset
    if channels != len(matrix):
        assert work.base is not None and bool((matrix == matrix[0]).all()) and bool((offset == offset[0]).all())
        matrix, offset = matrix[:1], offset[:1]
    if last.bias is None:
        last.bias = nn.Parameter(torch.zeros(last.out_channels, dtype=last.weight.dtype))
    axis = 1 if isinstance(last, nn.ConvTranspose2d) else 0
    weight = last.weight.movedim(axis, 0)
    by_colour = weight.reshape(channels, -1, *weight.shape[1:])
    changed = torch.einsum("cd,dk...->ck...", matrix, by_colour).reshape(weight.shape)
    last.weight.copy_(changed.movedim(0, axis))
    bias = matrix @ last.bias.reshape(channels, -1)
    last.bias.copy_((bias + offset[:, None] * mean_in_bias).flatten())
    return mean, ["mean into the bias of the last convolution"] if mean_in_bias and bool(offset.any()) else []


def _convolutions(part: nn.Module) -> Iterator[nn.Conv2d | nn.ConvTranspose2d]:
    """In the order in which they were put together, which is that in which they compute."""
    return (m for m in part.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))


def _as_affine(part: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """A map of ``channels`` colours at every pixel as matrix (out, in) and offset (out,), read off it."""

    def at_one_pixel(colours: Tensor) -> Tensor:
        result: Tensor = part(colours.view(1, channels, 1, 1))
        return result.flatten()

    black = torch.zeros(channels, dtype=torch.float64)
    with torch.enable_grad():
        matrix: Tensor = torch.autograd.functional.jacobian(at_one_pixel, black)  # type: ignore[no-untyped-call]
    return matrix.detach(), at_one_pixel(black)
