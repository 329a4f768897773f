"""Whether two that are timed compute the same: the time of something else says nothing."""

import numpy as np

from benchmarks.pictures import Rgb
from edsr_runtime.errors import GateError

_SAME_FUNCTION = 3  # grey levels; BF16 stays within 2, and another network differs by tens


def difference(name: str, sr: Rgb, reference: Rgb) -> tuple[int, float]:
    """How a result differs from PyTorch's.

    Args:
        name: whose result it is.
        sr: the result.
        reference: what PyTorch computes in FP32 on the unfolded network.

    Returns:
        The largest difference, grey levels after rounding, and the share of samples that differ.

    Raises:
        GateError: more than rounding in BF16 can explain.
    """
    differences = np.abs(sr.astype(np.int16) - reference)
    largest = int(differences.max())
    if largest > _SAME_FUNCTION:
        raise GateError(
            f"{name} differs from PyTorch by {largest} grey levels (allowed {_SAME_FUNCTION}): it computes something "
            "else, so its time says nothing"
        )
    return largest, float(np.mean(differences > 0))
