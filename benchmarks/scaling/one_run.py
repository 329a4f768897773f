"""One point of a curve, in a process of its own, since a process never forgets its peak memory.

Started as a program with a ``Run`` as JSON; ``measure_run`` starts it and reads what it found.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import numpy as np

from benchmarks.peak_memory import CommandFailedError, own_peak_bytes, run_and_measure
from edsr_runtime.errors import EdsrError
from edsr_runtime.upscaler import Upscaler

_WARM_UP_SIDE = 48


@dataclass(frozen=True)
class Run:
    """What is done."""

    model: str
    """File."""
    hw: tuple[int, int]
    """Of a picture, LR pixels."""
    tile: int | Literal["auto"] = "auto"
    threads: int | None = None
    batch: int = 1
    """Pictures in one call of the backend; with more than one, no tiles."""
    in_flight: int = 1
    """Pictures that are upscaled at the same time, each in a thread."""
    repeats: int = 1
    again: bool = False
    """Whether what is done once is done a second time, in memory that the process has touched by then."""


@dataclass(frozen=True)
class Found:
    """What it took."""

    seconds: float
    """Median of the repeats; of all pictures together."""
    peak_bytes: int
    """Resident set of the process."""
    grown_bytes: int
    """By which that is more than with the model loaded and a small picture done."""
    tiles: int
    kernel_seconds: float
    """CPU time, over all threads, that the system took for itself in ``seconds``: for fresh pages, mostly."""
    again_seconds: float | None
    """Of the second time."""


def measure_run(run: Run) -> Found:
    """In a new process.

    Raises:
        EdsrError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "found.json"
        try:
            run_and_measure([sys.executable, __file__, json.dumps(asdict(run)), str(report)])
        except CommandFailedError as err:
            raise EdsrError(str(err)) from err
        return Found(**json.loads(report.read_text()))


def _do(run: Run) -> Found:
    height, width = run.hw
    random = np.random.default_rng(0)
    with Upscaler(run.model, tile=run.tile, threads=run.threads) as upscaler:
        small = random.integers(0, 256, (_WARM_UP_SIDE, _WARM_UP_SIDE, 3), np.uint8)
        upscaler.upscale(small)
        before = own_peak_bytes()
        lr = random.integers(0, 256, (run.batch, height, width, 3), np.uint8)
        work = _work(run, upscaler, lr)
        timed = [_timed(work) for _ in range(run.repeats + (run.repeats > 1))]
        timed = timed[1:] or timed  # the first of several is the warm-up
        peak = own_peak_bytes()
        again = _timed(work)[0] if run.again else None
        seconds, kernel = (statistics.median(values) for values in zip(*timed, strict=True))
        return Found(seconds, peak, peak - before, len(upscaler.plan(height, width)), kernel, again)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and those of the CPU that the system took."""
    start, kernel = time.perf_counter(), _kernel_seconds()
    work()
    return time.perf_counter() - start, _kernel_seconds() - kernel


def _kernel_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


def _work(run: Run, upscaler: Upscaler, lr: Any) -> Callable[[], object]:
    if run.batch > 1:
        return lambda: upscaler._backend.run_uint8(lr)
    if run.in_flight > 1:
        pool = ThreadPoolExecutor(run.in_flight)
        return lambda: list(pool.map(upscaler.upscale, [lr[0]] * run.in_flight))
    return lambda: _through(upscaler, lr[0])


def _through(upscaler: Upscaler, lr: Any) -> None:
    """As the command does it: finished rows are taken away, and the result is never there as a whole."""
    for _ in upscaler.bands(lr):
        pass


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    found = _do(Run(**{**given, "hw": tuple(given["hw"])}))
    Path(sys.argv[2]).write_text(json.dumps(asdict(found)))
