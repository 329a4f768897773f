"""Three claims of the paper, tried: what batch norm takes of memory, L1 against L2, and x4 from x2 or from scratch.

And one of ours: what Muon makes of the same updates.

The paper is Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", arXiv:1707.02921. Its
networks were trained for 300,000 updates and more; here a small one is, for about a hundredth of that.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.context import Context
from benchmarks.targets import Target
from benchmarks.training_memory import Kind, Training, held_by_blocks, held_by_network, training_peak, weights_bytes
from benchmarks.training_run import (
    ADAM_RATE,
    PROTOCOL,
    RECIPE,
    SET,
    Curve,
    Pictures,
    Point,
    Trained,
    find_pictures,
    small_training,
    train_network,
)
from edsr_runtime.errors import DataError
from edsr_train.recipes import RECIPES

_MEMORY_CLAIM = "section 3.1: without batch norm, training takes about 40 % less memory than SRResNet"
_LOSS_CLAIM = "section 4.2: L1 converges better than L2"
_START_CLAIM = (
    "section 3.2 and figure 4: x4 that starts from x2 converges much faster than from scratch, and ends better"
)

_OPTIMIZER_CLAIM = "not the paper's, ours: with kernels moved by Muon, fewer updates reach the same PSNR"

_MEMORY_UPDATES = 3  # from the second one on there are gradients and moments from the start
_FIRST, _LATER = 2, 4  # scales


@dataclass(frozen=True)
class Footprint:
    """Memory of training one network, bytes."""

    blocks_bytes: int
    """Held by autograd between forward and backward for the residual blocks alone; counted, without weights."""
    network_bytes: int
    """The same for everything, from patches to loss."""
    peak_bytes: int
    """By which a process of its own grew in a few updates: resident memory, with gradients and moments."""
    weights_bytes: int
    """Of what is trained, in none of the above."""


@dataclass(frozen=True)
class Saved:
    """Shares that ours saves: 0.4 is 40 % less."""

    blocks: float
    network: float
    peak: float


@dataclass(frozen=True)
class MemoryCase:
    """One scale."""

    scale: int
    srresnet: Footprint
    """As many blocks and features: batch norm after every convolution of the body, and PReLU."""
    batch_norm: Footprint
    """Ours, but for batch norm after every convolution of the residual blocks."""
    ours: Footprint
    saved_of_srresnet: Saved
    saved_of_batch_norm: Saved


@dataclass(frozen=True)
class MemoryClaim:
    """In FP32."""

    claim: str
    network: str
    patch: int
    batch: int
    updates: int
    """That ``peak_bytes`` is of."""
    cases: list[MemoryCase]


@dataclass(frozen=True)
class LossClaim:
    """The same initial weights and the same patches."""

    claim: str
    scale: int
    photographs: int
    """That are large enough to cut patches from."""
    bicubic_db: float
    l1: Curve
    l2: Curve
    gain_db: float
    """PSNR of L1 at the end, less that of L2."""


@dataclass(frozen=True)
class StartClaim:
    """The same patches; the updates that the network of the other scale took are not counted."""

    claim: str
    scale: int
    from_scale: int
    photographs: int
    bicubic_db: float
    scratch: Curve
    pretrained: Curve
    """Tail fresh, everything else from the network of ``from_scale`` that L1 gave."""
    gain_db: float
    """PSNR of the pre-trained start at the end, less that from scratch."""
    passes_at: int | None
    """The first validation where the pre-trained start is above the end of the one from scratch; None: nowhere."""


@dataclass(frozen=True)
class OptimizerClaim:
    """The same initial weights and the same patches, each optimizer at its own rate."""

    claim: str
    scale: int
    photographs: int
    bicubic_db: float
    adam_rate: float
    """At its peak."""
    muon_rate: float
    adam: Curve
    """The run of L1 once more."""
    muon: Curve
    gain_db: float
    """PSNR of Muon at the end, less that of Adam."""
    passes_at: int | None
    """The first validation where Muon is above the end of Adam; None: nowhere."""


@dataclass(frozen=True)
class ClaimsResult:
    """PSNR under one protocol on one set, of one recipe with one seed."""

    set: str
    protocol: str
    recipe: str
    updates: int
    batch: int
    patch: int
    memory: MemoryClaim
    loss: LossClaim
    start: StartClaim
    optimizer: OptimizerClaim
    targets: list[Target]
    """None: what comes out is told, whatever it is."""


def measure(context: Context) -> ClaimsResult:
    """Count memory, then train five times.

    Raises:
        DataError: there are no photographs to train on, or no benchmark pictures.
        EdsrError: a process whose memory was measured failed.
        NumericalError: a run diverged.
        StoppedError: a signal came.
    """
    if context.data is None:
        raise DataError("claims needs photographs and benchmark pictures: pass their folder with --data, or EDSR_DATA")
    settings = context.settings
    first, later = (_pictures(context, context.data, scale) for scale in (_FIRST, _LATER))
    memory = _memory(context)
    trained = _trained(context, first, "L1")
    l1, l2 = trained.curve, _trained(context, first, "L2", loss="mse").curve
    loss = LossClaim(_LOSS_CLAIM, _FIRST, first.photographs, first.bicubic_db, l1, l2, l1.end_db - l2.end_db)
    scratch = _trained(context, later, "scratch").curve
    pretrained = _trained(context, later, f"from-x{_FIRST}", init=trained.model_file).curve
    start = StartClaim(
        _START_CLAIM,
        _LATER,
        _FIRST,
        later.photographs,
        later.bicubic_db,
        scratch,
        pretrained,
        pretrained.end_db - scratch.end_db,
        first_above(pretrained.points, scratch.end_db),
    )
    muon_rate = RECIPES[RECIPE].training.lr
    muon = _trained(context, first, "Muon", optimizer="muon", lr=muon_rate).curve
    optimizer = OptimizerClaim(
        _OPTIMIZER_CLAIM,
        _FIRST,
        first.photographs,
        first.bicubic_db,
        ADAM_RATE,
        muon_rate,
        l1,
        muon,
        muon.end_db - l1.end_db,
        first_above(muon.points, l1.end_db),
    )
    sizes = (settings.claims_updates, settings.claims_batch, settings.claims_patch)
    return ClaimsResult(SET, PROTOCOL.id, RECIPE, *sizes, memory, loss, start, optimizer, [])


def first_above(points: Sequence[Point], psnr_db: float) -> int | None:
    """The update of the first validation that gave more than this PSNR."""
    return next((point.update for point in points if point.psnr_db > psnr_db), None)


def _memory(context: Context) -> MemoryClaim:
    settings, cases = context.settings, []
    blocks, feats, batch = settings.n_resblocks, settings.n_feats, settings.claims_batch
    for scale in settings.claims_memory_scales:
        context.say(f"claims: memory of training x{scale}")

        def footprint(kind: Kind, scale: int = scale) -> Footprint:
            return _footprint(Training(scale, blocks, feats, settings.claims_memory_patch, batch, kind))

        srresnet, batch_norm, ours = footprint("srresnet"), footprint("edsr-batch-norm"), footprint("edsr")
        cases.append(MemoryCase(scale, srresnet, batch_norm, ours, _saved(ours, srresnet), _saved(ours, batch_norm)))
    name = f"EDSR {blocks}x{feats}"
    return MemoryClaim(_MEMORY_CLAIM, name, settings.claims_memory_patch, batch, _MEMORY_UPDATES, cases)


def _footprint(training: Training) -> Footprint:
    return Footprint(
        held_by_blocks(training),
        held_by_network(training),
        training_peak(training, _MEMORY_UPDATES),
        weights_bytes(training),
    )


def _saved(ours: Footprint, other: Footprint) -> Saved:
    return Saved(
        1 - ours.blocks_bytes / other.blocks_bytes,
        1 - ours.network_bytes / other.network_bytes,
        1 - ours.peak_bytes / other.peak_bytes,
    )


def _pictures(context: Context, data: Path, scale: int) -> Pictures:
    context.say(f"claims: preparing photographs for x{scale}")
    return find_pictures(context, data, scale, context.settings.claims_patch)


def _trained(context: Context, pictures: Pictures, name: str, *, init: Path | None = None, **changes: Any) -> Trained:
    """``changes``: of the options."""
    settings = context.settings
    training = small_training(
        settings.claims_updates, settings.claims_validate_every, settings.claims_batch, settings.claims_patch
    )
    training = dataclasses.replace(training, **changes)
    return train_network(context, f"claims/x{pictures.scale}-{name}", RECIPE, training, pictures, init=init)
