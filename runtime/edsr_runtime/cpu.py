"""What this machine's CPU computes in, and how much memory there is."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")


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
    """Bytes that can be had without swapping; None where the operating system does not tell."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(entries["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in entries else None
