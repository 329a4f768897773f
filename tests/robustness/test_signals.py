"""SIGTERM and SIGINT, while pictures are read, computed and written: the command ends soon, and the job goes on."""

import os
import random
import shutil
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import commands
from benchmarks.machine import OthersMeter
from edsr_runtime.job.journal import journal_name
from judged import is_quiet
from photographs import noise, save

FOLDER = ["-i", "in", "-o", "out", "-s", "2"]
SIGNALS = [signal.SIGTERM, signal.SIGINT]
MODES: dict[str, list[str]] = {"single": [], "sandbox": ["--sandbox"]}
PROMISED_S = 2.0
MOMENTS = 8
"""For each signal and mode."""
SIDE = 700
"""Of the large pictures: one tile, which takes longer than a command may take to end."""


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def children(pid: int) -> list[int]:
    """Of all threads of a process."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A folder ``in``, and what becomes of it."""
    folder = tmp_path_factory.mktemp("small")
    for name in range(3):
        save(noise(40, 8, name), folder / "in" / f"{name}.png")
    assert commands.run(FOLDER, folder).returncode == 0
    return folder / "in", visible(folder / "out")


@pytest.mark.parametrize(
    ("mode", "number"), [("single", signal.SIGINT), ("sandbox", signal.SIGINT), ("sandbox", signal.SIGTERM)]
)
def test_a_job_goes_on_after_a_signal_and_leaves_no_process_behind(
    tmp_path: Path, small: tuple[Path, dict[str, bytes]], number: signal.Signals, mode: str
) -> None:
    source, expected = small
    (tmp_path / "in").symlink_to(source)
    words = [*FOLDER, *MODES[mode]]
    with commands.ended(commands.start(words, tmp_path, env={"EDSR_TEST_BAND_S": "0.1"})) as command:
        wait_until(lambda: (tmp_path / "out/0.png").exists() and any((tmp_path / "out").glob("*.part")))
        others = children(command.pid)
        assert len(others) == (mode == "sandbox")
        command.send_signal(number)
        _, said = command.communicate(timeout=60)
    assert command.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted; no unfinished file is left behind"
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [journal_name(None)]
    wait_until(lambda: not any(map(is_there, others)))
    kept = visible(tmp_path / "out")
    assert 0 < len(kept) < 3 and kept.items() <= expected.items()
    done = commands.run([*words, "--resume"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"comparing {len(kept)} finished pictures with the journal" in done.stderr
    assert visible(tmp_path / "out") == expected


@pytest.mark.slow
def test_the_seconds_from_a_signal_to_the_end(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    for name in range(2):
        save(noise(SIDE, SIDE, name), tmp_path / "in" / f"{name}.png")
    words = [*FOLDER, "--tile", str(2 * SIDE), "--precision", "fp32", "--resume"]
    others = OthersMeter()
    found: dict[str, float] = {}
    spent: dict[str, list[float]] = {mode: [] for mode in MODES}
    draw = random.Random(0)
    for mode, more in MODES.items():
        expected, seconds = undisturbed(tmp_path, [*words, *more])
        moments = [draw.uniform(0, 0.8 * seconds) for _ in range(MOMENTS)]
        for number, moment in ((number, moment) for moment in moments for number in SIGNALS):
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            took = seconds_to_end([*words, *more], tmp_path, number, moment)
            if took is not None:
                spent[mode].append(took)
            assert visible(tmp_path / "out").items() <= expected.items()
        done = commands.run([*words, *more], tmp_path, program=commands.REAL)
        assert done.returncode == 0, done.stderr
        assert visible(tmp_path / "out") == expected
        found |= {f"{mode}_worst_s": max(spent[mode]), f"{mode}_median_s": statistics.median(spent[mode])}
    share = others.share()
    worst = max(map(max, spent.values()))
    runs = sum(map(len, spent.values()))
    record_property(
        "signals",
        {"runs": runs, "worst_s": worst, **found, "others_share": share, "judged": is_quiet(share)},
    )
    assert runs >= MOMENTS
    assert worst <= PROMISED_S or not is_quiet(share)


def undisturbed(folder: Path, words: list[str]) -> tuple[dict[str, bytes], float]:
    """What becomes of the pictures, and the seconds that takes from the journal on."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    with commands.ended(commands.start(words, folder, program=commands.REAL)) as command:
        wait_until((folder / "out" / journal_name(None)).exists)
        start = time.monotonic()
        _, said = command.communicate(timeout=600)
    assert command.returncode == 0, said
    return visible(folder / "out"), time.monotonic() - start


def seconds_to_end(words: list[str], folder: Path, number: signal.Signals, moment: float) -> float | None:
    """From a signal so many seconds after the journal was opened; None where the command was faster."""
    with commands.ended(commands.start(words, folder, program=commands.REAL)) as command:
        wait_until((folder / "out" / journal_name(None)).exists)
        time.sleep(moment)
        if command.poll() is not None:
            return None
        command.send_signal(number)
        start = time.monotonic()
        os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
        took = time.monotonic() - start
        _, said = command.communicate(timeout=60)
    assert command.returncode in (0, 130), said  # 0: what was left was less than a moment's work
    assert "Traceback" not in said
    assert [path.name for path in (folder / "out").glob(".*")] == [journal_name(None)]
    return took if command.returncode else None
