"""TIFF files: structure checked through tifffile, plain 8- and 16-bit samples decoded by it, the rest by Pillow."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.exif import exif_from_tiff
from edsr_runtime.pictures.ifd import IfdError, IfdFile
from edsr_runtime.pictures.libtiff_errors import libtiff_errors
from edsr_runtime.pictures.picture import DecodedFile, PictureMetadata, Samples
from edsr_runtime.pictures.pillow_reader import decode_with_pillow

# tifffile reports oddities of files through logging; without a handler Python would print them on stderr
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_REDUCED_OR_MASK = 0b101  # NewSubfileType
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_LAB = (8, 9, 10)
_ASSOCIATED, _UNASSOCIATED = 1, 2
_XMP, _ICC, _DNG_VERSION = 700, 34675, 50706


def read_tiff(path: Path, check_size: Callable[[int, int], None]) -> DecodedFile:
    """Decode a TIFF file.

    Args:
        path: the file.
        check_size: called with the declared (height, width) before anything is decoded; raises to refuse.

    Raises:
        PictureError: several pages, a camera raw file, LAB, floating-point or unusual samples, incomplete.
        Exception types of ``read.DECODER_ERRORS``: the data is damaged.
    """
    with tifffile.TiffFile(path) as tiff:
        if not len(tiff.pages):
            raise PictureError(f"{path}: incomplete TIFF file, it ends before its directory")
        pages = [page for page in tiff.pages if not _is_reduced_or_mask(page)]
        page = tiff.pages[0]
        if not isinstance(page, tifffile.TiffPage):
            raise PictureError(f"{path}: damaged TIFF file, its first page cannot be read")
        if _DNG_VERSION in page.tags or _is_reduced_or_mask(page):
            raise PictureError(f"{path}: a camera raw file or a preview, not a finished picture; develop it first")
        if len(pages) > 1:
            raise PictureError(f"{path}: TIFF with {len(pages)} pages, expected a single one; split it first")
        check_size(page.imagelength, page.imagewidth)
        _check_samples(path, page)
        _check_complete(path, page, path.stat().st_size)
        metadata, orientation = _metadata(path, page)
        notes: tuple[str, ...] = ()
        bits = page.bitspersample
        if page.photometric in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB) and bits in (8, 16):
            samples, notes = _decode(path, page)
            return DecodedFile(samples, metadata, orientation, notes)
    with libtiff_errors():
        samples, icc, notes = decode_with_pillow(path, "tiff", check_size, metadata.icc)
    if page.photometric == _CMYK and bits == 16:
        notes = (*notes, "16-bit CMYK reduced to 8 bits")
    metadata = PictureMetadata(icc, metadata.exif, metadata.xmp, metadata.dpi)
    # Pillow turns TIFF files by itself
    return DecodedFile(samples, metadata, orientation, notes, is_upright=True)


def _is_reduced_or_mask(page: tifffile.TiffPage | tifffile.TiffFrame) -> bool:
    tag = page.tags.get(254) if isinstance(page, tifffile.TiffPage) else None
    if tag is not None:
        return bool(int(tag.value) & _REDUCED_OR_MASK)
    old = page.tags.get(255) if isinstance(page, tifffile.TiffPage) else None
    return old is not None and int(old.value) == 2


def _check_samples(path: Path, page: tifffile.TiffPage) -> None:
    formats = page.tags.get(339)
    kinds = set(np.atleast_1d(formats.value).tolist()) if formats is not None else {1}
    names = {2: "signed integer", 3: "floating-point", 5: "complex", 6: "complex"}
    for kind in sorted(kinds - {1, 4}):
        raise PictureError(
            f"{path}: TIFF with {names.get(kind, 'unknown')} samples, expected unsigned integers of up to 16 bits; "
            "convert it first"
        )
    depth_tag = page.tags.get(258)
    depths = set(np.atleast_1d(depth_tag.value).tolist()) if depth_tag is not None else {1}
    if len(depths) != 1 or not depths <= {1, 2, 4, 8, 16}:
        listed = ", ".join(str(depth) for depth in sorted(depths))
        raise PictureError(
            f"{path}: TIFF with {listed} bits per sample, expected 1, 2, 4, 8 or 16 in all of them; convert it first"
        )
    if page.photometric in _LAB:
        raise PictureError(f"{path}: TIFF in LAB colours, expected gray, RGB or CMYK; convert it first")
    if page.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR):
        raise PictureError(
            f"{path}: TIFF of photometric kind {int(page.photometric)}, expected gray, RGB, palette, YCbCr or CMYK"
        )
    if page.planarconfig not in (1, 2):  # decoders would leave memory as it was found
        raise PictureError(
            f"{path}: damaged TIFF file, its samples are arranged in the way {int(page.planarconfig)}, expected 1 or 2"
        )
    if page.imagedepth != 1:
        raise PictureError(f"{path}: TIFF with a volume of depth {page.imagedepth}, expected a flat picture")


def _check_complete(path: Path, page: tifffile.TiffPage, file_size: int) -> None:
    # tifffile and libtiff fill in what is missing; a picture with blank strips must not pass for a whole one
    offsets, counts = page.dataoffsets, page.databytecounts
    expected = int(np.prod(page.chunked)) if page.chunked else 1
    if len(offsets) < expected or len(counts) < len(offsets):
        raise PictureError(f"{path}: damaged TIFF file, {len(offsets)} of {expected} strips or tiles are listed")
    for offset, count in zip(offsets, counts, strict=False):
        if count <= 0 or offset <= 0 or offset + count > file_size:
            raise PictureError(f"{path}: incomplete TIFF file, a strip or tile is missing or lies outside the file")


def _decode(path: Path, page: tifffile.TiffPage) -> tuple[Samples, tuple[str, ...]]:
    samples = page.asarray()
    colours = 3 if page.photometric == _RGB else 1
    if page.samplesperpixel == 1:
        samples = samples.reshape(page.imagelength, page.imagewidth, 1)
    elif page.planarconfig == 2:
        samples = np.moveaxis(samples, 0, -1)
    if samples.ndim != 3 or samples.shape[2] < colours or samples.dtype not in (np.uint8, np.uint16):
        raise PictureError(f"{path}: damaged TIFF file, {samples.shape} samples do not make a picture")
    if samples.dtype == np.uint16:
        samples = samples.astype(np.uint16, copy=False)  # native byte order
    notes: list[str] = []
    kinds = [int(kind) for kind in page.extrasamples]
    alpha = next((i for i, kind in enumerate(kinds) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
    unused = samples.shape[2] - colours - (alpha is not None)
    if unused:
        notes.append(f"{unused} extra channel{'s' if unused > 1 else ''} left out")
    if page.photometric == _MIN_IS_WHITE:
        inverted = samples.copy()
        inverted[:, :, 0] = np.iinfo(samples.dtype).max - samples[:, :, 0]
        samples = inverted
    if alpha is None:
        return samples[:, :, :colours], tuple(notes)
    if unused:
        samples = samples[:, :, [*range(colours), colours + alpha]]
    if kinds[alpha] == _ASSOCIATED:
        samples = _straight(samples)
    return samples, tuple(notes)


def _straight(samples: Samples) -> Samples:
    """Divide colours by alpha, row by row; where alpha is 0 the colours are 0."""
    result = samples.copy()
    top = np.float64(np.iinfo(samples.dtype).max)
    for row in result:
        alpha = row[:, -1:].astype(np.float64)
        scale = np.divide(top, alpha, out=np.zeros_like(alpha), where=alpha > 0)
        row[:, :-1] = np.minimum(np.rint(row[:, :-1] * scale), top).astype(samples.dtype)
    return result


def _metadata(path: Path, page: tifffile.TiffPage) -> tuple[PictureMetadata, int]:
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        tiff = IfdFile.open(read)
        main = tiff.ifd(tiff.first_offset)
        try:
            exif, orientation = exif_from_tiff(tiff)
        except IfdError as err:
            raise PictureError(f"{path}: damaged TIFF file ({err})") from err
    icc, xmp = main.find(_ICC), main.find(_XMP)
    return (
        PictureMetadata(
            icc=icc.data if icc is not None else None,
            exif=exif,
            xmp=xmp.data.rstrip(b"\0") or None if xmp is not None else None,
            dpi=_dpi(page),
        ),
        orientation,
    )


def _dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    unit = page.tags.get(296)
    per_inch = {2: 1.0, 3: 2.54}.get(int(unit.value) if unit is not None else 2)
    x, y = page.tags.get(282), page.tags.get(283)
    if per_inch is None or x is None or y is None or not x.value[1] or not y.value[1]:
        return None
    return x.value[0] / x.value[1] * per_inch, y.value[0] / y.value[1] * per_inch
