"""Commands in processes of their own, as a user starts them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUICK = str(Path(__file__).with_name("quick_command.py"))
REAL = "-c", "from edsr_runtime.cli import main; main()"


def start(
    words: Sequence[str | Path],
    folder: Path,
    *,
    program: Sequence[str] = (QUICK,),
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> "subprocess.Popen[str]":
    """``edsr-upscale`` with these words, in a folder; by default with the network of ``quick_command``.

    Args:
        words: of the command.
        folder: where it runs.
        program: of Python.
        env: besides the environment of this process.
        before: program and words that start all of it.
    """
    search = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.Popen(
        [*before, sys.executable, *program, *map(str, words)],
        cwd=folder,
        env=search,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a background process of a shell would ignore SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@contextmanager
def ended(process: "subprocess.Popen[str]") -> "Iterator[subprocess.Popen[str]]":
    """Whatever happens in the block, the process does not outlive it."""
    try:
        yield process
    finally:
        process.kill()
        if process.poll() is None or (process.stdout is not None and not process.stdout.closed):
            process.communicate()


def run(words: Sequence[str | Path], folder: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """The same, to its end."""
    with ended(start(words, folder, **options)) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
