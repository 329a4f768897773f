"""What --sandbox costs: decoding here and over there, in random order, each after a first picture."""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.pictures.write import write_picture
from edsr_runtime.sandbox import Sandbox

MAX_PIXELS = 100_000_000
SIZES = ((256, 256), (1080, 1920), (4000, 6000))


def main() -> None:
    """Print the medians as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=40)
    pictures = parser.parse_args().pictures
    draw = random.Random(0)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        starts = [_start_ms() for _ in range(5)]
        for height, width in SIZES:
            path = Path(folder, f"{height}x{width}.png")
            rows = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
            write_picture(path, Picture(rows, None))
            times: dict[str, list[float]] = {"here": [], "sandbox": []}
            for number in range(pictures + 1):
                for name in draw.sample(list(times), 2):
                    start = time.perf_counter()
                    (read_picture if name == "here" else sandbox.read)(path, MAX_PIXELS)
                    if number:
                        times[name].append(time.perf_counter() - start)
            medians = {f"{name}_ms": 1000 * statistics.median(spent) for name, spent in times.items()}
            found[path.stem] = medians | {"times": medians["sandbox_ms"] / medians["here_ms"]}
    print(json.dumps(found | {"start_ms": statistics.median(starts)}, indent=1))


def _start_ms() -> float:
    """Until the process answers."""
    with Sandbox() as sandbox:
        start = time.perf_counter()
        sandbox._running(MAX_PIXELS)
        return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
