"""Reading a picture file of any supported kind, completely or not at all."""

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.formats import HEADER_BYTES, describe_foreign, sniff_format
from edsr_runtime.pictures.metadata import upright_metadata
from edsr_runtime.pictures.picture import DecodedFile, Picture, Samples
from edsr_runtime.printable import printable

DEFAULT_MAX_PIXELS = 500_000_000

DECODER_ERRORS = (
    OSError, ValueError, RuntimeError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError,
    OverflowError, ZeroDivisionError, struct.error, zlib.error, Image.DecompressionBombError, Warning,
)  # fmt: skip
"""What Pillow, tifffile and imagecodecs are known to raise on damaged files; warnings where they are errors."""

_NAMES = {
    "png": "PNG", "jpg": "JPEG", "webp": "WebP", "tiff": "TIFF", "bmp": "BMP", "gif": "GIF", "ppm": "PPM",
    "jp2": "JPEG 2000", "avif": "AVIF", "qoi": "QOI",
}  # fmt: skip


def read_picture(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a picture. What it is, its header decides: never its suffix, never its pixel values.

    Args:
        path: the file.
        max_pixels: largest height x width; compared with the declared size before anything is decoded.

    Returns:
        The upright picture: gray stays gray, 16 bits stay 16 bits, palettes are expanded, CMYK becomes sRGB.

    Raises:
        PictureError: no such file, not a picture, damaged or incomplete, too large, animated or of several pages, or
            with samples that 8 or 16 bits of gray or RGB cannot hold.
    """
    source_format = _recognise(path)

    def check_size(height: int, width: int) -> None:
        if height * width > max_pixels:
            raise PictureError(
                f"{path}: declares {height}x{width} pixels (HxW), {height * width / 1e6:,.1f} megapixels; the limit is "
                f"{max_pixels / 1e6:,.1f}. If the file is to be trusted, raise it: --max-pixels {height * width}"
            )

    try:
        decoded = _decoder(source_format)(path, check_size)
    except DECODER_ERRORS as err:
        reason = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise PictureError(f"{path}: damaged or incomplete {_NAMES[source_format]} file ({printable(reason)})") from err
    except MemoryError as err:
        raise PictureError(f"{path}: not enough memory to decode this picture") from err
    return _upright(decoded, source_format)


def import_decoders() -> None:
    """Import what reads all the formats now, where limits that are to come could be in its way."""
    from edsr_runtime.pictures.pillow_reader import pillow_plugin

    for source_format in _NAMES:
        _decoder(source_format)
        if source_format != "png":
            pillow_plugin(source_format)


def _decoder(source_format: str) -> Callable[[Path, Callable[[int, int], None]], DecodedFile]:
    """What reads a format; imported with the first file of it, since together they take as long as a small picture."""
    if source_format == "png":
        from edsr_runtime.pictures.png_reader import read_png

        return read_png
    if source_format == "tiff":
        from edsr_runtime.pictures.tiff_reader import read_tiff

        return read_tiff
    from edsr_runtime.pictures.pillow_reader import read_with_pillow

    return partial(read_with_pillow, source_format)


def _recognise(path: Path) -> str:
    if path.is_dir():
        raise PictureError(f"{path}: is a folder, expected a picture file")
    if path.exists() and not path.is_file():
        raise PictureError(f"{path}: is not a regular file, expected a picture file")
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except FileNotFoundError as err:
        raise PictureError(f"{path}: no such file") from err
    except OSError as err:
        raise PictureError(f"{path}: cannot be read ({err.strerror})") from err
    if not header:
        raise PictureError(f"{path}: is empty (0 bytes)")
    source_format = sniff_format(header)
    if source_format is None:
        raise PictureError(f"{path}: is {describe_foreign(header)}")
    return source_format


def _upright(decoded: DecodedFile, source_format: str) -> Picture:
    samples = decoded.samples
    channels = 1 if samples.shape[2] <= 2 else 3
    metadata, orientation, notes = upright_metadata(decoded.metadata, channels, decoded.orientation)
    if not decoded.is_upright:
        samples = _turned(samples, orientation)
    alpha = samples[:, :, channels] if samples.shape[2] > channels else None
    return Picture(samples[:, :, :channels], alpha, metadata, source_format, (*decoded.notes, *notes))


def _turned(samples: Samples, orientation: int) -> Samples:
    """Turn and mirror (H, W, C) so that it is upright; EXIF 2.32, section 4.6.4, tag 0x0112."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return np.ascontiguousarray(samples) if orientation > 1 else samples
