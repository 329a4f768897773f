"""PNG files written row by row: filter "up" and igzip's fastest level, memory bounded by a few pieces.

Filtering is two numpy calls per piece, and igzip deflates about nine times as fast as zlib at a size no larger than
Pillow's fastest level. Pieces are deflated beside each other, none with a look at the one before, and are one stream
when one follows the other: the bytes do not depend on the number of threads. Source of the format: PNG Specification,
third edition, W3C 2025; of what pieces have between them: RFC 1950 and 1951.
"""

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from edsr_runtime.cpu import usable_cores
from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.picture import PictureMetadata, Samples
from edsr_runtime.pictures.png_reader import INCHES_PER_METRE, SIGNATURE, XMP_KEYWORD
from edsr_runtime.pictures.row_writer import RowLayout, RowWriter

MAX_SIDE = 2**31 - 1
_COLOUR_TYPES = {(1, False): 0, (3, False): 2, (1, True): 4, (3, True): 6}
_UP = 2  # filter type
_PIECE_BYTES = 1 << 20
"""Rows are filtered and deflated in pieces of about this size: several of a usual picture, and all in the cache."""
_MOST_THREADS = 4  # inference may want the others
_STREAM_HEADER, _LAST_BLOCK = b"\x78\x01", b"\x03\x00"
_ADLER_MODULUS = 65521


class _Piece(NamedTuple):
    """Some rows, filtered and deflated."""

    packed: bytes
    """Whole blocks, up to a byte's end, and none of them the last."""
    checksum: int
    """Adler-32 of what was deflated."""
    length: int
    """Of what was deflated, in bytes."""


class PngWriter(RowWriter):
    """8 or 16 bits; gray, gray+alpha, RGB or RGBA."""

    def __init__(self, path: Path, layout: RowLayout, metadata: PictureMetadata) -> None:
        if max(layout.height, layout.width) > MAX_SIDE:
            raise PictureError(f"{path}: {layout.height}x{layout.width} is too large for PNG ({MAX_SIDE:,} per side)")
        super().__init__(path, layout, metadata)
        self._above: Samples = np.zeros((1, layout.width, layout.samples_per_pixel), layout.dtype)
        self._checksum = 1  # Adler-32 of nothing

    def _begin(self, file: BinaryIO) -> None:
        layout = self.layout
        file.write(SIGNATURE)
        header = struct.pack(
            ">IIBBBBB",
            layout.width,
            layout.height,
            8 * layout.dtype.itemsize,
            _COLOUR_TYPES[layout.channels, layout.has_alpha],
            0,
            0,
            0,
        )
        _write_chunk(file, b"IHDR", header)
        for name, body in metadata_chunks(self.metadata):
            _write_chunk(file, name, body)
        _write_chunk(file, b"IDAT", _STREAM_HEADER)

    def _write(self, file: BinaryIO, rows: Samples) -> None:
        for piece in self._pieces(rows):
            _write_chunk(file, b"IDAT", piece.packed)
            self._checksum = _joined(self._checksum, piece)
        self._above = rows[-1:].copy()

    def _pieces(self, rows: Samples) -> Iterator[_Piece]:
        step = max(1, _PIECE_BYTES // self.layout.row_bytes)
        starts = range(0, len(rows), step)

        def piece(start: int) -> _Piece:
            return _deflated(rows[start : start + step], rows[start - 1 : start] if start else self._above)

        threads = min(len(starts), usable_cores(), _MOST_THREADS)
        if threads == 1:
            yield from map(piece, starts)
            return
        with ThreadPoolExecutor(threads, "edsr-png") as pool:
            for first in range(0, len(starts), 2 * threads):  # no more in memory than these
                yield from pool.map(piece, starts[first : first + 2 * threads])

    def _finish(self, file: BinaryIO) -> None:
        _write_chunk(file, b"IDAT", _LAST_BLOCK + struct.pack(">I", self._checksum))
        _write_chunk(file, b"IEND", b"")


def _deflated(rows: Samples, above: Samples) -> _Piece:
    """Filter and deflate rows, below another one."""
    lines = _as_bytes(rows)
    filtered = np.empty((len(lines), 1 + lines.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    np.subtract(lines[0], _as_bytes(above)[0], out=filtered[0, 1:])
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    deflater = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)  # without header and checksum
    packed = deflater.compress(filtered) + deflater.flush(isal_zlib.Z_FULL_FLUSH)
    return _Piece(packed, isal_zlib.adler32(filtered), filtered.size)


def _as_bytes(rows: Samples) -> NDArray[np.uint8]:
    if rows.dtype == np.uint16:
        rows = rows.astype(">u2")  # PNG keeps the high byte first
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)


def _joined(checksum: int, piece: _Piece) -> int:
    """Adler-32 of everything so far and the piece after it, by its definition: sums of bytes, and sums of those."""
    low, high = checksum & 0xFFFF, checksum >> 16
    piece_low, piece_high = piece.checksum & 0xFFFF, piece.checksum >> 16
    low_of_both = (low + piece_low - 1) % _ADLER_MODULUS
    high_of_both = (high + piece_high + (low - 1) * piece.length) % _ADLER_MODULUS
    return high_of_both << 16 | low_of_both


def metadata_chunks(metadata: PictureMetadata) -> list[tuple[bytes, bytes]]:
    """Name and body of the PNG chunks that carry the metadata, in an order the format allows before IDAT."""
    chunks = []
    for name, body in metadata.png_colour:
        if not (name == b"sRGB" and metadata.icc is not None):  # the two exclude each other
            chunks.append((name, body))
    if metadata.icc is not None:
        chunks.append((b"iCCP", b"ICC profile\0\0" + isal_zlib.compress(metadata.icc)))
    if metadata.dpi is not None:
        x, y = (min(round(value * INCHES_PER_METRE), MAX_SIDE) for value in metadata.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if metadata.exif is not None:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        chunks.append((b"iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + metadata.xmp))
    for keyword, value in metadata.text:
        key = keyword.encode("latin-1", "replace")[:79]
        try:
            chunks.append((b"tEXt", key + b"\0" + value.encode("latin-1").replace(b"\0", b" ")))
        except UnicodeEncodeError:
            chunks.append((b"iTXt", key + b"\0\0\0\0\0" + value.encode("utf-8", "replace").replace(b"\0", b" ")))
    return chunks


def _write_chunk(file: BinaryIO, name: bytes, body: bytes) -> None:
    checksum = isal_zlib.crc32(body, isal_zlib.crc32(name))
    file.write(struct.pack(">I", len(body)) + name)
    file.write(body)
    file.write(struct.pack(">I", checksum))
