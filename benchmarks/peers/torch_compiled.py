"""``torch.compile``, FP32, channels_last. Compiling takes a C++ compiler and is not in any time."""

import numpy as np
import torch
from torch import nn

from benchmarks.peers.peer import PeerFailedError, Running, Subject
from benchmarks.peers.torch_channels_last import TorchChannelsLast
from benchmarks.peers.torch_eager import running

_ANY_HW = (24, 24)


class TorchCompiled(TorchChannelsLast):
    """Compiled when it is first run, for the size it is then given, and again for the next size."""

    name = "torch-compile-fp32"

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self._compiled = torch.compile(self._network)

    @property
    def description(self) -> str:
        """For people."""
        return f"torch.compile, FP32, channels_last, unfolded, {torch.get_num_threads()} threads"

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        sr: torch.Tensor = self._compiled(x.contiguous(memory_format=torch.channels_last))
        return sr


def open_peer(subject: Subject) -> Running:
    """Compile once, to see whether it can be done.

    Raises:
        PeerFailedError: there is no compiler, or it fails.
    """
    try:
        peer = TorchCompiled(subject.network)
        peer.upscale(np.zeros((*_ANY_HW, 3), np.uint8))
    except Exception as err:  # whatever the compiler behind it says
        raise PeerFailedError(f"torch.compile failed: {str(err).strip().splitlines()[0]}") from err
    return running(peer, "fp32")
