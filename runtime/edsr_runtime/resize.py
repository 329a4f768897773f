"""MATLAB's ``imresize(image, scale, 'bicubic')``, which made the LR pictures of every benchmark set.

Keys' cubic with a = -0.5; when shrinking, the kernel is widened by 1/scale (antialiasing) and its weights normalised
per output pixel; coordinates outside the picture are mirrored with the edge pixel repeated; rows are resized first,
rounded and clipped to the integer type, then columns. Leaving out the rounding in between, or going columns first,
changes 10 to 18 % of the values, so the order is part of the definition.
"""

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.errors import ShapeError

_SUPPORT = 4.0  # width of the cubic, in pixels of the coarser grid

Sample = TypeVar("Sample", bound=np.generic)


def imresize(image: NDArray[Sample], scale: float) -> NDArray[Sample]:
    """Resize as MATLAB does.

    Args:
        image: (H, W) or (H, W, C), uint8, uint16 or floating point.
        scale: output size / input size, for instance ``1 / 3`` or ``4``.

    Returns:
        (ceil(H * scale), ceil(W * scale)[, C]) of the same type; integers rounded half up and clipped, floating point
        neither rounded nor clipped.

    Raises:
        ShapeError: the picture is empty, of another type or not two- or three-dimensional, or the scale not positive.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ShapeError(f"expected a picture (H, W) or (H, W, C), got an array of shape {image.shape}")
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise ShapeError(f"expected a picture of uint8, uint16 or floating point, got {image.dtype}")
    if not 0 < scale < math.inf:
        raise ShapeError(f"scale is {scale}, expected a positive number")
    return _resize_axis(_resize_axis(image, 0, scale), 1, scale)


def crop_to_multiple(image: NDArray[Sample], scale: int) -> NDArray[Sample]:
    """The top-left part whose sides are multiples of ``scale``: what an LR picture of that scale was made from."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def _resize_axis(image: NDArray[Sample], axis: int, scale: float) -> NDArray[Sample]:
    weights, indices = _taps(image.shape[axis], scale)
    source: NDArray[Any] = np.moveaxis(image, axis, 0)
    shape = (len(weights), *(1,) * (image.ndim - 1))
    total = np.zeros((len(weights), *source.shape[1:]))
    for tap in range(weights.shape[1]):
        total += weights[:, tap].reshape(shape) * source[indices[:, tap]]
    if np.issubdtype(image.dtype, np.integer):
        total = np.clip(np.floor(total + 0.5), 0, np.iinfo(source.dtype).max)
    return np.moveaxis(total, 0, axis).astype(image.dtype, order="C")


def _taps(length: int, scale: float) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Weights and source indices, each (output length, taps)."""
    stretch = max(1.0, 1.0 / scale)
    support = _SUPPORT * stretch
    positions = np.arange(1, math.ceil(length * scale) + 1) / scale + 0.5 * (1 - 1 / scale)  # 1-based, as in MATLAB
    first = np.floor(positions - support / 2)
    indices = first[:, None] + np.arange(math.ceil(support) + 2)
    weights = _keys_cubic((positions[:, None] - indices) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = (indices.astype(np.intp) - 1) % (2 * length)
    mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    used = np.any(weights, axis=0)
    return weights[:, used], mirrored[:, used]


def _keys_cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981, with a = -0.5."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
