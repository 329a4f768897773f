"""Training pairs: photographs in memory, their LR versions by MATLAB's bicubic, aligned random patches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edsr_runtime.errors import DataError, PictureError
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.resize import crop_to_multiple, imresize

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """An LR picture (h, w, 3) and its HR original (scale*h, scale*w, 3), uint8 RGB."""

    name: str
    lr: Pixels
    hr: Pixels


def picture_files(folders: Sequence[Path]) -> list[Path]:
    """All picture files in and below the folders: folder by folder, each sorted.

    Raises:
        DataError: a folder does not exist or holds no picture.
    """
    files: list[Path] = []
    for folder in folders:
        found = sorted(file for file in folder.rglob("*") if is_picture(file)) if folder.is_dir() else []
        if not found:
            raise DataError(f"{folder}: expected a folder with pictures ({', '.join(SUFFIXES)}), found none")
        files += found
    return files


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


def make_pair(hr: Pixels, scale: int, name: str = "") -> Pair:
    """Crop HR to a multiple of ``scale`` and shrink it as the benchmark sets were shrunk."""
    hr = np.ascontiguousarray(crop_to_multiple(hr, scale), np.uint8)
    return Pair(name, np.asarray(imresize(hr, 1 / scale), np.uint8), hr)


def load_pairs(folders: Sequence[Path], scale: int, patch: int) -> list[Pair]:
    """Read every photograph that is large enough for a patch and make its LR version.

    Raises:
        DataError: unreadable files (all are listed), or no photograph is large enough.
    """
    pairs, broken = [], []
    for file in picture_files(folders):
        try:
            hr = read_rgb(file)
        except DataError as err:
            broken.append(str(err))
            continue
        if min(hr.shape[:2]) >= patch * scale:
            pairs.append(make_pair(hr, scale, file.stem))
    if broken:
        raise DataError(f"{len(broken)} of the training pictures cannot be used:\n" + "\n".join(broken))
    if not pairs:
        raise DataError(
            f"no training picture has both sides of at least {patch * scale} pixels; choose a smaller patch"
        )
    return pairs


def fingerprint(pairs: Sequence[Pair]) -> str:
    """SHA-256 of the names and LR pictures, in order: equal if the same seed draws the same patches."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.name}\0{pair.lr.shape}\0{pair.hr.shape}\0".encode())
        digest.update(pair.lr.tobytes())
    return digest.hexdigest()


class PatchSampler:
    """Draws batches of aligned patches; pictures are drawn by area, so that every pixel is as likely as any other."""

    def __init__(self, pairs: Sequence[Pair], scale: int, patch: int, rng: np.random.Generator) -> None:
        self._pairs, self._scale, self._patch, self._rng = pairs, scale, patch, rng
        area = np.array([p.lr.shape[0] * p.lr.shape[1] for p in pairs], dtype=np.float64)
        self._probability = area / area.sum()

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Random patches, flipped and rotated alike.

        Returns:
            LR (size, 3, patch, patch) and HR (size, 3, scale*patch, scale*patch), float32 in 0..255.
        """
        lr = np.empty((size, 3, self._patch, self._patch), np.uint8)
        hr = np.empty((size, 3, self._patch * self._scale, self._patch * self._scale), np.uint8)
        for i, index in enumerate(self._rng.choice(len(self._pairs), size, p=self._probability)):
            lr[i], hr[i] = self._patch_of(self._pairs[index])
        return torch.from_numpy(lr).float(), torch.from_numpy(hr).float()

    def _patch_of(self, pair: Pair) -> tuple[Pixels, Pixels]:
        side, scale = self._patch, self._scale
        top, left = (int(self._rng.integers(n - side + 1)) for n in pair.lr.shape[:2])
        lr = pair.lr[top : top + side, left : left + side]
        hr = pair.hr[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        turns, mirror = divmod(int(self._rng.integers(8)), 2)
        return self._turned(lr, turns, mirror), self._turned(hr, turns, mirror)

    @staticmethod
    def _turned(patch: Pixels, turns: int, mirror: int) -> Pixels:
        patch = np.rot90(patch, turns)
        return (patch[:, ::-1] if mirror else patch).transpose(2, 0, 1)
