"""PSNR and SSIM of the shipped models on whole benchmark sets, beside bicubic and what was published."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.context import Context
from benchmarks.ours import OPENVINO_FP32
from benchmarks.pictures import Rgb
from benchmarks.targets import Target, at_least
from edsr_runtime.errors import DataError
from edsr_runtime.metrics import PROTOCOLS
from edsr_runtime.resize import imresize
from edsr_runtime.zoo import shipped_models
from edsr_train.data.pictures import Pair
from edsr_train.data.sets import benchmark_pairs

PROTOCOL = PROTOCOLS["paper-y"]
SETS = {
    "Set5": "Set5",
    "Set14": "Set14",
    "B100": "B100",
    "Urban100": "10 of Urban100",
}
"""Folder -> the name under which it is shown: only ten pictures of Urban100 are there, which is not Urban100."""

PUBLISHED_DB = {  # Lim et al., arXiv:1707.02921, and EDSR-PyTorch's README; trained on DIV2K
    ("edsr-baseline", 2, "Set5"): 37.98,
    ("edsr-baseline", 3, "Set5"): 34.37,
    ("edsr-baseline", 4, "Set5"): 32.09,
}
WANTED_DB = {
    ("edsr-small", 2, "Set5"): 37.55,
    ("edsr-small", 3, "Set5"): 33.80,
    ("edsr-small", 4, "Set5"): 31.50,
    ("edsr-baseline", 2, "Set5"): 37.80,
    ("edsr-baseline", 3, "Set5"): 34.05,
    ("edsr-baseline", 4, "Set5"): 31.80,
}
"""What our models are to reach without self-ensemble; they saw 532 photographs, most of them small."""


@dataclass(frozen=True)
class SetScore:
    """One model on one set: means over its pictures."""

    model: str
    scale: int
    set: str
    pictures: int
    psnr_db: float
    ssim: float
    bicubic_psnr_db: float
    bicubic_ssim: float
    published_psnr_db: float | None


@dataclass(frozen=True)
class SetsResult:
    """All models on all sets that are there."""

    protocol: str
    computed_by: str
    scores: list[SetScore]
    targets: list[Target]


def measure(context: Context) -> SetsResult:
    """Score every shipped model in FP32 on every set.

    Raises:
        DataError: there are no benchmark data.
        MissingDependencyError: OpenVINO is not installed.
    """
    if context.data is None:
        raise DataError("sets needs benchmark pictures: pass their folder with --data, or in EDSR_DATA")
    scores: list[SetScore] = []
    bicubic: dict[tuple[str, int], tuple[float, float]] = {}
    for shipped in shipped_models():
        with OPENVINO_FP32.open(shipped.path) as upscaler:
            for folder, shown in SETS.items():
                place = context.data / "benchmark" / folder
                if not place.is_dir():
                    continue
                context.say(f"sets: {shipped.path.stem} on {shown}")
                pairs = _pairs(context, place, shipped.scale)
                psnr, ssim = _means(pairs, shipped.scale, upscaler.upscale)
                if (shown, shipped.scale) not in bicubic:
                    bicubic[shown, shipped.scale] = _means(pairs, shipped.scale, _bicubic(shipped.scale))
                published = PUBLISHED_DB.get((shipped.name, shipped.scale, shown))
                plain = bicubic[shown, shipped.scale]
                scores.append(SetScore(shipped.name, shipped.scale, shown, len(pairs), psnr, ssim, *plain, published))
    return SetsResult(PROTOCOL.id, OPENVINO_FP32.name, scores, list(_targets(scores, context.settings.why_no_target)))


def _targets(scores: list[SetScore], unless: str) -> Iterator[Target]:
    for found in scores:
        wanted = WANTED_DB.get((found.model, found.scale, found.set))
        if wanted is not None:
            promise = f"PSNR of {found.model} x{found.scale} on {found.set}"
            yield at_least(promise, wanted, found.psnr_db, "dB", unless=unless)


def _pairs(context: Context, place: Path, scale: int) -> list[Pair]:
    side = context.settings.psnr_side
    pairs = benchmark_pairs(place, scale)
    if side is None:
        return pairs
    return [Pair(p.name, p.lr[:side, :side], p.hr[: side * scale, : side * scale]) for p in pairs[:2]]


def _bicubic(scale: int) -> Callable[[Rgb], Rgb]:
    return lambda lr: np.asarray(imresize(lr, scale), np.uint8)


def _means(pairs: list[Pair], scale: int, upscale: Callable[[Rgb], Rgb]) -> tuple[float, float]:
    """PSNR in dB and SSIM."""
    found = [(pair, upscale(pair.lr)) for pair in pairs]
    psnr = [PROTOCOL.psnr(sr, pair.hr, scale) for pair, sr in found]
    ssim = [PROTOCOL.ssim(sr, pair.hr, scale) for pair, sr in found]
    return float(np.mean(psnr)), float(np.mean(ssim))
