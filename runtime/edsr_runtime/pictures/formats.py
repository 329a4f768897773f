"""Picture formats: recognised by their first bytes, named, and mapped to the formats that can be written."""

import re
from pathlib import Path

from edsr_runtime.errors import PictureError

WRITABLE_FORMATS = ("png", "jpg", "webp", "tiff")
FORMAT_CHOICES = (*WRITABLE_FORMATS, "keep")
SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tiff"}
PICTURE_SUFFIXES = frozenset(
    {
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif",
        ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".avif", ".qoi",
    }
)  # fmt: skip
"""Suffixes worth trying when a folder is searched; what a file is, its header decides."""

_ALIASES = {"jpeg": "jpg", "tif": "tiff"}
_FORMAT_OF_SUFFIX = {
    ".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".jpe": "jpg", ".jfif": "jpg",
    ".webp": "webp", ".tif": "tiff", ".tiff": "tiff",
}  # fmt: skip

HEADER_BYTES = 1024

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"qoif", "qoi"),
)
_FOREIGN_SIGNATURES = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL picture, which cannot be read"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture, which cannot be read"),
    (b"v/1\x01", "an OpenEXR picture, which cannot be read"),
    (b"#?RADIANCE", "a Radiance HDR picture, which cannot be read"),
    (b"PF\n", "a floating-point picture (PFM), which cannot be read"),
    (b"Pf\n", "a floating-point picture (PFM), which cannot be read"),
    (b"FUJIFILMCCD-RAW", "a camera raw file; develop it first"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with: git lfs pull"),
)


def sniff_format(header: bytes) -> str | None:
    """Name of the picture format whose signature ``header`` (the first bytes of a file) carries, or None."""
    for signature, name in _SIGNATURES:
        if header.startswith(signature):
            return name
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return "webp"
    if header[4:8] == b"ftyp" and header[8:12] in (b"avif", b"avis"):
        return "avif"
    if re.match(rb"P[1-6][\s#]", header):
        return "ppm"
    # "BM" alone is too common; the size of the header that follows must be one of those that exist
    if header[:2] == b"BM" and header[14:18] in {n.to_bytes(4, "little") for n in (12, 16, 40, 52, 56, 64, 108, 124)}:
        return "bmp"
    return None


def describe_foreign(header: bytes) -> str:
    """Say what a file is that carries no signature of a picture format we read."""
    for signature, name in _FOREIGN_SIGNATURES:
        if header.startswith(signature):
            return name
    if header[4:8] == b"ftyp":
        if header[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"):
            return "a HEIC/HEIF picture, which cannot be read; convert it to PNG or JPEG first"
        return "a video or other ISO media file"
    start = header.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page, not a picture (perhaps a download that failed)"
    if start.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        return "an XML or SVG file, not a picture of pixels"
    if header and all(byte >= 32 or byte in b"\t\r\n\f" for byte in header) and _is_utf8(header):
        return "a text file, not a picture"
    return "not a picture in a known format (PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, AVIF, QOI)"


def _is_utf8(header: bytes) -> bool:
    try:
        header.decode("utf-8")
    except UnicodeDecodeError as err:
        return err.start >= len(header) - 3  # a character cut in two by the end of what was read
    return True


def output_format(source_format: str, requested: str) -> str:
    """Name of the format to write.

    Args:
        source_format: format of the input, as in ``Picture.source_format``.
        requested: "png", "jpg", "webp", "tiff", or "keep" for that of the input. What cannot be written (GIF, BMP,
            PPM, JPEG 2000, AVIF, QOI) is kept as PNG, which holds all of them without loss.

    Raises:
        PictureError: ``requested`` is none of those.
    """
    name = _ALIASES.get(requested.lower(), requested.lower())
    if name == "keep":
        return source_format if source_format in WRITABLE_FORMATS else "png"
    if name not in WRITABLE_FORMATS:
        raise PictureError(f"output format {requested!r} is unknown, expected one of {', '.join(FORMAT_CHOICES)}")
    return name


def format_of_suffix(path: Path) -> str:
    """Name of the format that the suffix of an output path asks for.

    Raises:
        PictureError: the suffix is not that of a format that can be written.
    """
    name = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if name is None:
        raise PictureError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}, expected one of "
            f"{', '.join(_FORMAT_OF_SUFFIX)}"
        )
    return name
