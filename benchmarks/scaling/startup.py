"""From nothing to the first picture: the command, its imports, the model, and the first pictures in one process."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import numpy as np
from PIL import Image

from benchmarks.context import Context
from benchmarks.peak_memory import CommandFailedError, run_and_measure
from benchmarks.pictures import texture
from benchmarks.targets import Target, at_most
from benchmarks.timing import Spread, spread
from edsr_runtime.errors import EdsrError
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import DEFAULT_NAME, model_path

_SCALE = 4
_LIMIT_S = 0.8
_PICTURES = 10

COMMAND = "edsr-upscale, picture to picture"
PYTHON = "Python alone"
IMPORTS = "Python with edsr_runtime.cli imported"
LOAD, FIRST, TENTH = "model loaded", "first picture", "tenth picture"


@dataclass(frozen=True)
class StartupRow:
    """One step."""

    step: str
    process: bool
    """Whether it is a whole process, from its start to its end."""
    seconds: Spread


@dataclass(frozen=True)
class StartupResult:
    """New processes; their files are in the system's cache."""

    model: str
    lr_hw: tuple[int, int]
    rows: list[StartupRow]
    targets: list[Target]


def measure(context: Context) -> StartupResult:
    """Start everything some times, in turns.

    Raises:
        EdsrError: a process failed.
    """
    settings = context.settings
    side = settings.startup_side
    model = model_path(DEFAULT_NAME, _SCALE)
    source, target = context.folder / "startup.png", context.folder / "startup_x4.png"
    Image.fromarray(texture(side, side)).save(source)
    command = Path(sys.executable).parent / "edsr-upscale"
    processes = {
        COMMAND: [str(command), "-i", str(source), "-o", str(target), "-s", str(_SCALE), "--overwrite"],
        PYTHON: [sys.executable, "-c", "pass"],
        IMPORTS: [sys.executable, "-c", "import edsr_runtime.cli"],
    }
    seconds: dict[str, list[float]] = {step: [] for step in (*processes, LOAD, FIRST, TENTH)}
    context.say(f"startup: {settings.startup_runs} rounds")
    for _ in range(1 + settings.startup_runs):  # the first one fills the system's cache
        for step, arguments in processes.items():
            seconds[step].append(_run(arguments))
        for step, value in _inside(model, source).items():
            seconds[step].append(value)
    rows = [StartupRow(step, step in processes, spread(values[1:])) for step, values in seconds.items()]
    promise = f"edsr-upscale x{_SCALE} of a {side}x{side} picture from the start of the command"
    target_met = at_most(promise, _LIMIT_S, rows[0].seconds.median, "s", unless=settings.why_no_target)
    return StartupResult(model.stem, (side, side), rows, [target_met])


def _run(arguments: list[str]) -> float:
    try:
        return run_and_measure(arguments).seconds
    except CommandFailedError as err:
        raise EdsrError(str(err)) from err


def _inside(model: Path, source: Path) -> dict[str, float]:
    """Steps within a new process."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "steps.json"
        _run([sys.executable, __file__, str(model), str(source), str(report)])
        found: dict[str, float] = json.loads(report.read_text())
        return found


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _steps(model: Path, source: Path) -> dict[str, float]:
    lr = np.asarray(Image.open(source))
    start = time.perf_counter()
    with Upscaler(model) as upscaler:
        loaded = time.perf_counter() - start
        pictures = [_timed(lambda: upscaler.upscale(lr)) for _ in range(_PICTURES)]
    return {LOAD: loaded, FIRST: pictures[0], TENTH: pictures[-1]}


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(_steps(Path(sys.argv[1]), Path(sys.argv[2]))))
