"""What tiles change: the largest difference from the picture that was upscaled whole, by halo."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.context import Context
from benchmarks.ours import OPENVINO_FP32
from benchmarks.pictures import texture
from benchmarks.targets import Target, at_most
from edsr_runtime.upscaler import Upscaler

_SCALE = 2
_SAME = 1e-3  # grey levels: sums in another order, since a tile has another shape
_CHECKPOINT = Path(__file__).resolve().parent.parent.parent / "train" / "checkpoints" / "edsr-baseline_x2.safetensors"


@dataclass(frozen=True)
class SeamRow:
    """One halo."""

    halo_px: int
    is_exact: bool
    """The receptive radius, which is what the runtime uses unless told."""
    tiles: int
    max_difference: float
    """Grey levels, not rounded."""
    changed_share: float
    """Of samples, after rounding to uint8."""


@dataclass(frozen=True)
class SeamsResult:
    """In FP32, of a network with trained weights."""

    model: str
    lr_hw: tuple[int, int]
    core_px: int
    rows: list[SeamRow]
    targets: list[Target]


def measure(context: Context) -> SeamsResult:
    """Upscale one picture whole, and in tiles with every halo."""
    if context.settings.smoke:
        model = context.models.exported(_SCALE)
    else:
        model = context.models.from_checkpoint(_CHECKPOINT, None)
    context.say(f"seams: {model.stem}")
    lr = texture(*context.settings.lr_hw)
    floats = lr.astype(np.float32) / np.float32(255)
    with OPENVINO_FP32.open(model) as upscaler:
        exact = upscaler.contract.receptive_radius
        whole, rounded = upscaler.upscale(floats) * 255, upscaler.upscale(lr)
    rows = []
    for halo in sorted({*context.settings.seams_halos, exact}):
        tile = context.settings.seams_core + 2 * halo
        with Upscaler(model, backend="openvino", precision="fp32", tile=tile, halo=halo) as tiled:
            difference = np.abs(tiled.upscale(floats) * 255 - whole)
            changed = float(np.mean(tiled.upscale(lr) != rounded))
            count = len(tiled.plan(*context.settings.lr_hw))
        rows.append(SeamRow(halo, halo == exact, count, float(difference.max()), changed))
    worst = max(row.max_difference for row in rows if row.halo_px >= exact)
    target = at_most("seams with the exact halo", _SAME, worst, "grey levels", unless=context.settings.why_no_target)
    return SeamsResult(model.stem, context.settings.lr_hw, context.settings.seams_core, rows, [target])
