"""Pictures are read whole or refused."""

from pathlib import Path

import numpy as np
import pytest

from edsr_runtime.errors import DataError
from edsr_runtime.resize import imresize
from edsr_train.data.pictures import UnusablePicturesError, make_pair, read_lr, read_rgb
from photographs import noise, save


def test_gray_and_opaque_alpha_become_plain_rgb(tmp_path: Path) -> None:
    rgb = noise(3, 4)
    gray = read_rgb(save(rgb[..., 0], tmp_path / "gray.png"))
    np.testing.assert_array_equal(gray, np.stack([rgb[..., 0]] * 3, axis=-1))
    opaque = np.dstack([rgb, np.full((3, 4), 255, np.uint8)])
    np.testing.assert_array_equal(read_rgb(save(opaque, tmp_path / "rgba.png")), rgb)


def test_transparent_and_16_bit_pictures_are_refused(tmp_path: Path) -> None:
    transparent = np.dstack([noise(3, 4), np.full((3, 4), 254, np.uint8)])
    with pytest.raises(DataError, match=r"rgba\.png: is partly transparent"):
        read_rgb(save(transparent, tmp_path / "rgba.png"))
    with pytest.raises(DataError, match=r"deep\.png: has 16 bits per sample, expected 8"):
        read_rgb(save(np.full((3, 4), 999, np.uint16), tmp_path / "deep.png"))


def test_hr_is_cropped_to_a_multiple_and_shrunk_as_matlab_does() -> None:
    hr = noise(23, 31)
    pair = make_pair(hr, 3, "odd")
    np.testing.assert_array_equal(pair.hr, hr[:21, :30])
    np.testing.assert_array_equal(pair.lr, imresize(hr[:21, :30], 1 / 3))


def test_an_lr_file_has_the_size_of_its_hr_divided_and_rounded_down(tmp_path: Path) -> None:
    file = save(noise(4, 5), tmp_path / "ax3.png")
    for hr_hw in ((12, 15), (14, 17), None):
        np.testing.assert_array_equal(read_lr(file, 3, Path("a.png"), hr_hw), noise(4, 5))
    with pytest.raises(DataError, match=r"ax3\.png: is 4x5 \(HxW\), expected 5x5 for scale 3 of a\.png"):
        read_lr(file, 3, Path("a.png"), (15, 17))


def test_a_long_list_of_problems_ends_after_twenty() -> None:
    error = UnusablePicturesError([f"{i}.png: is empty" for i in range(23)])
    assert (len(error.problems), error.is_cut) == (23, True)
    assert not UnusablePicturesError(error.problems[:20]).is_cut
    lines = str(error).splitlines()
    assert lines[0] == "23 of the pictures cannot be used:"
    assert lines[20:] == ["19.png: is empty", "and 3 more"]
