"""PyTorch, eager, BF16 by autocast, channels_last: what its documentation recommends for inference on CPUs."""

import torch

from benchmarks.peers.peer import Running, Subject
from benchmarks.peers.torch_channels_last import TorchChannelsLast
from benchmarks.peers.torch_eager import running


class TorchBf16(TorchChannelsLast):
    """Weights stay FP32 and are rounded at every run, as autocast does where no gradient is needed."""

    name = "torch-bf16"

    @property
    def description(self) -> str:
        """For people."""
        return f"PyTorch eager, BF16 (autocast), channels_last, unfolded, {torch.get_num_threads()} threads"

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super()._forward(x)


def open_peer(subject: Subject) -> Running:
    """As channels_last."""
    return running(TorchBf16(subject.network), "bf16")
