"""A decoded picture together with what belongs to it."""

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Samples = NDArray[Any]
"""uint8 or uint16, (H, W, C)."""


@dataclass(frozen=True)
class PictureMetadata:
    """What a file says about its pixels and where they come from; every part may be absent."""

    icc: bytes | None = None
    """ICC profile; of the same colour space as the pixels."""
    exif: bytes | None = None
    """EXIF block, starting at its TIFF header ("II*" or "MM"); orientation is 1 and there is no thumbnail."""
    xmp: bytes | None = None
    """XMP packet."""
    dpi: tuple[float, float] | None = None
    """Dots per inch, horizontal and vertical."""
    text: tuple[tuple[str, str], ...] = ()
    """Keyword and text, with the keywords of PNG ("Title", "Author", "Comment", ...)."""
    png_colour: tuple[tuple[bytes, bytes], ...] = ()
    """Name and body of the PNG chunks sRGB, gAMA, cHRM and cICP, which no other format knows."""


@dataclass(frozen=True)
class Picture:
    """Pixels as they are meant to be seen: EXIF orientation applied, palette expanded, colours gray or RGB."""

    pixels: Samples
    """(H, W, 1) or (H, W, 3), uint8 or uint16, straight (not multiplied by alpha). May be a view, or read-only."""
    alpha: Samples | None
    """(H, W), same dtype as ``pixels``; None for an opaque format."""
    metadata: PictureMetadata = field(default_factory=PictureMetadata)
    source_format: str = "png"
    """Name of the file's format: "png", "jpg", "webp", "tiff", "bmp", "gif", "ppm", "jp2", "avif", "qoi"."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about what was changed while reading."""

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """1 for gray, 3 for RGB; alpha not counted."""
        return int(self.pixels.shape[2])


@dataclass(frozen=True)
class DecodedFile:
    """What one format's reader hands over, before orientation and metadata are put in order."""

    samples: Samples
    """(H, W, C) uint8 or uint16: gray, gray+alpha, RGB or RGBA."""
    metadata: PictureMetadata
    """As in the file; the EXIF block may still carry orientation and thumbnail."""
    orientation: int | None = None
    """EXIF orientation where it does not stand in the EXIF block."""
    notes: tuple[str, ...] = ()
    is_upright: bool = False
    """The pixels have been turned already; only the metadata still has to follow."""
