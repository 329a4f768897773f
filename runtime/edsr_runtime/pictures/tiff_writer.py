"""TIFF files written strip by strip: deflate with horizontal differencing, BigTIFF where 4 GiB do not suffice.

Written by us, since tifffile wants to pull its strips from an iterator and keeps no EXIF directory, and Pillow reduces
16-bit colours to 8. Source: TIFF revision 6.0 (Adobe, 1992), sections 2, 7, 8, 14, 18; deflate is Adobe Photoshop
TIFF Technical Notes (2002).
"""

import struct
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from isal import isal_zlib

from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.exif import linked_directories, split_exif
from edsr_runtime.pictures.ifd import ASCII, BYTE, LONG, LONG8, RATIONAL, SHORT, UNDEFINED, Field
from edsr_runtime.pictures.picture import PictureMetadata, Samples
from edsr_runtime.pictures.row_writer import RowLayout, RowWriter

_STRIP_BYTES = 1 << 20
_CLASSIC_LIMIT = 0xF0000000
"""Bytes of pixels up to which offsets surely fit into 32 bits, with room for strips that do not shrink."""
_MAX_SIDE = 2**31 - 1
_TEXT_TAGS = {"Title": 0x010E, "Description": 0x010E, "Software": 0x0131, "Author": 0x013B, "Copyright": 0x8298}


class TiffWriter(RowWriter):
    """8 or 16 bits; gray, gray+alpha, RGB or RGBA (unassociated alpha); little-endian."""

    def __init__(self, path: Path, layout: RowLayout, metadata: PictureMetadata) -> None:
        if max(layout.height, layout.width) > _MAX_SIDE:
            raise PictureError(f"{path}: {layout.height}x{layout.width} is too large for TIFF ({_MAX_SIDE:,} per side)")
        super().__init__(path, layout, metadata)
        self._big = layout.height * layout.row_bytes > _CLASSIC_LIMIT
        self._rows_per_strip = min(layout.height, max(1, _STRIP_BYTES // layout.row_bytes))
        self._waiting: Samples = np.empty((0, layout.width, layout.samples_per_pixel), layout.dtype)
        self._offsets: list[int] = []
        self._sizes: list[int] = []

    def _begin(self, file: BinaryIO) -> None:
        # the offset of the directory is put in at the end
        file.write(b"II+\0\x08\0\0\0" + bytes(8) if self._big else b"II*\0" + bytes(4))

    def _write(self, file: BinaryIO, rows: Samples) -> None:
        step = self._rows_per_strip
        if len(self._waiting):
            missing = step - len(self._waiting)
            self._waiting = np.concatenate([self._waiting, rows[:missing]])
            rows = rows[missing:]
            if len(self._waiting) == step:
                self._write_strip(file, self._waiting)
                self._waiting = self._waiting[:0]
        whole = len(rows) - len(rows) % step
        for start in range(0, whole, step):
            self._write_strip(file, rows[start : start + step])
        if whole < len(rows):
            self._waiting = rows[whole:].copy()

    def _write_strip(self, file: BinaryIO, rows: Samples) -> None:
        differences = np.empty(rows.shape, rows.dtype.newbyteorder("<"))
        differences[:, 0] = rows[:, 0]
        np.subtract(rows[:, 1:], rows[:, :-1], out=differences[:, 1:])
        packed = isal_zlib.compress(differences, 1)
        self._offsets.append(file.tell())
        self._sizes.append(len(packed))
        file.write(packed)

    def _finish(self, file: BinaryIO) -> None:
        if len(self._waiting):
            self._write_strip(file, self._waiting)
        file.write(bytes(-file.tell() % 8))
        where = file.tell()
        main = self._structure()
        exif, gps = self._describe(main)
        file.write(linked_directories(main, exif, gps, offset=where, big=self._big))
        file.seek(8 if self._big else 4)
        file.write(struct.pack("<Q" if self._big else "<I", where))

    def _structure(self) -> list[Field]:
        layout = self.layout
        samples = layout.samples_per_pixel
        position, form = (LONG8, "<%dQ") if self._big else (LONG, "<%dI")
        strips = len(self._offsets)
        fields = [
            _long(256, layout.width),
            _long(257, layout.height),
            Field(258, SHORT, samples, struct.pack("<H", 8 * layout.dtype.itemsize) * samples),
            _short(259, 8),  # compression: deflate
            _short(262, 2 if layout.channels == 3 else 1),  # photometric: RGB or black is zero
            Field(273, position, strips, struct.pack(form % strips, *self._offsets)),
            _short(274, 1),  # orientation: upright
            _short(277, samples),
            _long(278, self._rows_per_strip),
            Field(279, position, strips, struct.pack(form % strips, *self._sizes)),
            _short(284, 1),  # planar configuration: interleaved
            _short(317, 2),  # predictor: horizontal differencing
        ]
        if layout.has_alpha:
            fields.append(_short(338, 2))  # extra sample: unassociated alpha
        return fields

    def _describe(self, main: list[Field]) -> tuple[list[Field], list[Field]]:
        """Add metadata to the main directory; return the EXIF and the GPS directory."""
        metadata = self.metadata
        exif: list[Field] = []
        gps: list[Field] = []
        if metadata.dpi is not None:
            main += [_rational(282, metadata.dpi[0]), _rational(283, metadata.dpi[1]), _short(296, 2)]  # per inch
        if metadata.xmp is not None:
            main.append(Field(700, BYTE, len(metadata.xmp), metadata.xmp))
        if metadata.icc is not None:
            main.append(Field(34675, UNDEFINED, len(metadata.icc), metadata.icc))
        if metadata.exif is not None:
            described, exif, gps = split_exif(metadata.exif)
            main += described
        taken = {field.tag for field in main}
        for keyword, value in metadata.text:
            tag = _TEXT_TAGS.get(keyword)
            if tag is not None and tag not in taken:
                taken.add(tag)
                data = value.replace("\0", " ").encode("utf-8", "replace") + b"\0"
                main.append(Field(tag, ASCII, len(data), data))
        return exif, gps


def _short(tag: int, value: int) -> Field:
    return Field(tag, SHORT, 1, struct.pack("<H", value))


def _long(tag: int, value: int) -> Field:
    return Field(tag, LONG, 1, struct.pack("<I", value))


def _rational(tag: int, value: float) -> Field:
    fraction = Fraction(value).limit_denominator(4096)
    return Field(tag, RATIONAL, 1, struct.pack("<II", fraction.numerator, fraction.denominator))
