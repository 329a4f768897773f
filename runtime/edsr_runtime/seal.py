"""The seal of an ONNX file: a checksum over everything in it, without which a flipped bit gives wrong pictures.

It is one more entry of ``metadata_props`` at the end of the file, so that every reader of ONNX still reads it.
"""

import hashlib
from pathlib import Path
from typing import BinaryIO

from edsr_runtime.errors import ModelFileError

SEAL_KEY = b"edsr_toolkit.sha256"
_ENTRY = b"\x72" + bytes([2 + len(SEAL_KEY) + 2 + 64]) + b"\x0a" + bytes([len(SEAL_KEY)]) + SEAL_KEY + b"\x12\x40"
"""Tag and length of the entry, of its key and of its value: field 14 of ModelProto, fields 1 and 2 of the entry."""
_SEAL_BYTES = len(_ENTRY) + 64


def sealed(model: bytes) -> bytes:
    """A serialised ONNX model with its seal behind it."""
    return model + _ENTRY + hashlib.sha256(model).hexdigest().encode()


def check_seal(path: Path, file: BinaryIO) -> None:
    """Compare a file with its seal, if it has one.

    Raises:
        ModelFileError: they do not agree.
    """
    size = path.stat().st_size
    file.seek(max(0, size - _SEAL_BYTES))
    end = file.read(_SEAL_BYTES)
    if len(end) < _SEAL_BYTES or SEAL_KEY not in end:
        return
    file.seek(0)
    checksum = hashlib.sha256()
    left = size - _SEAL_BYTES
    while left:
        piece = file.read(min(left, 1 << 20))
        if not piece:
            break
        checksum.update(piece)
        left -= len(piece)
    if end != _ENTRY + checksum.hexdigest().encode():
        raise ModelFileError(
            f"{path}: is not what was exported: its contents and its seal differ. Copy it, or export it again."
        )
