"""PSNR and SSIM of a network on a benchmark set, under a named protocol."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edsr_runtime.dihedral import VIEWS, View
from edsr_runtime.errors import NumericalError, ShapeError
from edsr_runtime.metrics import Protocol
from edsr_runtime.resize import imresize
from edsr_train.data.pictures import Pair, Pixels
from edsr_train.models.branch import SuperResolutionNetwork


@dataclass(frozen=True)
class Score:
    """One picture under one protocol; PSNR in dB."""

    name: str
    psnr: float
    ssim: float


@torch.inference_mode()
def super_resolve(network: Callable[[Tensor], Tensor], lr: Pixels, self_ensemble: bool = False) -> Pixels:
    """Upscale a whole picture at once.

    Args:
        network: (1, 3, h, w) in 0..255 -> (1, 3, scale*h, scale*w), such as ``EDSR`` or ``MDSR.branch(scale)``; works
            where its parameters are.
        lr: (h, w, 3) uint8.
        self_ensemble: run all eight flips and rotations, turn the results back, average before rounding; Lim et al.,
            arXiv:1707.02921, section 3.4.

    Returns:
        (scale*h, scale*w, 3) uint8, rounded half to even.

    Raises:
        NumericalError: the network gave NaN or infinity.
    """
    weights = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    x = (
        torch.from_numpy(np.array(lr))
        .to(None if weights is None else weights.device)
        .permute(2, 0, 1)
        .unsqueeze(0)
        .float()
    )
    if self_ensemble:
        y = torch.stack([_turned_back(network(_turned(x, view)), view) for view in VIEWS]).mean(0)
    else:
        y = network(x)
    if not torch.isfinite(y).all():
        raise NumericalError(f"the network gave NaN or infinity for a picture of {lr.shape[0]}x{lr.shape[1]} (HxW)")
    return y.squeeze(0).permute(1, 2, 0).clamp(0, 255).round().to(torch.uint8).cpu().numpy()


def evaluate(
    network: SuperResolutionNetwork,
    pairs: Iterable[Pair],
    scale: int,
    protocol: Protocol,
    self_ensemble: bool = False,
) -> Iterator[Score]:
    """Score every picture, one after the other.

    Raises:
        ShapeError: a picture is too small to be scored under this protocol.
        NumericalError: the network gave NaN or infinity.
    """
    branch = network.branch(scale)
    for pair in pairs:
        yield score(super_resolve(branch, pair.lr, self_ensemble), pair, scale, protocol)


def evaluate_bicubic(pairs: Iterable[Pair], scale: int, protocol: Protocol) -> Iterator[Score]:
    """The same for MATLAB's bicubic, the first row of every table."""
    for pair in pairs:
        yield score(upscale_bicubic(pair.lr, scale), pair, scale, protocol)


def upscale_bicubic(lr: Pixels, scale: int) -> Pixels:
    """MATLAB's bicubic: (h, w, 3) -> (scale*h, scale*w, 3)."""
    return np.asarray(imresize(lr, scale), np.uint8)


def mean_psnr(scores: Sequence[Score]) -> float:
    """Mean over pictures of PSNR in dB, as papers report it."""
    return float(np.mean([s.psnr for s in scores]))


def mean_ssim(scores: Sequence[Score]) -> float:
    """Mean over pictures of SSIM."""
    return float(np.mean([s.ssim for s in scores]))


def score(sr: Pixels, pair: Pair, scale: int, protocol: Protocol) -> Score:
    """Score one SR picture; ShapeError if it is too small for the protocol."""
    with _named(pair):
        return Score(pair.name, protocol.psnr(sr, pair.hr, scale), protocol.ssim(sr, pair.hr, scale))


def psnr_of(sr: Pixels, pair: Pair, scale: int, protocol: Protocol) -> float:
    """The PSNR of ``score`` alone, in a small part of its time."""
    with _named(pair):
        return protocol.psnr(sr, pair.hr, scale)


@contextmanager
def _named(pair: Pair) -> Iterator[None]:
    try:
        yield
    except ShapeError as err:
        raise ShapeError(f"{pair.name}: {err}") from err


def _turned(x: Tensor, view: View) -> Tensor:
    x = x.mT if view.transpose else x
    return x.flip(_flipped_axes(view))


def _turned_back(y: Tensor, view: View) -> Tensor:
    y = y.flip(_flipped_axes(view))
    return y.mT if view.transpose else y


def _flipped_axes(view: View) -> list[int]:
    return [axis for axis, flip in ((-2, view.flip_rows), (-1, view.flip_columns)) if flip]
