"""Reads ``metadata_props`` of an ONNX file without the onnx package and without reading the weights.

An ONNX file is one protobuf message, ModelProto: fields one after another, each with a tag (number and wire type).
Only field 14 (metadata_props: key = 1, value = 2) is read; all others are skipped by length, above all the graph
(field 7), without which it is no model.
Source: onnx/onnx.proto3 and the protobuf encoding specification.
"""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edsr_runtime.errors import ModelFileError

_GRAPH, _METADATA_PROPS, _KEY, _VALUE = 7, 14, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_ENTRY_BYTES = 1 << 20  # a contract has about a kilobyte
_MAX_FIELDS = 100_000  # a model has some tens; a large file of something else must not keep us for minutes


class _DamagedError(Exception):
    pass


def read_metadata(path: Path) -> dict[str, str]:
    """All metadata entries of an ONNX file.

    Raises:
        ModelFileError: the file cannot be read, or is not one complete protobuf message.
    """
    entries: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            has_graph = False
            for number, payload in _fields(file, path.stat().st_size, wanted=_METADATA_PROPS):
                has_graph |= number == _GRAPH
                if number == _METADATA_PROPS:
                    pair = dict(_entry(payload))
                    entries[pair.get(_KEY, b"").decode()] = pair.get(_VALUE, b"").decode()
            if not has_graph:
                raise _DamagedError
    except OSError as err:
        raise ModelFileError(f"{path}: cannot be read ({err.strerror})") from err
    except (_DamagedError, UnicodeDecodeError) as err:
        raise ModelFileError(f"{path}: not a complete ONNX file. Copy it, or export it again.") from err
    return entries


def _entry(payload: bytes) -> Iterator[tuple[int, bytes]]:
    return _fields(io.BytesIO(payload), len(payload), wanted=None)


def _fields(file: BinaryIO, size: int, wanted: int | None) -> Iterator[tuple[int, bytes]]:
    """(field number, payload) of length-delimited fields; the payload is empty unless wanted (None: all are)."""
    for count in itertools.count():
        if file.tell() == size:
            return
        if count == _MAX_FIELDS:
            raise _DamagedError
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise _DamagedError
        if wire == _VARINT:
            _varint(file)
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if wire == _BYTES:
            length = _varint(file)
        if length is None or file.tell() + length > size:
            raise _DamagedError
        if wire == _BYTES and wanted in (None, number):
            if length > _MAX_ENTRY_BYTES:
                raise _DamagedError
            yield number, file.read(length)
            continue
        file.seek(length, 1)
        if wire == _BYTES:
            yield number, b""


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise _DamagedError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise _DamagedError
