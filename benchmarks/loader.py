"""Whether training waits for its patches: how many the loader cuts, and how many an update wants, per second."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from benchmarks.context import Context
from benchmarks.pictures import noise
from benchmarks.settings import Settings
from benchmarks.targets import Target, at_least
from benchmarks.timing import Candidate, Spread, interleave, paired_ratios, spread
from edsr_train.data.sets import find_sources
from edsr_train.data.training_set import TrainingSet, open_training_set
from edsr_train.models.edsr import EDSR, EDSRConfig
from edsr_train.recipes import RECIPES

_NETWORKS = ("edsr-small", "edsr-baseline")
_SCALES = (2, 4)
_LIMIT = 10.0  # times; the loader then takes less than a tenth of the time, even where it works alone
_LOADER = "loader"


@dataclass(frozen=True)
class LoaderRow:
    """One network at one scale and size of patch."""

    scale: int
    patch: int
    network: str
    loader_patches_per_s: Spread
    """Planned, cut, turned, and float."""
    update_patches_per_s: Spread
    """That updates would use if they never waited."""
    times_update: Spread
    """The former divided by the latter, in pairs."""


@dataclass(frozen=True)
class LoaderResult:
    """Patches are cut from files that are mapped into memory, and read by then; updates are in bfloat16."""

    pictures: int
    hr_hw: tuple[int, int]
    batch: int
    threads: int
    rows: list[LoaderRow]
    targets: list[Target]


def measure(context: Context) -> LoaderResult:
    """Time batches and updates in turns, on photographs as large as those of DIV2K."""
    settings = context.settings
    context.say(f"loader: preparing {settings.loader_pictures} pictures")
    folder = _photographs(context.folder / "photographs", settings)
    rows: list[LoaderRow] = []
    for scale in _SCALES:
        sources = find_sources(folder, (scale,))
        for patch in settings.loader_patches:
            data = open_training_set(sources, (scale,), patch, cache=context.folder / "cache")
            context.say(f"loader x{scale}, patch {patch}: {settings.loader_rounds} rounds of {', '.join(_NETWORKS)}")
            rows += _rows(data, settings)
    least = min(rows, key=lambda row: row.times_update.median)
    promise = f"patches cut, of those an update uses (least: x{least.scale}, patch {least.patch}, {least.network})"
    target = at_least(promise, _LIMIT, least.times_update.median, "times", unless=settings.why_no_target)
    return LoaderResult(
        settings.loader_pictures, settings.loader_hw, settings.loader_batch, torch.get_num_threads(), rows, [target]
    )


def _photographs(folder: Path, settings: Settings) -> Path:
    """What they show does not matter; BMP is written and read fast."""
    folder.mkdir()
    for index in range(settings.loader_pictures):
        Image.fromarray(noise(*settings.loader_hw, seed=index)).save(folder / f"{index}.bmp")
    return folder


def _rows(data: TrainingSet, settings: Settings) -> list[LoaderRow]:
    (scale,) = data.scales
    candidates = [Candidate(_LOADER, _batches(data, settings.loader_batch, settings.loader_updates))]
    candidates += [Candidate(name, _update(_network(name, scale, settings), data, settings)) for name in _NETWORKS]
    seconds = interleave(candidates, settings.loader_rounds, warm_up=settings.warm_up, seed=scale * data.patch)
    loader = [value / settings.loader_updates for value in seconds[_LOADER]]
    return [
        LoaderRow(
            scale,
            data.patch,
            name,
            spread([settings.loader_batch / value for value in loader]),
            spread([settings.loader_batch / value for value in seconds[name]]),
            spread(paired_ratios(seconds[name], loader)),
        )
        for name in _NETWORKS
    ]


def _batches(data: TrainingSet, batch: int, updates: int) -> Callable[[], None]:
    """Every call cuts new patches."""
    done = 0

    def run() -> None:
        nonlocal done
        for update in range(done, done + updates):
            data.cut(data.plan(0, update, batch))
        done += updates

    return run


def _update(network: nn.Module, data: TrainingSet, settings: Settings) -> Callable[[], None]:
    """One update on a batch that is there already: forward, loss, backward, Adam."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4, fused=True)
    lr, hr = data.cut(data.plan(0, 0, settings.loader_batch))
    lr = lr.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            sr = network(lr)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.l1_loss(sr.float(), hr).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def _network(name: str, scale: int, settings: Settings) -> EDSR:
    config = EDSRConfig(scale, **RECIPES[name].network)
    if settings.smoke:
        config = dataclasses.replace(config, n_resblocks=settings.n_resblocks, n_feats=settings.n_feats)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return EDSR(config)
