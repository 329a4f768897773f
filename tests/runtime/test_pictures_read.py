"""Reading: every kind of file gives the pixels its header promises, or one sentence and nothing."""

import io
import itertools
import logging
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.read import read_picture

H, W = 11, 14
CMYK_PROFILE_SPACE = b"CMYK"


def samples(channels: int, bits: int = 8, seed: int = 0) -> NDArray[Any]:
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**bits, (H, W, channels), dtype=dtype)


def joined(picture: Picture) -> NDArray[Any]:
    if picture.alpha is None:
        return picture.pixels
    return np.concatenate([picture.pixels, picture.alpha[:, :, None]], axis=2)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bytes(array: NDArray[Any], *extra: bytes, interlaced: bool = False) -> bytes:
    """A PNG made by hand: colour type from the channels, depth from the dtype."""
    height, width, channels = array.shape
    big_endian = array.astype(">u2") if array.dtype == np.uint16 else array
    passes = [big_endian]
    if interlaced:
        starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        passes = [big_endian[y::dy, x::dx] for y, x, dy, dx in starts]
    raw = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * array.dtype.itemsize, colour_type, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def saved(path: Path, image: Image.Image, fmt: str, **options: Any) -> Path:
    image.save(path, fmt, **options)
    return path


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_channels_and_depth(tmp_path: Path, channels: int, bits: int) -> None:
    array = samples(channels, bits)
    (tmp_path / "a.png").write_bytes(png_bytes(array))
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.dtype == array.dtype and picture.source_format == "png" and picture.notes == ()
    assert picture.channels == (1 if channels <= 2 else 3)
    assert (picture.alpha is not None) == (channels in (2, 4))
    np.testing.assert_array_equal(joined(picture), array)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_transparent_colour_becomes_alpha(tmp_path: Path, channels: int, bits: int, interlaced: bool) -> None:
    array = samples(channels, bits)
    key = array[3, 5]
    (tmp_path / "a.png").write_bytes(
        png_bytes(array, chunk(b"tRNS", key.astype(">u2").tobytes()), interlaced=interlaced)
    )
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, array)
    assert picture.alpha is not None
    opaque = np.iinfo(array.dtype).max
    np.testing.assert_array_equal(picture.alpha, np.where((array == key).all(axis=2), 0, opaque))


def test_one_bit_becomes_gray(tmp_path: Path) -> None:
    bits = samples(1)[:, :, 0] > 127
    for name, fmt in (("a.png", "PNG"), ("a.tif", "TIFF"), ("a.bmp", "BMP"), ("a.pbm", "PPM")):
        picture = read_picture(saved(tmp_path / name, Image.fromarray(bits), fmt))
        np.testing.assert_array_equal(picture.pixels[:, :, 0], np.where(bits, 255, 0), err_msg=name)
        assert picture.pixels.dtype == np.uint8 and picture.alpha is None


@pytest.mark.parametrize("transparency", [None, 2, bytes([0, 100, 255])])
def test_palette_is_expanded(tmp_path: Path, transparency: int | bytes | None) -> None:
    image = Image.fromarray(samples(3)).quantize(16)
    options = {} if transparency is None else {"transparency": transparency}
    path = saved(tmp_path / "a.png", image, "PNG", **options)
    with Image.open(path) as reference:
        expected = np.asarray(reference.convert("RGB" if transparency is None else "RGBA"))
    np.testing.assert_array_equal(joined(read_picture(path)), expected)


def test_gif_with_a_transparent_index_gets_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(samples(3)).quantize(16)
    path = saved(tmp_path / "a.gif", image, "GIF", transparency=3)
    with Image.open(path) as reference:
        expected = np.asarray(reference.convert("RGBA"))
    assert 0 < (expected[:, :, 3] == 0).sum() < H * W
    np.testing.assert_array_equal(joined(read_picture(path)), expected)
    assert read_picture(saved(tmp_path / "b.gif", image, "GIF")).alpha is None


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_16_bit_in_every_usual_form(tmp_path: Path, channels: int, compression: str | None, planar: str) -> None:
    array = samples(channels, 16)
    data = array[:, :, 0] if channels == 1 else array if planar == "contig" else np.moveaxis(array, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif",
        data,
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig=planar if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression=compression,
        predictor=compression is not None,
        rowsperstrip=3,
        byteorder=">" if channels == 3 else "<",
        bigtiff=channels == 4,
        metadata=None,
    )
    picture = read_picture(tmp_path / "a.tif")
    assert picture.pixels.dtype == np.uint16 and picture.source_format == "tiff" and picture.notes == ()
    np.testing.assert_array_equal(joined(picture), array)


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_min_is_white_is_inverted(tmp_path: Path, bits: int) -> None:
    array = samples(1, bits)[:, :, 0]
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels[:, :, 0], np.iinfo(array.dtype).max - array)


def test_tiff_premultiplied_alpha_is_divided_out(tmp_path: Path) -> None:
    array = np.zeros((1, 3, 4), np.uint16)
    array[0] = [[100, 200, 300, 65535], [100, 200, 300, 32768], [0, 0, 0, 0]]
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["assocalpha"], planarconfig="contig")
    expected = [[[100, 200, 300, 65535], [200, 400, 600, 32768], [0, 0, 0, 0]]]
    np.testing.assert_array_equal(joined(read_picture(tmp_path / "a.tif")), expected)


def test_tiff_extra_channel_that_is_no_alpha_is_left_out_and_said(tmp_path: Path) -> None:
    array = samples(4)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unspecified"], planarconfig="contig")
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(joined(picture), array[:, :, :3])
    assert picture.notes == ("1 extra channel left out",)


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *itertools.product(
            ["1", "L", "LA", "RGB", "RGBA", "P", "YCbCr"], ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"]
        ),
        ("1", "group4"),
    ],
)
def test_tiff_8_bit_agrees_with_pillow(tmp_path: Path, mode: str, compression: str) -> None:
    image = Image.fromarray(samples(3)).convert("L" if mode in ("1", "LA") else "RGB").convert(mode)
    path = saved(tmp_path / "a.tif", image, "TIFF", compression=compression)
    with Image.open(path) as reference:
        target = {"1": "L", "P": "RGB", "YCbCr": "RGB"}.get(mode, mode)
        expected = np.atleast_3d(np.asarray(reference.convert(target)))
    np.testing.assert_array_equal(joined(read_picture(path)), expected)


def test_tiff_preview_beside_the_picture_is_no_second_page(tmp_path: Path) -> None:
    array = samples(3)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(array, photometric="rgb", metadata=None)
        writer.write(array[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels, array)


@pytest.mark.parametrize(
    ("fmt", "name", "options"),
    [
        ("BMP", "bmp", {}),
        ("PPM", "ppm", {}),
        ("QOI", "qoi", {}),
        ("WEBP", "webp", {"lossless": True}),
        ("JPEG2000", "jp2", {}),
        ("AVIF", "avif", {"quality": 100, "subsampling": "4:4:4"}),
        ("JPEG", "jpg", {"quality": 100, "subsampling": 0}),
    ],
)
def test_other_formats_agree_with_pillow_and_the_suffix_does_not_matter(
    tmp_path: Path, fmt: str, name: str, options: dict[str, Any]
) -> None:
    path = saved(tmp_path / "picture.txt", Image.fromarray(samples(3)), fmt, **options)
    picture = read_picture(path)
    with Image.open(path) as reference:
        np.testing.assert_array_equal(picture.pixels, np.asarray(reference.convert("RGB")))
    assert picture.source_format == name and picture.alpha is None


def test_gray_jpeg_stays_gray_and_webp_alpha_is_kept(tmp_path: Path) -> None:
    assert read_picture(saved(tmp_path / "g.jpg", Image.fromarray(samples(1)[:, :, 0]), "JPEG")).channels == 1
    array = samples(4)
    picture = read_picture(saved(tmp_path / "a.webp", Image.fromarray(array), "WEBP", lossless=True, exact=True))
    np.testing.assert_array_equal(joined(picture), array)


@pytest.mark.parametrize("top", [1023, 65535])
def test_16_bit_ppm_keeps_its_depth(tmp_path: Path, top: int) -> None:
    array = np.random.default_rng(0).integers(0, top + 1, (H, W, 3), dtype=np.uint16)
    array[0, 0] = (0, top, 1)
    (tmp_path / "a.ppm").write_bytes(b"P6\n# made by hand\n%d %d\n%d\n" % (W, H, top) + array.astype(">u2").tobytes())
    expected = np.rint(array.astype(np.float64) * 65535 / top).astype(np.uint16)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.ppm").pixels, expected)


def test_16_bit_gray_jpeg_2000_stays_16_bit_and_16_bit_colour_is_refused(tmp_path: Path) -> None:
    gray = samples(1, 16)[:, :, 0]
    np.testing.assert_array_equal(
        read_picture(saved(tmp_path / "g.jp2", Image.fromarray(gray), "JPEG2000")).pixels[:, :, 0], gray
    )
    (tmp_path / "c.jp2").write_bytes(imagecodecs.jpeg2k_encode(samples(3, 16), level=0))
    assert "colour JPEG 2000 of 16 bits" in refusal(tmp_path / "c.jp2")


def test_cmyk_without_profile_is_converted_and_said(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 255, 0))  # cyan and yellow ink: green
    for name, fmt, options in (("a.jpg", "JPEG", {"quality": 100}), ("a.tif", "TIFF", {})):
        picture = read_picture(saved(tmp_path / name, image, fmt, **options))
        np.testing.assert_allclose(picture.pixels[8, 8].astype(int), (0, 255, 0), atol=3)  # grey levels, JPEG loss
        assert picture.notes == ("CMYK converted to sRGB; it has no profile, so colours are approximate",)


def test_inverted_ycck_jpeg_of_adobe_is_read_the_right_way_round(tmp_path: Path) -> None:
    # what Photoshop writes: inverted ink, coded as YCCK with an Adobe marker of transform 2
    ink = np.empty((16, 16, 4), np.uint8)
    ink[...] = (0, 255, 255, 0)  # magenta and yellow: red
    data = imagecodecs.jpeg8_encode(255 - ink, colorspace="CMYK", outcolorspace="YCCK", level=100)
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 2
    (tmp_path / "a.jpg").write_bytes(data)
    red, green, blue = read_picture(tmp_path / "a.jpg").pixels[8, 8].astype(int)
    assert red > 240 and green < 15 and blue < 15


def test_cmyk_with_a_useless_profile_is_said_and_the_profile_dropped(tmp_path: Path) -> None:
    broken = b"\0" * 16 + CMYK_PROFILE_SPACE + b"\0" * 200
    picture = read_picture(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8)), "JPEG", icc_profile=broken))
    assert picture.metadata.icc is None
    assert picture.notes == ("CMYK converted to sRGB; its profile is damaged, so colours are approximate",)


def cmyk_profile() -> bytes:
    """A printer profile made by hand: its table turns paper white to L=100 and full cyan ink to L=40 of its own."""
    grid = np.zeros((2, 2, 2, 2, 3), np.uint8)
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        grid[c, m, y, k] = (255 if not (c or m or y or k) else 102, 128, 128)  # Lab, 8 bits
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    lut += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += bytes(range(256)) * 4 + grid.tobytes() + bytes(range(256)) * 3
    desc = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    copyright_ = b"text" + bytes(4) + b"none\0"
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    tags = [(b"desc", desc), (b"cprt", copyright_), (b"wtpt", white), (b"A2B0", lut), (b"A2B1", lut)]
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags:
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + table + body


def test_cmyk_goes_through_its_embedded_profile(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for name, fmt, options in (("a.jpg", "JPEG", {"quality": 100}), ("a.tif", "TIFF", {})):
        path = saved(tmp_path / name, image, fmt, icc_profile=cmyk_profile(), **options)
        picture = read_picture(path)
        # by the profile cyan ink is a neutral tone; by the usual formula it would be (0, 255, 255)
        red, green, blue = picture.pixels[8, 8].astype(int)
        assert abs(red - green) <= 3 and abs(green - blue) <= 3 and red < 200
        assert picture.notes == ("CMYK converted to sRGB through its embedded profile",)
        assert picture.metadata.icc is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF palette", "TIFF 16"])
def test_orientation_is_applied_and_reset(tmp_path: Path, fmt: str, orientation: int) -> None:
    array = samples(3, 16 if fmt == "TIFF 16" else 8)
    path = tmp_path / "a"
    if fmt == "TIFF 16":
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, array, photometric="rgb", extratags=tags, metadata=None, resolution=(100, 200))
    else:
        image = Image.fromarray(array)
        if fmt == "TIFF palette":
            image = image.quantize(32)
            array = np.asarray(image.convert("RGB"))
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if fmt == "WEBP" else {}
        saved(path, image, fmt.split()[0], exif=exif, dpi=(100, 200), **options)
        if fmt == "JPEG":
            array = imagecodecs.jpeg8_decode(path.read_bytes())
    picture = read_picture(path)
    expected = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.swapaxes(0, 1),
        6: np.rot90(array, -1),
        7: array[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(array),
    }[orientation]
    np.testing.assert_array_equal(picture.pixels, expected)
    if picture.metadata.exif is not None:
        again = Image.Exif()
        again.load(picture.metadata.exif)
        assert again.get(0x0112, 1) == 1
    if fmt != "WEBP":
        assert picture.metadata.dpi == ((200, 100) if orientation >= 5 else (100, 200))


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_several_frames_or_pages_are_refused(tmp_path: Path, fmt: str) -> None:
    first = Image.fromarray(samples(3))
    others = [Image.fromarray(samples(3, seed=seed)) for seed in (1, 2)]
    path = saved(tmp_path / "a", first, fmt, save_all=True, append_images=others)
    message = refusal(path)
    assert ("TIFF with 3 pages, expected a single one" if fmt == "TIFF" else "animated") in message


def test_first_picture_of_an_mpo_is_read_and_the_rest_is_said(tmp_path: Path) -> None:
    image = Image.fromarray(samples(3))
    path = saved(tmp_path / "a.jpg", image, "MPO", save_all=True, append_images=[image])
    assert read_picture(path).notes == ("only the first of several pictures in the file (MPO) is read",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (b"\n <!DOCTYPE html><html><body>404", "an HTML page, not a picture"),
        (b"<?xml version='1.0'?><svg/>", "an XML or SVG file"),
        ("Grüße\n".encode(), "a text file, not a picture"),
        (b"BMW is a maker of cars, not of bitmaps", "a text file, not a picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC/HEIF picture"),
        (b"PF\n2 2\n-1.0\n", "a floating-point picture"),
        (bytes(range(256)), "not a picture in a known format"),
        (b"\x89PNG\r\n\x1a\n", "incomplete PNG file"),
        (b"\xff\xd8\xff\xe0", "damaged or incomplete JPEG file"),
        (b"II*\0\x08\0\0\0", "incomplete TIFF file"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "incomplete WebP file"),
        (b"P6\n3 x 65535\n", "damaged PPM file"),
    ],
)
def test_what_is_no_picture_is_told_in_one_sentence(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert expected in refusal(tmp_path / "a.png")


def test_folder_and_missing_file_are_told(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "none.png")


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("WEBP", {"lossless": True}),
        ("BMP", {}), ("GIF", {}), ("PPM", {}), ("QOI", {}), ("JPEG2000", {}), ("AVIF", {}), ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
    ],
)  # fmt: skip
def test_truncated_files_are_refused(
    tmp_path: Path, fmt: str, options: dict[str, Any], share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8))
    whole = io.BytesIO()
    image.save(whole, fmt, **options)
    data = whole.getvalue()
    (tmp_path / "a").write_bytes(data[: int(share * len(data))])
    assert "ncomplete" in refusal(tmp_path / "a")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_truncated_16_bit_files_are_refused(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a"
    tifffile.imwrite(path, samples(3, 16), photometric="rgb", compression=compression, rowsperstrip=2)
    for data in (path.read_bytes(), png_bytes(samples(3, 16))):
        for share in (0.5, 0.97):
            path.write_bytes(data[: int(share * len(data))])
            assert "ncomplete" in refusal(path)


def test_tiff_with_a_hole_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples(3, 16), photometric="rgb", rowsperstrip=2, compression="deflate")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tag = tiff.pages[0].tags[279]  # pyright: ignore[reportAttributeAccessIssue]
        counts = list(tag.value)
        counts[2] = 0
        tag.overwrite(counts)
    assert "a strip or tile is missing" in refusal(path)


def test_damaged_png_data_is_refused(tmp_path: Path) -> None:
    data = bytearray(png_bytes(samples(3, 16)))
    data[80] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    assert "damaged PNG file, the checksum of its IDAT data is wrong" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_samples_that_8_or_16_bits_cannot_hold_are_refused(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (4, 4)).convert("LAB") if mode == "LAB" else Image.new(mode, (4, 4))
    expected = {"I": "signed integer samples", "F": "floating-point samples", "LAB": "LAB colours"}[mode]
    assert expected in refusal(saved(tmp_path / "a.tif", image, "TIFF"))


def test_32_bit_integers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint32))
    assert "32 bits per sample" in refusal(tmp_path / "a.tif")


def test_declared_size_is_checked_before_decoding(tmp_path: Path) -> None:
    """Files that declare far more than they hold: decoding any of them would fail in another way, or take gigabytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    files = {"bomb.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)}
    files["bomb.webp"] = b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xfe\xff\x3f" * 2 + bytes(32)
    files["bomb.ppm"] = b"P6 60000 60000 65535\n"
    files["bomb.gif"] = b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0x80, 0, 0) + bytes(6) + (
        b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x44\x01\x00;"
    )  # fmt: skip
    bmp = io.BytesIO()
    Image.new("RGB", (4, 4)).save(bmp, "BMP")
    files["bomb.bmp"] = bmp.getvalue()[:18] + struct.pack("<ii", 60_000, 60_000) + bmp.getvalue()[26:]
    tiff = tmp_path / "bomb.tif"
    tifffile.imwrite(tiff, samples(3, 16), photometric="rgb", metadata=None)
    with tifffile.TiffFile(tiff, mode="r+") as handle:
        for tag in (256, 257):
            handle.pages[0].tags[tag].overwrite(60_000)  # pyright: ignore[reportAttributeAccessIssue]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in (*files, "bomb.tif"):
            message = refusal(tmp_path / name)
            assert "megapixels; the limit is 500.0" in message and "--max-pixels" in message, name


def test_max_pixels_is_inclusive_and_pillows_own_limit_plays_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow would raise above 20 pixels
    for fmt in ("BMP", "JPEG", "GIF", "WEBP", "TIFF", "PNG"):
        path = saved(tmp_path / "a", Image.new("RGB", (W, H)), fmt)
        assert read_picture(path, max_pixels=H * W).pixels.shape == (H, W, 3)
        assert f"declares {H}x{W} pixels" in refusal(path, max_pixels=H * W - 1)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_icc_exif_xmp_dpi_and_text_are_read(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    image = Image.fromarray(samples(3))
    for fmt in ("PNG", "JPEG", "WEBP", "TIFF"):
        options: dict[str, Any] = {"exif": exif, "icc_profile": icc, "dpi": (300, 300)}
        if fmt == "TIFF":
            del options["exif"]
            options["tiffinfo"] = {700: xmp, 0x010F: "Maker"}
        elif fmt != "PNG":
            options["xmp"] = xmp
        metadata = read_picture(saved(tmp_path / "a", image, fmt, **options)).metadata
        assert metadata.icc == icc, fmt
        found = Image.Exif()
        found.load(metadata.exif or b"")
        assert found[0x010F] == "Maker", fmt
        assert metadata.xmp == (None if fmt == "PNG" else xmp), fmt
        assert metadata.dpi == (None if fmt == "WEBP" else (300, 300)), fmt
    assert read_picture(saved(tmp_path / "c.jpg", image, "JPEG", comment="hi")).metadata.text == (("Comment", "hi"),)


def test_profile_of_another_colour_space_is_left_out_and_said(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read_picture(saved(tmp_path / "a.jpg", Image.new("L", (4, 4)), "JPEG", icc_profile=icc))
    assert picture.metadata.icc is None
    assert picture.notes == ("ICC profile left out: it is for RGB colours and the picture is gray",)


def test_damaged_exif_is_left_out_and_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("L", (4, 4)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x0fgarbage")
    picture = read_picture(path)
    assert picture.metadata.exif is None and "damaged EXIF data left out" in picture.notes[0]


def test_tifffile_stays_quiet_about_odd_files() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("tifffile").handlers)
