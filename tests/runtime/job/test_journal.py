"""The journal: what is recorded comes back, one process has it at a time, and a damaged one is never believed."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edsr_runtime.errors import EnvironmentUnfitError, JobError
from edsr_runtime.job.digest import Digest
from edsr_runtime.job.journal import Journal, Row, journal_name, open_journal
from edsr_runtime.job.shard import Shard

ROW = Row("a.png", "/in/a.jpg", "pending", False, "5" * 64)
DONE = replace(
    ROW, state="done", input=Digest(7, "1" * 64), output=Digest(9, "2" * 64), seconds=0.25, finished="2026-01-01"
)


def write(path: Path, *rows: Row) -> None:
    with open_journal(path) as journal:
        journal.begin(rows, "1.2", {"tile": "auto"})


def read(path: Path) -> dict[str, Row]:
    with open_journal(path) as journal:
        return journal.rows()


def test_rows_come_back_whatever_their_names(tmp_path: Path) -> None:
    names = ["a b.png", "Ж/漢🙂.png", "line\nbreak.png", os.fsdecode(b"\xff\xfe.png"), "x" * 255]
    rows = [replace(DONE, name=name, source=f"/in/{name}", error="no\udcff good") for name in names]
    write(tmp_path / "j", *rows)
    found = read(tmp_path / "j")
    assert list(found) == sorted(names, key=os.fsencode)
    assert [found[row.name] for row in rows] == [replace(row, error="no\\udcff good") for row in rows]


def test_a_later_record_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j") as journal:
        journal.begin([ROW, replace(ROW, name="b.png")], "1", {})
        journal.record(DONE)
        assert journal.rows() == {"a.png": DONE, "b.png": replace(ROW, name="b.png")}
    assert read(tmp_path / "j")["a.png"] == DONE


def test_it_names_one_tile_for_the_same_settings(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j") as journal:
        assert journal.tile("a") is None
        journal.keep_tile("a", 512)
        journal.keep_tile("b", 64)
        journal.keep_tile("b", 96)
    with open_journal(tmp_path / "j") as journal:
        assert (journal.tile("a"), journal.tile("b")) == (512, 96)


@pytest.mark.parametrize("value", ["513 {}", "512", "", "-1 {}", "١ {}", "1e3 {}"])  # noqa: RUF001
def test_a_tile_that_is_not_what_was_written_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "j"
    with open_journal(path) as journal:
        journal.keep_tile("a", 512)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        (kept,) = connection.execute("SELECT value FROM job WHERE key = 'tile a'").fetchone()
        assert kept.startswith("512 ")
        connection.execute("UPDATE job SET value = ? WHERE key = 'tile a'", (value.format(kept[4:]),))
    with open_journal(path) as journal, pytest.raises(JobError, match="the tile that it names is not what was written"):
        journal.tile("a")


def test_its_mark_stays_and_no_two_have_the_same(tmp_path: Path) -> None:
    marks = []
    for name in ("j", "j", "k"):
        with open_journal(tmp_path / name) as journal:
            marks.append(journal.id)
    assert marks[0] == marks[1] != marks[2]


def test_names_tell_shares_apart() -> None:
    assert [journal_name(None), journal_name(Shard(2, 8))] == [
        ".edsr-upscale.journal",
        ".edsr-upscale.2-of-8.journal",
    ]


def test_it_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from edsr_runtime.errors import JobError
from edsr_runtime.job.journal import open_journal
try:
    with open_journal(Path({str(tmp_path / "j")!r})):
        print("opened")
except JobError as err:
    print(err)
"""
    search = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def other() -> str:
        return subprocess.run([sys.executable, "-c", code], env=search, text=True, capture_output=True).stdout.strip()

    write(tmp_path / "j", ROW)
    with open_journal(tmp_path / "j"):  # before anything has been written, too
        sentence = "another edsr-upscale is at work on this job; wait for it, or divide the work with --shard"
        assert other() == f"{tmp_path / 'j'}: {sentence}"
    assert other() == "opened"


def test_what_was_recorded_is_on_the_disk_after_a_second_at_most(tmp_path: Path) -> None:
    now = 0.0
    with open_journal(tmp_path / "j") as journal:
        timed = Journal(tmp_path / "j", journal._connection, clock=lambda: now)
        timed.begin([ROW], "1", {})
        timed.record(DONE)
        assert journal._connection.in_transaction  # kept together for a moment: every one costs a flush of the disk
        now = 1.0
        timed.record(replace(DONE, name="b.png"))
        assert not journal._connection.in_transaction


def test_an_error_in_between_loses_no_record(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_journal(tmp_path / "j") as journal:
        journal.begin([ROW], "1", {})
        journal.record(DONE)
        raise KeyboardInterrupt
    assert read(tmp_path / "j") == {"a.png": DONE}


@pytest.mark.parametrize("content", [b"no database at all, but long enough for a header" * 20, b"\0" * 5000, b"x"])
def test_another_file_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(JobError, match=r"j: the journal is damaged \(.*\)\. Move it away"):
        read(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == content


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "j")
    connection.execute("CREATE TABLE notes (text)")
    connection.commit()
    connection.close()
    with pytest.raises(JobError, match="an SQLite file of something else, expected a journal of version 1"):
        read(tmp_path / "j")


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE pictures SET output_sha256 = '{'3' * 64}'",
        "UPDATE pictures SET state = 'done' WHERE name = CAST('b.png' AS BLOB)",
        "UPDATE pictures SET name = CAST('c.png' AS BLOB) WHERE name = CAST('b.png' AS BLOB)",
        "UPDATE pictures SET checksum = ''",
        "UPDATE pictures SET source = 5",
        "DELETE FROM job",
        "DROP TABLE runs",
        "CREATE TRIGGER t AFTER INSERT ON pictures BEGIN DELETE FROM pictures; END",
        "PRAGMA user_version = 2",
    ],
)
def test_a_changed_journal_is_refused(tmp_path: Path, change: str) -> None:
    write(tmp_path / "j", DONE, replace(ROW, name="b.png"))
    connection = sqlite3.connect(tmp_path / "j")
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(JobError):
        read(tmp_path / "j")


def test_a_journal_that_sqlite_takes_for_an_empty_one_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "j", DONE)
    damaged = bytearray((tmp_path / "j").read_bytes())
    damaged[103:105] = bytes(2)  # the tables in the schema: none
    (tmp_path / "j").write_bytes(damaged)
    with pytest.raises(JobError, match="damaged"):
        read(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == bytes(damaged)


@pytest.mark.parametrize("where", [18, 19])
def test_a_journal_of_a_later_format_of_sqlite_is_damaged_and_not_a_place_that_cannot_be_written(
    tmp_path: Path, where: int
) -> None:
    write(tmp_path / "j", DONE)
    damaged = bytearray((tmp_path / "j").read_bytes())
    damaged[where] = 3
    (tmp_path / "j").write_bytes(damaged)
    with pytest.raises(JobError, match="damaged"):
        write(tmp_path / "j", DONE)


def mutated(whole: bytes, data: st.DataObject) -> bytes:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    return bytes(damaged[: data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_journal_is_refused_or_says_what_it_said(tmp_path: Path, data: st.DataObject) -> None:
    path, names = tmp_path / "j", [f"{n}.png" for n in range(30)]
    if not (tmp_path / "whole").exists():
        write(tmp_path / "whole", *(replace(DONE, name=name) for name in names))
    path.write_bytes(mutated((tmp_path / "whole").read_bytes(), data))
    for left in tmp_path.glob("j-*"):
        left.unlink()
    try:
        rows = read(path)
    except (JobError, EnvironmentUnfitError):
        return
    assert all(row == replace(DONE, name=name) for name, row in rows.items())


def test_a_folder_in_its_place_and_a_folder_that_is_not_there_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is not a regular file, expected the journal"):
        read(tmp_path)
    with pytest.raises(EnvironmentUnfitError, match=r"cannot be kept there .* give another place for it with --job"):
        read(tmp_path / "nowhere" / "j")
