"""PNG files: chunks walked by us, pixels decoded by libpng (imagecodecs), which keeps 16 bits.

Source: Portable Network Graphics (PNG) Specification, third edition, W3C 2025.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
from isal import isal_zlib
from PIL import Image, PngImagePlugin

from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.picture import DecodedFile, PictureMetadata, Samples
from edsr_runtime.printable import printable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DECODER_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_COLOUR_CHUNKS = {b"sRGB", b"gAMA", b"cHRM", b"cICP"}
_METADATA_CHUNKS = {b"iCCP", b"eXIf", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"acTL"} | _COLOUR_CHUNKS
_MAX_METADATA_BYTES = 16 << 20
"""Of one chunk, packed or unpacked: larger ones are left out (a small file could otherwise unpack to gigabytes)."""
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
INCHES_PER_METRE = 1 / 0.0254
XMP_KEYWORD = "XML:com.adobe.xmp"


@dataclass
class _Contents:
    width: int = 0
    height: int = 0
    depth: int = 0
    colour_type: int = 0
    interlaced: bool = False
    palette_size: int = 0
    decoder_input: list[bytes] = field(default_factory=list)
    metadata: list[tuple[bytes, bytes]] = field(default_factory=list)


def read_png(path: Path, check_size: Callable[[int, int], None]) -> DecodedFile:
    """Decode a PNG file.

    Args:
        path: the file.
        check_size: called with the declared (height, width) before anything is decoded; raises to refuse.

    Raises:
        PictureError: animated, incomplete or not valid.
        RuntimeError, OSError, ValueError: the compressed data is damaged.
    """
    contents = _read_chunks(path, check_size)
    for name, body in contents.metadata:
        if name == b"acTL" and len(body) >= 4 and struct.unpack(">I", body[:4])[0] > 1:
            raise PictureError(f"{path}: animated PNG, expected a single picture; extract its frames first")
    data = b"".join(contents.decoder_input)
    contents.decoder_input.clear()
    samples = _decode(data, contents)
    return DecodedFile(samples, _metadata(contents.metadata))


def _read_chunks(path: Path, check_size: Callable[[int, int], None]) -> _Contents:
    contents = _Contents()
    names: set[bytes] = set()
    with path.open("rb") as file:
        contents.decoder_input.append(file.read(len(SIGNATURE)))
        while True:
            head = file.read(8)
            if len(head) < 8:
                raise PictureError(f"{path}: incomplete PNG file, it ends before its end mark")
            length, name = struct.unpack(">I4s", head)
            if not names and (name != b"IHDR" or length != 13):
                raise PictureError(f"{path}: damaged PNG file, it does not start with its header")
            if name in _DECODER_CHUNKS or (name in _METADATA_CHUNKS and length <= _MAX_METADATA_BYTES):
                body = file.read(length + 4)
                if len(body) < length + 4:
                    raise PictureError(f"{path}: incomplete PNG file, it ends inside its {_printable(name)} data")
                _check_sum(path, name, isal_zlib.crc32(memoryview(body)[:-4], isal_zlib.crc32(name)), body[-4:])
                if name in (b"PLTE", b"tRNS"):
                    _check_colours(path, name, body, names, contents)
                if name in _METADATA_CHUNKS:
                    contents.metadata.append((name, body[:-4]))
                else:
                    contents.decoder_input += (head, body)
                if name == b"IHDR":
                    _read_header(path, body, contents)
                    check_size(contents.height, contents.width)
            else:
                _pass_over(path, file, name, length)
            names.add(name)
            if name == b"IEND":
                break
    if contents.colour_type == 3 and b"PLTE" not in names:
        raise PictureError(f"{path}: damaged PNG file, its palette is missing")
    if b"IDAT" not in names:
        raise PictureError(f"{path}: damaged PNG file, it holds no pixels")
    return contents


def _pass_over(path: Path, file: BinaryIO, name: bytes, length: int) -> None:
    """A chunk that is not needed; its name may be what is damaged, so its checksum counts too."""
    checksum = isal_zlib.crc32(name)
    while length:
        piece = file.read(min(length, 1 << 20))
        if not piece:
            raise PictureError(f"{path}: incomplete PNG file, it ends inside its {_printable(name)} data")
        checksum = isal_zlib.crc32(piece, checksum)
        length -= len(piece)
    _check_sum(path, name, checksum, file.read(4))


def _check_sum(path: Path, name: bytes, found: int, stored: bytes) -> None:
    if found.to_bytes(4, "big") != stored:
        raise PictureError(f"{path}: damaged PNG file, the checksum of its {_printable(name)} data is wrong")


def _check_colours(path: Path, name: bytes, body: bytes, before: set[bytes], contents: _Contents) -> None:
    """libpng would leave a damaged or misplaced palette or transparency out, and print that on stderr."""
    size = len(body) - 4
    fits = {
        b"PLTE": size % 3 == 0 and 0 < size <= 3 << 8 and contents.colour_type in (2, 3, 6),
        b"tRNS": {0: size == 2, 2: size == 6, 3: 0 < size <= contents.palette_size}.get(contents.colour_type, False),
    }[name]
    if not fits or name in before or b"IDAT" in before or (name == b"PLTE" and b"tRNS" in before):
        raise PictureError(f"{path}: damaged PNG file, its {_printable(name)} data is misplaced or of a wrong size")
    if name == b"PLTE":
        contents.palette_size = size // 3


def _printable(name: bytes) -> str:
    return printable(name.decode("latin-1"))


def _read_header(path: Path, body: bytes, contents: _Contents) -> None:
    width, height, depth, colour_type, _, _, interlace = struct.unpack(">IIBBBBB", body[:13])
    if depth not in _BIT_DEPTHS.get(colour_type, ()) or not width or not height or interlace > 1:
        raise PictureError(
            f"{path}: damaged PNG file, its header declares {height}x{width} pixels of {depth} bits, "
            f"colour type {colour_type}"
        )
    contents.width, contents.height, contents.depth = width, height, depth
    contents.colour_type, contents.interlaced = colour_type, interlace == 1


def _decode(data: bytes, contents: _Contents) -> Samples:
    if contents.interlaced and contents.depth <= 8:
        # imagecodecs decodes these too, but libpng then prints a warning; Pillow keeps all of 8 bits
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as picture:
            picture.load()
            return np.atleast_3d(np.asarray(_expanded(picture)))
    samples = imagecodecs.png_decode(data)
    return samples if samples.ndim == 3 else samples[:, :, None]


def _expanded(picture: Image.Image) -> Image.Image:
    transparent = "transparency" in picture.info
    if picture.mode in ("1", "L", "I;16"):
        return picture.convert("LA" if transparent else "L")
    if picture.mode in ("P", "RGB"):
        return picture.convert("RGBA" if transparent else "RGB")
    return picture


def _metadata(chunks: list[tuple[bytes, bytes]]) -> PictureMetadata:
    icc = exif = xmp = dpi = None
    text: list[tuple[str, str]] = []
    colour = []
    for name, body in chunks:
        if name == b"iCCP":
            packed = body.partition(b"\0")[2]
            icc = _inflate(packed[1:]) if packed[:1] == b"\0" else None
        elif name == b"eXIf":
            exif = body
        elif name == b"pHYs" and len(body) == 9:
            x, y, unit = struct.unpack(">IIB", body)
            if unit == 1:
                dpi = (_per_inch(x), _per_inch(y))
        elif name in _COLOUR_CHUNKS:
            colour.append((name, body))
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            entry = _text(name, body)
            if entry is None:
                continue
            keyword, value = entry
            if keyword == XMP_KEYWORD:
                xmp = value.encode()
            elif keyword in ("Raw profile type exif", "Raw profile type APP1"):
                exif = exif or _raw_profile(value)
            elif keyword == "Raw profile type xmp":
                xmp = xmp or _raw_profile(value)
            else:
                text.append(entry)
    return PictureMetadata(icc, exif, xmp, dpi, tuple(text), tuple(colour))


def _per_inch(per_metre: int) -> float:
    """Dots per inch; a whole number if that is what was rounded to whole dots per metre."""
    value = per_metre / INCHES_PER_METRE
    return float(round(value)) if round(round(value) * INCHES_PER_METRE) == per_metre else value


def _text(name: bytes, body: bytes) -> tuple[str, str] | None:
    keyword, _, rest = body.partition(b"\0")
    value: bytes | None
    if name == b"tEXt":
        value = rest
    elif name == b"zTXt":
        value = _inflate(rest[1:])
    else:
        packed = rest[:1] == b"\1"
        parts = rest[2:].split(b"\0", 2)
        if len(parts) != 3:
            return None
        value = _inflate(parts[2]) if packed else parts[2]
    if value is None or not keyword:
        return None
    return keyword.decode("latin-1"), value.decode("utf-8" if name == b"iTXt" else "latin-1", "replace")


def _inflate(packed: bytes) -> bytes | None:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, _MAX_METADATA_BYTES)
    except zlib.error:
        return None
    return data if inflater.eof else None


def _raw_profile(value: str) -> bytes | None:
    """ImageMagick's way of keeping a profile as text: name, length, hexadecimal digits."""
    match = re.fullmatch(r"\s*\w+\s+(\d+)\s+([0-9a-fA-F\s]*)", value)
    if match is None:
        return None
    digits = re.sub(r"\s", "", match[2])
    data = bytes.fromhex(digits) if len(digits) % 2 == 0 else b""
    data = data.removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
    return data or None
