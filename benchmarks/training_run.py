"""Training runs of measurements: networks that ``edsr-train fit`` trains a little, all on the same patches.

Each has a run folder, so that one that was stopped goes on where it was.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.context import Context
from benchmarks.settings import Settings
from edsr_runtime.errors import DataError, EdsrError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.architectures.registry import ARCHITECTURES
from edsr_train.config import DataConfig, TrainConfig
from edsr_train.data.sets import benchmark_pairs, find_sources
from edsr_train.data.training_set import open_training_set
from edsr_train.fit import fit_in_folder
from edsr_train.journal import read_journal
from edsr_train.recipes import RECIPES
from edsr_train.run_config import Asked
from edsr_train.run_folder import RunFolder
from edsr_train.start import Order
from edsr_train.validation import Validation
from edsr_train.voice import Voice

RECIPE = "edsr-small"
"""Whose options all runs are trained with, but for what is compared."""
ADAM_RATE = 5e-4
"""Peak, where runs have Adam: five times the paper's, since they are short."""
SET = "Set5"
PROTOCOL_ID: Literal["paper-y"] = "paper-y"
PROTOCOL = PROTOCOLS[PROTOCOL_ID]
_PHOTOGRAPHS = "train"  # below the folder of the data


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
class Trained:
    """A run that has done all its updates."""

    curve: Curve
    seconds: float
    """Of its updates, in all sessions; validations do not count."""
    model_file: Path


@dataclass(frozen=True)
class Pictures:
    """What runs at one scale are trained and judged on."""

    scale: int
    photographs: int
    """That are large enough to cut patches from."""
    bicubic_db: float
    files: DataConfig


class StoppedError(EdsrError):
    """A signal ended a run; its checkpoint is written."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def find_pictures(context: Context, data: Path, scale: int, patch: int) -> Pictures:
    """Decode the photographs, and score bicubic.

    Raises:
        DataError: there are no photographs to train on, or no benchmark pictures.
    """
    judged_by, cache = data / "benchmark" / SET, context.folder / "photographs"
    pairs = benchmark_pairs(judged_by, scale)
    sources = find_sources(data / _PHOTOGRAPHS, (scale,))
    photographs = open_training_set(sources, (scale,), patch, cache=cache).counts.photographs
    files = DataConfig(data=(str(data / _PHOTOGRAPHS),), val=str(judged_by), protocol=PROTOCOL_ID, cache=str(cache))
    return Pictures(scale, photographs, Validation({scale: pairs}, PROTOCOL).bicubic()[scale], files)


def small_training(updates: int, validate_every: int, batch: int, patch: int) -> TrainConfig:
    """The options of ``RECIPE`` for a run of this length, with the papers' Adam: cosine after a warm-up, BF16, L1."""
    recipe = RECIPES[RECIPE].training
    return replace(
        recipe,
        optimizer="adam",
        lr=ADAM_RATE,
        updates=updates,
        validate_every=validate_every,
        batch=batch,
        patch=patch,
        warmup=min(recipe.warmup, updates // 10),
        loss="l1",
    )


def fields_of(recipe: str, scale: int, settings: Settings) -> dict[str, Any]:
    """The configuration of a recipe's network for one scale; in a smoke run, of a tiny one."""
    architecture = RECIPES[recipe].architecture
    config_type = next(known.config_type for known in ARCHITECTURES if known.name == architecture)
    known_fields = config_type.__dataclass_fields__
    of_scale = {"scale": scale} if "scale" in known_fields else {"scales": (scale,)}
    tiny: dict[str, Any] = {}
    if settings.smoke:
        feats = settings.n_feats
        several = isinstance(known_fields["n_feats"].default, tuple)  # of SRCNN and ESPCN: after each convolution
        sizes = {"n_resblocks": settings.n_resblocks, "n_layers": 2, "n_feats": (feats, feats) if several else feats}
        tiny = {name: size for name, size in sizes.items() if name in known_fields}
    return {**RECIPES[recipe].network, **of_scale, **tiny}


def train_network(
    context: Context,
    name: str,
    recipe: str,
    training: TrainConfig,
    pictures: Pictures,
    *,
    init: Path | None = None,
) -> Trained:
    """Train the network of a recipe from its start, or from where a run of this name was stopped, to its end.

    Args:
        context: of the measurement.
        name: of the run, such as ``field/vdsr``: its folder below that of all runs.
        recipe: whose network it is.
        training: all options.
        pictures: also decide the scale.
        init: weights to begin with.

    Raises:
        DataError: pictures that cannot be used, or a folder that cannot be written to.
        NumericalError: it diverged.
        StoppedError: a signal came.
        EdsrError: the folder has a run with other options.
    """
    network = {f"net.{key}": value for key, value in fields_of(recipe, pictures.scale, context.settings).items()}
    told = {**network, **asdict(training), **asdict(pictures.files)}
    asked = {key: Asked(f"{key}={value} in this measurement", value) for key, value in told.items()}
    folder = RunFolder(context.run_folder / name)
    context.say(f"{name}: {training.updates} updates")
    order = Order(asked, recipe, init)
    stopped = fit_in_folder(order, folder, "resume-or-begin", "cpu", _Told(lambda line: context.say(f"{name}: {line}")))
    if stopped is not None:
        kept = "" if context.runs is None else "; the same command goes on from there"
        raise StoppedError(
            f"{name} was stopped after {stopped.done} of {stopped.updates} updates{kept}", stopped.exit_code
        )
    summary = _summary(folder)
    points = [
        Point(line["update"], next(iter(line["psnr"].values())))
        for line in read_journal(folder.log_file)
        if line["psnr"]
    ]
    return Trained(Curve(points, summary["skipped"]), summary["hours"] * 3600, folder.model_file)


def _summary(folder: RunFolder) -> Mapping[str, Any]:
    try:
        summary: Mapping[str, Any] = json.loads(folder.summary_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise DataError(f"{folder.summary_file}: cannot be read, so it is not known how the run went ({err})") from err
    return summary


class _Told(Voice):
    """Passes on what a run says."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def __call__(self, text: str) -> None:
        """Take a line."""
        self._say(text)
