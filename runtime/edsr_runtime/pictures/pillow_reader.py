"""Pictures decoded by Pillow: JPEG, WebP, BMP, GIF, PPM, JPEG 2000, AVIF, QOI and the rarer kinds of TIFF."""

import importlib
import io
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin

from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.picture import DecodedFile, PictureMetadata, Samples


class _JpegFile(JpegImagePlugin.JpegImageFile):
    """A JPEG whose EXIF Pillow leaves alone: it would look for a resolution and warn where the block is damaged."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


_PLUGINS = {
    "webp": "WebPImagePlugin.WebPImageFile",
    "bmp": "BmpImagePlugin.BmpImageFile",
    "gif": "GifImagePlugin.GifImageFile",
    "ppm": "PpmImagePlugin.PpmImageFile",
    "jp2": "Jpeg2KImagePlugin.Jpeg2KImageFile",
    "avif": "AvifImagePlugin.AvifImageFile",
    "qoi": "QoiImagePlugin.QoiImageFile",
    "tiff": "TiffImagePlugin.TiffImageFile",
}
"""Of Pillow; each is imported with the first file of its format."""
_NAMES = {"jpg": "JPEG", "webp": "WebP", "gif": "GIF", "avif": "AVIF", "jp2": "JPEG 2000"}

_limit_lock = threading.Lock()
_limit_users = 0
_limit_before: int | None = None


@contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Switch Pillow's own size limit off while we decode: ours has been checked, and its warning is not for users."""
    global _limit_users, _limit_before
    with _limit_lock:
        if _limit_users == 0:
            _limit_before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _limit_users += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_users -= 1
            if _limit_users == 0:
                Image.MAX_IMAGE_PIXELS = _limit_before


def pillow_plugin(source_format: str) -> Callable[[io.BufferedReader], ImageFile.ImageFile]:
    """What decodes a format: jpg, or a key of ``_PLUGINS``."""
    if source_format == "jpg":
        return _JpegFile
    module, _, name = _PLUGINS[source_format].partition(".")
    plugin: Callable[[io.BufferedReader], ImageFile.ImageFile] = getattr(importlib.import_module(f"PIL.{module}"), name)
    return plugin


def read_with_pillow(source_format: str, path: Path, check_size: Callable[[int, int], None]) -> DecodedFile:
    """Decode a file of a format that Pillow reads.

    Args:
        source_format: jpg, or a key of ``_PLUGINS``; what the file's signature says.
        path: the file.
        check_size: called with the declared (height, width) before anything is decoded; raises to refuse.

    Raises:
        PictureError: animated, or samples that gray and RGB of 8 or 16 bits cannot hold.
        Exception types of ``read.DECODER_ERRORS``: the data is damaged.
    """
    if source_format == "webp":
        _check_webp_header(path, check_size)
    if source_format == "ppm":
        deep = _read_deep_ppm(path, check_size)
        if deep is not None:
            return DecodedFile(deep, PictureMetadata())
    notes: tuple[str, ...] = ()
    if source_format in ("jp2", "avif"):
        notes = _check_depth(path, source_format)
    with _without_pillow_limit(), path.open("rb") as file, pillow_plugin(source_format)(file) as picture:
        check_size(picture.height, picture.width)
        _refuse_animation(path, source_format, picture)
        if "mp" in picture.info:
            notes = (*notes, "only the first of several pictures in the file (MPO) is read")
        info = picture.info
        samples, icc, more_notes = _samples(path, picture, info.get("icc_profile"))
        metadata = PictureMetadata(
            icc=icc,
            exif=_bytes_or_none(info.get("exif")),
            xmp=_bytes_or_none(info.get("xmp")),
            dpi=_dpi(source_format, info),
            text=_comment(info.get("comment")),
        )
    return DecodedFile(samples, metadata, None, (*notes, *more_notes))


def decode_with_pillow(
    path: Path, source_format: str, check_size: Callable[[int, int], None], icc: bytes | None
) -> tuple[Samples, bytes | None, tuple[str, ...]]:
    """Samples (H, W, C), the ICC profile that still holds for them, and notes; the pixels only, no other metadata."""
    with _without_pillow_limit(), path.open("rb") as file, pillow_plugin(source_format)(file) as picture:
        check_size(picture.height, picture.width)
        return _samples(path, picture, icc)


def _refuse_animation(path: Path, source_format: str, picture: ImageFile.ImageFile) -> None:
    if getattr(picture, "is_animated", False):
        raise PictureError(
            f"{path}: animated {_NAMES.get(source_format, source_format.upper())}, expected a single picture; "
            "extract its frames first"
        )


def _samples(path: Path, picture: Image.Image, icc: bytes | None) -> tuple[Samples, bytes | None, tuple[str, ...]]:
    picture.load()
    notes: tuple[str, ...] = ()
    transparent = "transparency" in picture.info
    match picture.mode:
        case "LA" | "RGBA":
            pass
        case "1" | "L":
            picture = picture.convert("LA" if transparent else "L")
        case "La":
            picture = picture.convert("LA")
        case "P" | "PA" | "RGB" | "RGBX":
            picture = picture.convert("RGBA" if transparent or picture.mode == "PA" else "RGB")
        case "RGBa":
            picture = picture.convert("RGBA")
        case "YCbCr":
            picture = picture.convert("RGB")
        case "CMYK":
            picture, note = _rgb_from_cmyk(picture, icc)
            icc, notes = None, (note,)
        case mode if mode.startswith("I;16"):
            return np.asarray(picture).astype(np.uint16, copy=False)[:, :, None], icc, notes
        case mode:
            raise PictureError(
                f"{path}: samples of kind {mode}, expected gray, RGB or CMYK of 8 bits, or gray of 16; convert it first"
            )
    samples: Samples = np.asarray(picture)
    return (samples if samples.ndim == 3 else samples[:, :, None]), icc, notes


def _rgb_from_cmyk(picture: Image.Image, icc: bytes | None) -> tuple[Image.Image, str]:
    if icc is not None and icc[16:20] == b"CMYK":
        try:
            converted = ImageCms.profileToProfile(
                picture,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError):
            return picture.convert("RGB"), "CMYK converted to sRGB; its profile is damaged, so colours are approximate"
        assert converted is not None  # None is only for inPlace=True
        return converted, "CMYK converted to sRGB through its embedded profile"
    return picture.convert("RGB"), "CMYK converted to sRGB; it has no profile, so colours are approximate"


def _check_webp_header(path: Path, check_size: Callable[[int, int], None]) -> None:
    """Look at a WebP's declared size by ourselves: opening one already allocates its canvas."""
    with path.open("rb") as file:
        header = file.read(30)
    kind = header[12:16]
    if len(header) < 30:
        raise PictureError(f"{path}: incomplete WebP file, it ends inside its header")
    if kind == b"VP8X":
        check_size(int.from_bytes(header[27:30], "little") + 1, int.from_bytes(header[24:27], "little") + 1)
    elif kind == b"VP8L":
        bits = int.from_bytes(header[21:25], "little")
        check_size((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    elif kind == b"VP8 ":
        width, height = struct.unpack("<HH", header[26:30])
        check_size(height & 0x3FFF, width & 0x3FFF)


def _check_depth(path: Path, source_format: str) -> tuple[str, ...]:
    """Refuse or note what Pillow would reduce to 8 bits without a word."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if source_format == "avif":
        at = head.find(b"av1C")
        if at >= 0 and len(head) > at + 6 and head[at + 6] & 0x40:
            return ("10- or 12-bit AVIF reduced to 8 bits",)
        return ()
    at = head.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(head) < at + 43:
        raise PictureError(f"{path}: damaged JPEG 2000 file, its size marker is missing")
    components = int.from_bytes(head[at + 40 : at + 42], "big")
    depths = [(depth & 0x7F) + 1 for depth in head[at + 42 : at + 42 + 3 * components : 3]]
    if components > 1 and max(depths) > 8:
        raise PictureError(
            f"{path}: colour JPEG 2000 of {max(depths)} bits, expected 8; convert it to a 16-bit PNG or TIFF first"
        )
    return ()


def _read_deep_ppm(path: Path, check_size: Callable[[int, int], None]) -> Samples | None:
    """Samples of a PGM or PPM with more than 8 bits (Pillow reduces those); None for every other kind."""
    with path.open("rb") as file:
        magic = file.read(2)
        if magic not in (b"P2", b"P3", b"P5", b"P6"):
            return None
        width, height, top = (_ppm_number(path, file) for _ in range(3))
        check_size(height, width)
        if top <= 255:
            return None
        if magic in (b"P2", b"P3") or top > 65535:
            raise PictureError(
                f"{path}: PPM in plain text with more than 8 bits; convert it to binary PPM or PNG first"
            )
        channels = 1 if magic == b"P5" else 3
        size = height * width * channels * 2
        data = file.read(size)
    if len(data) < size:
        raise PictureError(f"{path}: incomplete PPM file, {len(data):,} of {size:,} bytes of pixels are there")
    samples = np.frombuffer(data, ">u2").reshape(height, width, channels).astype(np.uint16)
    if top < 65535:
        for row in samples:
            row[...] = np.minimum(np.rint(row * (65535.0 / top)), 65535).astype(np.uint16)
    return samples


def _ppm_number(path: Path, file: io.BufferedReader) -> int:
    """Next number of a PPM header, with the single byte of white space that ends it."""
    digits = b""
    while len(digits) < 10:
        byte = file.read(1)
        if byte == b"#":
            file.readline(1 << 16)
        elif byte.isdigit():
            digits += byte
            continue
        elif byte and not byte.isspace():
            break
        if digits:
            return int(digits)
        if not byte:
            break
    raise PictureError(f"{path}: damaged PPM file, its header does not give width, height and maximum")


def _bytes_or_none(value: object) -> bytes | None:
    return value if isinstance(value, bytes) and value else None


def _dpi(source_format: str, info: dict[str | tuple[int, int], Any]) -> tuple[float, float] | None:
    if source_format == "jpg" and info.get("jfif_unit") not in (1, 2):
        return None  # what Pillow gives then is made up
    value = info.get("dpi")
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    return float(value[0]), float(value[1])


def _comment(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, bytes) or not value.strip(b"\0 "):
        return ()
    data = value.rstrip(b"\0")
    try:
        return (("Comment", data.decode("utf-8")),)
    except UnicodeDecodeError:
        return (("Comment", data.decode("latin-1")),)
