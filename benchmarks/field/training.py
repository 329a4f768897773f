"""Every network of the field after the same small training: what it gains over bicubic, and what it costs.

The same updates, batches, patches and options for all, and a small recipe: it shows how far each comes with little, not
how good it can become.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from benchmarks.context import Context
from benchmarks.cost.conventions import PAPER, mult_adds_by_convention
from benchmarks.cost.graph import Graph
from benchmarks.cost.published import FIXED
from benchmarks.models import model_as_trained
from benchmarks.targets import Target
from benchmarks.training_run import (
    PROTOCOL,
    RECIPE,
    SET,
    Pictures,
    Point,
    find_pictures,
    small_training,
    train_network,
)
from edsr_runtime.errors import DataError, NumericalError
from edsr_train.checkpoint import load_network
from edsr_train.config import TrainConfig
from edsr_train.models.branch import SuperResolutionNetwork

SCALE = 2
BICUBIC = "bicubic"
NETWORKS = (
    *("srcnn", "espcn", "fsrcnn", "vdsr", "srresnet", "carn", "carn-m", "lesrcnn"),
    *("edsr-small", "edsr-baseline"),
)
"""As in ``edsr_train.recipes``."""
ORDER = (("edsr-baseline", "edsr-small"), ("srresnet",), ("vdsr",), ("srcnn",), (BICUBIC,))
"""The order of the field where papers agree, the best first: those of the EDSR type above SRResNet above VDSR above
SRCNN above bicubic."""


@dataclass(frozen=True)
class FieldRow:
    """One network."""

    network: str
    parameters: int
    """That are trained, biases and slopes included."""
    mult_adds: float
    """As trained, by the convention of the result."""
    updates: int
    seconds: float
    """Of the updates alone."""
    points: list[Point]
    """The validations; the last one is the end."""
    skipped: int
    """Updates whose loss or gradient was not finite, and which changed nothing."""
    psnr_db: float
    """At the end."""
    gain_db: float
    """Over bicubic."""


@dataclass(frozen=True)
class Reversal:
    """Two of the field that came out the other way round, or level."""

    above: str
    """Which the field has above the other."""
    below: str
    by_db: float
    """PSNR of ``below``, less that of ``above``."""


@dataclass(frozen=True)
class FieldResult:
    """PSNR under one protocol on one set, with one seed."""

    set: str
    protocol: str
    scale: int
    convention: str
    """Of Mult-Adds."""
    photographs: int
    recipe: str
    """Whose options all were trained with."""
    updates: int
    batch: int
    patch: int
    """Side, LR pixels."""
    threads: int
    bicubic_db: float
    rows: list[FieldRow]
    order: list[str]
    """Networks and bicubic, the best first."""
    is_field_order: bool
    """Whether ``reversals`` is empty and all that it is about are there."""
    reversals: list[Reversal]
    diverged: list[str]
    """Networks that these options cannot train."""
    targets: list[Target]
    """None: what comes out is told, whatever it is."""


def measure(context: Context) -> FieldResult:
    """Train every network, each from its start or from where it was stopped.

    Raises:
        DataError: there are no photographs to train on, or no benchmark pictures.
        StoppedError: a signal came; with a folder for runs, all that was done is there.
    """
    if context.data is None:
        raise DataError("field needs photographs and benchmark pictures: pass their folder with --data, or EDSR_DATA")
    settings = context.settings
    context.say(f"field: preparing photographs for x{SCALE}")
    pictures = find_pictures(context, context.data, SCALE, settings.field_patch)
    training = small_training(
        settings.field_updates, settings.field_validate_every, settings.field_batch, settings.field_patch
    )
    rows: list[FieldRow] = []
    diverged: list[str] = []
    for name in NETWORKS:
        try:
            rows.append(_row(context, name, training, pictures))
        except NumericalError as err:
            context.say(f"field: {name} diverged: {err}")
            diverged.append(name)
    psnr_db = {BICUBIC: pictures.bicubic_db} | {row.network: row.psnr_db for row in rows}
    reversals = find_reversals(psnr_db)
    return FieldResult(
        SET,
        PROTOCOL.id,
        SCALE,
        PAPER.id,
        pictures.photographs,
        RECIPE,
        training.updates,
        training.batch,
        training.patch,
        torch.get_num_threads(),
        pictures.bicubic_db,
        rows,
        sorted(psnr_db, key=lambda name: -psnr_db[name]),
        not reversals and all(name in psnr_db for group in ORDER for name in group),
        reversals,
        diverged,
        [],
    )


def find_reversals(psnr_db: Mapping[str, float], order: Sequence[Sequence[str]] = ORDER) -> list[Reversal]:
    """Every pair of different groups of ``order`` that is not in its order.

    Args:
        psnr_db: by network; one that is not there is in no pair.
        order: groups, the best first; within a group, any order will do.
    """
    return [
        Reversal(above, below, psnr_db[below] - psnr_db[above])
        for better, worse in combinations(order, 2)
        for above in better
        for below in worse
        if above in psnr_db and below in psnr_db and psnr_db[above] <= psnr_db[below]
    ]


def _row(context: Context, name: str, training: TrainConfig, pictures: Pictures) -> FieldRow:
    trained = train_network(context, f"field/{name}", name, training, pictures)
    network = load_network(trained.model_file).network
    curve = trained.curve
    return FieldRow(
        name,
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        _mult_adds(network, name),
        training.updates,
        trained.seconds,
        curve.points,
        curve.skipped,
        curve.end_db,
        curve.end_db - pictures.bicubic_db,
    )


def _mult_adds(network: SuperResolutionNetwork, name: str) -> float:
    return mult_adds_by_convention(Graph(model_as_trained(network, SCALE), name), SCALE, PAPER, FIXED)
