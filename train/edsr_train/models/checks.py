"""What configurations of networks have in common to refuse; each where a network could not be built, or not be run."""

import math
from collections.abc import Sequence

from edsr_runtime.errors import EdsrError


def check_pixel_range(pixel_range: float) -> None:
    """EdsrError unless white is a positive number."""
    if not (math.isfinite(pixel_range) and pixel_range > 0):
        raise EdsrError(f"pixel_range is {pixel_range:g}, expected a positive number such as 1 or 255")


def check_sizes(name: str, sizes: Sequence[int], count: int) -> None:
    """EdsrError unless there are ``count`` positive numbers."""
    if len(sizes) != count or min(sizes, default=0) < 1:
        raise EdsrError(f"{name} is {tuple(sizes)}, expected {count} positive numbers")
