"""Picture files of every format and kind that is read, made by us, and ways to damage them."""

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

H, W = 19, 23


def samples(channels: int, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    """(H, W, channels), smooth enough for every codec."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, np.iinfo(dtype).max, (5, 6, channels), dtype=dtype)
    return np.ascontiguousarray(coarse.repeat(4, axis=0)[:H].repeat(4, axis=1)[:, :W])


@functools.cache
def corpus() -> dict[str, bytes]:
    """Sound files by name."""
    rgb, gray, rgba = (Image.fromarray(np.squeeze(samples(n))) for n in (3, 1, 4))
    palette = rgb.quantize(16)
    deep = samples(3, np.uint16)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "upside down"
    files = {
        "rgb.png": _saved(rgb, "PNG"),
        "gray.png": _saved(gray, "PNG"),
        "rgba.png": _saved(rgba, "PNG"),
        "palette.png": _saved(palette, "PNG", transparency=3),
        "deep.png": imagecodecs.png_encode(deep),
        "interlaced.png": interlaced_png(samples(3)),
        "exif.png": _saved(rgb, "PNG", exif=exif, icc_profile=icc(), dpi=(300, 300)),
        "rgb.jpg": _saved(rgb, "JPEG", quality=90),
        "gray.jpg": _saved(gray, "JPEG"),
        "progressive.jpg": _saved(rgb, "JPEG", progressive=True, exif=exif, icc_profile=icc()),
        "cmyk.jpg": _saved(rgb.convert("CMYK"), "JPEG"),
        "ycck.jpg": imagecodecs.jpeg8_encode(samples(4), colorspace="CMYK", outcolorspace="YCCK", level=90),
        "lossy.webp": _saved(rgb, "WEBP", exif=exif, icc_profile=icc()),
        "lossless.webp": _saved(rgba, "WEBP", lossless=True),
        "rgb.tif": _saved(rgb, "TIFF", exif=exif),
        "lzw.tif": _saved(rgb, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": _saved(rgb, "TIFF", compression="jpeg"),
        "palette.tif": _saved(palette, "TIFF"),
        "cmyk.tif": _saved(rgb.convert("CMYK"), "TIFF"),
        "bilevel.tif": _saved(gray.convert("1"), "TIFF", compression="group4"),
        "deep.tif": _tiff(deep, compression="deflate", predictor=True, rowsperstrip=3),
        "tiled.tif": _tiff(samples(3), tile=(16, 16)),
        "big.tif": _tiff(deep, bigtiff=True, byteorder=">"),
        "rgb.bmp": _saved(rgb, "BMP"),
        "palette.bmp": _saved(palette, "BMP"),
        "palette.gif": _saved(palette, "GIF", transparency=2),
        "rgb.ppm": _saved(rgb, "PPM"),
        "bits.pbm": _saved(gray.convert("1"), "PPM"),
        "deep.ppm": b"P6 %d %d 65535\n" % (W, H) + deep.astype(">u2").tobytes(),
        "rgb.jp2": _saved(rgb, "JPEG2000"),
        "rgb.avif": _saved(rgb, "AVIF"),
        "rgba.qoi": _saved(rgba, "QOI"),
    }
    return files


@functools.cache
def refused() -> dict[str, bytes]:
    """Files that are no picture that we read, or that must not be: by what they are."""
    rgb = Image.fromarray(samples(3))
    bomb = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    wide = struct.pack(">IIBBBBB", 65_535, 65_535, 16, 6, 0, 0, 0)
    return {
        "nothing.png": b"",
        "zeros.png": bytes(4096),
        "text.jpg": b"this is no picture",
        "bomb.png": _png(bomb, zlib.compress(bytes(10_000))),
        "wide.png": _png(wide, zlib.compress(bytes(10_000))),
        "bomb.jpg": _declaring(_saved(rgb, "JPEG"), b"\xff\xc0", 5, 60_000),
        "bomb.progressive.jpg": _declaring(_saved(rgb, "JPEG", progressive=True), b"\xff\xc2", 5, 60_000),
        "bomb.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "bomb.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";",
        "bomb.ppm": b"P6 60000 60000 255\n",
        "bomb.qoi": b"qoif" + struct.pack(">IIBB", 60_000, 60_000, 3, 0) + bytes(100),
        "bomb.webp": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + 6 * b"\xff",
        "bomb.tif": _huge_tiff(),
        "pages.tif": _saved(rgb, "TIFF", save_all=True, append_images=[rgb, rgb]),
        "lab.tif": _saved(rgb.convert("LAB"), "TIFF"),
        "float.tif": _tiff(samples(1)[:, :, 0].astype(np.float32)),
        "frames.gif": _saved(rgb.quantize(4), "GIF", save_all=True, append_images=[rgb.rotate(90).quantize(4)]),
        "frames.png": _saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "frames.webp": _saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "page.png": b"<!DOCTYPE html><html>404</html>",
        "archive.png": b"PK\x03\x04" + bytes(100),
    }


@functools.cache
def oddities() -> dict[str, bytes]:
    """Sound pictures of odd shapes, and with odd things beside their pixels: all of them are read."""
    one = np.zeros((1, 1, 3), np.uint8)
    tall, flat = np.full((500, 1, 3), 7, np.uint8), np.full((1, 500, 3), 9, np.uint8)
    widest = np.zeros((1, 65_535), np.uint8)
    rgb = _saved(Image.fromarray(samples(3)), "PNG")
    body = rgb[33:]
    head = rgb[:33]
    return {
        "1x1.png": _saved(Image.fromarray(one), "PNG"),
        "1x1.jpg": _saved(Image.fromarray(one), "JPEG"),
        "1xN.png": _saved(Image.fromarray(flat), "PNG"),
        "Nx1.webp": _saved(Image.fromarray(tall), "WEBP"),
        "Nx1.tif": _saved(Image.fromarray(tall), "TIFF"),
        "65535.png": _saved(Image.fromarray(widest), "PNG"),
        "bad exif.png": head + chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40)) + body,
        "bad exif.jpg": _with_exif(b"Exif\0\0II*\0\xff\xff\xff\xff"),
        "cyclic exif.jpg": _with_exif(b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0"),
        "bad icc.png": head + chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile")) + body,
        "icc bomb.png": head + chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(40 << 20), 1)) + body,
        "text bomb.png": head + chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(40 << 20), 1)) + body,
        "huge text.png": head + chunk(b"tEXt", b"Title\0" + b"x" * (4 << 20)) + body,
        "odd text.png": head + chunk(b"tEXt", b"Title\0a\x1b[31m\n\0b") + chunk(b"iTXt", b"\xff\0\0\0\0\0\xff") + body,
        "many chunks.png": head + 2000 * chunk(b"tEXt", b"k\0v") + body,
        "bytes behind.png": rgb + b"PK\x03\x04 something else",
        "wrong suffix.jpg": rgb,
    }


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Damage a file in one of the ways that files get damaged, or are made to be."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        where = draw.randrange(len(data)) if data else 0
        # half of the damage where it hurts most: headers stand at the start
        if draw.random() < 0.5:
            where = min(where, draw.randrange(min(len(data), 128))) if data else 0
        _DAMAGES[draw.randrange(len(_DAMAGES))](data, where, draw)
    return bytes(data)


def truncated(content: bytes, draw: random.Random) -> bytes:
    """Without its end."""
    return content[: draw.randrange(len(content))]


def _flip(data: bytearray, where: int, draw: random.Random) -> None:
    data[where : where + 1] = bytes(byte ^ 1 << draw.randrange(8) for byte in data[where : where + 1])


def _set(data: bytearray, where: int, draw: random.Random) -> None:
    data[where : where + 1] = bytes([draw.randrange(256)])


def _number(data: bytearray, where: int, draw: random.Random) -> None:
    value = draw.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
    size = draw.choice((2, 4))
    data[where : where + size] = (value & (256**size - 1)).to_bytes(size, draw.choice(("little", "big")))


def _cut(data: bytearray, where: int, draw: random.Random) -> None:
    del data[where:]


def _remove(data: bytearray, where: int, draw: random.Random) -> None:
    del data[where : where + draw.randrange(1, 40)]


def _insert(data: bytearray, where: int, draw: random.Random) -> None:
    data[where:where] = draw.randbytes(draw.randrange(1, 40))


def _repeat(data: bytearray, where: int, draw: random.Random) -> None:
    data[where:where] = data[where : where + draw.randrange(1, 200)]


def _blank(data: bytearray, where: int, draw: random.Random) -> None:
    end = where + draw.randrange(1, 200)
    data[where:end] = bytes(len(data[where:end]))


_DAMAGES: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    _flip, _flip, _set, _number, _number, _cut, _remove, _insert, _repeat, _blank,
)  # fmt: skip


def chunk(name: bytes, body: bytes) -> bytes:
    """Of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def interlaced_png(array: NDArray[np.uint8]) -> bytes:
    """8 bits, RGB."""
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = [array[y::dy, x::dx] for y, x, dy, dx in starts]
    raw = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    return _png(struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 8, 2, 0, 0, 1), zlib.compress(raw))


def icc() -> bytes:
    """An sRGB profile."""
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _png(header: bytes, data: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _saved(image: Image.Image, fmt: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


def _tiff(array: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    bigtiff, byteorder = options.pop("bigtiff", False), options.pop("byteorder", None)
    with tifffile.TiffWriter(file, bigtiff=bigtiff, byteorder=byteorder) as writer:
        writer.write(array, photometric="rgb" if array.shape[2:] == (3,) else "minisblack", metadata=None, **options)
    return file.getvalue()


def _huge_tiff() -> bytes:
    """A small one whose header says 60,000x60,000."""
    data = bytearray(_tiff(samples(1)[:, :, 0]))
    offset, count = struct.unpack_from("<I", data, 4)[0], 0
    (count,) = struct.unpack_from("<H", data, offset)
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] in (256, 257, 278):
            struct.pack_into("<HII", data, entry + 2, 4, 1, 60_000)
    return bytes(data)


def _declaring(content: bytes, marker: bytes, offset: int, side: int) -> bytes:
    """With other sides, of two bytes each, behind a marker."""
    at = content.index(marker) + offset
    return content[:at] + struct.pack(">HH", side, side) + content[at + 4 :]


def _with_exif(exif: bytes) -> bytes:
    plain = _saved(Image.fromarray(samples(3)), "JPEG")
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
