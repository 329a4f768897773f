"""Many pictures in one process, with a real network: what it holds after each, and how fast it still is at the end.

Run as a program (``soak.py FOLDER``), it is such a process: for each line of stdin, the name of a folder of pictures
in FOLDER and how many to make, it prints the memory and descriptors it held after each of them as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.timing import Candidate, interleave, paired_ratios, spread
from edsr_runtime.jobs import Job, plan_work
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.write import write_picture
from edsr_runtime.pipeline import Options, Result, upscale_files
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import model_path

SMALL_HW = (32, 32)
WARM_UP = 0.1
"""As many more pictures, in proportion, come first and do not count: caches and arenas fill."""
_PAIRS = 25
"""Parts of the last tenth, at most; between two of them a young process makes as many. Half of each is not timed."""


@dataclass
class Held:
    """By a process after each picture."""

    resident_bytes: list[int]
    descriptors: list[int]
    errors: list[str]


class Watch:
    """Looks at this process after every picture."""

    def __init__(self) -> None:
        self.held = Held([], [], [])

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        pass

    def advanced(self, job: Job, pixels: int) -> None:
        pass

    def finished(self, result: Result) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.held.resident_bytes.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.held.descriptors.append(len(os.listdir("/proc/self/fd")))
        if result.error is not None:
            self.held.errors.append(result.error)


class Process:
    """One that makes pictures when it is told to. ``held`` grows with each."""

    def __init__(self, folder: Path) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        words = [sys.executable, __file__, str(folder)]
        self._process = subprocess.Popen(words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.description = self._answer()
        self.held = Held([], [], [])

    def make(self, name: str, count: int) -> None:
        """``count`` of the pictures of the folder ``name``, in one job."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, count]) + "\n")
        self._process.stdin.flush()
        held = Held(**self._answer())
        self.held.resident_bytes += held.resident_bytes
        self.held.descriptors += held.descriptors
        self.held.errors += held.errors

    def forget(self) -> None:
        """What it held up to now."""
        self.held = Held([], [], [])

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with {self._process.wait()}; stderr tells why")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def measure(folder: Path, small: int, large: int, large_hw: tuple[int, int]) -> dict[str, Any]:
    """Both phases in one process; ``small`` and ``large`` are numbers of pictures, ``large_hw`` LR pixels."""
    with Process(folder) as process:
        return {
            "small": _phase(process, folder, "small", SMALL_HW, small),
            "large": _phase(process, folder, "large", large_hw, large),
            "backend": process.description,
        }


def slope(values: Sequence[float]) -> tuple[float, float]:
    """Of a straight line through them, per step, and half the width of its 95 % confidence interval.

    Neighbours are alike, so that the interval comes from the means of twenty blocks, which hardly are.
    """
    blocks = np.array([block.mean() for block in np.array_split(np.asarray(values, float), 20)])
    steps = np.arange(len(blocks)) * len(values) / len(blocks)
    centred = steps - steps.mean()
    found = float(centred @ blocks / (centred @ centred))
    rest = blocks - blocks.mean() - found * centred
    error = float(np.sqrt(rest @ rest / (len(blocks) - 2) / (centred @ centred)))
    return found, 2.10 * error  # Student's t, 18 degrees of freedom


def _phase(process: Process, folder: Path, name: str, hw: tuple[int, int], count: int) -> dict[str, Any]:
    """``count`` pictures of one size, after some that do not count.

    A tenth takes two seconds, and in the same process the next one may take a fifth more or less, as the machine
    pleases. So the last tenth is not compared with a first one of long ago but with that of a young process, in turns.
    """
    before = max(1, int(WARM_UP * count))
    rng = np.random.default_rng(count)
    (folder / name).mkdir(parents=True)
    for number in range(min(count, 50)):
        picture = Picture(rng.integers(0, 256, (*hw, 3), dtype=np.uint8), None)
        write_picture(folder / name / f"{number}.png", picture)
    tenth = max(1, count // 10)
    pairs = min(max(1, tenth // 2), _PAIRS)
    each = max(1, tenth // (2 * pairs))
    process.make(name, before)
    process.forget()
    process.make(name, count - 2 * pairs * each)
    with Process(folder) as young:
        young.make(name, before)
        of_old = Candidate("old", lambda: process.make(name, each))
        of_young = Candidate("young", lambda: young.make(name, each))
        seconds = interleave([of_old, of_young], pairs, warm_up=0)
    held = process.held
    memory, confidence = slope(held.resident_bytes)
    return {
        "pictures": len(held.resident_bytes),
        "height": hw[0],
        "width": hw[1],
        "errors": held.errors + young.held.errors,
        "memory_slope_bytes_per_picture": memory,
        "memory_slope_confidence_95": confidence,
        "resident_first_bytes": held.resident_bytes[0],
        "resident_last_bytes": held.resident_bytes[-1],
        "descriptors_slope_per_picture": slope(held.descriptors)[0],
        "descriptors_first": held.descriptors[0],
        "descriptors_last": held.descriptors[-1],
        "last_tenth_took_times_first_of_young": spread(paired_ratios(seconds["old"], seconds["young"])).median,
        "last_tenth_seconds": sum(seconds["old"]),
        "pairs": pairs,
    }


def main(folder: Path) -> None:
    out = folder / f"out-{os.getpid()}"
    with Upscaler(model_path("edsr-small", 2)) as upscaler:
        print(json.dumps(upscaler.description), flush=True)
        for line in sys.stdin:
            name, count = json.loads(line)
            sources = sorted((folder / name).iterdir())
            (job, *_) = plan_work(sources, f"{out}/", overwrite=True).jobs
            watch = Watch()
            jobs = [
                Job(sources[number % len(sources)], out / f"{number % 100}.png", "png", job.size_bytes, True)
                for number in range(count)
            ]
            upscale_files(jobs, upscaler, Options(receipts=True), watch)
            print(json.dumps(vars(watch.held)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
