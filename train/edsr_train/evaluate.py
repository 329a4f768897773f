"""PSNR and SSIM of a network on a benchmark set, under a named protocol."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edsr_runtime.metrics import Protocol
from edsr_train.data import Pair, Pixels, make_pair, picture_files, read_rgb


@dataclass(frozen=True)
class Score:
    """One picture under one protocol; PSNR in dB."""

    name: str
    psnr: float
    ssim: float


def benchmark_pairs(folder: Path, scale: int) -> list[Pair]:
    """The pictures of a benchmark folder: its ``HR`` folder if there is one, LR by MATLAB's bicubic."""
    hr = folder / "HR" if (folder / "HR").is_dir() else folder
    return [make_pair(read_rgb(file), scale, file.stem) for file in picture_files([hr])]


@torch.inference_mode()
def super_resolve(network: nn.Module, lr: Pixels, *scale: int) -> Pixels:
    """(H, W, 3) uint8 -> (scale*H, scale*W, 3) uint8, the whole picture at once, rounded half to even."""
    x = torch.from_numpy(lr.copy()).permute(2, 0, 1).unsqueeze(0).float()
    y: Tensor = network(x, *scale)
    return y.squeeze(0).permute(1, 2, 0).clamp(0, 255).round().to(torch.uint8).numpy()


def evaluate(network: nn.Module, pairs: list[Pair], scale: int, protocol: Protocol) -> list[Score]:
    """Score every picture; the network is called in the mode it is in."""
    scores = []
    for pair in pairs:
        sr = super_resolve(network, pair.lr)
        scores.append(Score(pair.name, protocol.psnr(sr, pair.hr, scale), protocol.ssim(sr, pair.hr, scale)))
    return scores


def mean_psnr(scores: list[Score]) -> float:
    """Mean over pictures of PSNR in dB, as papers report it."""
    return float(np.mean([s.psnr for s in scores]))
