"""Sums over the pictures of a set."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.pictures import Rgb
from edsr_runtime.metrics import Protocol

Floats = NDArray[np.float32]


class Tally:
    """Of one candidate, picture by picture, so that no picture is kept."""

    def __init__(self, protocol: Protocol, scale: int) -> None:
        self._protocol = protocol
        self._scale = scale
        self._psnr: list[float] = []
        self._ssim: list[float] = []
        self._losses: list[float] = []
        self._squares = 0.0
        self._samples = 0
        self._changed = 0
        self.max_difference = 0.0
        """Grey levels, of any sample."""

    def add(self, hr: Rgb, sr: Rgb) -> float:
        """Score one picture; its PSNR comes back."""
        self._psnr.append(self._protocol.psnr(sr, hr, self._scale))
        self._ssim.append(self._protocol.ssim(sr, hr, self._scale))
        return self._psnr[-1]

    def compare(self, psnr_db: float, sr: Rgb, floats: Floats, base_db: float, base_sr: Rgb, base: Floats) -> None:
        """Take in how one picture differs from the reference's: rounded, and as floats clamped to 0..255."""
        self._losses.append(base_db - psnr_db)
        difference = np.abs(floats - base, dtype=np.float64)
        self._squares += float(np.sum(difference**2))
        self._samples += difference.size
        self._changed += int(np.count_nonzero(sr != base_sr))
        self.max_difference = max(self.max_difference, float(difference.max()))

    @property
    def psnr_db(self) -> float:
        """Mean over pictures."""
        return float(np.mean(self._psnr))

    @property
    def ssim(self) -> float:
        """Mean over pictures."""
        return float(np.mean(self._ssim))

    @property
    def loss_db(self) -> float:
        """Mean of the reference's PSNR less this one."""
        return float(np.mean(self._losses))

    @property
    def worst_loss_db(self) -> float:
        """Of any picture."""
        return max(self._losses)

    @property
    def rms_difference(self) -> float:
        """Grey levels, over all samples."""
        return float(np.sqrt(self._squares / self._samples))

    @property
    def changed_share(self) -> float:
        """Of samples, after rounding."""
        return self._changed / self._samples
