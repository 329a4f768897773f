"""A job that is killed again and again ends with the same bytes as one that nobody disturbs."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import commands
from edsr_runtime.job.journal import journal_name, open_journal
from edsr_runtime.jobs import Job
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pipeline import open_target
from photographs import noise, save

FOLDER = ["-i", "in", "-o", "out", "-s", "2", "--recursive"]
PICTURES = 24
BAND = {"EDSR_TEST_BAND_S": "0.01"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], float]:
    """A folder ``in``, what becomes of it, and the seconds that takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for number in range(PICTURES):
        save(noise(24 + number, 30, number), folder / "in" / ("x" if number % 3 else "") / f"{number}.png")
    (folder / "in" / "broken.png").write_bytes((folder / "in" / "0.png").read_bytes()[:-20])
    start = time.monotonic()
    done = commands.run(FOLDER, folder, env=BAND)
    seconds = time.monotonic() - start
    assert done.returncode == 3, done.stderr
    return folder, visible(folder / "out"), seconds


def visible(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_the_outputs_are_those_of_an_undisturbed_run(
    tmp_path: Path,
    undisturbed: tuple[Path, dict[str, bytes], float],
    kills: int,
    record_property: Callable[[str, object], None],
) -> None:
    source, expected, seconds = undisturbed
    assert len(expected) == PICTURES
    os.symlink(source / "in", tmp_path / "in")
    draw = random.Random(kills)
    in_the_middle = 0
    killed = 0
    while killed < kills:
        command = commands.start([*FOLDER, "--resume"], tmp_path, env=BAND)
        try:
            command.communicate(timeout=draw.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            command.kill()
            command.communicate()
        killed += command.returncode == -signal.SIGKILL
        found = visible(tmp_path / "out")
        assert found.items() <= expected.items()  # whatever can be seen is complete and right
        in_the_middle += 0 < len(found) < PICTURES
        if command.returncode >= 0:
            assert command.returncode == 3
            assert found == expected
            shutil.rmtree(tmp_path / "out")
    done = commands.run([*FOLDER, "--resume"], tmp_path)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert visible(tmp_path / "out") == expected
    assert hidden(tmp_path / "out") == [journal_name(None)]
    assert done.stderr.count("broken.png") == 1
    again = commands.run([*FOLDER, "--resume"], tmp_path)
    assert f"nothing to do: {PICTURES} done earlier" in again.stderr
    record_property("kills", {"kills": killed, "that_left_some_pictures": in_the_middle})
    assert kills < 100 or in_the_middle > 10


def test_a_clock_that_jumps_and_another_time_zone_change_nothing(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, bytes], float]
) -> None:
    source, expected, _ = undisturbed
    os.symlink(source / "in", tmp_path / "in")
    words = [*FOLDER, "--resume", "--jsonl", "log"]
    jumping = BAND | {"EDSR_TEST_CLOCK": "1"}
    with commands.ended(commands.start(words, tmp_path, env=jumping | {"TZ": "Pacific/Kiritimati"})) as command:
        deadline = time.monotonic() + 60
        while not visible(tmp_path / "out"):
            assert time.monotonic() < deadline and command.poll() is None
            time.sleep(0.005)
    assert len(visible(tmp_path / "out")) < PICTURES
    done = commands.run(words, tmp_path, env=jumping | {"TZ": "America/Adak"})
    assert done.returncode == 3, done.stderr
    assert visible(tmp_path / "out") == expected
    years = {json.loads(line)["time"][:4] for line in (tmp_path / "log").read_text().splitlines()}
    assert len(years) > 10  # it did jump
    assert f"nothing to do: {PICTURES} done earlier" in commands.run(words, tmp_path).stderr


@pytest.mark.parametrize("may_replace", [True, False])
def test_a_power_cut_leaves_no_half_written_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_replace: bool
) -> None:
    """Nobody cuts the power here: the bytes are on the disk before the file has its name, and so is the journal."""
    done: list[tuple[str, int]] = []

    def noted(name: str) -> None:
        call = getattr(os, name)

        def noting(first: Any, *more: Any) -> None:
            done.append((name, os.stat(first).st_size))  # a descriptor, or a path
            call(first, *more)

        monkeypatch.setattr(os, name, noting)

    for name in ("fsync", "link", "replace"):
        noted(name)
    job = Job(tmp_path / "in.png", tmp_path / "a.png", "png", 0, may_replace)
    with open_target(job, Picture(noise(9, 9), None), 1, 95) as file:
        file.write_rows(noise(9, 9))
    size = (tmp_path / "a.png").stat().st_size
    assert done == [("fsync", size), ("replace" if may_replace else "link", size)]
    with open_journal(tmp_path / "j") as journal:
        assert journal._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: at every commit


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_although_its_tile_would_take_an_hour(tmp_path: Path, number: signal.Signals) -> None:
    save(noise(8, 8, 1), tmp_path / "in/a.png")  # one band
    save(noise(30, 8, 2), tmp_path / "in/b.png")
    with commands.ended(commands.start(FOLDER, tmp_path, env={"EDSR_TEST_STUBBORN": "1"})) as command:
        deadline = time.monotonic() + 60
        while not ((tmp_path / "out/a.png").exists() and list((tmp_path / "out").glob("*.part"))):
            assert time.monotonic() < deadline
            assert command.poll() is None, command.communicate()
            time.sleep(0.01)
        command.send_signal(number)
        _, said = command.communicate(timeout=60)
    assert command.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted; no unfinished file is left behind"
    assert hidden(tmp_path / "out") == [journal_name(None)]
    done = commands.run([*FOLDER, "--resume"], tmp_path)
    assert done.returncode == 0
    assert "comparing 1 finished pictures with the journal" in done.stderr
    assert sorted(visible(tmp_path / "out")) == ["a.png", "b.png"]
