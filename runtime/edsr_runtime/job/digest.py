"""Size and SHA-256 of files, by which a job knows its inputs and outputs again."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edsr_runtime.errors import PictureError

_REFUSED_LIMIT = 1 << 30
"""Of what could not be read as a picture, more is not looked at: a file of holes may declare terabytes."""


@dataclass(frozen=True)
class Digest:
    """What tells one content from another."""

    size_bytes: int
    sha256: str
    """64 hexadecimal digits."""


def digest_of(path: Path) -> Digest:
    """Of a file.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for somebody to write into it
        raise OSError(0, "not a regular file")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Digest(file.tell(), sha256)


def digest_of_source(path: Path) -> Digest:
    """Of a picture that has just been read.

    Raises:
        PictureError: it is gone.
    """
    try:
        return digest_of(path)
    except OSError as err:
        raise PictureError(f"{path}: cannot be read any more ({err.strerror})") from err


def digest_of_target(path: Path) -> Digest:
    """Of a picture that has just been written.

    Raises:
        PictureError: it is gone.
    """
    try:
        return digest_of(path)
    except OSError as err:
        raise PictureError(f"{path}: has been written, but cannot be read ({err.strerror})") from err


def digest_of_refused(path: Path) -> Digest | None:
    """Of a file that is no picture; None if it cannot be read at all or is too large to be worth it."""
    try:
        return digest_of(path) if path.stat().st_size <= _REFUSED_LIMIT else None
    except OSError:
        return None


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """While the block runs, nobody may write to the file.

    Raises:
        PictureError: somebody did.
    """
    before = _state(path)
    yield
    if _state(path) != before:
        raise PictureError(f"{path}: was changed while it was read; is it still being copied or downloaded?")


def _state(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # whoever reads it says so
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
