"""A picture file that takes its rows from top to bottom and appears under its name only when it is complete."""

import contextlib
import os
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from edsr_runtime.errors import PictureError, ShapeError
from edsr_runtime.pictures.picture import PictureMetadata, Samples


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
    normally and removed when it does not; an existing file is replaced in one step or left as it was.

    Not flushed to the disk itself (no fsync): after a power failure a file just written may be missing.
    """

    notes: tuple[str, ...]
    """Sentences for the user about metadata that the format cannot hold."""

    def __init__(self, path: Path, layout: RowLayout, metadata: PictureMetadata, notes: tuple[str, ...] = ()) -> None:
        self.path = path
        self.layout = layout
        self.metadata = metadata
        self.notes = notes
        self._rows_written = 0
        self._file: BinaryIO | None = None
        # short, so that it fits beside a name of any length; hidden, so that nobody picks it up
        self._temporary = path.with_name(f".edsr-{secrets.token_hex(8)}.part")

    def __enter__(self) -> Self:
        try:
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
            self._file.close()
            os.replace(self._temporary, self.path)
        except OSError as err:
            self._discard()
            raise self._cannot_write(err) from err
        except BaseException:
            self._discard()
            raise
        self._file = None

    def _discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
                self._file.close()
            self._file = None
        self._temporary.unlink(missing_ok=True)

    def _cannot_write(self, err: OSError) -> PictureError:
        return PictureError(f"{self.path}: cannot be written ({err.strerror or err})")

    @abstractmethod
    def _begin(self, file: BinaryIO) -> None:
        """Write what stands before the pixels."""

    @abstractmethod
    def _write(self, file: BinaryIO, rows: Samples) -> None:
        """Write rows of valid shape."""

    @abstractmethod
    def _finish(self, file: BinaryIO) -> None:
        """Write what stands behind the pixels; all rows have come."""
