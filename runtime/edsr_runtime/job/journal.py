"""The journal of a job: an SQLite file with one row for every picture, and what has become of it.

One process at a time has it open; the lock is SQLite's own and ends with the process, however that ends. Every row
carries a checksum, so that a damaged journal is refused instead of believed. What is recorded is written to the disk at
least once a second: a kill costs the records of that second, and with them nothing but the time to make those pictures
again, because a picture that is made again and turns out the same is taken as done.

Names are those of the results, seen from the output folder; where the output folder lies does not matter.
"""

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from edsr_runtime.errors import EnvironmentUnfitError, JobError
from edsr_runtime.job.digest import Digest
from edsr_runtime.job.shard import Shard

State = Literal["pending", "done", "failed"]

APPLICATION_ID = 0x45445352
"""Of SQLite files: what ``file`` and we know a journal by."""
SCHEMA = 1
_HEAD = b"SQLite format 3\0"
_VERSIONS = slice(18, 20)
"""Of the format, for writing and reading: a file of later ones is opened for reading only."""
_COMMIT_S = 1.0
_TABLES = """
CREATE TABLE job (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, started TEXT NOT NULL, ended TEXT, version TEXT NOT NULL, settings TEXT NOT NULL
);
CREATE TABLE pictures (
    name BLOB PRIMARY KEY, source BLOB NOT NULL, state TEXT NOT NULL, may_replace INTEGER NOT NULL,
    settings TEXT NOT NULL, input_bytes INTEGER, input_sha256 TEXT, output_bytes INTEGER, output_sha256 TEXT,
    seconds REAL, finished TEXT, error TEXT, checksum TEXT NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = (
    "name, source, state, may_replace, settings, input_bytes, input_sha256, output_bytes, output_sha256, seconds, "
    "finished, error"
)


@dataclass(frozen=True)
class Row:
    """One picture."""

    name: str
    """Of its result, seen from the output folder."""
    source: str
    """Where it was read from; for people."""
    state: State
    may_replace: bool
    """Whether a file of that name may be replaced that was there when the picture was begun."""
    settings: str
    """Hash of everything that the pixels depend on besides the input."""
    input: Digest | None = None
    output: Digest | None = None
    seconds: float | None = None
    finished: str | None = None
    """UTC, ISO 8601."""
    error: str | None = None
    """The sentence, if it failed."""


def journal_name(shard: Shard | None) -> str:
    """Of the journal in an output folder: hidden, and one for each share, whose machines do not know of each other."""
    return ".edsr-upscale.journal" if shard is None else f".edsr-upscale.{shard.index}-of-{shard.count}.journal"


class Journal:
    """An open journal. Its methods may be called from any thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Callable[[], float] = time.monotonic) -> None:
        """See ``open_journal``."""
        self.path = path
        self.id: str = connection.execute("SELECT value FROM job WHERE key = 'id'").fetchone()[0]
        """Marks the unfinished files of this job."""
        self._connection = connection
        self._clock = clock
        self._committed = clock()
        self._lock = threading.Lock()
        self._run: int | None = None

    def rows(self) -> dict[str, Row]:
        """All pictures by name.

        Raises:
            JobError: the journal is damaged.
        """
        with self._guarded():
            found = self._connection.execute(f"SELECT {_COLUMNS}, checksum FROM pictures").fetchall()
        rows = (_row(values[:-1], values[-1], self.path) for values in found)
        return {row.name: row for row in rows}

    def tile(self, settings: str) -> int | None:
        """What ``--tile auto`` came to under these settings; None if nothing has been made with them.

        Raises:
            JobError: the journal is damaged.
        """
        with self._guarded():
            found = self._connection.execute("SELECT value FROM job WHERE key = ?", (f"tile {settings}",)).fetchone()
        if found is None:
            return None
        side, _, checksum = str(found[0]).partition(" ")
        if not _is_side(side) or checksum != _checksum((settings, side)):
            raise _damaged(self.path, "the tile that it names is not what was written")
        return int(side)

    def keep_tile(self, settings: str, side: int) -> None:
        """Note that, for this run and those after it; on the disk with the next ``begin``.

        Raises:
            JobError, EnvironmentUnfitError: the journal cannot be written.
        """
        value = f"{side} {_checksum((settings, str(side)))}"
        with self._guarded():
            self._connection.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (f"tile {settings}", value))

    def begin(self, rows: Iterable[Row], version: str, settings: dict[str, Any]) -> None:
        """Note what is about to be done, before any of it is.

        Raises:
            JobError, EnvironmentUnfitError: the journal cannot be written.
        """
        with self._guarded():
            self._connection.executemany(_INSERT, [_values(row) for row in rows])
            cursor = self._connection.execute(
                "INSERT INTO runs (started, version, settings) VALUES (?, ?, ?)",
                (now(), version, json.dumps(settings, sort_keys=True)),
            )
            self._run = cursor.lastrowid
            self._connection.commit()
            self._committed = self._clock()

    def record(self, row: Row) -> None:
        """Note what has become of a picture.

        Raises:
            JobError, EnvironmentUnfitError: the journal cannot be written.
        """
        with self._guarded():
            self._connection.execute(_INSERT, _values(row))
            if self._clock() - self._committed >= _COMMIT_S:
                self._connection.commit()
                self._committed = self._clock()

    def leave(self, timeout_s: float) -> None:
        """Write to the disk what has been recorded and close, from any thread: the process is about to end. Nothing
        where another thread keeps the journal busy for longer than that."""
        if self._lock.acquire(timeout=timeout_s):
            with contextlib.suppress(sqlite3.Error):
                self._connection.commit()
                self._connection.close()

    def close(self) -> None:
        """Write everything to the disk and let others have the journal.

        Raises:
            JobError, EnvironmentUnfitError: it cannot be written.
        """
        try:
            with self._guarded():
                if self._run is not None:
                    self._connection.execute("UPDATE runs SET ended = ? WHERE number = ?", (now(), self._run))
                self._connection.commit()
        finally:
            self._connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock, _sentences(self.path):
            yield


@contextmanager
def open_journal(path: Path, *, read_only: bool = False) -> Iterator[Journal]:
    """Open a journal, or make one. Nobody else has it while the block runs.

    Args:
        path: the file; its folder is there.
        read_only: it must exist, and no picture in it is changed.

    Raises:
        JobError: another process has it, it is damaged, or it is no journal.
        EnvironmentUnfitError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise JobError(f"{path}: is not a regular file, expected the journal of a job")
    _refuse_strangers(path)
    uri = f"{path.absolute().as_uri()}?mode={'rw' if read_only else 'rwc'}"
    with _sentences(path):
        connection = sqlite3.connect(uri, uri=True, timeout=0.5, isolation_level="DEFERRED", check_same_thread=False)
    try:
        with _sentences(path):
            _prepare(connection, path, read_only)
            journal = Journal(path, connection)
    except BaseException:
        connection.close()
        raise
    try:
        yield journal
    except BaseException:
        with contextlib.suppress(JobError, EnvironmentUnfitError):
            journal.close()  # a consequence of that error
        raise
    else:
        journal.close()


def now() -> str:
    """UTC, so that no time zone plays a part; nothing is ever decided by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _refuse_strangers(path: Path) -> None:
    """SQLite would take a file of a few bytes for an empty one, and write over it."""
    try:
        with path.open("rb") as file:
            head = file.read(_VERSIONS.stop)
    except FileNotFoundError:
        return
    except OSError as err:
        raise EnvironmentUnfitError(f"{path}: the journal cannot be read ({err.strerror})") from err
    half_made = path.with_name(path.name + "-journal").exists()  # by a kill; SQLite puts that right
    is_sqlite = head.startswith(_HEAD) and set(head[_VERSIONS]) <= {1, 2}
    if head and not is_sqlite and not half_made:
        raise _damaged(path, "it is no SQLite file")


def _prepare(connection: sqlite3.Connection, path: Path, read_only: bool) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if not read_only:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = FULL")
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if is_empty and path.stat().st_size:  # what SQLite takes for an empty file of its own, ours never is
        raise _damaged(path, "its tables are missing")
    if is_empty and not read_only:
        connection.executescript(
            f"BEGIN EXCLUSIVE; {_TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA};"
        )
        connection.execute("INSERT INTO job VALUES ('id', ?)", (secrets.token_hex(4),))
        connection.commit()
        return
    found = tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if found != (APPLICATION_ID, SCHEMA):
        other = f"of version {found[1]}" if found[0] == APPLICATION_ID else "of something else"
        raise JobError(
            f"{path}: an SQLite file {other}, expected a journal of version {SCHEMA}: give another one with --job"
        )
    tables = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
    if sorted(sql.strip() for (sql,) in tables) != sorted(sql.strip() for sql in _TABLES.split(";") if sql.strip()):
        raise _damaged(path, "its tables are others")
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise _damaged(path, verdict.splitlines()[0])
    identifiers = connection.execute("SELECT value FROM job WHERE key = 'id'").fetchall()
    if len(identifiers) != 1 or not _is_hex(identifiers[0][0], 8):
        raise _damaged(path, "its mark is missing")
    if not read_only:  # with this lock from now on
        connection.execute("BEGIN EXCLUSIVE")
        connection.commit()


_INSERT = f"INSERT OR REPLACE INTO pictures ({_COLUMNS}, checksum) VALUES ({', '.join(13 * '?')})"


def _values(row: Row) -> tuple[Any, ...]:
    values = (
        os.fsencode(row.name),
        os.fsencode(row.source),
        row.state,
        int(row.may_replace),
        row.settings,
        row.input.size_bytes if row.input else None,
        row.input.sha256 if row.input else None,
        row.output.size_bytes if row.output else None,
        row.output.sha256 if row.output else None,
        row.seconds,
        row.finished,
        None if row.error is None else row.error.encode("utf-8", "backslashreplace").decode(),
    )
    return (*values, _checksum(values))


def _row(values: tuple[Any, ...], checksum: object, path: Path) -> Row:
    if _checksum(values) != checksum:
        raise _damaged(path, "the checksum of a row is wrong")
    name, source, state, may_replace, settings, *digests = values
    input_bytes, input_sha256, output_bytes, output_sha256, seconds, finished, error = digests
    return Row(
        os.fsdecode(name),
        os.fsdecode(source),
        state,
        bool(may_replace),
        settings,
        None if input_sha256 is None else Digest(input_bytes, input_sha256),
        None if output_sha256 is None else Digest(output_bytes, output_sha256),
        seconds,
        finished,
        error,
    )


def _checksum(values: tuple[Any, ...]) -> str:
    return hashlib.sha256(repr(values).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _is_side(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < len(text) < 10


def _is_hex(value: object, length: int) -> bool:
    return isinstance(value, str) and len(value) == length and set(value) <= set("0123456789abcdef")


def _damaged(path: Path, reason: str) -> JobError:
    return JobError(
        f"{path}: the journal is damaged ({reason}). Move it away to go on without it: pictures whose results exist "
        "are skipped then, --overwrite makes them again"
    )


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """What SQLite says, as our errors."""
    try:
        yield
    except sqlite3.Error as err:
        code = getattr(err, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise JobError(
                f"{path}: another edsr-upscale is at work on this job; wait for it, or divide the work with --shard"
            ) from err
        if primary == sqlite3.SQLITE_FULL:
            raise EnvironmentUnfitError(
                f"{path}: the journal cannot be written (no space left); finished pictures are intact. Make room, "
                "then go on with --resume"
            ) from err
        if primary in (
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_PROTOCOL,
            sqlite3.SQLITE_NOLFS,
        ):
            raise EnvironmentUnfitError(
                f"{path}: the journal cannot be kept there ({err}); give another place for it with --job FILE"
            ) from err
        raise _damaged(path, str(err).splitlines()[0] if str(err) else type(err).__name__) from err
    except (ValueError, TypeError, UnicodeError, OverflowError) as err:  # text that is none, numbers beyond 64 bits
        raise _damaged(path, type(err).__name__) from err
    except MemoryError as err:
        raise _damaged(path, "it asks for more memory than there is") from err
