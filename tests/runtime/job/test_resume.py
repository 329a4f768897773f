"""--resume, --retry-failed, --shard, --jsonl and --job, through the command with a network that repeats pixels."""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import click.testing
import numpy as np
import pytest

import quick_command
from edsr_runtime import cli, cpu, upscaler
from edsr_runtime.job.journal import journal_name, open_journal
from edsr_runtime.pictures.read import read_picture
from photographs import noise, save

JOURNAL = journal_name(None)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(upscaler, "Upscaler", quick_command.Repeater)
    return tmp_path


def run(*words: str | Path | int) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.main, list(map(str, words)), catch_exceptions=False)


def folder(*words: str | Path | int) -> click.testing.Result:
    return run("-i", "in", "-o", "out", "-s", 2, *words)


def put(*names: str) -> None:
    for seed, name in enumerate(names):
        save(noise(6, 5, seed), Path(name))


def contents(root: str = "out") -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def states() -> dict[str, str]:
    with open_journal(Path("out", JOURNAL)) as journal:
        return {name: row.state for name, row in journal.rows().items()}


def said(result: click.testing.Result) -> list[str]:
    return result.stderr.splitlines()


def test_a_folder_has_a_journal_with_everything_about_every_picture() -> None:
    put("in/a.png", "in/x/b.png")
    Path("in/c.png").write_text("no picture")
    assert folder("--recursive").exit_code == 3
    with open_journal(Path("out", JOURNAL)) as journal:
        rows = journal.rows()
    assert {name: row.state for name, row in rows.items()} == {"a.png": "done", "c.png": "failed", "x/b.png": "done"}
    done, failed = rows["x/b.png"], rows["c.png"]
    assert (done.input and done.input.size_bytes, done.output and done.output.size_bytes) == (
        Path("in/x/b.png").stat().st_size,
        Path("out/x/b.png").stat().st_size,
    )
    assert Path(done.source) == Path("in/x/b.png").absolute()
    for digest, path in ((done.input, "in/x/b.png"), (done.output, "out/x/b.png"), (failed.input, "in/c.png")):
        assert digest is not None and digest.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert len(done.settings) == 64 and done.settings == failed.settings
    assert done.seconds is not None and done.seconds >= 0
    assert done.finished is not None and done.finished.endswith("+00:00")
    assert failed.error == "in/c.png: is a text file, not a picture" and failed.input is not None


def test_one_picture_has_no_journal_unless_asked_for() -> None:
    put("a.png")
    assert run("-i", "a.png", "-o", "b.png", "-s", 2).exit_code == 0
    assert run("-i", "a.png", "-o", "out/", "-s", 2).exit_code == 0
    assert os.listdir("out") == ["a.png"]
    assert run("-i", "a.png", "-o", "c.png", "-s", 2, "--job", "j").exit_code == 0
    assert Path("j").exists()


def test_finished_pictures_are_verified_and_skipped() -> None:
    put("in/a.png", "in/b.png")
    folder()
    before = {path: path.stat().st_ino for path in Path("out").glob("*.png")}
    result = folder("--resume")
    assert (result.exit_code, said(result)) == (
        0,
        [
            "comparing 2 finished pictures with the journal",
            "nothing to do: 2 done earlier (input and output are as they were)",
        ],
    )
    assert {path: path.stat().st_ino for path in Path("out").glob("*.png")} == before


def damage_output() -> None:
    Path("out/b.png").write_bytes(Path("out/b.png").read_bytes()[:-1])


def change_input() -> None:
    save(noise(6, 5, 99), Path("in/b.png"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (damage_output, "its output is not what was written"),
        (lambda: Path("out/b.png").unlink(), "its output is gone"),
        (change_input, "its input has changed"),
    ],
)
def test_what_is_no_longer_right_is_made_again_and_said(change: Callable[[], None], reason: str) -> None:
    put("in/a.png", "in/b.png", "in/c.png")
    folder()
    change()
    result = folder("--resume")
    assert result.exit_code == 0
    assert f"made again, since {reason}: in/b.png" in said(result)
    assert said(result)[-1].startswith("1 picture upscaled in ")
    assert said(result)[-1].endswith(", 2 done earlier (input and output are as they were)")
    resumed = contents()
    folder("--overwrite")
    assert contents() == resumed
    assert folder("--resume").stderr.endswith("nothing to do: 3 done earlier (input and output are as they were)\n")


def test_changed_settings_make_every_picture_again() -> None:
    put("in/a.png", "in/b.png")
    folder("-f", "jpg")
    result = folder("-f", "jpg", "--quality", 50, "--resume")
    assert "made again, since the settings are others: in/a.png, in/b.png" in said(result)
    assert "nothing to do" in folder("-f", "jpg", "--quality", 50, "--resume").stderr
    again = folder("-f", "jpg", "--quality", 50, "--tile", 300, "--resume")
    assert "the settings are others" in again.stderr


class Remembering(quick_command.Repeater):
    """Knows the tiles that upscalers were opened with."""

    tiles: ClassVar[list[int | None]] = []

    def __init__(self, model: Path, **arguments: Any) -> None:
        super().__init__(model, **arguments)
        self.tiles.append(arguments.get("chosen_tile"))


def test_the_tile_that_was_chosen_is_that_of_the_rest_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaler, "Upscaler", Remembering)
    monkeypatch.setattr(Remembering, "tiles", [])

    def tile(*words: str | int, memory: int) -> int | None:
        monkeypatch.setattr(cpu, "available_memory", lambda: memory)
        result = folder(*words)
        assert result.exit_code == 0, result.stderr
        return Remembering.tiles.pop()

    put("in/a.png", "in/b.png")
    little = tile(memory=1 << 30)
    assert little is not None and little > 64
    Path("out/b.png").unlink()
    assert tile("--resume", "--dry-run", memory=64 << 30) == little
    assert tile("--resume", memory=64 << 30) == little
    Path("out/b.png").unlink()
    assert tile(memory=64 << 30) == little  # beside a.png, which is left alone
    put("in/c.png")
    assert tile("--resume", "--tile", 300, memory=64 << 30) is None
    assert tile("--resume", "--halo", 30, memory=64 << 30) != little  # everything is made again
    larger = tile("--overwrite", memory=64 << 30)
    assert larger is not None and larger > little
    Path("out/c.png").unlink()
    assert tile("--resume", memory=1 << 30) == larger  # whether there is still room for it, the upscaler sees


def test_what_a_format_does_not_depend_on_changes_nothing() -> None:
    put("in/a.png")
    folder()
    assert "nothing to do" in folder("--quality", 50, "--threads", 1, "--resume").stderr


def test_failures_are_listed_again_and_tried_again_when_asked_for() -> None:
    put("in/a.png")
    Path("in/b.png").write_text("no picture")
    folder()
    resumed = folder("--resume")
    assert resumed.exit_code == 3
    assert said(resumed)[-2:] == [
        "error: in/b.png: is a text file, not a picture",
        "1 of them failed in an earlier run; --retry-failed tries them again",
    ]
    retried = folder("--retry-failed")
    assert retried.exit_code == 3
    assert said(retried)[-1] == "error: in/b.png: is a text file, not a picture"
    save(noise(6, 5), Path("in/b.png"))
    assert folder("--resume").exit_code == 0  # it is another file now
    assert states() == {"a.png": "done", "b.png": "done"}


def test_without_resume_existing_files_are_skipped_as_ever() -> None:
    put("in/a.png", "in/b.png")
    folder()
    Path("out/a.png").write_bytes(b"mine")
    result = folder()
    assert said(result) == ["nothing to do: 2 skipped (the output exists; --overwrite replaces it)"]
    assert Path("out/a.png").read_bytes() == b"mine"


def test_a_file_that_was_there_before_the_job_is_left_alone() -> None:
    put("in/a.png", "in/b.png")
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"mine")
    folder()
    folder("--resume")
    assert Path("out/a.png").read_bytes() == b"mine"
    assert states() == {"b.png": "done"}


def test_what_was_made_but_not_recorded_is_recognised() -> None:
    put("in/a.png")
    folder()
    with open_journal(Path("out", JOURNAL)) as journal:  # as if killed between the two
        (row,) = journal.rows().values()
        journal.begin([type(row)(row.name, row.source, "pending", False, row.settings)], "1", {})
    result = folder("--resume")
    assert result.exit_code == 0 and said(result)[-1].startswith("1 picture upscaled")
    assert states() == {"a.png": "done"}


def test_resume_without_a_journal_starts_from_the_beginning() -> None:
    put("in/a.png")
    result = folder("--resume")
    assert result.exit_code == 0
    assert f"out/{JOURNAL} is new: starting from the beginning" in said(result)
    assert list(contents()) == ["a.png"]


def test_the_output_folder_may_be_moved() -> None:
    put("in/a.png")
    folder()
    Path("out").rename("moved")
    assert "nothing to do" in run("-i", "in", "-o", "moved", "-s", 2, "--resume").stderr


def test_a_journal_elsewhere_serves_as_well_and_that_of_other_pictures_is_refused() -> None:
    put("in/a.png", "other/b.png")
    folder("--job", "jobs/one")
    assert not Path("out", JOURNAL).exists()
    assert "nothing to do" in folder("--job", "jobs/one", "--resume").stderr
    result = run("-i", "other", "-o", "out", "-s", 2, "--job", "jobs/one", "--resume")
    assert result.exit_code == 2
    assert "jobs/one is the journal of other pictures" in said(result)[-1]


def test_a_damaged_journal_is_one_sentence_and_no_picture_is_touched() -> None:
    put("in/a.png")
    folder()
    connection = sqlite3.connect(Path("out", JOURNAL))
    connection.execute("UPDATE pictures SET state = 'pending'")
    connection.commit()
    connection.close()
    before = contents()
    result = folder("--resume")
    assert result.exit_code == 2
    assert said(result)[-1].startswith(
        f"error: out/{JOURNAL}: the journal is damaged (the checksum of a row is wrong)."
    )
    assert contents() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a place that not even root can write to")
def test_where_no_journal_can_be_kept_the_work_is_done_and_that_is_said() -> None:
    put("in/a.png")
    Path("out", JOURNAL + "-journal").mkdir(parents=True)  # SQLite needs this name
    result = folder()
    assert result.exit_code == 0
    assert said(result)[0].startswith("no journal is kept, so this job cannot be resumed: ")
    assert list(contents()) == ["a.png"]
    assert folder("--resume").exit_code == 4


def test_shares_make_up_the_whole_each_with_a_journal_of_its_own() -> None:
    put(*(f"in/{n}.png" for n in range(12)))
    folder()
    whole = contents()
    for index in (3, 1, 2):
        assert run("-i", "in", "-o", "parts", "-s", 2, "--shard", f"{index}/3").exit_code == 0
    assert contents("parts") == whole
    journals = sorted(path.name for path in Path("parts").glob(".*"))
    assert journals == [f".edsr-upscale.{index}-of-3.journal" for index in (1, 2, 3)]
    again = run("-i", "in", "-o", "parts", "-s", 2, "--shard", "2/3", "--resume")
    assert again.exit_code == 0 and "nothing to do" in again.stderr
    assert run("-i", "in", "-o", "parts", "-s", 2, "--shard", "4/3").exit_code == 2


def test_a_share_of_nothing_is_done() -> None:
    put("in/a.png")
    codes = [
        run("-i", "in", "-o", "out", "-s", 2, "--shard", f"{index}/4", "--resume").exit_code for index in range(1, 5)
    ]
    assert codes == [0, 0, 0, 0]
    assert list(contents()) == ["a.png"]


def test_the_log_has_a_line_for_everything(here: Path) -> None:
    put("in/a.png", "in/b\n.png")
    Path("in/c.png").write_text("no picture")
    Path("log").write_text('{"event": "half a li')
    folder("--jsonl", "log")
    lines = Path("log").read_text().splitlines()
    events = [json.loads(line) for line in lines[1:]]
    assert (events[0]["event"], events[-1]["event"]) == ("started", "ended")
    by_kind = {kind: [event for event in events if event["event"] == kind] for kind in ("opened", "done", "failed")}
    assert [event["source"] for event in by_kind["opened"]] == ["in/a.png", "in/b\n.png"]
    assert [event["target"] for event in by_kind["done"]] == ["out/a.png", "out/b\n.png"]
    assert [event["error"] for event in by_kind["failed"]] == ["in/c.png: is a text file, not a picture"]
    assert by_kind["done"][0]["output_bytes"] == Path("out/a.png").stat().st_size
    assert all(event["time"].endswith("+00:00") for event in events)
    Path("out/a.png").unlink()
    again = folder("--resume", "--jsonl", "-")
    assert [(event["event"], event.get("reason")) for event in map(json.loads, again.stdout.splitlines())] == [
        ("started", None),
        ("skipped", "verified"),
        ("skipped", "failed earlier: in/c.png: is a text file, not a picture"),
        ("redone", "its output is gone"),
        ("opened", None),
        ("done", None),
        ("ended", None),
    ]


def test_a_log_that_cannot_be_written_is_one_sentence() -> None:
    put("in/a.png")
    result = folder("--jsonl", "nowhere/log")
    assert result.exit_code == 4
    assert said(result)[-1] == "error: nowhere/log: the log cannot be written (No such file or directory)"


@pytest.mark.parametrize(
    ("log", "what"),
    [("in/a.png", "a picture"), ("link", "a picture"), ("out/a.png", "a picture"), (f"out/{JOURNAL}", "the journal")],
)
def test_a_log_that_would_damage_a_file_of_the_job_is_refused(log: str, what: str) -> None:
    put("in/a.png")
    Path("link").symlink_to("in/a.png")
    before = Path("in/a.png").read_bytes()
    result = folder("--jsonl", log)
    assert result.exit_code == 2
    assert said(result)[-1].startswith(f"error: {log}: is {what} of this job, which the log would damage")
    assert Path("in/a.png").read_bytes() == before
    assert not Path("out/a.png").exists()
    folder()
    assert folder("--resume", "--jsonl", log).exit_code == 2
    assert "1 done earlier" in folder("--resume").stderr


def test_what_was_not_made_and_is_asked_for_no_more_is_said() -> None:
    put("in/a.png", "in/b.png")
    Path("in/c.png").write_text("no picture")
    folder()
    Path("in/b.png").unlink()
    Path("in/c.png").unlink()
    resumed = folder("--resume")
    assert resumed.exit_code == 0
    gone = Path("in/c.png").absolute()
    assert f"not made, and not among the inputs any more: {gone}" in said(resumed)


def test_dry_run_tells_what_resuming_would_do_and_changes_nothing() -> None:
    put("in/a.png", "in/b.png")
    folder()
    Path("out/b.png").unlink()
    before = Path("out", JOURNAL).read_bytes()
    result = folder("--resume", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "in/a.png: skipped, out/a.png was made earlier",
        "in/b.png: 6x5 (HxW) whole -> out/b.png: 12x10 (HxW) png",
    ]
    assert "made again, since its output is gone: in/b.png" in said(result)
    assert Path("out", JOURNAL).read_bytes() == before
    assert list(contents()) == ["a.png"]


def test_neither_clock_nor_time_zone_plays_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    put("in/a.png", "in/b.png")
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    folder()
    try:
        monkeypatch.setenv("TZ", "America/Adak")
        time.tzset()
        monkeypatch.setattr(time, "time", lambda: 0.0)
        for path in (Path("in/a.png"), Path("out/b.png")):
            os.utime(path, (2**31, 2**31))
        assert "nothing to do: 2 done earlier" in folder("--resume").stderr
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_resuming_under_another_name_of_the_input_folder_changes_nothing() -> None:
    put("in/a.png")
    folder()
    Path("in").rename("renamed")
    assert "nothing to do" in run("-i", "renamed", "-o", "out", "-s", 2, "--resume").stderr


def test_pixels_are_those_of_the_network() -> None:
    put("in/a.png")
    folder()
    np.testing.assert_array_equal(
        read_picture(Path("out/a.png")).pixels, noise(6, 5, 0).repeat(2, axis=0).repeat(2, axis=1)
    )
