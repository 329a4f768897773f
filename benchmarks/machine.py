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
OTHERS_LIMIT = 0.05
"""A larger share of the processor's time that went to others while something was measured means the same."""

_TELLING_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
_PACKAGES = (
    *("edsr-toolkit", "torch", "openvino", "onnxruntime", "onnxruntime-gpu", "onnx", "numpy", "pillow", "isal"),
    *("ncnn", "opencv-python-headless", "tensorrt", "tensorrt_rtx"),
)
_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_STAT = Path("/proc/stat")
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
    gpus: tuple[str, ...] = ()
    """Name, memory and driver of each NVIDIA GPU, as ``nvidia-smi`` says them."""

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
        gpus=_gpus(),
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


class OthersMeter:
    """How much of the processor others took since this was made."""

    def __init__(self) -> None:
        self._before = _cpu_seconds()

    def share(self) -> float | None:
        """0 to 1, of all processors; None where the system does not tell, or tells of more than this process may use.

        Processes that were started count as one's own once they have ended.
        """
        now = _cpu_seconds()
        if self._before is None or now is None:
            return None
        total, busy, own = (b - a for a, b in zip(self._before, now, strict=True))
        return max(0.0, busy - own) / total if total > 0 else None


def why_loaded(load_before: tuple[float, float, float], others_share: float | None) -> str:
    """Why the times of a run are not to be relied on; empty if the machine was quiet."""
    if load_before[0] > LOAD_LIMIT:
        return f"the machine was busy before the start (load average {load_before[0]:.2f})"
    if others_share is not None and others_share > OTHERS_LIMIT:
        return f"others took {others_share:.0%} of the processor while it was measured"
    return ""


def now() -> str:
    """UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _cpu_seconds() -> tuple[float, float, float] | None:
    """Since the start: of all processors, of those that were busy or taken by a hypervisor, and one's own."""
    try:
        lines = _STAT.read_text().splitlines()
    except OSError:
        return None
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if sum(re.match(r"cpu\d", line) is not None for line in lines) != usable:
        return None
    user, nice, system, idle, waiting, *interrupts = (float(v) for v in lines[0].split()[1:9])
    busy = user + nice + system + sum(interrupts)
    ticks, times = os.sysconf("SC_CLK_TCK"), os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return (busy + idle + waiting) / ticks, busy / ticks, own


def _gpus() -> tuple[str, ...]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(f"{name}, {memory}, driver {driver}" for name, memory, driver in _rows_of(done.stdout))


def _rows_of(csv_text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(",")] for line in csv_text.splitlines() if line.count(",") == 2]


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
