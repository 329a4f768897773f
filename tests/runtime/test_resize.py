"""MATLAB's bicubic: the benchmark sets bit by bit, and a reference written down from the definition."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edsr_runtime.errors import ShapeError
from edsr_runtime.resize import crop_to_multiple, imresize


def random_picture(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def dense_weights(length: int, scale: float, pad: int) -> NDArray[np.float64]:
    """(output length, length + 2 * pad): one row of weights for each output pixel, over the padded axis."""
    shrink = min(scale, 1.0)
    rows = []
    for x in range(1, math.ceil(length * scale) + 1):
        centre = x / scale + 0.5 * (1 - 1 / scale)
        row = np.array([cubic(shrink * (centre - i)) for i in range(1 - pad, length + pad + 1)])
        rows.append(row / row.sum())
    return np.array(rows)


def reference(image: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Rows, rounded and clipped if integer, then columns likewise; the whole axis as one matrix."""
    result = image.astype(np.float64)
    for axis in (0, 1):
        pad = math.ceil(2 / min(scale, 1)) + 1
        widths = [(pad, pad) if a == axis else (0, 0) for a in range(image.ndim)]
        padded = np.pad(result, widths, mode="symmetric")
        result = np.moveaxis(np.tensordot(dense_weights(image.shape[axis], scale, pad), padded, (1, axis)), 0, axis)
        if image.dtype.kind == "u":
            result = np.clip(np.floor(result + 0.5), 0, np.iinfo(image.dtype).max)
    return result


@pytest.mark.parametrize("scale", [1 / 4, 1 / 2, 2, 4])  # weights and sums are exact in binary
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_those_of_the_definition(scale: float, dtype: Any) -> None:
    image = random_picture(25, 18, 3, dtype=dtype)
    resized = imresize(image, scale)
    assert resized.dtype == dtype
    np.testing.assert_array_equal(resized, reference(image, scale))


@pytest.mark.parametrize("scale", [1 / 3, 0.7, 1.5, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_those_of_the_definition_but_for_halves(scale: float, dtype: Any) -> None:
    image = random_picture(25, 18, 3, dtype=dtype)
    difference = np.abs(imresize(image, scale) - reference(image, scale))
    # An exact half falls to either side with the order of the sum. Rounding once instead of twice, or columns first,
    # would change more than a tenth of the values.
    assert difference.max() <= 1
    assert np.count_nonzero(difference) < 0.01 * difference.size


@pytest.mark.parametrize("scale", [1 / 3, 2])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 3), (5, 1, 3)])
def test_pictures_smaller_than_the_kernel_are_mirrored_again_and_again(scale: float, shape: tuple[int, ...]) -> None:
    image = random_picture(*shape).astype(np.float64)
    np.testing.assert_allclose(imresize(image, scale), reference(image, scale), atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_is_neither_rounded_nor_clipped(dtype: Any) -> None:
    image = np.random.default_rng(0).uniform(-3, 400, (11, 14, 3)).astype(dtype)
    resized = imresize(image, 1 / 2)
    assert resized.dtype == dtype
    np.testing.assert_allclose(resized, reference(image, 1 / 2), rtol=1e-6)


def test_a_point_becomes_the_cubic_of_keys() -> None:
    point = np.zeros((7, 1))
    point[3] = 1
    side = [0, 0, 0, -0.0234375, -0.0703125, 0.2265625, 0.8671875]  # at distances 1.75, 1.25, 0.75, 0.25; by hand
    assert imresize(point, 2)[:, 0].tolist() == [*side, *reversed(side)]


def test_halves_are_rounded_up_and_negatives_clipped() -> None:
    line = np.zeros((8, 1), np.uint8)
    line[3] = 128
    # 128 times -9/256, 111/256, 29/256, -3/256: -4.5, 55.5, 14.5, -1.5
    assert imresize(line, 1 / 2)[:, 0].tolist() == [0, 56, 15, 0]


def test_a_picture_of_one_value_keeps_it() -> None:
    for scale in (1 / 3, 0.9, 1, 4):
        assert set(imresize(np.full((9, 12), 201, np.uint8), scale).flat) == {201}


def test_scale_one_changes_nothing() -> None:
    image = random_picture(6, 5, 3)
    np.testing.assert_array_equal(imresize(image, 1), image)


@pytest.mark.parametrize(("scale", "size"), [(1 / 2, (5, 4)), (1 / 3, (3, 3)), (2, (18, 14)), (1.1, (10, 8))])
def test_sides_are_rounded_up(scale: float, size: tuple[int, int]) -> None:
    assert imresize(random_picture(9, 7), scale).shape == size


def test_the_input_is_left_alone_and_the_layout_of_its_memory_does_not_matter() -> None:
    image = random_picture(9, 8, 3)
    before = image.copy()
    resized = imresize(np.asfortranarray(image), 1 / 2)
    assert resized.flags.c_contiguous
    np.testing.assert_array_equal(resized, imresize(image, 1 / 2))
    np.testing.assert_array_equal(image, before)


def test_cropping_keeps_the_top_left() -> None:
    image = random_picture(11, 9, 3)
    np.testing.assert_array_equal(crop_to_multiple(image, 4), image[:8, :8])
    np.testing.assert_array_equal(crop_to_multiple(image, 1), image)


@pytest.mark.parametrize("shape", [(4,), (1, 4, 4, 3), (0, 4), (4, 0, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected a picture \(H, W\) or \(H, W, C\)"):
        imresize(np.zeros(shape, np.uint8), 2)


@pytest.mark.parametrize("dtype", [bool, np.int16, np.uint32, np.complex64])
def test_other_types_are_refused(dtype: Any) -> None:
    with pytest.raises(ShapeError, match="expected a picture of uint8, uint16 or floating point, got"):
        imresize(np.zeros((4, 4), dtype), 2)


@pytest.mark.parametrize("scale", [0, -2, math.nan, math.inf])
def test_other_scales_are_refused(scale: float) -> None:
    with pytest.raises(ShapeError, match="expected a positive number"):
        imresize(np.zeros((4, 4), np.uint8), scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "count"), [("Set5", 5), ("Set14", 14), ("B100", 100)])
def test_lr_files_of_the_benchmarks_come_out_bit_by_bit(data_root: Path, name: str, count: int, scale: int) -> None:
    folder = data_root / "benchmark" / name
    pictures = sorted((folder / "HR").glob("*.png"))
    assert len(pictures) == count
    different = []
    for path in pictures:
        hr = np.asarray(Image.open(path).convert("RGB"))
        lr = np.asarray(Image.open(folder / f"LR_bicubic/X{scale}/{path.stem}x{scale}.png").convert("RGB"))
        if not np.array_equal(imresize(crop_to_multiple(hr, scale), 1 / scale), lr):
            different.append(path.name)
    assert different == []
