"""The network as its authors run it: PyTorch, eager, FP32, unfolded. EDSR-PyTorch and super-image do this."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.peers.peer import Rgb, Running, Subject


class TorchEager:
    """Array to array, on all cores that PyTorch takes by itself."""

    name = "torch-eager-fp32"

    def __init__(self, network: nn.Module) -> None:
        self._network = network.eval()

    @property
    def description(self) -> str:
        """For people."""
        return f"PyTorch eager, FP32, unfolded, {torch.get_num_threads()} threads"

    @torch.inference_mode()
    def upscale(self, lr: Rgb) -> Rgb:
        """(H, W, 3) -> (scale*H, scale*W, 3), clamped and rounded half to even."""
        sr = self._run(lr).clamp_(0, 255).round_().to(torch.uint8)
        return np.asarray(sr[0].permute(1, 2, 0).contiguous().numpy(), np.uint8)

    @torch.inference_mode()
    def upscale_float(self, lr: Rgb) -> NDArray[np.float32]:
        """(H, W, 3) -> (scale*H, scale*W, 3) of 0..255, neither clamped nor rounded."""
        return np.asarray(self._run(lr)[0].permute(1, 2, 0).contiguous().numpy(), np.float32)

    def _run(self, lr: Rgb) -> torch.Tensor:
        # turned in numpy, as EDSR-PyTorch does: a permuted tensor would silently be channels_last, another candidate
        x = torch.from_numpy(np.ascontiguousarray(lr.transpose(2, 0, 1))).unsqueeze(0).float()
        return self._forward(x).float()

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        sr: torch.Tensor = self._network(x)
        return sr


def running(peer: TorchEager, precision: str) -> Running:
    """As all peers are run."""
    return Running(peer.description, precision, peer.upscale_float, peer.upscale)


def open_peer(subject: Subject) -> Running:
    """Nothing to load."""
    return running(TorchEager(subject.network), "fp32")
