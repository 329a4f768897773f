"""Many pictures in one process, with a real network. Run as a program: ``soak.py FOLDER SMALL LARGE HEIGHT WIDTH``;
prints what it took as JSON. FOLDER is where the pictures go; HEIGHT and WIDTH are those of the large ones."""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edsr_runtime.jobs import Job, plan_work
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.write import write_picture
from edsr_runtime.pipeline import Options, Result, upscale_files
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import model_path

SMALL_HW = (32, 32)
WARM_UP = 0.1
"""As many more pictures, in proportion, come first and do not count: caches and arenas fill."""


class Watch:
    """Looks at this process after every picture."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int, int]] = []
        self.errors: list[str] = []

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        pass

    def advanced(self, job: Job, pixels: int) -> None:
        pass

    def finished(self, result: Result) -> None:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self.samples.append((time.perf_counter(), resident, len(os.listdir("/proc/self/fd"))))
        if result.error is not None:
            self.errors.append(result.error)


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


def phase(folder: Path, name: str, hw: tuple[int, int], count: int, upscaler: Upscaler) -> dict[str, Any]:
    """``count`` pictures of one size, after some that do not count."""
    before = max(1, int(WARM_UP * count))
    rng = np.random.default_rng(count)
    sources = [folder / name / f"{number}.png" for number in range(min(count, 50))]
    sources[0].parent.mkdir(parents=True)
    for source in sources:
        write_picture(source, Picture(rng.integers(0, 256, (*hw, 3), dtype=np.uint8), None))
    (job, *_) = plan_work(sources, f"{folder / 'out'}/", overwrite=True).jobs
    jobs = [
        Job(sources[number % len(sources)], folder / "out" / f"{number % 100}.png", "png", job.size_bytes, True)
        for number in range(before + count)
    ]
    watch = Watch()
    upscale_files(jobs, upscaler, Options(receipts=True), watch)
    times = np.diff([at for at, _, _ in watch.samples])[before - 1 :]
    tenth = max(1, count // 10)
    settled = watch.samples[before:]
    memory, confidence = slope([resident for _, resident, _ in settled])
    files, _ = slope([float(files) for _, _, files in settled])
    return {
        "pictures": len(settled),
        "height": hw[0],
        "width": hw[1],
        "errors": watch.errors,
        "memory_slope_bytes_per_picture": memory,
        "memory_slope_confidence_95": confidence,
        "resident_first_bytes": settled[0][1],
        "resident_last_bytes": settled[-1][1],
        "descriptors_slope_per_picture": files,
        "descriptors_first": settled[0][2],
        "descriptors_last": settled[-1][2],
        "last_tenth_took_times_first": float(times[-tenth:].mean() / times[:tenth].mean()),
        "seconds": float(times.sum()),
    }


def main(folder: Path, small: int, large: int, large_hw: tuple[int, int]) -> None:
    with Upscaler(model_path("edsr-small", 2)) as upscaler:
        found = {
            "small": phase(folder, "small", SMALL_HW, small, upscaler),
            "large": phase(folder, "large", large_hw, large, upscaler),
            "backend": upscaler.description,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), (int(sys.argv[4]), int(sys.argv[5])))
