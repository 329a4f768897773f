"""A picture file that takes its rows from top to bottom and appears under its name only when it is complete."""

import contextlib
import errno
import filecmp
import os
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from edsr_runtime.errors import DiskFullError, PictureError, ShapeError
from edsr_runtime.pictures.picture import PictureMetadata, Samples

_PREFIX, _PARTIAL_SUFFIX = ".edsr-", ".part"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL)
"""What file systems without hard links (exFAT, SMB, many in user space) say when asked for one."""

_unfinished: set[Path] = set()
"""Files under way in this process."""


def partial_name(tag: str = "") -> str:
    """For a file under way: short, so that it fits beside a name of any length, and hidden, so that nobody picks it up.

    Args:
        tag: of the job it belongs to, by which ``remove_partials`` finds what a kill left behind.
    """
    return f"{_PREFIX}{tag}{'-' if tag else ''}{secrets.token_hex(8)}{_PARTIAL_SUFFIX}"


def remove_partials(folder: Path, tag: str) -> int:
    """Remove the unfinished files of a job that is no longer running; how many there were."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(f"{_PREFIX}{tag}-") and entry.name.endswith(_PARTIAL_SUFFIX):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
                    removed += 1
    return removed


def remove_unfinished() -> None:
    """Remove what this process is writing just now, from any thread: it is about to end without finishing it."""
    for path in tuple(_unfinished):
        with contextlib.suppress(OSError):
            path.unlink()


@dataclass(frozen=True)
class RowLayout:
    """What every row of the file looks like."""

    height: int
    width: int
    channels: int
    """1 gray or 3 RGB."""
    has_alpha: bool
    dtype: np.dtype[Any]
    """uint8 or uint16."""

    @property
    def samples_per_pixel(self) -> int:
        return self.channels + self.has_alpha

    @property
    def row_bytes(self) -> int:
        return self.width * self.samples_per_pixel * self.dtype.itemsize


class RowWriter(ABC):
    """Context manager. The file is made beside its final place at ``__enter__``, renamed when the block ends
    normally and removed when it does not; an existing file is replaced in one step or left as it was. It is flushed to
    the disk before it is renamed, so that a power failure leaves no half-written file either.
    """

    notes: tuple[str, ...]
    """Sentences for the user about metadata that the format cannot hold."""
    may_replace: bool
    """Whether a file of that name is replaced. If not, one with the very same bytes is taken for this one (another
    process has made it), and any other is left alone: that is an error."""

    def __init__(self, path: Path, layout: RowLayout, metadata: PictureMetadata, notes: tuple[str, ...] = ()) -> None:
        self.path = path
        self.layout = layout
        self.metadata = metadata
        self.notes = notes
        self._rows_written = 0
        self._file: BinaryIO | None = None
        self.may_replace = True
        self._temporary = path.with_name(partial_name())

    def belong_to(self, tag: str) -> None:
        """Mark the unfinished file as one of a job; before ``__enter__``."""
        self._temporary = self.path.with_name(partial_name(tag))

    def __enter__(self) -> Self:
        try:
            _unfinished.add(self._temporary)
            self._file = self._temporary.open("xb")
            self._begin(self._file)
        except OSError as err:
            self._discard()
            raise self._cannot_write(err) from err
        except BaseException:
            self._discard()
            raise
        return self

    def write_rows(self, rows: Samples) -> None:
        """Append rows.

        Args:
            rows: (h, width, channels, plus 1 with alpha), dtype of the layout; h may be 0 and may differ every time.

        Raises:
            ShapeError: another shape or dtype, or more rows than the picture has.
            PictureError: the file cannot be written, for example because the disk is full.
        """
        if self._file is None:
            raise ValueError("write_rows is for use inside the with block")
        expected = (self.layout.width, self.layout.samples_per_pixel)
        if rows.ndim != 3 or rows.shape[1:] != expected or rows.dtype != self.layout.dtype:
            raise ShapeError(
                f"rows are {rows.shape} {rows.dtype}, expected (h, {expected[0]}, {expected[1]}) {self.layout.dtype}"
            )
        if self._rows_written + len(rows) > self.layout.height:
            raise ShapeError(f"more rows than the {self.layout.height} of the picture")
        if not len(rows):
            return
        try:
            self._write(self._file, rows)
        except OSError as err:
            raise self._cannot_write(err) from err
        self._rows_written += len(rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            if self._rows_written != self.layout.height:
                raise ShapeError(f"{self._rows_written} rows were written, expected {self.layout.height}")
            assert self._file is not None
            self._finish(self._file)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._put_in_place()
        except OSError as err:
            self._discard()
            raise self._cannot_write(err) from err
        except BaseException:
            self._discard()
            raise
        self._file = None
        _unfinished.discard(self._temporary)

    def _put_in_place(self) -> None:
        if self.may_replace:
            os.replace(self._temporary, self.path)
            return
        try:
            os.link(self._temporary, self.path)  # unlike a rename, this replaces nothing that came in between
        except OSError as err:
            if err.errno != errno.EEXIST and err.errno not in _NO_LINKS:
                raise
            if not os.path.lexists(self.path):
                os.replace(self._temporary, self.path)
                return
            self._compare_with_existing()
        os.unlink(self._temporary)

    def _compare_with_existing(self) -> None:
        if not (os.path.isfile(self.path) and filecmp.cmp(self._temporary, self.path, shallow=False)):
            raise PictureError(
                f"{self.path}: another file of this name has appeared since the start, so it was left alone; "
                "--overwrite replaces it"
            )

    def _discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
                self._file.close()
            self._file = None
        with contextlib.suppress(OSError):
            self._temporary.unlink()
        _unfinished.discard(self._temporary)

    def _cannot_write(self, err: OSError) -> PictureError:
        kind = DiskFullError if err.errno in _NO_ROOM else PictureError
        return kind(f"{self.path}: cannot be written ({err.strerror or err})")

    @abstractmethod
    def _begin(self, file: BinaryIO) -> None:
        """Write what stands before the pixels."""

    @abstractmethod
    def _write(self, file: BinaryIO, rows: Samples) -> None:
        """Write rows of valid shape."""

    @abstractmethod
    def _finish(self, file: BinaryIO) -> None:
        """Write what stands behind the pixels; all rows have come."""
