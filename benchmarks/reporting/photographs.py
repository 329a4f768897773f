"""Real pictures for the page: bicubic, ours, and the truth.

The photograph that comes with the package may be shown to anybody. Those of benchmark sets may not be passed on: they
are on a page only where somebody has them and asks for it, and such a page is never committed.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.ours import AUTO
from benchmarks.pictures import Rgb
from benchmarks.quality.data_sets import find_sets
from edsr_runtime.demo import HR_PHOTOGRAPH, LR_PHOTOGRAPH, SCALE
from edsr_runtime.errors import DataError
from edsr_runtime.metrics import PROTOCOLS
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.resize import imresize
from edsr_runtime.zoo import DEFAULT_NAME, model_path
from edsr_train.data.sets import benchmark_pairs

_PROTOCOL = PROTOCOLS["paper-y"]
_SET = "Set5"
_OF_SET = ("baby", "bird", "butterfly")
BICUBIC, OURS, HR = "bicubic", "ours", "HR"


@dataclass(frozen=True)
class Photograph:
    """One picture in all its versions."""

    name: str
    caption: str
    layers: dict[str, bytes]
    """PNG files by name, all of one size."""
    hw: tuple[int, int]


def photographs(data: Path | None) -> list[Photograph]:
    """The bundled photograph, and some of Set5 where benchmark data are given.

    Args:
        data: as for ``find_sets``; None: the bundled photograph alone.

    Raises:
        DataError: there is no Set5 among the data, or none of those pictures in it.
    """
    found = [("coffee", read_picture(LR_PHOTOGRAPH).pixels, read_picture(HR_PHOTOGRAPH).pixels)]
    if data is not None:
        (photographed,) = find_sets(data, (_SET,))
        pairs = {pair.name: pair for pair in benchmark_pairs(photographed.folder, SCALE)}
        some = [(name, pairs[name].lr, pairs[name].hr) for name in _OF_SET if name in pairs]
        if not some:
            raise DataError(f"{photographed.folder}: has none of {', '.join(_OF_SET)}, which the page shows")
        found += some
    model = model_path(DEFAULT_NAME, SCALE)
    with AUTO.open(model) as upscaler:
        return [_photograph(name, lr, hr, upscaler.upscale(lr), model.stem) for name, lr, hr in found]


def _photograph(name: str, lr: Rgb, hr: Rgb, ours: Rgb, model: str) -> Photograph:
    bicubic = np.asarray(imresize(lr, SCALE), np.uint8)
    bicubic_db, ours_db = (_PROTOCOL.psnr(sr, hr, SCALE) for sr in (bicubic, ours))
    caption = (
        f"{name}, {SCALE} times: bicubic {bicubic_db:.2f} dB, ours ({model}) {ours_db:.2f} dB, `{_PROTOCOL.id}`; ours "
        "was computed when this page was made, not when the rest was measured; HR is the original"
    )
    layers = {BICUBIC: _png(bicubic), OURS: _png(ours), HR: _png(hr)}
    return Photograph(name, caption, layers, (hr.shape[0], hr.shape[1]))


def _png(rgb: Rgb) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    return file.getvalue()
