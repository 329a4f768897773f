"""Peak memory of a command.

A process inherits the peak of the one that starts it (Linux keeps the larger of the two when a program is replaced by
another), and a benchmark with PyTorch loaded is large. So the command is started by a fresh interpreter with nothing
loaded: this file, run as a program. It imports the standard library only.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class CommandFailedError(Exception):
    """The command ended with another code than 0; its last words are the message."""


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    seconds: float
    peak_bytes: int
    """Largest resident set, of the command or of any process it started and waited for."""


def own_peak_bytes() -> int:
    """Largest resident set of this process until now."""
    return _bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def run_and_measure(command: Sequence[str]) -> Usage:
    """Run a command to its end.

    Raises:
        CommandFailedError: it failed, or cannot be started.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "usage.json"
        starter = [sys.executable, "-I", "-S", __file__, str(report)]
        done = subprocess.run([*starter, *command], text=True, capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise CommandFailedError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return Usage(**json.loads(report.read_text()))


def _start(report: Path, command: list[str]) -> int:
    start = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    report.write_text(json.dumps({"seconds": seconds, "peak_bytes": _bytes(usage.ru_maxrss)}))
    return os.waitstatus_to_exitcode(status)


def _bytes(maxrss: int) -> int:
    return maxrss * (1 if sys.platform == "darwin" else 1024)  # macOS counts bytes, Linux KiB


if __name__ == "__main__":
    raise SystemExit(_start(Path(sys.argv[1]), sys.argv[2:]))
