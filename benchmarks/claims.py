"""Three claims of the paper, tried: what batch norm takes of memory, L1 against L2, and x4 from x2 or from scratch.

The paper is Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", arXiv:1707.02921. Its
networks were trained for 300,000 updates and more; here a small one is, for about a hundredth of that.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.context import Context
from benchmarks.settings import Settings
from benchmarks.targets import Target
from benchmarks.training_memory import Training, held_by_blocks, held_by_network, training_peak, weights_bytes
from edsr_runtime.errors import DataError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.data.sets import benchmark_pairs, find_sources
from edsr_train.data.training_set import TrainingSet, open_training_set
from edsr_train.loop import Progress, Record, train
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.processes import Processes
from edsr_train.recipes import RECIPES
from edsr_train.run_config import Asked
from edsr_train.run_folder import RunFolder
from edsr_train.start import new_run
from edsr_train.validation import Validation

RECIPE = "edsr-small"
SET = "Set5"
PROTOCOL = PROTOCOLS["paper-y"]
_PHOTOGRAPHS = "train"  # below the folder of the data

_MEMORY_CLAIM = "section 3.1: without batch norm, training takes about 40 % less memory than SRResNet"
_LOSS_CLAIM = "section 4.2: L1 converges better than L2"
_START_CLAIM = (
    "section 3.2 and figure 4: x4 that starts from x2 converges much faster than from scratch, and ends better"
)

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
    """Shares that are saved without batch norm: 0.4 is 40 % less."""

    blocks: float
    network: float
    peak: float


@dataclass(frozen=True)
class MemoryCase:
    """One scale."""

    scale: int
    batch_norm: Footprint
    """Batch norm after every convolution of the residual blocks, as in SRResNet."""
    ours: Footprint
    saved: Saved


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
class Point:
    """A validation."""

    update: int
    psnr_db: float


@dataclass(frozen=True)
class Curve:
    """One training run."""

    points: list[Point]
    """The last one is the end."""
    skipped: int
    """Updates whose loss or gradient was not finite, and which changed nothing."""

    @property
    def end_db(self) -> float:
        """PSNR after the last update."""
        return self.points[-1].psnr_db


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
    targets: list[Target]
    """None: what comes out is told, whatever it is."""


@dataclass(frozen=True)
class _Material:
    """What runs of one scale are trained and judged on."""

    scale: int
    data: TrainingSet
    validation: Validation

    def bicubic_db(self) -> float:
        return self.validation.bicubic()[self.scale]


def measure(context: Context) -> ClaimsResult:
    """Count memory, then train four times.

    Raises:
        DataError: there are no photographs to train on, or no benchmark pictures.
        EdsrError: a process whose memory was measured failed.
        NumericalError: a run diverged.
    """
    if context.data is None:
        raise DataError("claims needs photographs and benchmark pictures: pass their folder with --data, or EDSR_DATA")
    settings = context.settings
    first, later = (_material(context, context.data, scale) for scale in (_FIRST, _LATER))
    memory = _memory(context)
    l1, network = _trained(context, first, "L1", loss="l1")
    l2, _ = _trained(context, first, "L2", loss="mse")
    loss = LossClaim(
        _LOSS_CLAIM, _FIRST, first.data.counts.photographs, first.bicubic_db(), l1, l2, l1.end_db - l2.end_db
    )
    scratch, _ = _trained(context, later, "from scratch")
    pretrained, _ = _trained(context, later, f"from x{_FIRST}", init=network)
    start = StartClaim(
        _START_CLAIM,
        _LATER,
        _FIRST,
        later.data.counts.photographs,
        later.bicubic_db(),
        scratch,
        pretrained,
        pretrained.end_db - scratch.end_db,
        first_above(pretrained.points, scratch.end_db),
    )
    sizes = (settings.claims_updates, settings.claims_batch, settings.claims_patch)
    return ClaimsResult(SET, PROTOCOL.id, RECIPE, *sizes, memory, loss, start, [])


def first_above(points: Sequence[Point], psnr_db: float) -> int | None:
    """The update of the first validation that gave more than this PSNR."""
    return next((point.update for point in points if point.psnr_db > psnr_db), None)


def _memory(context: Context) -> MemoryClaim:
    settings, cases = context.settings, []
    blocks, feats, batch = settings.n_resblocks, settings.n_feats, settings.claims_batch
    for scale in settings.claims_memory_scales:
        context.say(f"claims: memory of training x{scale}")
        ours = Training(scale, blocks, feats, settings.claims_memory_patch, batch, batch_norm=False)
        without, with_norm = (_footprint(each) for each in (ours, dataclasses.replace(ours, batch_norm=True)))
        saved = Saved(
            1 - without.blocks_bytes / with_norm.blocks_bytes,
            1 - without.network_bytes / with_norm.network_bytes,
            1 - without.peak_bytes / with_norm.peak_bytes,
        )
        cases.append(MemoryCase(scale, with_norm, without, saved))
    name = f"EDSR {blocks}x{feats}"
    return MemoryClaim(_MEMORY_CLAIM, name, settings.claims_memory_patch, batch, _MEMORY_UPDATES, cases)


def _footprint(training: Training) -> Footprint:
    return Footprint(
        held_by_blocks(training),
        held_by_network(training),
        training_peak(training, _MEMORY_UPDATES),
        weights_bytes(training),
    )


def _material(context: Context, data: Path, scale: int) -> _Material:
    context.say(f"claims: preparing photographs for x{scale}")
    pairs = benchmark_pairs(data / "benchmark" / SET, scale)
    sources = find_sources(data / _PHOTOGRAPHS, (scale,))
    cache = context.folder / "claims" / "cache"
    training_set = open_training_set(sources, (scale,), context.settings.claims_patch, cache=cache)
    return _Material(scale, training_set, Validation({scale: pairs}, PROTOCOL))


def _trained(
    context: Context, material: _Material, name: str, *, loss: str = "l1", init: Path | None = None
) -> tuple[Curve, Path]:
    """One run; its curve, and the file of the network at its end."""
    what = f"claims: x{material.scale} {name}"
    asked = {key: Asked(key, value) for key, value in _changes(context.settings, material.scale, loss).items()}
    run = new_run(asked, config=RECIPE, init=init)
    folder = RunFolder(context.folder / "claims" / f"x{material.scale} {name}")
    notes = _Notes(what, context.say)
    context.say(f"{what}: {run.config.training.updates} updates")
    with folder.locked():
        train(
            run.network,
            run.config.training,
            material.data,
            folder,
            processes=Processes(torch.device("cpu")),
            validation=material.validation,
            watchers=(notes,),
        )
    return Curve(notes.points, notes.skipped), folder.model_file


def _changes(settings: Settings, scale: int, loss: str) -> dict[str, Any]:
    """Of the recipe: what is compared, and the length."""
    recipe = RECIPES[RECIPE].training
    tiny = {"net.n_resblocks": settings.n_resblocks, "net.n_feats": settings.n_feats} if settings.smoke else {}
    return {
        "net.scale": scale,
        "loss": loss,
        "updates": settings.claims_updates,
        "warmup": min(recipe.warmup, settings.claims_updates // 10),
        "batch": settings.claims_batch,
        "patch": settings.claims_patch,
        "validate_every": settings.claims_validate_every,
        **tiny,
    }


class _Notes:
    """Watches a run, and keeps its validations."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self.points: list[Point] = []
        self.skipped = 0
        self._what, self._say = what, say

    def updated(self, progress: Progress) -> None:
        """Nothing to note."""

    def recorded(self, record: Record, network: SuperResolutionNetwork) -> None:
        """Keep it if it has a validation."""
        self.skipped += record.skipped
        if record.psnr is not None:
            (psnr_db,) = record.psnr.values()
            self.points.append(Point(record.update, psnr_db))
            self._say(f"{self._what}: update {record.update}, {psnr_db:.3f} dB")
