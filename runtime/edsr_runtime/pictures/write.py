"""Writing pictures: the writer for a format, and a whole picture in one call."""

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from edsr_runtime.errors import PictureError, ShapeError
from edsr_runtime.pictures.formats import WRITABLE_FORMATS, format_of_suffix, output_format
from edsr_runtime.pictures.metadata import sized_metadata
from edsr_runtime.pictures.picture import Picture, PictureMetadata
from edsr_runtime.pictures.row_writer import RowLayout, RowWriter

DEFAULT_QUALITY = 95
_ROWS_AT_ONCE = 256


def open_writer(
    path: Path,
    fmt: str,
    *,
    height: int,
    width: int,
    channels: int,
    dtype: DTypeLike,
    has_alpha: bool = False,
    metadata: PictureMetadata | None = None,
    quality: int = DEFAULT_QUALITY,
    lossless: bool = False,
    may_replace: bool = True,
    tag: str = "",
) -> RowWriter:
    """Prepare a picture file; use it as a context manager and give it rows from top to bottom.

    Everything that the format cannot hold is refused here, before any work. PNG and TIFF stream: their memory is that
    of the rows given at once. JPEG and WebP hold the whole picture until it is encoded.

    Args:
        path: the file; it appears, or is replaced, when the new one is complete, not earlier.
        fmt: "png", "jpg", "webp" or "tiff".
        height, width: size of the picture.
        channels: 1 for gray, 3 for RGB.
        dtype: uint8 or uint16.
        has_alpha: whether every pixel has an alpha sample after its colours.
        metadata: of the source; sizes in it are corrected to ``height`` and ``width``.
        quality: 1 to 100, of JPEG and of lossy WebP.
        lossless: WebP without loss; the other formats ignore it.
        may_replace: see ``RowWriter``.
        tag: of the job it belongs to, see ``row_writer.partial_name``.

    Raises:
        PictureError: the format is unknown or cannot hold such a picture, or the folder does not exist.
        ShapeError: sizes, channels or dtype that no picture has.
    """
    layout = RowLayout(height, width, channels, has_alpha, np.dtype(dtype))
    if height < 1 or width < 1 or channels not in (1, 3) or layout.dtype not in (np.uint8, np.uint16):
        raise ShapeError(
            f"a picture of {height}x{width} with {channels} channels of {layout.dtype} cannot be written, "
            "expected 1 or 3 channels of uint8 or uint16"
        )
    if not 1 <= quality <= 100:
        raise PictureError(f"quality is {quality}, expected 1 to 100")
    if fmt not in WRITABLE_FORMATS:
        raise PictureError(f"output format {fmt!r} is unknown, expected one of {', '.join(WRITABLE_FORMATS)}")
    if path.is_dir():
        raise PictureError(f"{path}: is a folder, expected the name of a file to write")
    if not path.parent.is_dir():
        raise PictureError(f"{path}: its folder does not exist")
    kept = sized_metadata(metadata or PictureMetadata(), height, width)
    writer = _writer(path, fmt, layout, kept, quality, lossless)
    writer.may_replace = may_replace
    writer.belong_to(tag)
    return writer


def _writer(path: Path, fmt: str, layout: RowLayout, kept: PictureMetadata, quality: int, lossless: bool) -> RowWriter:
    if fmt == "png":
        from edsr_runtime.pictures.png_writer import PngWriter

        return PngWriter(path, layout, kept)
    if fmt == "tiff":
        from edsr_runtime.pictures.tiff_writer import TiffWriter

        return TiffWriter(path, layout, kept)
    from edsr_runtime.pictures.pillow_writer import JpegWriter, WebpWriter

    if fmt == "jpg":
        return JpegWriter(path, layout, kept, quality)
    return WebpWriter(path, layout, kept, quality, lossless)


def write_picture(
    path: Path,
    picture: Picture,
    fmt: str | None = None,
    *,
    quality: int = DEFAULT_QUALITY,
    lossless: bool = False,
) -> tuple[str, ...]:
    """Write a whole picture; the format is that of the suffix of ``path`` unless given ("keep": that of the source).

    Returns:
        Sentences about metadata that the format cannot hold.

    Raises:
        PictureError: as ``open_writer``, or the file cannot be written.
    """
    name = format_of_suffix(path) if fmt is None else output_format(picture.source_format, fmt)
    writer = open_writer(
        path,
        name,
        height=picture.height,
        width=picture.width,
        channels=picture.channels,
        dtype=picture.pixels.dtype,
        has_alpha=picture.alpha is not None,
        metadata=picture.metadata,
        quality=quality,
        lossless=lossless,
    )
    with writer:
        for start in range(0, picture.height, _ROWS_AT_ONCE):
            rows = picture.pixels[start : start + _ROWS_AT_ONCE]
            if picture.alpha is not None:
                rows = np.concatenate([rows, picture.alpha[start : start + _ROWS_AT_ONCE, :, None]], axis=2)
            writer.write_rows(rows)
    return writer.notes
