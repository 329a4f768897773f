"""PSNR and SSIM: closed forms, a direct SSIM, and the bicubic row of the papers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edsr_runtime.errors import ShapeError
from edsr_runtime.metrics import PROTOCOLS, luma, psnr_rgb, psnr_y, ssim_rgb, ssim_y
from edsr_runtime.resize import crop_to_multiple, imresize

Rgb = NDArray[np.uint8]


def random_picture(height: int = 24, width: int = 31, seed: int = 0) -> Rgb:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gray(value: int) -> Rgb:
    return np.full((24, 31, 3), value, np.uint8)


def test_protocols_shave_what_the_papers_shave() -> None:
    assert set(PROTOCOLS) == {"paper-y", "paper-div2k"}
    assert [PROTOCOLS["paper-y"].shave(s) for s in (2, 3, 4)] == [2, 3, 4]
    assert [PROTOCOLS["paper-div2k"].shave(s) for s in (2, 3, 4)] == [8, 9, 10]
    assert all(id == protocol.id for id, protocol in PROTOCOLS.items())


def test_a_protocol_is_its_channel_and_its_shave() -> None:
    sr, hr = random_picture(40, 45), random_picture(40, 45, seed=1)
    y, div2k = PROTOCOLS["paper-y"], PROTOCOLS["paper-div2k"]
    assert (y.psnr(sr, hr, 3), y.ssim(sr, hr, 3)) == (psnr_y(sr, hr, 3), ssim_y(sr, hr, 3))
    assert (div2k.psnr(sr, hr, 4), div2k.ssim(sr, hr, 4)) == (psnr_rgb(sr, hr, 10), ssim_rgb(sr, hr, 10))


@pytest.mark.parametrize("difference", [1, 7, 100])
def test_psnr_of_a_constant_difference(difference: int) -> None:
    expected = 20 * math.log10(255 / difference)
    assert psnr_rgb(gray(90), gray(90 + difference), 2) == pytest.approx(expected, abs=1e-9)
    # luma of gray has a slope of 219/255
    expected_y = 20 * math.log10(255 / (difference * 219 / 255))
    assert psnr_y(gray(90), gray(90 + difference), 2) == pytest.approx(expected_y, abs=1e-9)


@pytest.mark.parametrize(("channel", "weight"), [(0, 65.481), (1, 128.553), (2, 24.966)])
def test_luma_weighs_the_channels_as_matlab_does(channel: int, weight: float) -> None:
    hr, sr = gray(90), gray(90)
    sr[..., channel] += 10
    assert psnr_y(sr, hr, 0) == pytest.approx(20 * math.log10(255 / (10 * weight / 255)), abs=1e-9)
    assert psnr_rgb(sr, hr, 0) == pytest.approx(10 * math.log10(255**2 / (100 / 3)), abs=1e-9)


def test_luma_has_studio_range_and_is_not_rounded() -> None:
    colours: Rgb = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 1, 0]]], np.uint8)
    np.testing.assert_allclose(luma(colours), [[16, 235, 81.481, 16 + 128.553 / 255]], atol=1e-12)


def test_equal_pictures_have_infinite_psnr_and_ssim_one() -> None:
    picture = random_picture()
    assert psnr_y(picture, picture, 2) == psnr_rgb(picture, picture, 2) == math.inf
    assert ssim_y(picture, picture, 2) == pytest.approx(1)
    assert ssim_rgb(picture, picture, 2) == pytest.approx(1)


@pytest.mark.parametrize("measure", [psnr_y, psnr_rgb, ssim_y, ssim_rgb])
def test_what_is_shaved_does_not_count_and_all_else_does(measure: Any) -> None:
    hr, sr = random_picture(), random_picture()
    for edge in (sr[:3], sr[-3:], sr[:, :3], sr[:, -3:]):
        edge[:] = 255 - edge
    equal = math.inf if measure in (psnr_y, psnr_rgb) else pytest.approx(1)
    assert measure(sr, hr, 3) == equal
    for corner in ((3, 3), (3, -4), (-4, 3), (-4, -4)):
        sr = hr.copy()
        sr[corner] = 255 - sr[corner]
        assert measure(sr, hr, 3) < (1e3 if equal is math.inf else 1)


def direct_ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Wang et al. 2004, equation 13, one weighted window after the other, with variances as means of squares."""
    window = np.array([[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)] for i in range(11)])
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(a.shape[0] - 10):
        for column in range(a.shape[1] - 10):
            x, y = (plane[row : row + 11, column : column + 11] for plane in (a, b))
            mx, my = float((window * x).sum()), float((window * y).sum())
            vx, vy = float((window * (x - mx) ** 2).sum()), float((window * (y - my) ** 2).sum())
            cov = float((window * (x - mx) * (y - my)).sum())
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_ssim_is_the_mean_over_gaussian_windows() -> None:
    hr = random_picture(18, 21)
    noise = np.random.default_rng(1).integers(-40, 41, hr.shape)
    sr: Rgb = np.clip(hr + noise, 0, 255).astype(np.uint8)
    inner = np.s_[2:-2, 2:-2]
    y_a, y_b = (p[inner].astype(np.float64) @ (65.481, 128.553, 24.966) / 255 + 16 for p in (sr, hr))
    assert ssim_y(sr, hr, 2) == pytest.approx(direct_ssim(y_a, y_b), abs=1e-9)
    channels = [direct_ssim(sr[inner][..., c].astype(float), hr[inner][..., c].astype(float)) for c in range(3)]
    assert ssim_rgb(sr, hr, 2) == pytest.approx(np.mean(channels), abs=1e-9)
    assert 0.1 < ssim_rgb(sr, hr, 2) < 0.99


def test_ssim_of_two_constants_is_its_luminance_term() -> None:
    c1 = (0.01 * 255) ** 2
    assert ssim_rgb(gray(100), gray(120), 0) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1))


@pytest.mark.parametrize("measure", [psnr_y, psnr_rgb, ssim_y, ssim_rgb])
def test_what_cannot_be_compared_is_refused(measure: Any) -> None:
    picture = random_picture()
    with pytest.raises(ShapeError, match=r"SR is \(24, 30\) and HR is \(24, 31\).*crop HR to scale times the LR size"):
        measure(picture[:, :30], picture, 0)
    with pytest.raises(ShapeError, match=r"SR picture: expected \(H, W, 3\) uint8, got .* float64"):
        measure(picture.astype(float), picture, 0)
    with pytest.raises(ShapeError, match=r"HR picture: expected \(H, W, 3\) uint8, got \(24, 31\)"):
        measure(picture, picture[..., 0], 0)
    with pytest.raises(ShapeError, match=r"nothing is left of 24x31 .* after shaving 12 pixels"):
        measure(picture, picture, 12)
    with pytest.raises(ShapeError, match="shave is -1"):
        measure(picture, picture, -1)


def test_ssim_of_a_picture_smaller_than_its_window_is_refused() -> None:
    with pytest.raises(ShapeError, match="at least 11 pixels a side after shaving, got 10x17"):
        ssim_y(random_picture(14, 21), random_picture(14, 21), 2)
    ssim_y(random_picture(15, 21), random_picture(15, 21), 2)


def bicubic(data_root: Path, name: str, scale: int) -> tuple[float, float]:
    """Mean PSNR and SSIM of MATLAB's bicubic on a benchmark set, protocol paper-y."""
    folder, protocol = data_root / "benchmark" / name, PROTOCOLS["paper-y"]
    values = []
    for path in sorted((folder / "HR").glob("*.png")):
        lr = np.asarray(Image.open(folder / f"LR_bicubic/X{scale}/{path.stem}x{scale}.png").convert("RGB"))
        hr = crop_to_multiple(np.asarray(Image.open(path).convert("RGB")), scale)
        sr = imresize(lr, scale)
        values.append((protocol.psnr(sr, hr, scale), protocol.ssim(sr, hr, scale) if name == "Set5" else math.nan))
    psnr, ssim = np.mean(values, axis=0)
    return float(psnr), float(ssim)


@pytest.mark.parametrize(("scale", "db", "ssim"), [(2, 33.66, 0.9299), (3, 30.39, 0.8682), (4, 28.42, 0.8104)])
def test_bicubic_on_set5_is_that_of_the_papers(data_root: Path, scale: int, db: float, ssim: float) -> None:
    # Lim et al., arXiv:1707.02921, table 3: from MATLAB, which rounds luma to uint8 before it compares
    measured = bicubic(data_root, "Set5", scale)
    assert measured == (pytest.approx(db, abs=0.02), pytest.approx(ssim, abs=1e-3))


@pytest.mark.parametrize(("scale", "db"), [(2, 29.56), (3, 27.21), (4, 25.96)])
def test_bicubic_on_b100_is_that_of_the_papers(data_root: Path, scale: int, db: float) -> None:
    measured, _ = bicubic(data_root, "B100", scale)  # same table
    assert measured == pytest.approx(db, abs=0.02)
