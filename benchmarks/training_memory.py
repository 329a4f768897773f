"""What training holds in memory: EDSR, EDSR with batch norm in its residual blocks, and SRResNet.

Started as a program it does a few updates and ends; ``training_peak`` measures such a process.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor, nn

from benchmarks.peak_memory import CommandFailedError, own_peak_bytes, run_and_measure
from edsr_runtime.errors import EdsrError
from edsr_train.config import TrainConfig
from edsr_train.models.blocks import conv
from edsr_train.models.edsr import EDSR, EDSRConfig
from edsr_train.models.srresnet import SRResNet, SRResNetConfig
from edsr_train.processes import Processes
from edsr_train.updater import Updater

_GREY_LEVELS = 255
_OWN_MAPPINGS = ("/usr/bin/env", "MALLOC_MMAP_THRESHOLD_=131072")
"""For glibc, where this is the default until a tensor is freed; to say so keeps it from rising. A tensor then has its
memory to itself and gives it back, and the holes that others leave on the heap, which are as large as what is looked
for here, are not counted as needed."""


class BatchNormBlock(nn.Module):
    """conv - batch norm - ReLU - conv - batch norm, added to the input: EDSR's block, with batch norm and nothing else.

    Source: Lim et al., arXiv:1707.02921, figure 2 (b), which draws SRResNet's so. That one has PReLU.
    """

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        layers = (conv(n_feats, n_feats), nn.BatchNorm2d(n_feats), nn.ReLU())
        self.body = nn.Sequential(*layers, conv(n_feats, n_feats), nn.BatchNorm2d(n_feats))

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) -> the same shape."""
        sum_: Tensor = x + self.body(x)
        return sum_


Kind = Literal["edsr", "edsr-batch-norm", "srresnet"]
"""``edsr-batch-norm``: with it in every residual block, and nothing else that differs. ``srresnet``: the real one, in
the form of table 1 of the EDSR paper, with PReLU, and with batch norm at the end of its body too."""


@dataclass(frozen=True)
class Training:
    """What is trained, in FP32, and on how much at once."""

    scale: int
    n_resblocks: int
    n_feats: int
    patch: int
    """Side, LR pixels."""
    batch: int
    kind: Kind

    def network(self) -> EDSR | SRResNet:
        """In training mode; the same weights every time."""
        sizes = (self.scale, self.n_resblocks, self.n_feats)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if self.kind == "srresnet":
                return SRResNet(SRResNetConfig(*sizes, form="reproduced")).train()
            network = EDSR(EDSRConfig(*sizes))
            if self.kind == "edsr-batch-norm":
                for index in range(self.n_resblocks):
                    network.body[index] = BatchNormBlock(self.n_feats)
        return network.train()

    def patches(self) -> tuple[Tensor, Tensor]:
        """LR and HR of one batch: noise."""
        random = torch.Generator().manual_seed(0)
        lr, hr = (
            torch.rand((self.batch, 3, side, side), generator=random) * _GREY_LEVELS
            for side in (self.patch, self.patch * self.scale)
        )
        return lr, hr


def held_bytes(module: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps from the forward pass for the backward pass.

    Args:
        module: what ``forward`` runs; its parameters and buffers, which are there anyway, do not count.
        forward: to what the gradients start from.

    Returns:
        The sum over all storages, each counted once however often it is kept.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    held: dict[int, Tensor] = {}  # the tensors too: once one is gone, another may get its address

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            held[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        end = forward()
    assert end.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def held_by_blocks(training: Training) -> int:
    """``held_bytes`` of the residual blocks alone, their input included."""
    blocks = training.network().body[: training.n_resblocks]
    shape = (training.batch, training.n_feats, training.patch, training.patch)
    features = torch.zeros(shape, requires_grad=True)
    return held_bytes(blocks, lambda: blocks(features))


def held_by_network(training: Training) -> int:
    """``held_bytes`` of everything, from the LR patches to the L1 loss."""
    network = training.network()
    lr, hr = training.patches()
    return held_bytes(network, lambda: nn.functional.l1_loss(network(lr), hr))


def weights_bytes(training: Training) -> int:
    """Bytes of what is trained. Gradients and Adam's two moments take three times as much again."""
    return sum(p.numel() * p.element_size() for p in training.network().parameters() if p.requires_grad)


def training_peak(training: Training, updates: int) -> int:
    """Bytes by which the peak of a process's resident memory grows with its first updates.

    Interpreter, PyTorch, weights and patches are there before; activations, gradients, moments and what the
    convolutions need come with the updates.

    Raises:
        EdsrError: the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        arguments = [json.dumps(asdict(training)), str(updates), str(before)]
        try:
            usage = run_and_measure([*_OWN_MAPPINGS, sys.executable, __file__, *arguments])
        except CommandFailedError as err:
            raise EdsrError(str(err)) from err
        return usage.peak_bytes - int(before.read_text())


def _train(training: Training, updates: int, before: Path) -> None:
    """Do updates, after writing this process's peak."""
    network, (lr, hr) = training.network(), training.patches()
    config = replace(TrainConfig(), patch=training.patch, batch=training.batch)
    updater = Updater(network, config, Processes(torch.device("cpu")))
    before.write_text(str(own_peak_bytes()))
    for number in range(updates):
        updater.update(number, lr, hr, training.scale)


if __name__ == "__main__":
    _train(Training(**json.loads(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3]))
