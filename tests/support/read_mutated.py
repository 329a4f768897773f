"""Reads damaged pictures one after another, in a process with little memory. Run as a program:
``read_mutated.py FIRST COUNT MEMORY_MB SECONDS``; prints what became of them as JSON.

A traceback, a crash, a picture that takes longer than SECONDS or more memory than MEMORY_MB end the process.
"""

import faulthandler
import json
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

import corpus
from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.read import read_picture

MAX_PIXELS = 4_000_000
CHECKSUMS = (".png",)
"""Formats in which damage to the pixels shows."""


def same(one: Picture, other: Picture) -> bool:
    if (one.alpha is None) != (other.alpha is None) or not np.array_equal(one.pixels, other.pixels):
        return False
    return one.alpha is None or other.alpha is None or np.array_equal(one.alpha, other.alpha)


def main(first: int, count: int, memory_mb: int, seconds: float) -> None:
    files = corpus.corpus()
    names = list(files)
    outcome: Counter[str] = Counter()
    problems: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        sound = {}
        for name, content in files.items():
            path = Path(folder, name)
            path.write_bytes(content)
            sound[name] = read_picture(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(first, first + count):
            draw = random.Random(number)
            name = names[number % len(names)]
            cut = draw.random() < 0.25
            damaged = corpus.truncated(files[name], draw) if cut else corpus.mutated(files[name], draw)
            path = Path(folder, f"damaged{Path(name).suffix}")
            path.write_bytes(damaged)
            faulthandler.dump_traceback_later(seconds, exit=True)
            start = time.monotonic()
            try:
                picture = read_picture(path, MAX_PIXELS)
                is_wrong = not same(picture, sound[name])
                outcome["read" if is_wrong is False else "read, others"] += 1
                if is_wrong and (cut or Path(name).suffix in CHECKSUMS):
                    problems.append(f"{number}: {name}{' cut short' if cut else ''} is read, with other pixels")
            except PictureError as err:
                outcome["refused"] += 1
                if "\n" in str(err) or not str(err).startswith(str(path)):
                    problems.append(f"{number}: {name}: {err}")
            except BaseException as err:
                problems.append(f"{number}: {name}: {type(err).__name__}: {err}")
                traceback.print_exc()
            faulthandler.cancel_dump_traceback_later()
            slowest = max(slowest, time.monotonic() - start)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if grown > memory_mb * 1024:
            problems.append(f"the largest took {grown // 1024} MiB, more than {memory_mb}")
    print(json.dumps({"outcome": outcome, "problems": problems, "slowest_s": slowest, "grown_mib": grown // 1024}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
