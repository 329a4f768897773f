"""Profiles: trtexec's grammar, and every order that TensorRT would take without a word."""

import re

import pytest

from edsr_runtime.errors import ShapeError
from edsr_runtime.trt.profile import Profile, Size, checked, shapes_profile, tile_profile
from engine_stand_ins import contract

FLOAT, UINT8 = contract(min_side=3), contract(min_side=1, io="uint8")


def test_a_tile_is_best_and_largest_and_small_pictures_run_whole() -> None:
    profile = tile_profile(256, 8, FLOAT)
    assert profile == Profile(Size(1, 3, 3), Size(8, 256, 256), Size(8, 256, 256))
    assert str(profile) == "1x3x3 .. 8x256x256 (NxHxW)"
    assert profile.holds(Size(8, 3, 256)) and not profile.holds(Size(9, 3, 3)) and not profile.holds(Size(1, 2, 9))


def test_dimensions_are_in_the_order_of_the_input() -> None:
    assert Size(8, 64, 96).dims("float") == (8, 3, 64, 96)
    assert Size(8, 64, 96).dims("uint8") == (8, 64, 96, 3)


def test_shapes_are_read_as_trtexec_reads_them() -> None:
    profile = shapes_profile(
        {"min": "input:1x3x64x64", "opt": "'input':4x3x128x96", "max": "input:8x3x1080x1920"}, FLOAT
    )
    assert profile == Profile(Size(1, 64, 64), Size(4, 128, 96), Size(8, 1080, 1920))
    assert str(profile) == "1x64x64 .. 8x1080x1920 (NxHxW), best at 4x128x96"
    assert shapes_profile({"max": "1x64x48x3"}, UINT8).max == Size(1, 64, 48)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"opt": 64}, (64, 64, 64)),
        ({"max": 64}, (64, 64, 64)),
        ({"min": 64}, (64, 64, 64)),
        ({"min": 8, "max": 64}, (8, 64, 64)),
        ({"min": 8, "opt": 64}, (8, 64, 64)),
        ({"opt": 32, "max": 64}, (32, 32, 64)),
    ],
)
def test_a_shape_that_is_missing_is_like_its_neighbour(given: dict[str, int], expected: tuple[int, ...]) -> None:
    profile = shapes_profile({which: f"input:1x3x{side}x{side}" for which, side in given.items()}, FLOAT)
    assert (profile.min.height, profile.opt.height, profile.max.height) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr:1x3x64x64", "name the input 'lr', but the model's only input is input"),
        ("input:1x3x64", "is not a max shape: expected input:Nx3xHxW, such as input:1x3x64x64"),
        ("input:1x3x64x-1", "is not a max shape"),
        ("input:1x3x64x64,other:1x3x8x8", "name the input 'input:1x3x64x64,other'"),
        ("input:1x3x64x6٤", "is not a max shape"),
        ("input:1x64x64x3", "has 64 channels where the model has 3"),
        ("", "is not a max shape"),
    ],
)
def test_a_wrong_shape_is_refused_with_the_right_form(text: str, message: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        shapes_profile({"max": text}, FLOAT)


def test_the_right_form_is_that_of_the_input() -> None:
    with pytest.raises(ShapeError, match="expected input:NxHxWx3, such as input:1x64x64x3"):
        shapes_profile({"max": "input:1x3x64x64"}, UINT8)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((1, 9, 9), (1, 8, 9), (1, 9, 9)), "height is min 9, opt 8, max 9; expected min <= opt <= max"),
        (((1, 9, 9), (2, 9, 9), (1, 9, 9)), "batch is min 1, opt 2, max 1"),
        (((0, 9, 9), (1, 9, 9), (1, 9, 9)), "smallest batch is 0, expected at least 1"),
        (((1, 9, 2), (1, 9, 9), (1, 9, 9)), "width is 2, expected at least 3; a model exported with --no-collapse"),
        (((1, 0, 9), (1, 9, 9), (1, 9, 9)), "smallest height is 0, expected at least 3$"),
    ],
)
def test_nonsense_that_tensorrt_would_take_is_refused(sizes: tuple[tuple[int, int, int], ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        checked(Profile(*(Size(*size) for size in sizes)), FLOAT)
