"""PSNR and SSIM as super-resolution papers count them.

Two protocols, each with an id that is printed beside its numbers:

``paper-y``: luma (BT.601 studio range, MATLAB ``rgb2ycbcr``), ``scale`` border pixels shaved; for Set5, Set14, B100 and
Urban100.
``paper-div2k``: RGB, ``scale + 6`` border pixels shaved; DIV2K validation (Lim et al., arXiv:1707.02921, section 4.1).

Luma stays in floating point: rounding it to uint8 lowers PSNR by 0.02 to 0.08 dB.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.errors import ShapeError

Uint8Image = NDArray[np.uint8]
FloatPlane = NDArray[np.float64]

LUMA_RGB = np.array((65.481, 128.553, 24.966)) / 255  # MATLAB rgb2ycbcr, first row
LUMA_OFFSET = 16.0
_PEAK = 255.0
_SSIM_SIGMA, _SSIM_SIZE = 1.5, 11  # Wang et al., IEEE TIP 2004, section III-C
_SSIM_C1, _SSIM_C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2


@dataclass(frozen=True)
class Protocol:
    """How a number was counted; the id belongs beside the number."""

    id: str
    luma: bool
    extra_shave: int

    def shave(self, scale: int) -> int:
        """Border pixels of the SR picture that do not count."""
        return scale + self.extra_shave

    def psnr(self, sr: Uint8Image, hr: Uint8Image, scale: int) -> float:
        """PSNR in dB of one picture under this protocol."""
        return (psnr_y if self.luma else psnr_rgb)(sr, hr, self.shave(scale))

    def ssim(self, sr: Uint8Image, hr: Uint8Image, scale: int) -> float:
        """SSIM of one picture under this protocol."""
        return (ssim_y if self.luma else ssim_rgb)(sr, hr, self.shave(scale))


PROTOCOLS = {p.id: p for p in (Protocol("paper-y", True, 0), Protocol("paper-div2k", False, 6))}


def luma(rgb: Uint8Image) -> FloatPlane:
    """(H, W, 3) RGB of 0..255 -> (H, W) luma of 16..235, not rounded."""
    return rgb.astype(np.float64) @ LUMA_RGB + LUMA_OFFSET


def psnr_y(sr: Uint8Image, hr: Uint8Image, shave: int) -> float:
    """PSNR in dB on the luma of two (H, W, 3) uint8 pictures; infinity if they are equal."""
    return _psnr(*_shaved(sr, hr, shave, luma))


def psnr_rgb(sr: Uint8Image, hr: Uint8Image, shave: int) -> float:
    """PSNR in dB over all three channels of two (H, W, 3) uint8 pictures; infinity if they are equal."""
    return _psnr(*_shaved(sr, hr, shave, _as_float))


def ssim_y(sr: Uint8Image, hr: Uint8Image, shave: int) -> float:
    """SSIM (11x11 Gaussian, sigma 1.5, valid part) on the luma of two (H, W, 3) uint8 pictures."""
    return _ssim(*_shaved(sr, hr, shave, luma))


def ssim_rgb(sr: Uint8Image, hr: Uint8Image, shave: int) -> float:
    """SSIM of each channel of two (H, W, 3) uint8 pictures, averaged."""
    a, b = _shaved(sr, hr, shave, _as_float)
    return float(np.mean([_ssim(a[..., c], b[..., c]) for c in range(3)]))


def _as_float(image: Uint8Image) -> FloatPlane:
    return image.astype(np.float64)


def _shaved(
    sr: Uint8Image, hr: Uint8Image, shave: int, view: Callable[[Uint8Image], FloatPlane]
) -> tuple[FloatPlane, FloatPlane]:
    for name, image in (("SR", sr), ("HR", hr)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ShapeError(f"{name} picture: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if sr.shape != hr.shape:
        raise ShapeError(f"SR is {sr.shape[:2]} and HR is {hr.shape[:2]} (HxW): crop HR to scale times the LR size")
    if shave < 0:
        raise ShapeError(f"shave is {shave}, expected 0 or more pixels")
    height, width = sr.shape[:2]
    if min(height, width) <= 2 * shave:
        raise ShapeError(f"nothing is left of {height}x{width} (HxW) after shaving {shave} pixels from each side")
    inner = slice(shave, height - shave), slice(shave, width - shave)
    return view(sr[inner]), view(hr[inner])


def _psnr(a: FloatPlane, b: FloatPlane) -> float:
    mse = float(np.mean((a - b) ** 2))
    return math.inf if mse == 0 else 10 * math.log10(_PEAK**2 / mse)


def _ssim(a: FloatPlane, b: FloatPlane) -> float:
    if min(a.shape) < _SSIM_SIZE:
        raise ShapeError(f"SSIM needs at least {_SSIM_SIZE} pixels a side after shaving, got {a.shape[0]}x{a.shape[1]}")
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    return float(np.mean(numerator / ((mean_a**2 + mean_b**2 + _SSIM_C1) * (var_a + var_b + _SSIM_C2))))


def _blur(plane: FloatPlane) -> FloatPlane:
    """Valid part of the separable Gaussian filter."""
    offsets = np.arange(_SSIM_SIZE) - _SSIM_SIZE // 2
    kernel = np.exp(-(offsets**2) / (2 * _SSIM_SIGMA**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        length = plane.shape[axis] - _SSIM_SIZE + 1
        taps = (np.take(plane, range(i, i + length), axis) * kernel[i] for i in range(_SSIM_SIZE))
        plane = sum(taps, start=np.zeros(1))
    return plane
