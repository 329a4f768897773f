"""Image file directories: the tag lists of TIFF files and EXIF blocks, as bytes in and bytes out.

Source: TIFF revision 6.0 (Adobe, 1992), section 2; BigTIFF as in libtiff. Field values are handed over in
little-endian order whatever the file's own order is.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
# bytes per value, bytes per word that is swapped
_TYPE_SIZES = {
    1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2), 9: (4, 4), 10: (8, 4),
    11: (4, 4), 12: (8, 8), 13: (4, 4), 16: (8, 8), 17: (8, 8), 18: (8, 8),
}  # fmt: skip
_MAX_VALUE_BYTES = 64 << 20


class IfdError(ValueError):
    """A directory points outside its file or is not one."""


@dataclass(frozen=True)
class Field:
    """One tag."""

    tag: int
    type: int
    count: int
    data: bytes
    """Little-endian, ``count`` values."""
    position: int = 0
    """Where the twelve (BigTIFF: twenty) bytes of the entry lie in the file."""

    def integer(self) -> int:
        """First value of a BYTE, SHORT, LONG or LONG8 field."""
        if self.type not in (BYTE, SHORT, LONG, LONG8, 13, 18) or not self.count:
            raise IfdError(f"tag {self.tag} is not an integer")
        return int.from_bytes(self.data[: _TYPE_SIZES[self.type][0]], "little")


@dataclass(frozen=True)
class Ifd:
    """A directory and where the next one begins."""

    fields: tuple[Field, ...]
    next_offset: int
    next_position: int
    """Where ``next_offset`` itself is stored."""

    def find(self, tag: int) -> Field | None:
        return next((f for f in self.fields if f.tag == tag), None)


@dataclass(frozen=True)
class IfdFile:
    """A TIFF file or an EXIF block whose directories can be read.

    Raises:
        IfdError: from every method, where something lies outside the file.
    """

    read: Callable[[int, int], bytes]
    """``read(offset, length)``; fewer bytes than asked for at the end of the file."""
    order: str
    """Byte order as ``struct`` writes it: "<" or ">"."""
    big: bool
    """BigTIFF: 64-bit offsets."""
    first_offset: int

    @staticmethod
    def open(read: Callable[[int, int], bytes]) -> "IfdFile":
        head = read(0, 16)
        if head[:4] in (b"II*\0", b"MM\0*") and len(head) >= 8:
            order = "<" if head[:2] == b"II" else ">"
            return IfdFile(read, order, False, struct.unpack(order + "I", head[4:8])[0])
        if head[:4] in (b"II+\0", b"MM\0+") and len(head) == 16:
            order = "<" if head[:2] == b"II" else ">"
            return IfdFile(read, order, True, struct.unpack(order + "Q", head[8:16])[0])
        raise IfdError("no TIFF header")

    def ifd(self, offset: int) -> Ifd:
        count_format, entry_size, pointer_format, inline = ("Q", 20, "Q", 8) if self.big else ("H", 12, "I", 4)
        count_size = struct.calcsize(count_format)
        (count,) = struct.unpack(self.order + count_format, self._exactly(offset, count_size))
        if count > 4096:
            raise IfdError(f"{count} tags in one directory")
        start = offset + count_size
        table = self._exactly(start, count * entry_size)
        fields = []
        for i in range(count):
            entry = table[i * entry_size : (i + 1) * entry_size]
            tag, kind, n = struct.unpack(self.order + "HH" + pointer_format, entry[: entry_size - inline])
            if kind not in _TYPE_SIZES:
                continue
            size, word = _TYPE_SIZES[kind]
            if n * size > _MAX_VALUE_BYTES:
                continue  # pixel data or nonsense, no metadata
            if n * size <= inline:
                data = entry[entry_size - inline :][: n * size]
            else:
                (where,) = struct.unpack(self.order + pointer_format, entry[entry_size - inline :])
                data = self._exactly(where, n * size)
            if self.order == ">" and word > 1:
                data = np.frombuffer(data, f">u{word}").astype(f"<u{word}").tobytes()
            fields.append(Field(tag, kind, n, data, start + i * entry_size))
        next_position = start + count * entry_size
        raw_next = self.read(next_position, inline)
        # some writers leave the final pointer out
        next_offset = struct.unpack(self.order + pointer_format, raw_next)[0] if len(raw_next) == inline else 0
        return Ifd(tuple(fields), next_offset, next_position)

    def _exactly(self, offset: int, length: int) -> bytes:
        data = self.read(offset, length)
        if len(data) != length:
            raise IfdError(f"directory data at byte {offset} lies outside the file")
        return data


def write_ifd(fields: Sequence[Field], offset: int, *, big: bool = False) -> bytes:
    """A little-endian directory for byte ``offset`` of a file, followed by the values that do not fit inside.

    The pointer to the next directory is 0. ``offset`` is a multiple of 2 (BigTIFF: 8).
    """
    count_format, pointer_format, inline = ("<Q", "<Q", 8) if big else ("<H", "<I", 4)
    ordered = sorted(fields, key=lambda f: f.tag)
    table_size = ifd_table_size(len(ordered), big=big)
    table = bytearray(struct.pack(count_format, len(ordered)))
    values = bytearray()
    for field in ordered:
        table += struct.pack("<HH", field.tag, field.type) + struct.pack(pointer_format, field.count)
        if len(field.data) <= inline:
            table += field.data.ljust(inline, b"\0")
        else:
            table += struct.pack(pointer_format, offset + table_size + len(values))
            values += field.data
            values += bytes(-len(values) % inline)
    table += struct.pack(pointer_format, 0)
    table += bytes(table_size - len(table))
    return bytes(table + values)


def ifd_table_size(count: int, *, big: bool = False) -> int:
    """Bytes that a directory of ``count`` tags takes without its outlying values, rounded up to whole words."""
    size, word = (8 + 20 * count + 8, 8) if big else (2 + 12 * count + 4, 4)
    return size + -size % word
