"""Writing: other programs read back exactly what was given, complete files only, metadata kept and corrected."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from edsr_runtime.errors import PictureError, ShapeError
from edsr_runtime.pictures import png_writer, tiff_writer
from edsr_runtime.pictures.formats import format_of_suffix, output_format
from edsr_runtime.pictures.picture import Picture, PictureMetadata
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.pictures.write import open_writer, write_picture

H, W = 23, 17
BANDS = (1, 5, 0, 16, 1)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:ImageWidth="9" exif:PixelYDimension="9"/></x:xmpmeta>'


def samples(channels: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (H, W, channels), dtype=dtype)


def exif_block() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0132] = "2024:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.Exif)[0xA002] = 9
    exif.get_ifd(ExifTags.IFD.Exif)[0xA003] = 9
    exif.get_ifd(ExifTags.IFD.Exif)[0x829A] = 0.004
    exif.get_ifd(ExifTags.IFD.GPSInfo)[2] = (48.0, 12.0, 30.5)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def parsed_exif(block: bytes | None) -> tuple[Image.Exif, dict[int, Any], dict[int, Any]]:
    assert block is not None
    exif = Image.Exif()
    exif.load(block)
    return exif, exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)


def write_in_bands(path: Path, fmt: str, array: NDArray[Any], **options: Any) -> None:
    channels = 1 if array.shape[2] <= 2 else 3
    height, width = array.shape[:2]
    with open_writer(
        path,
        fmt,
        height=height,
        width=width,
        channels=channels,
        dtype=array.dtype,
        has_alpha=array.shape[2] in (2, 4),
        **options,
    ) as writer:
        start = 0
        while start < height:
            for rows in BANDS:
                writer.write_rows(array[start : start + rows])
                start += len(array[start : start + rows])


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Walk a PNG by hand, every checksum looked at."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, chunks = 8, []
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert checksum == zlib.crc32(name + body), name
        chunks.append((name, body))
        position += 12 + length
    return chunks


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("piece_bytes", [1, 200, 4 << 20])
def test_png_is_read_back_by_libpng(
    tmp_path: Path, channels: int, dtype: Any, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png_writer, "_PIECE_BYTES", piece_bytes)
    array = samples(channels, dtype)
    write_in_bands(tmp_path / "a.png", "png", array)
    data = (tmp_path / "a.png").read_bytes()
    np.testing.assert_array_equal(imagecodecs.png_decode(data).reshape(array.shape), array)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.size == (W, H)
        if dtype == np.uint8:
            np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)
    chunks = png_chunks(data)
    assert [chunks[0][0], chunks[-1]] == [b"IHDR", (b"IEND", b"")]
    # one zlib stream over all IDAT chunks, its own checksum included
    raw = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    assert len(raw) == H * (1 + array[0].nbytes)


def test_the_bytes_of_a_png_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(0).integers(0, 256, (700, 1000, 3), dtype=np.uint8)  # three pieces
    written = []
    for cores in (1, 2, 64):
        monkeypatch.setattr(png_writer, "usable_cores", lambda cores=cores: cores)
        path = tmp_path / f"{cores}.png"
        with open_writer(path, "png", height=700, width=1000, channels=3, dtype=np.uint8) as writer:
            writer.write_rows(array[:650])
            writer.write_rows(array[650:])
        written.append(path.read_bytes())
    assert written[0] == written[1] == written[2]
    np.testing.assert_array_equal(imagecodecs.png_decode(written[0]), array)


@pytest.mark.parametrize("byte", [0, 255])
def test_checksums_of_pieces_are_joined(byte: int) -> None:
    checksum = 1
    for length in (1, 70_000, 3):
        piece = png_writer._Piece(b"", zlib.adler32(bytes([byte]) * length), length)
        checksum = png_writer._joined(checksum, piece)
    assert checksum == zlib.adler32(bytes([byte]) * 70_004)


def test_png_of_a_smooth_picture_is_smaller_than_pillows_fastest(tmp_path: Path) -> None:
    y, x = np.mgrid[:256, :256]
    noise = np.random.default_rng(0).normal(0, 1.5, (256, 256, 3))
    array = np.clip(128 + 100 * np.sin(x / 40)[..., None] * np.cos(y / 50)[..., None] + noise, 0, 255).astype(np.uint8)
    write_in_bands(tmp_path / "a.png", "png", array)
    pillow = io.BytesIO()
    Image.fromarray(array).save(pillow, "PNG", compress_level=1)
    assert (tmp_path / "a.png").stat().st_size < 1.1 * len(pillow.getvalue())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("strip_bytes", "classic_limit"), [(100, 1 << 30), (1000, 0), (1 << 20, 1 << 30)])
def test_tiff_is_read_back_by_tifffile_and_pillow(
    tmp_path: Path,
    channels: int,
    dtype: Any,
    strip_bytes: int,
    classic_limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiff_writer, "_STRIP_BYTES", strip_bytes)
    monkeypatch.setattr(tiff_writer, "_CLASSIC_LIMIT", classic_limit)
    array = samples(channels, dtype)
    path = tmp_path / "a.tiff"
    write_in_bands(path, "tiff", array)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        np.testing.assert_array_equal(page.asarray().reshape(array.shape), array)
        assert tiff.is_bigtiff == (classic_limit == 0)
        assert [int(kind) for kind in page.extrasamples] == ([2] if channels in (2, 4) else [])  # pyright: ignore[reportAttributeAccessIssue]
        assert len(tiff.pages) == 1 and not (path.stat().st_size % 2)
    if dtype == np.uint8 or channels == 1:
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close_keeps_gray_and_is_not_subsampled(tmp_path: Path, channels: int) -> None:
    y, x = np.mgrid[:H, :W]
    array = np.stack([128 + 60 * np.sin((x + i * y) / 9) for i in range(channels)], axis=2).astype(np.uint8)
    write_in_bands(tmp_path / "a.jpg", "jpg", array)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}  # type: ignore[attr-defined]
        found = np.asarray(image).reshape(array.shape).astype(int)
    assert np.abs(found - array).mean() < 1.5  # grey levels; quality 95


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossless_webp_is_exact(tmp_path: Path, channels: int) -> None:
    array = samples(channels)
    write_in_bands(tmp_path / "a.webp", "webp", array, lossless=True)
    picture = read_picture(tmp_path / "a.webp")
    colours = array[:, :, : 1 if channels <= 2 else 3]
    np.testing.assert_array_equal(picture.pixels, np.broadcast_to(colours, (H, W, 3)))  # WebP has no gray
    assert (picture.alpha is not None) == (channels in (2, 4))
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, array[:, :, -1])


def test_lossy_webp_keeps_alpha_exactly(tmp_path: Path) -> None:
    array = samples(4)
    write_in_bands(tmp_path / "a.webp", "webp", array)
    picture = read_picture(tmp_path / "a.webp")
    np.testing.assert_array_equal(picture.alpha, array[:, :, 3])
    assert (tmp_path / "a.webp").read_bytes()[12:16] == b"VP8X"


def kept_metadata() -> PictureMetadata:
    return PictureMetadata(
        icc=SRGB,
        exif=exif_block(),
        xmp=XMP,
        dpi=(300.0, 150.0),
        text=(("Comment", "schön"), ("Author", "日本"), ("Title", "A title")),
        png_colour=((b"gAMA", struct.pack(">I", 45455)), (b"sRGB", b"\0")),
    )


@pytest.mark.parametrize("fmt", ["png", "jpg", "webp", "tiff"])
def test_metadata_survives_with_the_new_size(tmp_path: Path, fmt: str) -> None:
    path = tmp_path / f"a.{fmt}"
    write_in_bands(path, fmt, samples(3), metadata=kept_metadata())
    found = read_picture(path)
    assert found.notes == () and found.metadata.icc == SRGB
    main, exif, gps = parsed_exif(found.metadata.exif)
    assert main[0x010F] == "Maker" and main[0x0132] == "2024:01:02 03:04:05"
    assert (exif[0xA002], exif[0xA003]) == (W, H)
    assert float(exif[0x829A]) == pytest.approx(0.004) and gps[2] == (48.0, 12.0, 30.5)
    assert found.metadata.xmp == XMP.replace(b'ImageWidth="9"', b'ImageWidth="17"').replace(
        b'PixelYDimension="9"', b'PixelYDimension="23"'
    )
    assert found.metadata.dpi == (None if fmt == "webp" else (300.0, 150.0))
    if fmt == "png":
        assert found.metadata.text == kept_metadata().text
        names = [name for name, _ in png_chunks(path.read_bytes())]
        assert b"gAMA" in names and b"sRGB" not in names  # sRGB may not stand beside a profile
        with Image.open(path) as image:
            image.load()
            assert image.info["icc_profile"] == SRGB and image.text["Author"] == "日本"  # type: ignore[attr-defined]
    if fmt == "jpg":
        assert found.metadata.text == (("Comment", "schön"),)
    if fmt == "tiff":
        with Image.open(path) as image:
            assert image.getexif().get_ifd(ExifTags.IFD.Exif)[0xA002] == W  # the sub-directory is where Pillow looks
            assert image.info["icc_profile"] == SRGB
        with tifffile.TiffFile(path) as tiff:
            assert tiff.pages[0].tags[0x010E].value == "A title"  # pyright: ignore[reportAttributeAccessIssue]


def test_big_tiff_keeps_its_metadata_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_writer, "_CLASSIC_LIMIT", 0)
    write_in_bands(tmp_path / "a.tiff", "tiff", samples(3), metadata=kept_metadata())
    found = read_picture(tmp_path / "a.tiff").metadata
    main, exif, gps = parsed_exif(found.exif)
    assert (main[0x010F], exif[0xA003], gps[2]) == ("Maker", H, (48.0, 12.0, 30.5))
    assert found.icc == SRGB


def test_metadata_too_large_for_jpeg_is_left_out_and_said(tmp_path: Path) -> None:
    picture = Picture(samples(3), None, PictureMetadata(xmp=b"x" * 70_000, exif=exif_block() + bytes(70_000)))
    notes = write_picture(tmp_path / "a.jpg", picture)
    assert [note.split(" data of ")[0] for note in notes] == ["EXIF", "XMP"]
    assert read_picture(tmp_path / "a.jpg").metadata.exif is None


@pytest.mark.parametrize("fmt", ["png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_whole_pictures_go_round(tmp_path: Path, fmt: str, dtype: Any, channels: int, has_alpha: bool) -> None:
    array = samples(4, dtype)
    picture = Picture(array[:, :, :channels], array[:, :, 3] if has_alpha else None, source_format=fmt)
    assert write_picture(tmp_path / "a", picture, "keep") == ()
    found = read_picture(tmp_path / "a")
    assert found.source_format == fmt
    np.testing.assert_array_equal(found.pixels, picture.pixels)
    if has_alpha:
        np.testing.assert_array_equal(found.alpha, picture.alpha)
    else:
        assert found.alpha is None


@pytest.mark.parametrize(
    ("fmt", "options", "expected"),
    [
        ("jpg", {"width": 65_536}, "too large for JPEG.*-f png or -f tiff"),
        ("webp", {"height": 16_384}, "too large for WebP.*-f png or -f tiff"),
        ("jpg", {"has_alpha": True}, "JPEG holds no transparency; use -f png or -f webp"),
        ("jpg", {"dtype": np.uint16}, "JPEG holds 8 bits and the picture has 16; use -f png or -f tiff"),
        ("webp", {"dtype": np.uint16}, "WebP holds 8 bits and the picture has 16; use -f png or -f tiff"),
        ("gif", {}, "output format 'gif' is unknown"),
        ("jpg", {"quality": 0}, "quality is 0, expected 1 to 100"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_any_work(
    tmp_path: Path, fmt: str, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(PictureError, match=expected):
        open_writer(tmp_path / "a", fmt, **{"height": 4, "width": 4, "channels": 3, "dtype": np.uint8, **options})
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_are_told(tmp_path: Path) -> None:
    picture = Picture(samples(3), None)
    with pytest.raises(PictureError, match="its folder does not exist"):
        write_picture(tmp_path / "none" / "a.png", picture)
    (tmp_path / "d.png").mkdir()
    with pytest.raises(PictureError, match="is a folder"):
        write_picture(tmp_path / "d.png", picture)
    with pytest.raises(PictureError, match=r"cannot write \.gif"):
        write_picture(tmp_path / "a.gif", picture)


@pytest.mark.parametrize("fmt", ["png", "tiff", "jpg", "webp"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_no_file_and_the_old_one_as_it_was(
    tmp_path: Path, fmt: str, error: type[BaseException]
) -> None:
    (tmp_path / "old").write_bytes(b"old")
    for name in ("new", "old"):
        with (
            pytest.raises(error),
            open_writer(tmp_path / name, fmt, height=H, width=W, channels=3, dtype=np.uint8) as writer,
        ):
            writer.write_rows(samples(3)[:20])
            assert len(list(tmp_path.iterdir())) == 2  # the old file and the one being made
            raise error
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.parametrize("fmt", ["png", "tiff", "jpg", "webp"])
def test_a_missing_row_leaves_no_file(tmp_path: Path, fmt: str) -> None:
    with (
        pytest.raises(ShapeError, match="22 rows were written, expected 23"),
        open_writer(tmp_path / "a", fmt, height=H, width=W, channels=3, dtype=np.uint8) as writer,
    ):
        writer.write_rows(samples(3)[:-1])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with open_writer(path, "png", height=H, width=W, channels=3, dtype=np.uint8) as writer:
        writer.write_rows(samples(3))
        assert path.read_bytes() == b"old"
    np.testing.assert_array_equal(read_picture(path).pixels, samples(3))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("place", [(os, "replace"), (png_writer, "_write_chunk")])
def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*place, full)
    with pytest.raises(PictureError, match=r"a\.png: cannot be written \(No space left on device\)"):
        write_picture(tmp_path / "a.png", Picture(samples(3), None))
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_picture(tmp_path / "a.png", Picture(samples(3), None))
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((1, W, 4), np.uint8),
        np.zeros((1, W + 1, 3), np.uint8),
        np.zeros((W, 3), np.uint8),
        np.zeros((1, W, 3), np.uint16),
        np.zeros((H + 1, W, 3), np.uint8),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, rows: NDArray[Any]) -> None:
    with (
        pytest.raises(ShapeError),
        open_writer(tmp_path / "a", "png", height=H, width=W, channels=3, dtype=np.uint8) as writer,
    ):
        writer.write_rows(rows)


def test_output_format_keeps_what_can_be_written_and_turns_the_rest_into_png() -> None:
    kept = {name: output_format(name, "keep") for name in ("png", "jpg", "webp", "tiff", "gif", "bmp", "ppm", "jp2")}
    assert kept == {
        "png": "png", "jpg": "jpg", "webp": "webp", "tiff": "tiff", "gif": "png", "bmp": "png", "ppm": "png",
        "jp2": "png",
    }  # fmt: skip
    assert output_format("gif", "jpeg") == "jpg" and output_format("png", "TIF") == "tiff"
    with pytest.raises(PictureError, match="output format 'bmp' is unknown"):
        output_format("png", "bmp")
    assert [format_of_suffix(Path(name)) for name in ("a.JPG", "a.tif", "a.webp")] == ["jpg", "tiff", "webp"]


def test_the_package_itself_and_its_formats_load_nothing_heavy() -> None:
    code = (
        "import sys, edsr_runtime.pictures, edsr_runtime.pictures.formats as f\n"
        "assert not {'PIL', 'numpy', 'tifffile', 'imagecodecs', 'isal'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
