"""Loads damaged checkpoints, ONNX files, sidecars or journals one after another. Run as a program:
``load_mutated.py KIND FOLDER FIRST COUNT MEMORY_MB SECONDS``; prints what became of them as JSON.

FOLDER has one sound file ``sound.*`` of that kind. An error that is none of ours, or a result that is not that of the
sound file, or memory that grows by more than MEMORY_MB beyond what the sound file takes, is a problem; a crash or a
file that takes longer than SECONDS ends the process.
"""

import faulthandler
import json
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import corpus
from edsr_runtime.errors import EdsrError

TILE_OF = "0" * 64
"""Settings for which a sound journal names a tile."""
WRONG_INPUT = 2
"""Exit code of the command: it is not the machine that lacks something."""
Load = Callable[[Path], object]
"""What a file holds, to be compared."""


def load_onnx(path: Path) -> object:
    from edsr_runtime.upscaler import Upscaler

    lr = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    with Upscaler(path, backend="onnxruntime", threads=1) as upscaler:
        return upscaler.upscale(lr).tobytes()


def load_checkpoint(path: Path) -> object:
    from edsr_train.checkpoint import load_network

    network = load_network(path).network
    return [(key, value.numpy().tobytes()) for key, value in sorted(network.state_dict().items())]


def load_sidecar(path: Path) -> object:
    from edsr_runtime.trt.engine_file import EngineDescription

    try:
        text = path.read_text()
    except UnicodeDecodeError as err:
        raise EdsrError("no text") from err  # as ``read_description`` says in a sentence of its own
    return EngineDescription.from_json(text, str(path))


def load_journal(path: Path) -> object:
    from edsr_runtime.job.journal import open_journal

    Path(f"{path}-journal").unlink(missing_ok=True)
    with open_journal(path) as journal:
        return journal.rows(), journal.tile(TILE_OF)


LOADERS: dict[str, Load] = {
    "onnx": load_onnx,
    "checkpoint": load_checkpoint,
    "sidecar": load_sidecar,
    "journal": load_journal,
}


def main(kind: str, folder: Path, first: int, count: int, memory_mb: int, seconds: float) -> None:
    load = LOADERS[kind]
    (sound,) = folder.glob("sound.*")
    whole, expected = sound.read_bytes(), load(sound)
    outcome: Counter[str] = Counter()
    problems = []
    path = sound.with_stem("damaged")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = 0.0
    for number in range(first, first + count):
        draw = random.Random(number)
        damaged = corpus.truncated(whole, draw) if draw.random() < 0.2 else corpus.mutated(whole, draw)
        if not damaged and kind == "journal":
            continue  # an empty file is an empty journal
        path.write_bytes(damaged)
        faulthandler.dump_traceback_later(seconds, exit=True)
        start = time.monotonic()
        try:
            found = load(path)
            outcome["same" if found == expected else "others"] += 1
            if found != expected:
                problems.append(f"{number}: loaded, but with other contents")
        except EdsrError as err:
            outcome["refused"] += 1
            if "\n" in str(err):
                problems.append(f"{number}: {err}")
            if err.exit_code != WRONG_INPUT:
                problems.append(f"{number}: exit code {err.exit_code}: {err}")
        except BaseException as err:
            problems.append(f"{number}: {type(err).__name__}: {err}")
            traceback.print_exc()
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.monotonic() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    if grown > memory_mb:
        problems.append(f"memory has grown by {grown} MiB, more than {memory_mb}")
    print(json.dumps({"outcome": outcome, "problems": problems, "slowest_s": slowest, "grown_mib": grown}))


if __name__ == "__main__":
    first, count, memory_mb = map(int, sys.argv[3:6])
    main(sys.argv[1], Path(sys.argv[2]), first, count, memory_mb, float(sys.argv[6]))
