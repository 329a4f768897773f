"""The proof of an engine against onnxruntime, with an FP16 ONNX file in place of the engine."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edsr_export.exporting import ExportOptions
from edsr_runtime.backends.base import to_uint8
from edsr_runtime.backends.ort import OnnxRuntimeBackend
from edsr_runtime.contract import read_contract
from edsr_runtime.errors import DataError, GateError, ModelFileError
from edsr_runtime.trt import limits
from edsr_runtime.trt.profile import Profile, Size, tile_profile
from edsr_runtime.trt.verify import (
    Agreement,
    Loss,
    Pair,
    compare_float,
    compare_uint8,
    demo_pair,
    gate,
    invented_pictures,
    lost_psnr,
    open_reference,
    set_pairs,
)
from engine_stand_ins import contract
from photographs import noise, save
from unsealed import unsealed

PROFILE = Profile(Size(1, 3, 3), Size(4, 64, 64), Size(4, 64, 64))


def double(lr: NDArray[np.float32]) -> NDArray[np.float32]:
    """A reference whose results are known: every pixel four times."""
    return lr.repeat(2, axis=2).repeat(2, axis=3)


def double_uint8(lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return lr.repeat(2, axis=1).repeat(2, axis=2)


def test_an_fp16_file_passes_as_an_engine_would(fp16_model: Path, tiny_model: Path) -> None:
    own = read_contract(fp16_model)
    engine = OnnxRuntimeBackend(fp16_model, own, None, threads=1)
    reference = open_reference(tiny_model, own)
    agreement = compare_float(engine.run_float, reference, invented_pictures(PROFILE))
    loss = lost_psnr(engine.run_uint8, reference, demo_pair(PROFILE, own.scale), own.scale)
    gate(agreement, loss)
    assert 0 < agreement.rms < 0.05 and 0 < agreement.largest < 0.5  # FP16 does differ
    assert 0 < agreement.changed < 0.05
    assert loss.pictures == 1 and abs(loss.mean_db) < 0.01


def test_a_reference_that_may_do_harm_is_not_opened(tiny_model: Path, tmp_path: Path) -> None:
    model = unsealed(tiny_model)
    model.graph.node[0].domain = "com.example"
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"an operator of the domain 'com\.example', so it was not opened"):
        open_reference(path, read_contract(tiny_model))


def test_an_fp32_file_agrees_exactly_with_itself(tiny_model: Path) -> None:
    own = read_contract(tiny_model)
    reference = open_reference(tiny_model, own)
    found = compare_float(reference, reference, invented_pictures(PROFILE))
    assert found == Agreement(0, 0, found.samples, 0, False)
    sides = (1, 3, 3), (1, 41, 64), (2, 64, 64)
    assert found.samples == sum(3 * n * 2 * h * 2 * w for n, h, w in sides)


@pytest.mark.parametrize("error", [0.25, -0.6])
def test_differences_are_counted_in_grey_levels(error: float) -> None:
    found = compare_float(lambda lr: double(lr) + np.float32(error), double, [noise(8, 8)[None]])
    assert found.largest == pytest.approx(abs(error), rel=1e-4)  # of FP32 near 255
    assert found.rms == pytest.approx(abs(error), rel=1e-4)


def test_rounding_alone_is_no_difference_of_a_uint8_engine() -> None:
    def reference(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        return double(lr) * np.float32(0.9) + np.float32(0.3)

    def engine(lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return to_uint8(reference(lr.transpose(0, 3, 1, 2).astype(np.float32)))

    pictures = [noise(16, 16)[None]]
    found = compare_uint8(engine, reference, pictures)
    assert found.rounded and found.largest < 1e-5 and found.changed == 0
    off_by_one = compare_uint8(lambda lr: np.minimum(engine(lr), 254) + 1, reference, pictures)
    assert 0.9 < off_by_one.largest <= 1 and off_by_one.changed > 0.9
    with pytest.raises(GateError, match="grey levels at most, allowed"):
        gate(off_by_one, None)


def test_results_beyond_black_and_white_count_as_a_uint8_shows_them() -> None:
    def reference(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        return double(lr) + np.float32(300)

    found = compare_uint8(lambda lr: np.full_like(double_uint8(lr), 255), reference, [noise(4, 4)[None]])
    assert found.largest == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_engine_that_gives_no_numbers_fails(value: float) -> None:
    def engine(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        sr = double(lr)
        sr[0, 0, 0, 0] = value
        return sr

    with pytest.raises(GateError, match=r"NaN or infinity for an input of \(1, 4, 4, 3\)"):
        compare_float(engine, double, [noise(4, 4)[None]])


def test_an_engine_of_another_scale_fails() -> None:
    with pytest.raises(GateError, match=r"gives \(1, 3, 4, 4\) where onnxruntime gives \(1, 3, 8, 8\)"):
        compare_float(lambda lr: lr, double, [noise(4, 4)[None]])


FINE = Agreement(0.4, 0.04, 1000, 0.01, False)
NO_LOSS = Loss(0.009, 0.02, 5, "paper-y")


@pytest.mark.parametrize(
    ("agreement", "loss", "message"),
    [
        (dataclasses.replace(FINE, largest=0.51), NO_LOSS, "0.51 grey levels at most, allowed 0.5"),
        (dataclasses.replace(FINE, rms=0.051), NO_LOSS, "0.051 grey levels rms, allowed 0.05"),
        (FINE, dataclasses.replace(NO_LOSS, mean_db=0.011), r"loses 0.0110 dB \(paper-y, 5 pictures\), allowed 0.01"),
    ],
)
def test_the_gate_holds_each_limit(agreement: Agreement, loss: Loss, message: str) -> None:
    gate(FINE, NO_LOSS)
    with pytest.raises(GateError, match=message) as failed:
        gate(agreement, loss)
    assert failed.value.exit_code == 5


# --- the reference ---


@pytest.mark.parametrize(
    ("fixture", "message"),
    [
        ("fp16_model", "its precision is fp16, expected fp32"),
        ("uint8_model", "its io is uint8, expected float"),
        ("direct_model", r"its checkpoint is \w{12}, expected \w{12}"),
    ],
)
def test_only_the_same_network_in_fp32_is_a_reference(
    fixture: str, message: str, tiny_model: Path, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(ModelFileError, match=f"{message} .*Export it with: edsr-export --ckpt CHECKPOINT --precision"):
        open_reference(request.getfixturevalue(fixture), read_contract(tiny_model))


def test_an_ensemble_is_compared_with_an_ensemble(direct_model: Path) -> None:
    own = dataclasses.replace(read_contract(direct_model), self_ensemble=True)
    with pytest.raises(ModelFileError, match=r"its self-ensemble inside is False, expected True.*--self-ensemble"):
        open_reference(direct_model, own)


# --- the pictures ---


@pytest.mark.parametrize(
    "profile",
    [
        PROFILE,
        tile_profile(256, 8, contract()),
        tile_profile(8, 1, contract()),
        Profile(Size(1, 80, 80), Size(1, 80, 80), Size(1, 80, 80)),
        Profile(Size(4, 32, 128), Size(4, 32, 128), Size(4, 32, 128)),
    ],
)
def test_invented_pictures_fit_the_profile_and_are_always_the_same(profile: Profile) -> None:
    pictures = invented_pictures(profile)
    assert len(pictures) == 3
    for picture, again in zip(pictures, invented_pictures(profile), strict=True):
        assert profile.holds(Size(*picture.shape[:3])) and picture.shape[3] == 3
        np.testing.assert_array_equal(picture, again)
        assert picture.min() < 30 and picture.max() > 225


def test_the_photograph_is_cut_to_what_the_profile_takes() -> None:
    (pair,) = demo_pair(PROFILE, 3)
    assert (pair.lr.shape, pair.hr.shape) == ((64, 64, 3), (192, 192, 3))
    large = Size(1, 5000, 5000)
    assert list(demo_pair(Profile(large, large, large), 3)) == []


def write_set(folder: Path, scale: int = 2) -> Path:
    for name, (height, width) in {"a": (40, 100), "b": (100, 48)}.items():
        hr = noise(scale * height, scale * width, seed=height)
        save(hr, folder / "HR" / f"{name}.png")
        save(hr[::scale, ::scale], folder / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png")
    return folder


def test_a_set_is_read_and_its_pictures_keep_to_each_other(tmp_path: Path) -> None:
    pairs = list(set_pairs(write_set(tmp_path), PROFILE, 2))
    assert [(pair.name, pair.lr.shape) for pair in pairs] == [("a", (40, 64, 3)), ("b", (64, 48, 3))]
    for pair in pairs:
        np.testing.assert_array_equal(pair.hr[::2, ::2], pair.lr)


def test_a_set_that_is_not_complete_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected pictures in .*HR, found none"):
        list(set_pairs(tmp_path, PROFILE, 2))
    write_set(tmp_path)
    (tmp_path / "LR_bicubic" / "X2" / "bx2.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: expected its small version .*bx2\.png, which is not there"):
        list(set_pairs(tmp_path, PROFILE, 2))


def test_a_gray_set_is_computed_as_rgb(tmp_path: Path) -> None:
    write_set(tmp_path)
    for path in tmp_path.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert all(pair.lr.shape[2] == pair.hr.shape[2] == 3 for pair in set_pairs(tmp_path, PROFILE, 2))


def test_psnr_is_lost_where_the_engine_is_worse() -> None:
    lr = noise(32, 32)
    hr = double_uint8(lr[None])[0]
    hr[::2] ^= 4

    def worse(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return double_uint8(small) ^ np.uint8(8)

    def loss(engine: Any) -> Loss:
        return lost_psnr(engine, double, [Pair("a", lr, hr), Pair("b", lr, hr)], 2)

    assert loss(double_uint8) == Loss(0, 0, 2, "paper-y")
    assert loss(worse).mean_db == pytest.approx(loss(worse).worst_db) and loss(worse).mean_db > 1
    with pytest.raises(DataError, match="no picture to compute PSNR on"):
        lost_psnr(double_uint8, double, [], 2)


def test_the_limits_are_those_that_are_promised() -> None:
    assert (limits.LARGEST, limits.RMS, limits.PSNR_LOSS_DB) == (0.5, 0.05, 0.01)
    assert ExportOptions().precision == "fp32"  # so what edsr-export writes by default is a reference
