"""What this machine's CPU computes in, and how much memory there is."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")  # version 2, as containers see their own


@dataclass(frozen=True)
class CpuFlags:
    """Instruction sets that matter here, as Linux names them."""

    model: str
    flags: frozenset[str]

    @property
    def has_amx(self) -> bool:
        """Matrix units for BF16."""
        return "amx_bf16" in self.flags

    @property
    def has_avx512_bf16(self) -> bool:
        """BF16 dot products on vectors."""
        return "avx512_bf16" in self.flags

    def describe(self, precision: str) -> str:
        """The unit that computes in this precision, for people."""
        if precision == "bf16":
            return "AMX" if self.has_amx else "AVX512-BF16" if self.has_avx512_bf16 else "BF16"
        return "AVX-512" if "avx512f" in self.flags else "AVX2" if "avx2" in self.flags else platform.machine()


@cache
def cpu_flags() -> CpuFlags:
    """Read once; empty where the operating system does not tell."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return CpuFlags(platform.processor(), frozenset())
    first = dict(part.split(":", 1) for part in reversed(lines) if ":" in part)
    entries = {key.strip(): value.strip() for key, value in first.items()}
    return CpuFlags(entries.get("model name", platform.processor()), frozenset(entries.get("flags", "").split()))


def available_memory() -> int | None:
    """Bytes that can be had without swapping, container limits included; None where the system does not tell."""
    known = [size for size in (_free_on_machine(), _free_in_container()) if size is not None]
    return min(known, default=None)


def _free_in_container() -> int | None:
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdecimal() else None


def _free_on_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(entries["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in entries else None
