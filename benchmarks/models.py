"""Model files to measure: exported when first asked for, each once, into one folder."""

import dataclasses
from pathlib import Path

import torch
from torch import nn

from benchmarks.settings import Settings
from edsr_export.deploy import Deployed
from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_export.fold import Folded, fold
from edsr_export.tail import RADIUS, CollapsedTail
from edsr_export.to_onnx import set_metadata, to_onnx
from edsr_runtime.contract import METADATA_KEY, read_contract
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models.edsr import EDSR, EDSRConfig

_SEED = 0


class Models:
    """EDSR with random weights, on which speed does not depend, in several forms; and checkpoints."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings

    @property
    def description(self) -> str:
        """Of the random networks, for people."""
        size = (self._settings.n_resblocks, self._settings.n_feats)
        name = "EDSR-baseline" if size == (16, 64) else "EDSR"
        return f"{name} {size[0]}x{size[1]}, random weights"

    def network(self, scale: int) -> EDSR:
        """The unfolded network; the same weights every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            config = EDSRConfig(scale, self._settings.n_resblocks, self._settings.n_feats)
            return EDSR(config).eval().requires_grad_(False)

    def exported(self, scale: int, *, collapse_tail: bool = True) -> Path:
        """What edsr-export writes, with or without ``--no-collapse``."""
        checkpoint = self._folder / f"random_x{scale}.pt"
        if not checkpoint.exists():
            save_checkpoint(checkpoint, self.network(scale))
        return self._export(checkpoint, self._folder / ("collapsed" if collapse_tail else "whole"), collapse_tail)

    def without_ring(self, scale: int) -> Path:
        """The collapsed graph with one zero-padded 5x5 convolution in place of the nine regions.

        It is wrong in the outermost ring of LR pixels, and serves to show what being right costs.
        """
        path = self._folder / "without_ring" / f"random_x{scale}.onnx"
        if not path.exists():
            exact = fold(self.network(scale).branch(scale), collapse_tail=True, mean_in_bias=True, range_shift=0)
            deployed = Deployed(plain_tail(exact), torch.float32)
            model = to_onnx(deployed, uint8=False, min_side=1, scale=scale)
            contract = read_contract(self.exported(scale))
            wrong = dataclasses.replace(contract, folds=(*contract.folds, "for a benchmark: border ring left wrong"))
            set_metadata(model, METADATA_KEY, wrong.to_json())
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(model.SerializeToString())
        return path

    def from_checkpoint(self, checkpoint: Path, res_scale: float) -> Path:
        """What edsr-export makes of a checkpoint that does not know its residual scaling."""
        return self._export(checkpoint, self._folder / "checkpoints", True, res_scale)

    def _export(self, checkpoint: Path, folder: Path, collapse_tail: bool, res_scale: float | None = None) -> Path:
        path = folder / f"{checkpoint.stem}.onnx"
        if not path.exists():
            export_checkpoint(checkpoint, folder, ExportOptions(collapse_tail=collapse_tail), res_scale=res_scale)
        return path


def plain_tail(folded: Folded) -> Folded:
    """The collapsed tail's inner convolution alone, zero padded to keep the size."""
    assert isinstance(folded.tail, CollapsedTail)
    inner = next(conv for vertical, horizontal, conv in folded.tail.regions() if vertical == horizontal == "inner")
    same = nn.Conv2d(inner.in_channels, inner.out_channels, 2 * RADIUS + 1, padding=RADIUS, dtype=inner.weight.dtype)
    same.load_state_dict(inner.state_dict())
    return dataclasses.replace(folded, tail=nn.Sequential(same, nn.PixelShuffle(folded.scale)))
