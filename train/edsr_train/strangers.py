"""What a file is that was given as a checkpoint and is none, told from its first bytes.

A suffix is never trusted: web pages saved as ``.pt`` are as common as ``.t7`` files renamed to it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 512
"""How much of the start of a file ``describe_stranger`` wants to see."""


@dataclass(frozen=True)
class _Kind:
    matches: Callable[[bytes], bool]
    sentence: str
    """Follows "<path>: "."""


def _starts(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magic)


def _is_web_page(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--"))


def _is_torch7(head: bytes) -> bool:
    """Torch7 begins with the type of the first object, 3 (table) or 4 (object), and its index, 1; binary or text."""
    binary = re.match(rb"[\x03\x04]\0\0\0\x01\0\0\0", head)
    text = re.match(rb"[34]\s+1\s+\d", head)
    return bool(binary or text)


def _is_onnx(head: bytes) -> bool:
    """Protobuf ModelProto: field 1 (ir_version, a small number), then a field that ModelProto may have next."""
    return len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in b"\x12\x1a\x22\x2a\x32\x3a\x42"


_KINDS = (
    _Kind(
        _starts(b"version https://git-lfs.github.com/spec/"),
        "is a Git LFS pointer, not the weights it stands for. Fetch them with: git lfs pull",
    ),
    _Kind(
        _is_web_page,
        "is a web page, not a checkpoint: the address leads to a page about the file. "
        "Download the file itself (the raw or download link)",
    ),
    _Kind(
        _is_torch7,
        "is a Torch7 file (Lua, .t7), which PyTorch cannot read. "
        "Use the PyTorch release of the same network (.pt), for EDSR and MDSR that of EDSR-PyTorch",
    ),
    _Kind(
        _starts(b"\x89HDF\r\n\x1a\n"),
        "is an HDF5 file (Keras .h5 weights). A PyTorch or safetensors checkpoint is expected",
    ),
    _Kind(
        lambda head: head[4:8] == b"TFL3",
        "is a TensorFlow Lite model. A PyTorch or safetensors checkpoint is expected",
    ),
    _Kind(
        _is_onnx,
        "is an ONNX model, which is what checkpoints are exported to. Give it to edsr-upscale with -m, "
        "or give the checkpoint that it was made from",
    ),
    _Kind(
        lambda head: head[257:262] == b"ustar",
        "is a tar archive. Unpack it and give one of the checkpoints inside (a checkpoint of PyTorch 0.1 is itself a "
        "tar archive: save it again with a newer PyTorch)",
    ),
    _Kind(
        _starts(b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"),
        "is a compressed archive. Unpack it and give the checkpoint inside",
    ),
    _Kind(
        _starts(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*"),
        "is a picture. A checkpoint is expected here",
    ),
)


def describe_stranger(head: bytes) -> str | None:
    """Say what a file is by its first ``HEAD_BYTES`` bytes, as a sentence that follows the path.

    None where it may be a checkpoint (zip archive, pickle, safetensors) or is of no kind that is known here.
    """
    if head.startswith((b"PK", b"\x80")):
        return None
    return next((kind.sentence for kind in _KINDS if kind.matches(head)), None)


def describe_unknown(head: bytes) -> str:
    """The sentence for a file that ``describe_stranger`` does not know and no reader wants."""
    if all(byte in b"\t\n\r\f\x1b" or 32 <= byte < 127 for byte in head):
        return "is a text file, not a checkpoint"
    return f"is no checkpoint: it begins with the bytes {head[:8].hex(' ')}, as no known format does"
