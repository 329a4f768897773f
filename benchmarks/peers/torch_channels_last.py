"""PyTorch, eager, FP32, with pictures and weights in ``channels_last``: a line that people add."""

import copy

import torch
from torch import nn

from benchmarks.peers.peer import Running, Subject
from benchmarks.peers.torch_eager import TorchEager, running


class TorchChannelsLast(TorchEager):
    """Works on a copy, since the format of the weights changes."""

    name = "torch-channels-last-fp32"

    def __init__(self, network: nn.Module) -> None:
        super().__init__(copy.deepcopy(network).to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    @property
    def description(self) -> str:
        """For people."""
        return f"PyTorch eager, FP32, channels_last, unfolded, {torch.get_num_threads()} threads"

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return super()._forward(x.contiguous(memory_format=torch.channels_last))


def open_peer(subject: Subject) -> Running:
    """Turns the weights."""
    return running(TorchChannelsLast(subject.network), "fp32")
