"""What a result was measured on: processor, memory, versions, commit, and what else the machine was doing."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

from edsr_runtime.cpu import available_memory, cpu_flags

LOAD_LIMIT = 0.5
"""A one-minute load average above this before the start means that somebody else was computing too."""

_TELLING_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
_PACKAGES = ("edsr-toolkit", "torch", "openvino", "onnxruntime", "onnxruntime-gpu", "onnx", "numpy", "pillow", "isal")
_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Machine:
    """What does not change during a run."""

    cpu: str
    cpu_flags: tuple[str, ...]
    """Those instruction sets of interest that it has, as Linux names them."""
    logical_cpus: int
    usable_cpus: int
    """Those that this process may use."""
    physical_cores: int | None
    is_virtual: bool
    memory_bytes: int | None
    available_bytes: int | None
    """Memory that could be had without swapping, before the start."""
    system: str
    python: str

    @property
    def has_amx(self) -> bool:
        """Whether the CPU has matrix units for BF16."""
        return "amx_bf16" in self.cpu_flags

    @property
    def slug(self) -> str:
        """For file names: ``intel-xeon-platinum-8488c-2c``."""
        words = re.sub(r"\((R|TM)\)|@.*| CPU| Processor", " ", self.cpu)
        return f"{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-') or 'cpu'}-{self.usable_cpus}c"


@dataclass(frozen=True)
class Commit:
    """The state of the project that was measured."""

    id: str
    modified: bool
    """Whether tracked files differ from it."""


def describe_machine() -> Machine:
    """Ask the operating system."""
    cpu = cpu_flags()
    return Machine(
        cpu=cpu.model or platform.machine(),
        cpu_flags=tuple(flag for flag in _TELLING_FLAGS if flag in cpu.flags),
        logical_cpus=os.cpu_count() or 1,
        usable_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        physical_cores=_physical_cores(),
        is_virtual="hypervisor" in cpu.flags,
        memory_bytes=_memory_bytes(),
        available_bytes=available_memory(),
        system=platform.platform(),
        python=platform.python_version(),
    )


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that compute or are compared with."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = installed_version(package)
        except PackageNotFoundError:
            continue
    return found


def current_commit(folder: Path = _ROOT) -> Commit | None:
    """The commit of the project; None outside a git repository, or without git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return Commit(commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.CalledProcessError):
        return None


def load_average() -> tuple[float, float, float]:
    """Processes that want to compute, on average over the last 1, 5 and 15 minutes."""
    one, five, fifteen = os.getloadavg()
    return round(one, 2), round(five, 2), round(fifteen, 2)


def now() -> str:
    """UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, text=True, capture_output=True, check=True, timeout=60).stdout.strip()


def _physical_cores() -> int | None:
    """Pairs of socket and core; None where the operating system does not tell."""
    try:
        entries = _CPUINFO.read_text().strip().split("\n\n")
    except OSError:
        return None
    cores = {tuple(re.findall(r"^(?:physical id|core id)\s*: (\d+)$", entry, re.MULTILINE)) for entry in entries}
    return len(cores) if all(len(core) == 2 for core in cores) else None


def _memory_bytes() -> int | None:
    try:
        found = re.search(r"^MemTotal:\s*(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
