"""What this machine's CPU computes in, and how much memory there is."""

import os
import platform
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CPUS = Path("/sys/devices/system/cpu")
_NO_LIMIT = 1 << 62
"""Version 1 writes about 2^63 where there is none."""
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_OWN_PAGES = Path("/proc/self/statm")


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


def usable_cores() -> int:
    """Cores that this process may compute on; two threads of one core count once, because they share what computes."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    shares = [share for folder, is_new in _own_groups("cpu") if (share := _share(folder, is_new)) is not None]
    return max(1, min([len({_siblings(cpu) for cpu in os.sched_getaffinity(0)}), *shares]))


def usable_processors() -> int:
    """Processors that may run this process, the two threads of a core counted apart: more at once are never running."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _share(folder: Path, is_new: bool) -> int | None:
    """Of a group's time on all processors, whole processors; None where there is no limit."""
    try:
        if is_new:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return -(-int(quota) // int(period)) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _siblings(cpu: int) -> str:
    try:
        return (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def available_memory() -> int | None:
    """Bytes that can be had without swapping, limits of containers and of the process included; None where the system
    does not tell."""
    known = [size for size in (_free_on_machine(), _free_in_container(), _free_in_process()) if size is not None]
    return min(known, default=None)


def _free_in_process() -> int | None:
    """Of what ``ulimit -v`` allows."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = int(_OWN_PAGES.read_text().split()[0]) * resource.getpagesize()
    except OSError:
        used = 0
    return max(0, limit - used)


def _free_in_container() -> int | None:
    """The least of what this group of processes and those around it may still have; cgroup versions 2 and 1."""
    names = {True: ("memory.max", "memory.current"), False: ("memory.limit_in_bytes", "memory.usage_in_bytes")}
    groups = _own_groups("memory")
    known = [free for folder, is_new in groups if (free := _free_in_group(folder, *names[is_new])) is not None]
    return min(known, default=None)


def _own_groups(controller: str) -> Iterator[tuple[Path, bool]]:
    """Folders of this group of processes and of those around it; with True, of cgroup version 2."""
    yield _CGROUP, True  # as containers see their own
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        own = Path(name.strip("/"))
        for above in (own, *own.parents):
            yield (_CGROUP / controller if controllers else _CGROUP) / above, not controllers


def _free_in_group(folder: Path, limit_name: str, used_name: str) -> int | None:
    try:
        limit, used = ((folder / name).read_text().strip() for name in (limit_name, used_name))
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdecimal() and int(limit) < _NO_LIMIT else None


def _free_on_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(entries["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in entries else None
