"""Metadata made true: for the upright pixels after reading, for the new size before writing."""

import math
import re
from dataclasses import replace

from edsr_runtime.pictures.exif import exif_dpi, reset_orientation, resize_exif
from edsr_runtime.pictures.ifd import IfdError
from edsr_runtime.pictures.picture import PictureMetadata

_ICC_SPACES = {1: b"GRAY", 3: b"RGB "}
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>\s*))[2-8]")
_XMP_WIDTH = re.compile(rb"((?:tiff:ImageWidth|exif:PixelXDimension)\s*(?:=\s*[\"']|>\s*))\d+")
_XMP_HEIGHT = re.compile(rb"((?:tiff:ImageLength|exif:PixelYDimension)\s*(?:=\s*[\"']|>\s*))\d+")


def upright_metadata(
    metadata: PictureMetadata, channels: int, orientation: int | None
) -> tuple[PictureMetadata, int, tuple[str, ...]]:
    """Make a file's metadata true for pixels that are about to be turned upright.

    Args:
        metadata: as read from the file.
        channels: 1 for gray, 3 for RGB.
        orientation: EXIF orientation if the reader knows it, None to take it from the EXIF block.

    Returns:
        The metadata without orientation, thumbnail and an ICC profile of another colour space; the EXIF orientation
        the file had (1 to 8); sentences about what had to be left out.
    """
    notes = []
    exif, xmp, icc, dpi = metadata.exif, metadata.xmp, metadata.icc, metadata.dpi
    found = 1
    if exif is not None:
        try:
            exif, found = reset_orientation(exif)
            resize_exif(exif, 1, 1)  # what cannot be parsed now cannot be written later
            dpi = dpi or exif_dpi(exif)
        except IfdError as err:
            exif = None
            notes.append(f"damaged EXIF data left out ({err})")
    turn = found if orientation is None else orientation
    if xmp is not None and (found != 1 or turn != 1):
        xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    if icc is not None and icc[16:20] != _ICC_SPACES[channels]:
        space = icc[16:20].decode("latin-1").strip() or "unknown"
        kind = "gray" if channels == 1 else "RGB"
        notes.append(f"ICC profile left out: it is for {space} colours and the picture is {kind}")
        icc = None
    if dpi is not None:
        if not all(math.isfinite(value) and 0 < value < 1e6 for value in dpi):
            dpi = None
        elif turn >= 5:
            dpi = (dpi[1], dpi[0])
    return replace(metadata, exif=exif, xmp=xmp, icc=icc, dpi=dpi), turn, tuple(notes)


def sized_metadata(metadata: PictureMetadata, height: int, width: int) -> PictureMetadata:
    """The same metadata with the sizes in EXIF and XMP set to those of the picture that is written."""
    exif, xmp = metadata.exif, metadata.xmp
    if exif is not None:
        exif = resize_exif(exif, height, width)
    if xmp is not None:
        xmp = _XMP_WIDTH.sub(rb"\g<1>%d" % width, xmp)
        xmp = _XMP_HEIGHT.sub(rb"\g<1>%d" % height, xmp)
    return replace(metadata, exif=exif, xmp=xmp)
