"""Kernels in the order in which the matrix units take them."""

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.amx.program import DEPTH

_BREADTH = 16
"""Results of one tile."""
_LINE = 64
"""Bytes: what is loaded at once should not lie across two lines of the cache, which costs half the speed."""


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounded half to even, as bits; of finite values."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def aligned_zeros(count: int, dtype: type[np.generic]) -> NDArray[np.generic]:
    """(count,), beginning at a line of the cache."""
    size = count * np.dtype(dtype).itemsize
    memory = np.zeros(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype)


def aligned(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """A flat copy that begins at a line of the cache."""
    copy = aligned_zeros(values.size, values.dtype.type)
    copy[:] = values.ravel()
    return copy


def tiles_of(results: int) -> int:
    """How many tiles hold so many results."""
    return -(-results // _BREADTH)


def packed_kernel(kernel: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(out, F, k, k) -> flat BF16.

    Results in pairs of tiles, and one tile alone at the end where they are odd; for each: every place of the kernel,
    every 32 values in, every tile, 16 pairs of values in, 16 results, the two values of the pair.
    """
    out, into, side, _ = kernel.shape
    tiles = tiles_of(out)
    whole = np.zeros((tiles * _BREADTH, into, side, side), np.float32)
    whole[:out] = kernel
    # tile, result, slice, pair, value of the pair, row, column
    parts = to_bf16(whole).reshape(tiles, _BREADTH, into // DEPTH, DEPTH // 2, 2, side, side)
    groups = [parts[start : start + 2] for start in range(0, tiles, 2)]
    return np.concatenate([group.transpose(5, 6, 2, 0, 3, 1, 4).ravel() for group in groups])


def packed_bias(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """(out,) -> one for each result of whole tiles."""
    whole = np.zeros(tiles_of(len(bias)) * _BREADTH, np.float32)
    whole[: len(bias)] = bias
    return whole
