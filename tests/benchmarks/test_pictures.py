"""Pictures to measure on."""

from pathlib import Path

import numpy as np

from benchmarks.pictures import NATURAL, gradient_bands, picture_to_encode, texture
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.write import write_picture


def test_texture_has_the_spectrum_of_photographs() -> None:
    brightness = texture(256, 256)[:, :, 1].astype(np.float64)
    spectrum = np.abs(np.fft.rfft2(brightness - brightness.mean()))[:128]  # at (row, column) frequency times 256
    low, high = spectrum[6:10, 6:10].mean(), spectrum[24:40, 24:40].mean()
    assert 3 < low / high < 5  # 4 for an amplitude of 1/f
    assert 30 < brightness.std() < 60


def test_a_large_picture_comes_in_bands_that_cover_it() -> None:
    bands = list(gradient_bands(300, rows=128))
    assert [band.shape for band in bands] == [(128, 300, 3), (128, 300, 3), (44, 300, 3)]
    whole = np.concatenate(bands).astype(int)
    assert whole[:10, :10].mean() < 20
    assert whole[-10:, -10:].mean() > 190
    assert len(np.unique(whole[0, :, 0])) > 8  # the noise


def test_a_photograph_is_cropped_and_continued_by_its_mirror_image(tmp_path: Path) -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    (tmp_path / NATURAL).parent.mkdir(parents=True)
    write_picture(tmp_path / NATURAL, Picture(photograph, None))
    said, square = picture_to_encode(tmp_path, 8)
    assert said == "0802 of DIV2K, continued by its mirror image"
    np.testing.assert_array_equal(square[:6], photograph[:, :8])
    np.testing.assert_array_equal(square[6:], photograph[:3:-1, :8])


def test_without_the_photograph_a_texture_is_encoded_and_named(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        said, square = picture_to_encode(data, 8)
        assert said == "synthetic texture, amplitude 1/f"
        np.testing.assert_array_equal(square, texture(8, 8))
