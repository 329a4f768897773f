"""``edsr-upscale`` with a network that repeats pixels: everything around it is real. Run as a program.

EDSR_TEST_BAND_S is how long a band of eight rows takes; EDSR_TEST_STUBBORN makes a band take an hour in which Python
sees no signal; EDSR_TEST_CLOCK makes the time of day jump by years with every look at it.
"""

import hashlib
import os
import random
import time
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import numpy as np

from edsr_runtime import tiling, upscaler
from edsr_runtime.pictures.picture import Samples

BAND_ROWS = 8


class Repeater:
    """In place of ``Upscaler``: enlarges by repetition."""

    scale = 2
    description = "repeats pixels"

    def __init__(self, model: Path, **arguments: Any) -> None:
        self._seconds = float(os.environ.get("EDSR_TEST_BAND_S", "0"))
        self._stubborn = "EDSR_TEST_STUBBORN" in os.environ

    def bands(self, pixels: Samples, alpha: Samples | None = None) -> Iterator[Samples]:
        samples = pixels if alpha is None else np.concatenate([pixels, alpha[:, :, None]], axis=2)
        for start in range(0, len(samples), BAND_ROWS):
            if start and self._stubborn:
                hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)
            time.sleep(self._seconds)
            yield samples[start : start + BAND_ROWS].repeat(2, axis=0).repeat(2, axis=1)

    def plan(self, height: int, width: int) -> tiling.Plan:
        return tiling.plan(height, width, max(height, width), 0, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class Jumping(datetime):
    """In place of ``datetime``."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)


if __name__ == "__main__":
    if "EDSR_TEST_CLOCK" in os.environ:
        from edsr_runtime.job import journal

        time.time = lambda: random.uniform(0, 1 << 33)
        journal.datetime = Jumping  # type: ignore[misc]
    upscaler.Upscaler = Repeater  # type: ignore[assignment, misc]
    from edsr_runtime.cli import main

    main()
