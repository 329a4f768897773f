"""Photographs in memory, and their LR versions as MATLAB's bicubic makes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.errors import DataError, PictureError
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.resize import crop_to_multiple, imresize

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
Pixels = NDArray[np.uint8]

_MOST_LISTED = 20


@dataclass(frozen=True)
class Pair:
    """An LR picture (h, w, 3) and its HR original (scale*h, scale*w, 3), uint8 RGB."""

    name: str
    lr: Pixels
    hr: Pixels


def is_picture(file: Path) -> bool:
    """Whether the name is that of a picture; hidden files (``._baby.png`` of macOS) are none."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def read_rgb(file: Path) -> Pixels:
    """(H, W, 3) uint8; gray becomes three equal channels, EXIF orientation is applied.

    Raises:
        DataError: the file is not a complete picture, has 16 bits per sample, or is partly transparent.
    """
    try:
        picture = read_picture(file)
    except PictureError as err:
        raise DataError(str(err)) from err
    if picture.pixels.dtype != np.uint8:
        raise DataError(f"{file}: has 16 bits per sample, expected 8. Convert it first")
    if picture.alpha is not None and (picture.alpha != 255).any():
        raise DataError(f"{file}: is partly transparent, expected an opaque photograph")
    return np.ascontiguousarray(np.broadcast_to(picture.pixels, (picture.height, picture.width, 3)))


def read_lr(file: Path, scale: int, hr_file: Path, hr_hw: tuple[int, int] | None) -> Pixels:
    """An LR file (floor(H/scale), floor(W/scale), 3) of an HR picture (H, W); None: its size is not known.

    Raises:
        DataError: as ``read_rgb``, or the sizes do not fit.
    """
    lr = read_rgb(file)
    if hr_hw is not None and lr.shape[:2] != (expected := (hr_hw[0] // scale, hr_hw[1] // scale)):
        raise DataError(
            f"{file}: is {lr.shape[0]}x{lr.shape[1]} (HxW), expected {expected[0]}x{expected[1]} for scale {scale} of "
            f"{hr_file}"
        )
    return lr


def make_pair(hr: Pixels, scale: int, name: str = "") -> Pair:
    """Crop HR to a multiple of ``scale`` and shrink it as the benchmark sets were shrunk."""
    hr = np.asarray(crop_to_multiple(hr, scale), np.uint8)
    return Pair(name, np.asarray(imresize(hr, 1 / scale), np.uint8), hr)


class UnusablePicturesError(DataError):
    """Pictures that cannot be used; the text lists the first twenty."""

    def __init__(self, problems: Sequence[str]) -> None:
        lines = [f"{len(problems)} of the pictures cannot be used:", *problems[:_MOST_LISTED]]
        if len(problems) > _MOST_LISTED:
            lines.append(f"and {len(problems) - _MOST_LISTED} more")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)
        """One line for each picture."""
        self.is_cut = len(problems) > _MOST_LISTED
        """Whether the text leaves some out."""
