"""Walks a protobuf message field by field, whatever it means, without reading what is large.

Source: the protobuf encoding specification.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MAX_FIELDS = 200_000
_SIZES = {FIXED64: 8, FIXED32: 4}


class MessageError(ValueError):
    """What is walked through is no message."""


@dataclass(frozen=True)
class Field:
    """One field of a message, and where its content lies in the file."""

    number: int
    wire: int
    value: int
    """Of a varint; 0 for the others."""
    start: int
    length: int
    """Bytes; of a varint 0."""


def walk(file: BinaryIO, start: int, length: int) -> Iterator[Field]:
    """The fields of the message at ``start``. The file may be moved between them.

    Raises:
        MessageError: it is none, or has more fields than any of ours.
    """
    position, end = start, start + length
    for count in itertools.count():
        if position == end:
            return
        if count == _MAX_FIELDS:
            raise MessageError("it has too many fields")
        file.seek(position)
        tag, position = _varint(file, position, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise MessageError("a field has no number")
        value = size = 0
        if wire == VARINT:
            value, position = _varint(file, position, end)
        elif wire == BYTES:
            size, position = _varint(file, position, end)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise MessageError("a field is of an unknown kind")
        if position + size > end:
            raise MessageError("a field is longer than what it is in")
        yield Field(number, wire, value, position, size)
        position += size


def content(file: BinaryIO, field: Field, limit: int) -> bytes:
    """Of a field of bytes.

    Raises:
        MessageError: it is longer than ``limit``, or of another kind.
    """
    if field.wire != BYTES or field.length > limit:
        raise MessageError(f"a field of {field.length} bytes where at most {limit} are expected")
    file.seek(field.start)
    return file.read(field.length)


def integers(file: BinaryIO, field: Field, limit: int) -> list[int]:
    """Of a repeated integer field, packed or one by one; signed, 64 bits.

    Raises:
        MessageError: there are more than ``limit``.
    """
    if field.wire == VARINT:
        return [_signed(field.value)]
    if field.wire != BYTES or field.length > 10 * limit:
        raise MessageError("a list of numbers is too long")
    values = []
    position, end = field.start, field.start + field.length
    file.seek(position)
    while position < end:
        value, position = _varint(file, position, end)
        values.append(_signed(value))
    return values


def _varint(file: BinaryIO, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        position += 1
        if not byte or position > end:
            raise MessageError("it ends inside a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise MessageError("a number is too long")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
