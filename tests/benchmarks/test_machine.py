"""The machine's description, from made-up and from real files of the operating system."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks import machine


@pytest.mark.parametrize(
    ("cpu", "slug"),
    [
        ("Intel(R) Xeon(R) Platinum 8488C", "intel-xeon-platinum-8488c-4c"),
        ("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "intel-core-i7-8700-4c"),
        ("AMD EPYC 9R14 96-Core Processor", "amd-epyc-9r14-96-core-4c"),
        ("", "cpu-4c"),
    ],
)
def test_slug_is_fit_for_a_file_name(cpu: str, slug: str) -> None:
    described = dataclasses.replace(machine.describe_machine(), cpu=cpu, usable_cpus=4)
    assert described.slug == slug


def test_cores_are_counted_once_for_their_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [(0, 0), (0, 1), (1, 0), (1, 1)] * 2  # two sockets of two cores of two threads
    entry = "processor\t: {}\nphysical id\t: {}\nsiblings\t: 4\ncore id\t\t: {}\ncpu cores\t: 2\n\n"
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("".join(entry.format(i, *ids) for i, ids in enumerate(threads)))
    monkeypatch.setattr(machine, "_CPUINFO", cpuinfo)
    assert machine.describe_machine().physical_cores == 4


def test_what_the_system_does_not_tell_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "none")
    described = machine.describe_machine()
    assert (described.physical_cores, described.memory_bytes) == (None, None)
    assert 1 <= described.usable_cpus <= (os.cpu_count() or 1)


def test_commit_says_whether_files_differ_from_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *names, *arguments]
        return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip()

    assert machine.current_commit(tmp_path) is None
    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "-m", "one")
    (tmp_path / "a result that is not committed yet").touch()
    assert machine.current_commit(tmp_path) == machine.Commit(git("rev-parse", "HEAD"), modified=False)
    (tmp_path / "file").write_text("two")
    assert machine.current_commit(tmp_path) == machine.Commit(git("rev-parse", "HEAD"), modified=True)


def stat(user: int, idle: int, stolen: int = 0, processors: int = 2) -> str:
    total = f"cpu  {user} 0 0 {idle} 0 0 0 {stolen} 0 0\n"
    return total + "".join(f"cpu{index} 0 0 0 0 0 0 0 0 0 0\n" for index in range(processors)) + "intr 0\n"


@pytest.fixture
def usable(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    return 2


def test_what_others_took_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable: int) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    path = tmp_path / "stat"
    monkeypatch.setattr(machine, "_STAT", path)
    own = iter([os.times_result((0.0, 0.0, 0.0, 0.0, 0.0)), os.times_result((2.0, 0.0, 1.0, 0.0, 0.0))])
    monkeypatch.setattr(os, "times", lambda: next(own))
    path.write_text(stat(100 * ticks, 100 * ticks))
    meter = machine.OthersMeter()
    path.write_text(stat(104 * ticks, 103 * ticks, stolen=3 * ticks))  # 7 s busy of 10, 3 of them one's own
    assert meter.share() == pytest.approx(0.4)


def test_others_are_unknown_where_the_system_tells_of_more_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable: int
) -> None:
    path = tmp_path / "stat"
    path.write_text(stat(1, 1, processors=8))
    monkeypatch.setattr(machine, "_STAT", path)
    assert machine.OthersMeter().share() is None


@pytest.mark.parametrize(
    ("load", "others", "said"),
    [
        (0.4, None, ""),
        (0.4, 0.04, ""),
        (0.6, 0.0, "the machine was busy before the start (load average 0.60)"),
        (0.4, 0.06, "others took 6% of the processor while it was measured"),
    ],
)
def test_a_loaded_machine_is_said_to_be_one(load: float, others: float | None, said: str) -> None:
    assert machine.why_loaded((load, 3.0, 3.0), others) == said


def test_gpus_are_named_with_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA Imagined, 1024 MiB, 570.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert machine.describe_machine().gpus == ("NVIDIA Imagined, 1024 MiB, driver 570.1",)
    program.write_text("#!/bin/sh\nexit 9\n")
    assert machine.describe_machine().gpus == ()


def test_committed_results_say_whether_their_machine_was_loaded(project_root: Path) -> None:
    results = {path.name: json.loads(path.read_text()) for path in (project_root / "benchmarks/results").glob("*.json")}
    results = {name: result for name, result in results.items() if "others_share" in result}
    assert results
    for name, result in results.items():
        assert result["loaded"] == machine.why_loaded(result["load_before"], result["others_share"]), name
