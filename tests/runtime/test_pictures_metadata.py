"""EXIF blocks are corrected in place: maker notes keep their offsets, thumbnails go, byte order does not matter."""

import struct

import pytest
from PIL import ExifTags, Image

from edsr_runtime.pictures.exif import exif_dpi, reset_orientation, resize_exif
from edsr_runtime.pictures.ifd import IfdError
from edsr_runtime.pictures.metadata import upright_metadata
from edsr_runtime.pictures.picture import PictureMetadata

MAKER_NOTE = b"MAKERNOTE with offsets of its own"
THUMBNAIL = b"\xff\xd8 a thumbnail of the old picture \xff\xd9"


def block(order: str, *, behind: bytes = b"") -> bytes:
    """An EXIF block made by hand: orientation 6, resolution, sizes, a maker note, a thumbnail, then ``behind``."""

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        packed = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        return struct.pack(order + "HHI", tag, kind, count) + packed

    main_at, exif_at = 8, 8 + 2 + 5 * 12 + 4
    values_at = exif_at + 2 + 3 * 12 + 4
    thumbnail_ifd_at = values_at + 8 + len(MAKER_NOTE) + 1
    thumbnail_at = thumbnail_ifd_at + 2 + 2 * 12 + 4
    main = struct.pack(order + "H", 5)
    main += entry(0x0112, 3, 1, 6) + entry(0x011A, 5, 1, values_at) + entry(0x011B, 5, 1, values_at)
    main += entry(0x0128, 3, 1, 2) + entry(0x8769, 4, 1, exif_at) + struct.pack(order + "I", thumbnail_ifd_at)
    exif = struct.pack(order + "H", 3)
    exif += entry(0x927C, 7, len(MAKER_NOTE), values_at + 8) + entry(0xA002, 3, 1, 40) + entry(0xA003, 3, 1, 30)
    exif += struct.pack(order + "I", 0)
    values = struct.pack(order + "II", 240, 1) + MAKER_NOTE + b"\0"
    thumbnail_ifd = struct.pack(order + "H", 2)
    thumbnail_ifd += entry(0x0201, 4, 1, thumbnail_at) + entry(0x0202, 4, 1, len(THUMBNAIL)) + struct.pack("<I", 0)
    head = struct.pack("<2s", b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, main_at)
    return head + main + exif + values + thumbnail_ifd + THUMBNAIL + behind


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("behind", [b"", b"something that is not the thumbnail"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_orientation_is_reset_and_the_thumbnail_gone(order: str, behind: bytes, prefix: bytes) -> None:
    original = block(order, behind=behind)
    changed, orientation = reset_orientation(prefix + original)
    assert orientation == 6
    assert b"thumbnail of the old picture" not in changed and changed.endswith(behind)
    parsed = Image.Exif()
    parsed.load(changed)
    assert parsed[0x0112] == 1 and parsed.get_ifd(ExifTags.IFD.IFD1) == {}
    assert changed.index(MAKER_NOTE) == original.index(MAKER_NOTE)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sizes_are_corrected_even_beyond_16_bits(order: str) -> None:
    changed = resize_exif(block(order), 30_000, 70_000)
    parsed = Image.Exif()
    parsed.load(changed)
    exif = parsed.get_ifd(ExifTags.IFD.Exif)
    assert (exif[0xA002], exif[0xA003]) == (70_000, 30_000)
    assert exif[0x927C] == MAKER_NOTE and len(changed) == len(block(order))


def test_resolution_comes_from_exif_where_the_format_gives_none() -> None:
    assert exif_dpi(block(">")) == (240.0, 240.0)
    metadata, orientation, notes = upright_metadata(PictureMetadata(exif=block("<")), 3, None)
    assert (metadata.dpi, orientation, notes) == ((240.0, 240.0), 6, ())


@pytest.mark.parametrize("cut", [4, 9, 30, 70, 100])
def test_damaged_blocks_are_refused_and_then_left_out(cut: int) -> None:
    with pytest.raises(IfdError):
        resize_exif(reset_orientation(block("<")[:cut])[0], 1, 1)
    metadata, _, notes = upright_metadata(PictureMetadata(exif=block("<")[:cut]), 3, None)
    assert metadata.exif is None and len(notes) == 1 and notes[0].startswith("damaged EXIF data left out")


def test_orientation_in_xmp_follows_the_pixels() -> None:
    xmp = b'<rdf:Description tiff:Orientation="6"/><tiff:Orientation>6</tiff:Orientation>'
    turned, _, _ = upright_metadata(PictureMetadata(exif=block("<"), xmp=xmp), 3, None)
    assert turned.xmp == xmp.replace(b"6", b"1")
    # without EXIF nothing was turned, so what the XMP says stays as true as it was
    untouched, _, _ = upright_metadata(PictureMetadata(xmp=xmp), 3, None)
    assert untouched.xmp == xmp


@pytest.mark.parametrize("dpi", [(0.0, 72.0), (float("nan"), 72.0), (float("inf"), 1.0), (-1.0, 1.0)])
def test_senseless_resolutions_are_dropped(dpi: tuple[float, float]) -> None:
    assert upright_metadata(PictureMetadata(dpi=dpi), 3, None)[0].dpi is None
