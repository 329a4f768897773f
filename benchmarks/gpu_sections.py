"""The sections of the GPU benchmark, and a process of its own for each: a crash or a hang costs no other its result."""

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TAIL = 4000  # characters of what a failed section printed


class NotHereError(Exception):
    """This machine lacks what a section needs; the sentence says what. No failure."""


@dataclass(frozen=True)
class Section:
    """One measurement: a function of whether it is a smoke run, in a module that is loaded in its process only."""

    name: str
    module: str
    function: str
    limit_s: float
    arguments: tuple[Any, ...] = ()
    """Before that."""


SECTIONS = (
    Section("layer-pycuda", "gpu_layer", "measure", 60, ("pycuda",)),
    Section("layer-cuda-bindings", "gpu_layer", "measure", 60, ("cuda-bindings",)),
    Section("runner", "gpu_runner", "measure", 110),
    Section("parity", "gpu_parity", "measure", 90),
    Section("speed-full", "gpu_speed", "measure_full", 90),
    Section("speed-baseline", "gpu_speed", "measure_baseline", 150),
    Section("ensemble", "gpu_speed", "measure_ensemble", 80),
    Section("tensorrt", "gpu_backends", "measure_tensorrt", 150),
    Section("onnxruntime", "gpu_backends", "measure_onnxruntime", 90),
)


def section_of(name: str) -> Section:
    """By its name."""
    return next(section for section in SECTIONS if section.name == name)


def measured(section: Section, smoke: bool) -> dict[str, Any]:
    """Run a section here.

    Returns:
        ``{"results": ...}``, ``{"skipped": reason}`` or ``{"failed": {...}}``.
    """
    try:
        function = getattr(importlib.import_module(f"benchmarks.{section.module}"), section.function)
        return {"results": dataclasses.asdict(function(*section.arguments, smoke))}
    except NotHereError as err:
        return {"skipped": str(err)}
    except Exception as err:
        return _failed(f"{type(err).__name__}: {err}", "".join(traceback.format_exception(err)))


def isolated(command: list[str], limit_s: float) -> dict[str, Any]:
    """Run a section in a process of its own.

    Args:
        command: writes what ``measured`` gives, as JSON, into the file whose name is added to it.
        limit_s: seconds after which it is ended.

    Returns:
        The same; whatever the process does, nothing is raised.
    """
    if limit_s < 1:
        return _failed("no time was left for it", "")
    with tempfile.TemporaryDirectory(prefix="edsr-gpu-") as folder:
        answer, printed = Path(folder, "answer.json"), Path(folder, "printed")
        with printed.open("wb") as out:
            process = subprocess.Popen(
                [*command, str(answer)], stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code: int | None = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started, such as compilers
                    process.wait()
        try:
            found: dict[str, Any] = json.loads(answer.read_text())
        except (OSError, ValueError):
            how = f"it was not done after {limit_s:.0f} s" if code is None else f"its process ended with code {code}"
            return _failed(how, printed.read_text(errors="replace"))
        return found


def command_of(section: Section, smoke: bool) -> list[str]:
    """What runs one section, for ``isolated``."""
    script = Path(__file__).resolve().with_name("gpu.py")
    return [sys.executable, str(script), *(["--smoke"] if smoke else []), "--section", section.name, "--answer"]


def _failed(error: str, output: str) -> dict[str, Any]:
    return {"failed": {"error": error, "output": output[-_TAIL:]}}
