"""The kernels of ``kernels.cu``: where they are, and how they are launched."""

from pathlib import Path
from typing import Literal

from edsr_runtime.cuda.device import Device, Three

SOURCE = Path(__file__).parent / "kernels.cu"
PTX = Path(__file__).parent / "kernels.ptx"
PARAMETERS = {"views_of_bytes": 7, "views_of_floats": 7, "mean_as_bytes": 9, "mean_as_floats": 9}
"""How many each kernel has."""

_BLOCK: Three = (32, 8, 1)

Pixel = Literal["bytes", "floats"]
"""(N, H, W, 3) uint8, or (N, 3, H, W) float32."""


def launch_views(
    device: Device,
    stream: int,
    *,
    pixel: Pixel,
    source: int,
    target: int,
    flag: int,
    pictures: int,
    hw: tuple[int, int],
    first: int = 0,
    views: int = 1,
) -> None:
    """Pictures -> (pictures * views, 3, ...) float32, each picture's views one after the other.

    Args:
        device: where.
        stream: when.
        pixel: of the source.
        source: address of ``pictures`` pictures.
        target: address of the views.
        flag: address of 32 bits that are cleared, or 0.
        pictures: how many.
        hw: (H, W) of each.
        first: the first view, as in ``dihedral.VIEWS``.
        views: how many, all of them transposed or none, unless the pictures are square.
    """
    height, width = hw
    view_hw = (width, height) if first & 4 else hw
    grid = _grid(view_hw, pictures * views)
    device.launch(f"views_of_{pixel}", grid, _BLOCK, (source, target, flag, height, width, first, views), stream)


def launch_mean(
    device: Device,
    stream: int,
    *,
    pixel: Pixel,
    straight: int,
    transposed: int,
    target: int,
    flag: int,
    pictures: int,
    hw: tuple[int, int],
    views: int,
    chunk: int,
    stride: int,
) -> None:
    """What a network made of views -> pictures; bytes are clamped and rounded half to even.

    Args:
        device: where.
        stream: when.
        pixel: of the target.
        straight: address of the pictures or, with eight views, of the first four.
        transposed: address of the last four; only looked at with eight views.
        target: address of the result.
        flag: address of 32 bits that are set to 1 if anything is NaN or infinite, and left alone else.
        pictures: how many; one with eight views.
        hw: (H, W) of the result.
        views: 1 or 8.
        chunk: so many pictures or views follow one another,
        stride: and the next ones begin so many floats behind them.
    """
    assert views == 1 or (views == 8 and pictures == 1)
    arguments = (straight, transposed, target, flag, *hw, views, chunk, stride)
    device.launch(f"mean_as_{pixel}", _grid(hw, pictures), _BLOCK, arguments, stream)


def _grid(hw: tuple[int, int], depth: int) -> Three:
    height, width = hw
    return -(-width // _BLOCK[0]), -(-height // _BLOCK[1]), depth
