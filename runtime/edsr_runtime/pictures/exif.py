"""EXIF blocks: orientation read and reset, thumbnail removed, sizes corrected, moved into and out of TIFF files.

Blocks are changed in place wherever possible: maker notes hold offsets into the block, which rebuilding would break.
Tag numbers: CIPA DC-008 (Exif 2.32), section 4.6.
"""

import struct
from collections.abc import Sequence

from edsr_runtime.pictures.ifd import LONG, LONG8, RATIONAL, SHORT, Field, Ifd, IfdError, IfdFile, write_ifd

_PREFIX = b"Exif\0\0"
ORIENTATION = 0x0112
EXIF_IFD = 0x8769
GPS_IFD = 0x8825
_INTEROP_IFD = 0xA005
_WIDTH_TAGS = {0x0100, 0xA002}
_HEIGHT_TAGS = {0x0101, 0xA003}
_THUMBNAIL_POINTERS = ((0x0201, 0x0202), (0x0111, 0x0117))  # JPEG thumbnail, uncompressed thumbnail

DESCRIPTIVE_TAGS = frozenset(
    {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F}
)
"""Tags of a TIFF's main directory that say something about the picture instead of about how it is stored:
description, make, model, software, date, artist, copyright and their Windows Explorer twins."""


def reset_orientation(exif: bytes) -> tuple[bytes, int]:
    """Take the orientation and the thumbnail out of an EXIF block.

    Args:
        exif: the block, with or without the leading "Exif\\0\\0".

    Returns:
        The block from its TIFF header on with orientation 1 and no thumbnail (its bytes are overwritten), and the
        orientation it had: 1 to 8, 1 where there was none or an invalid one.

    Raises:
        IfdError: the block is damaged.
    """
    while exif.startswith(_PREFIX):
        exif = exif[len(_PREFIX) :]
    block = bytearray(exif)
    source = _open(exif)
    main = source.ifd(source.first_offset)
    orientation = 1
    found = main.find(ORIENTATION)
    if found is not None:
        value = found.integer()
        orientation = value if 1 <= value <= 8 else 1
        _set_integer(block, source.order, found, SHORT, 1)
    if main.next_offset:
        _drop_thumbnail(block, source, main)
    return bytes(block), orientation


def _drop_thumbnail(block: bytearray, source: IfdFile, main: Ifd) -> None:
    struct.pack_into(source.order + "I", block, main.next_position, 0)
    try:
        thumbnail = source.ifd(main.next_offset)
    except IfdError:
        return  # nothing that could be found is there; the pointer to it is gone
    for offset_tag, length_tag in _THUMBNAIL_POINTERS:
        where, size = thumbnail.find(offset_tag), thumbnail.find(length_tag)
        if where is None or size is None:
            continue
        start, length = where.integer(), size.integer()
        if start < 8 or start + length > len(block):
            continue
        if start + length >= len(block) - 3 and start > main.next_offset:
            del block[start:]  # the usual case: the thumbnail is what the block ends with
        else:
            block[start : start + length] = bytes(length)


def resize_exif(exif: bytes, height: int, width: int) -> bytes:
    """Put the size of the picture that is written into those size tags that an EXIF block has.

    Raises:
        IfdError: the block is damaged.
    """
    block = bytearray(exif)
    source = _open(exif)
    main = source.ifd(source.first_offset)
    fields = list(main.fields)
    pointer = main.find(EXIF_IFD)
    if pointer is not None:
        fields += source.ifd(pointer.integer()).fields
    for field in fields:
        if field.tag in _WIDTH_TAGS:
            _set_integer(block, source.order, field, LONG, width)
        elif field.tag in _HEIGHT_TAGS:
            _set_integer(block, source.order, field, LONG, height)
    return bytes(block)


def exif_dpi(exif: bytes) -> tuple[float, float] | None:
    """Horizontal and vertical resolution in dots per inch, where the block gives one.

    Raises:
        IfdError: the block is damaged.
    """
    source = _open(exif)
    main = source.ifd(source.first_offset)
    unit = main.find(0x0128)
    per_inch = {2: 1.0, 3: 2.54}.get(unit.integer() if unit is not None else 2)
    values = []
    for tag in (0x011A, 0x011B):
        resolution = main.find(tag)
        if per_inch is None or resolution is None or resolution.type != RATIONAL or resolution.count != 1:
            return None
        numerator, denominator = struct.unpack("<II", resolution.data)
        if not denominator:
            return None
        values.append(numerator / denominator * per_inch)
    return values[0], values[1]


def exif_from_tiff(tiff: IfdFile) -> tuple[bytes | None, int]:
    """The descriptive tags of a TIFF file as an EXIF block (None if it has none), and its orientation.

    Raises:
        IfdError: a directory is damaged.
    """
    main = tiff.ifd(tiff.first_offset)
    orientation_field = main.find(ORIENTATION)
    orientation = orientation_field.integer() if orientation_field is not None else 1
    kept = [f for f in main.fields if f.tag in DESCRIPTIVE_TAGS and not _describes_storage(f)]
    exif, gps = (_sub_ifd(tiff, main, tag) for tag in (EXIF_IFD, GPS_IFD))
    if not kept and not exif and not gps:
        return None, orientation if 1 <= orientation <= 8 else 1
    block = b"II*\0\x08\0\0\0" + linked_directories(kept, exif, gps, offset=8)
    return block, orientation if 1 <= orientation <= 8 else 1


def _describes_storage(field: Field) -> bool:
    # tifffile and ImageJ keep the array's shape in the description; it would be wrong after upscaling
    return field.tag == 0x010E and field.data.startswith((b'{"shape"', b"ImageJ="))


def split_exif(exif: bytes) -> tuple[list[Field], list[Field], list[Field]]:
    """Fields of an EXIF block that a TIFF file may carry: descriptive ones, EXIF directory, GPS directory.

    Raises:
        IfdError: the block is damaged.
    """
    source = _open(exif)
    main = source.ifd(source.first_offset)
    kept = [f for f in main.fields if f.tag in DESCRIPTIVE_TAGS]
    return kept, _sub_ifd(source, main, EXIF_IFD), _sub_ifd(source, main, GPS_IFD)


def linked_directories(
    main: Sequence[Field], exif: Sequence[Field], gps: Sequence[Field], *, offset: int, big: bool = False
) -> bytes:
    """A main directory for byte ``offset`` of a file, with its values, and the two sub-directories behind it."""
    pointers = [tag for tag, fields in ((EXIF_IFD, exif), (GPS_IFD, gps)) if fields]
    kind, form, size = (LONG8, "<Q", 8) if big else (LONG, "<I", 4)
    placeholder = [Field(tag, kind, 1, bytes(size)) for tag in pointers]
    position = offset + len(write_ifd([*main, *placeholder], offset, big=big))
    position += -position % 8
    behind = b""
    links = []
    for tag, fields in ((EXIF_IFD, exif), (GPS_IFD, gps)):
        if fields:
            links.append(Field(tag, kind, 1, struct.pack(form, position + len(behind))))
            behind += write_ifd(fields, position + len(behind), big=big)
            behind += bytes(-len(behind) % 8)
    head = write_ifd([*main, *links], offset, big=big)
    return head + bytes(position - offset - len(head)) + behind if behind else head


def _sub_ifd(source: IfdFile, main: Ifd, tag: int) -> list[Field]:
    pointer = main.find(tag)
    if pointer is None:
        return []
    return [f for f in source.ifd(pointer.integer()).fields if f.tag != _INTEROP_IFD]


def _open(exif: bytes) -> IfdFile:
    source = IfdFile.open(lambda offset, length: exif[offset : offset + length])
    if source.big:
        raise IfdError("an EXIF block cannot be BigTIFF")
    return source


def _set_integer(block: bytearray, order: str, field: Field, kind: int, value: int) -> None:
    packed = struct.pack(order + ("H" if kind == SHORT else "I"), value).ljust(4, b"\0")
    block[field.position : field.position + 12] = struct.pack(order + "HHI", field.tag, kind, 1) + packed
