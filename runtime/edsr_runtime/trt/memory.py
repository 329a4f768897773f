"""Device memory that an engine will need, known before it is built.

The formulas were read off TensorRT-RTX 1.7.1's build logs and hold for EDSR and MDSR; TENSORRT.md has the comparison.
The full TensorRT chooses its kernels by timing, so for it they are an estimate. What an engine really needs is known
after the build, and is looked at again then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edsr_runtime.contract import Contract
from edsr_runtime.errors import EnvironmentUnfitError, ShapeError
from edsr_runtime.trt.profile import Profile, Size

MAX_ELEMENTS = 2**31
"""A tensor has fewer: beyond, TensorRT-RTX falls back to allocation while it runs, and says nothing."""

_ELEMENT_BYTES = {"fp32": 4, "fp16": 2}
_FP32_BYTES = 4
_SCRATCH_BYTES = 8_192_000  # of a convolution whose sums are split between multiprocessors
_RING_CONVOLUTIONS = 7  # of the eight around a collapsed tail, as many were seen to have scratch space of their own
_RING_DEPTH = 3  # LR pixels on each of four sides, cut out for those convolutions
_BODY_TENSORS = 4  # long skip, block input, between the block's convolutions, block output
_VIEWS = 8
_MEASURED = ("edsr", "mdsr")
TILE_STEP = 16
"""LR pixels, between the sides of tiles that are proposed."""
_SMALLEST_TILE = 32


@dataclass(frozen=True)
class Need:
    """Of one execution context, at one input size."""

    at_least: int
    """What lies between input and output, without what is not certain, bytes."""
    activations: int
    """The same with all of it."""
    buffers: int
    """Input and output, bytes."""
    largest_tensor: int
    """Elements."""


@dataclass(frozen=True)
class Budget:
    """Memory that an engine may use."""

    size: int
    """Bytes."""
    owner: str
    """``the NVIDIA L4``, for messages."""
    holds_buffers: bool
    """Whether input and output are in it too."""

    def leaves(self, activations: int, buffers: int) -> bool:
        """Whether an engine fits."""
        return activations + (buffers if self.holds_buffers else 0) <= self.size


def predict(contract: Contract, size: Size) -> Need:
    """What an engine of this model needs for inputs up to ``size``.

    For a tail as in the paper, or trained as one convolution, both bounds are within 1 % of the truth; but with uint8
    in and out at x4, where casting takes more than the body does, the lower one leaves that out. A collapsed tail has
    up to 60 MB between them and up to 6 % of what lies at LR. With the ensemble inside, TensorRT-RTX may compute views
    side by side, and then even the upper bound is too low.
    """
    pixels, feats = size.batch * size.height * size.width, contract.n_feats
    element, samples = _ELEMENT_BYTES[contract.precision], 3 * contract.scale**2
    body = _BODY_TENSORS * feats * element
    scratch, uncertain = _SCRATCH_BYTES, 0
    if has_paper_tail(contract):
        # convolution to HR, the same shuffled, and the features before them
        largest = contract.floats_per_pixel or feats * contract.scale**2
        per_pixel = max(body, 2 * (largest + feats) * element)
    else:
        tail = (samples + 2 * feats) * element
        per_pixel = max(body, tail)
        if contract.io == "uint8":  # cast, transposed, clamped and rounded: in FP16 at x3 as one
            uncertain += max(0, 3 * samples * _FP32_BYTES - per_pixel) * pixels
        largest = max(feats, samples)
        if contract.min_side > 1:
            uncertain = _RING_CONVOLUTIONS * _SCRATCH_BYTES
            uncertain += max(0, tail + 2 * samples * element - per_pixel) * pixels  # its parts, and put together
            uncertain += 2 * _RING_DEPTH * size.batch * (size.height + size.width) * feats * element
    if contract.self_ensemble:  # the results of the other views wait for their sum
        uncertain += (_VIEWS - 1) * (samples * _FP32_BYTES * pixels + _SCRATCH_BYTES)
    sample_bytes = 1 if contract.io == "uint8" else _FP32_BYTES
    certain = per_pixel * pixels + scratch
    at_least = certain if contract.architecture in _MEASURED else 0
    return Need(at_least, certain + uncertain, (3 + samples) * sample_bytes * pixels, largest * pixels)


def has_paper_tail(contract: Contract) -> bool:
    """Convolutions at HR resolution, with pixel shuffles between: neither collapsed nor trained as one convolution."""
    return contract.min_side == 1 and contract.config.get("tail") != "direct"


def check_fits(contract: Contract, profile: Profile, budgets: Sequence[Budget]) -> Need:
    """The prediction for a profile, unless it is certain that there is not enough.

    Args:
        contract: of the model.
        profile: its largest size counts.
        budgets: all of them must hold it.

    Raises:
        ShapeError: a tensor of 2^31 elements or more.
        EnvironmentUnfitError: more than a budget.
    """
    need = predict(contract, profile.max)
    if need.largest_tensor >= MAX_ELEMENTS:
        raise ShapeError(
            f"at {profile.max} (NxHxW) the largest tensor has {need.largest_tensor:,} elements, "
            f"expected fewer than 2^31: {propose(contract, profile.max, budgets)}"
        )
    check_enough(need.at_least, need, contract, profile, budgets)
    return need


def check_enough(
    activations: int,
    need: Need,
    contract: Contract,
    profile: Profile,
    budgets: Sequence[Budget],
    measured: bool = False,
) -> None:
    """Hold activations, foretold or ``measured``, against the budgets.

    Raises:
        EnvironmentUnfitError: more than one of them.
    """
    for budget in budgets:
        if not budget.leaves(activations, need.buffers):
            total = activations + (need.buffers if budget.holds_buffers else 0)
            factor = max(1.0, activations / need.activations) if measured else 1.0
            raise EnvironmentUnfitError(
                f"at {profile.max} (NxHxW) the engine needs {'' if measured else 'about '}{megabytes(total)}, but "
                f"{budget.owner} has {megabytes(budget.size)}: {propose(contract, profile.max, budgets, factor)}"
            )


def propose(contract: Contract, size: Size, budgets: Sequence[Budget], factor: float = 1.0) -> str:
    """``use --tile 192 --batch 8``, with the largest tile that fits; fewer at once where none does.

    Args:
        contract: of the model.
        size: what does not fit.
        budgets: what it has to fit into.
        factor: how much more than foretold the activations take.
    """
    for batch in _halved(size.batch):
        side = _largest_tile(contract, batch, budgets, factor, max(size.height, size.width))
        if side is not None:
            return f"use --tile {side} --batch {batch}"
    return "use another GPU, or a smaller model"


def megabytes(size: int) -> str:
    """``1,149 MB``."""
    return f"{size / 1e6:,.0f} MB"


def _largest_tile(contract: Contract, batch: int, budgets: Sequence[Budget], factor: float, at_most: int) -> int | None:
    least = max(_SMALLEST_TILE, 2 * contract.receptive_radius + TILE_STEP)
    for side in range(at_most - at_most % TILE_STEP, least - 1, -TILE_STEP):
        need = predict(contract, Size(batch, side, side))
        fits = all(budget.leaves(int(need.activations * factor), need.buffers) for budget in budgets)
        if need.largest_tensor < MAX_ELEMENTS and fits:
            return side
    return None


def _halved(batch: int) -> Iterator[int]:
    while batch:
        yield batch
        batch //= 2
