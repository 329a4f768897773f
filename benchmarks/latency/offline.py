"""Many pictures: megapixels per second, from folder to folder and from array to array."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.context import Context
from benchmarks.latency.entrants import Entrant, Stable
from benchmarks.ours import ALL_FORMS, AUTO, NO_COLLAPSE, ON_A_GPU, ONNXRUNTIME
from benchmarks.peers.peer import Rgb
from benchmarks.peers.registry import PEERS, TORCH_EAGER
from benchmarks.pictures import texture
from benchmarks.targets import Target
from benchmarks.timing import Candidate, Effort, Spread, all_runs, by_round, paired_ratios, spread, take_turns
from edsr_runtime.errors import EdsrError
from edsr_runtime.jobs import Job, plan_work
from edsr_runtime.pipeline import Options, Result, upscale_files

FOLDERS, ARRAYS = "folder to folder", "array to array"
_FORMS = (AUTO, ONNXRUNTIME, NO_COLLAPSE, *ON_A_GPU)
_ONE_AT_A_TIME = "timed one picture at a time only"


@dataclass(frozen=True)
class OfflineRow:
    """One candidate in one scenario."""

    name: str
    kind: str
    scenario: str
    """``folder to folder``: PNG to PNG, with decoding and encoding; ``array to array``: without."""
    hr_megapixels_per_s: Spread
    times_torch: Spread
    """Torch's time divided by this one, in pairs."""
    copies: str
    """Between main memory and a device, and whether they are in the time."""


@dataclass(frozen=True)
class OfflineResult:
    """The model is loaded before; our runtime decodes and encodes beside inference, the peers' scripts in turn."""

    network: str
    scale: int
    lr_hw: tuple[int, int]
    pictures: int
    effort: Effort
    rows: list[OfflineRow]
    missing: dict[str, str]
    """Candidates that this machine cannot run or that were left out, and why."""
    targets: list[Target]


def measure(context: Context) -> OfflineResult:
    """Time whole folders in turns.

    Raises:
        EdsrError: a picture failed.
    """
    settings = context.settings
    scale = settings.offline_scale
    pictures = [texture(*settings.lr_hw, seed=seed) for seed in range(settings.offline_pictures)]
    folder = context.folder / "offline"
    (folder / "in").mkdir(parents=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / "in" / f"{index:03}.png")
    context.say("offline: exporting and loading")
    with ExitStack() as stack:
        stable = Stable(context, scale, pictures[0], stack)
        entrants = [*stable.peers(PEERS), *stable.ours(_FORMS)]
        candidates = []
        for entrant in entrants:
            (folder / entrant.name).mkdir()
            candidates.append(Candidate(f"{entrant.name} {FOLDERS}", _folders(entrant, folder, stable)))
            candidates.append(Candidate(f"{entrant.name} {ARRAYS}", partial(_arrays, entrant, pictures)))
        context.say(f"offline: {settings.offline_effort.rounds} rounds of {len(candidates)} candidates")
        turns = take_turns(candidates, settings.offline_effort, seed=scale)
    megapixels = sum(picture.shape[0] * picture.shape[1] for picture in pictures) * scale**2 / 1e6
    rows = []
    for scenario in (FOLDERS, ARRAYS):
        torch_seconds = by_round(turns[f"{TORCH_EAGER.name} {scenario}"])
        for entrant in entrants:
            found = turns[f"{entrant.name} {scenario}"]
            rates = [megapixels / seconds for seconds in all_runs(found)]
            ratios = paired_ratios(torch_seconds, by_round(found))
            rows.append(OfflineRow(entrant.name, entrant.kind, scenario, spread(rates), spread(ratios), entrant.copies))
    return OfflineResult(
        context.models.description,
        scale,
        settings.lr_hw,
        len(pictures),
        settings.offline_effort,
        rows,
        stable.missing | {form.name: _ONE_AT_A_TIME for form in ALL_FORMS if form not in _FORMS},
        [],
    )


def _arrays(entrant: Entrant, pictures: list[Rgb]) -> None:
    for picture in pictures:
        entrant.upscale(picture)


def _folders(entrant: Entrant, folder: Path, stable: Stable) -> Callable[[], None]:
    source, target = folder / "in", folder / entrant.name
    upscaler = stable.upscalers.get(entrant.name)
    if upscaler is None:
        return partial(_script, entrant, source, target)
    jobs = plan_work([source], str(target), overwrite=True).jobs

    def run() -> None:
        upscale_files(jobs, upscaler, Options(), _Watcher())

    return run


def _script(entrant: Entrant, source: Path, target: Path) -> None:
    """As the scripts of the peers do it: one picture after another, with Pillow."""
    for path in sorted(source.iterdir()):
        with Image.open(path) as file:
            lr = np.asarray(file.convert("RGB"))
        Image.fromarray(entrant.upscale(lr)).save(target / path.name)


class _Watcher:
    """Wants to hear of failures only."""

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        """Nothing to say."""

    def advanced(self, job: Job, pixels: int) -> None:
        """Nothing to say."""

    def finished(self, result: Result) -> None:
        """Stop if there is no output."""
        if result.error is not None:
            raise EdsrError(f"{result.job.source}: {result.error}")
