"""What the machine tells about itself, read from files in the form of Linux."""

import resource
from pathlib import Path

import pytest

from edsr_runtime import cpu
from edsr_runtime.cpu import CpuFlags, available_memory, cpu_flags, usable_cores, usable_processors

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16
bugs\t\t:

processor\t: 1
model name\t: Another CPU
flags\t\t: fpu
"""


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /proc, empty."""
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cpu, "_CGROUP", tmp_path)
    monkeypatch.setattr(cpu, "_OWN_CGROUP", tmp_path / "none")
    return tmp_path


def test_the_first_processor_is_read(proc: Path) -> None:
    (proc / "cpuinfo").write_text(CPUINFO)
    found = cpu_flags.__wrapped__()
    assert found == CpuFlags("Some CPU @ 2.00GHz", frozenset({"fpu", "avx2", "avx512f", "avx512_bf16", "amx_bf16"}))
    assert found.has_amx
    assert found.has_avx512_bf16


def test_a_system_that_tells_nothing_has_no_flags_and_unknown_memory(proc: Path) -> None:
    found = cpu_flags.__wrapped__()
    assert found.flags == frozenset()
    assert not (found.has_amx or found.has_avx512_bf16)
    assert available_memory() is None
    (proc / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    (proc / "meminfo").write_text("MemTotal:       1000 kB\n")
    assert cpu_flags.__wrapped__().flags == frozenset()
    assert available_memory() is None


def test_available_memory_is_in_bytes(proc: Path) -> None:
    (proc / "meminfo").write_text("MemTotal:       65800000 kB\nMemFree:         1 kB\nMemAvailable:   12345678 kB\n")
    assert available_memory() == 12345678 * 1024


def test_a_container_may_have_less_than_the_machine(proc: Path) -> None:
    (proc / "meminfo").write_text("MemAvailable:   12345678 kB\n")
    (proc / "memory.current").write_text("300\n")
    (proc / "memory.max").write_text("max\n")
    assert available_memory() == 12345678 * 1024
    (proc / "memory.max").write_text("1000\n")
    assert available_memory() == 700


def test_groups_inside_groups_and_the_process_may_have_less_still(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (proc / "meminfo").write_text("MemAvailable:   12345678 kB\n")
    (proc / "cgroup").write_text("1:name=systemd:/x\n5:cpu,memory:/a\n0::/outer/inner\n")
    monkeypatch.setattr(cpu, "_OWN_CGROUP", proc / "cgroup")
    for folder, limit, used in (("outer/inner", "max", "5"), ("outer", "9000", "1000")):
        (proc / folder).mkdir(parents=True, exist_ok=True)
        (proc / folder / "memory.max").write_text(limit)
        (proc / folder / "memory.current").write_text(used)
    assert available_memory() == 8000
    (proc / "memory/a").mkdir(parents=True)
    (proc / "memory/a/memory.limit_in_bytes").write_text("7000")
    (proc / "memory/a/memory.usage_in_bytes").write_text("500")
    (proc / "memory/memory.limit_in_bytes").write_text("9223372036854771712")
    (proc / "memory/memory.usage_in_bytes").write_text("0")
    assert available_memory() == 6500
    (proc / "statm").write_text("2 1 1 0 0 0 0\n")
    monkeypatch.setattr(cpu, "_OWN_PAGES", proc / "statm")
    page = resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2 * page + 600, -1))
    assert available_memory() == 600


def test_two_threads_of_a_core_count_once(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CPUS", proc)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 4, 5}, raising=False)
    assert usable_cores() == 4, "nothing is told of any"
    for number, siblings in ((0, "0,4"), (1, "1,5"), (4, "0,4"), (5, "1,5")):
        (proc / f"cpu{number}/topology").mkdir(parents=True)
        (proc / f"cpu{number}/topology/thread_siblings_list").write_text(f"{siblings}\n")
    assert usable_cores() == 2
    assert usable_processors() == 4


def test_a_container_may_have_fewer_cores(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CPUS", proc)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)), raising=False)
    (proc / "cpu.max").write_text("max 100000\n")
    assert usable_cores() == 64
    (proc / "cpu.max").write_text("250000 100000\n")
    assert usable_cores() == 3
    (proc / "cgroup").write_text("5:cpu,cpuacct:/a\n")
    monkeypatch.setattr(cpu, "_OWN_CGROUP", proc / "cgroup")
    (proc / "cpu/a").mkdir(parents=True)
    (proc / "cpu/a/cpu.cfs_quota_us").write_text("-1\n")
    (proc / "cpu/a/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores() == 3
    (proc / "cpu/a/cpu.cfs_quota_us").write_text("50000\n")
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("flags", "precision", "unit"),
    [
        ({"avx512f", "avx512_bf16", "amx_bf16"}, "bf16", "AMX"),
        ({"avx512f", "avx512_bf16"}, "bf16", "AVX512-BF16"),
        (set(), "bf16", "BF16"),
        ({"avx2", "avx512f", "amx_bf16"}, "fp32", "AVX-512"),
        ({"avx2"}, "fp32", "AVX2"),
    ],
)
def test_the_unit_that_computes_is_named(flags: set[str], precision: str, unit: str) -> None:
    assert CpuFlags("x", frozenset(flags)).describe(precision) == unit


def test_without_known_units_the_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert CpuFlags("x", frozenset()).describe("fp32") == "riscv64"
