"""The processes that train one network together, which ``torchrun`` starts; or the only one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError

_PATIENCE = timedelta(hours=2)  # the others wait while one builds the store of DIV2K


@dataclass(frozen=True)
class Processes:
    """This process among all."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, module: nn.Module, *, has_unused: bool) -> nn.Module:
        """``module``, whose gradients are from now on averaged over all processes.

        Args:
            module: has the same weights everywhere.
            has_unused: whether an update may leave some parameters out; their gradients stay None.
        """
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, find_unused_parameters=has_unused)

    def mean(self, values: Sequence[float]) -> list[float]:
        """Mean of each value over all processes; the same numbers everywhere."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [value / self.world for value in tensor.tolist()]

    def gather(self, values: Sequence[Any]) -> list[Any]:
        """The values of all processes, in turn: the inverse of ``items[rank::world]``."""
        if self.world == 1:
            return list(values)
        parts: list[list[Any]] = [[] for _ in range(self.world)]
        dist.all_gather_object(parts, list(values))
        count = sum(map(len, parts))
        return [parts[i % self.world][i // self.world] for i in range(count)]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def start_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, if it did.

    Args:
        device: ``cpu``, ``cuda``, or ``auto``: a GPU where there is one. Several processes take one GPU each.

    Raises:
        EnvironmentUnfitError: no usable GPU where one was asked for, or fewer than processes.
    """
    world, rank = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if world == 1:
        yield Processes(chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(chosen, rank, world)
    finally:
        dist.destroy_process_group()


def check_divisible(batch: int, processes: Processes) -> None:
    """Every process takes the same part of a batch; EdsrError if that cannot be."""
    if batch % processes.world:
        raise EdsrError(f"a batch of {batch} cannot be shared by {processes.world} processes. Choose a multiple")


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """``cpu``, ``cuda``, or ``auto`` as a device; EnvironmentUnfitError where there is no such GPU."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise EnvironmentUnfitError("--device cuda: PyTorch sees no NVIDIA GPU. Use --device cpu, or mend its driver")
    if local_rank >= torch.cuda.device_count():
        raise EnvironmentUnfitError(
            f"process {local_rank} of this machine has no GPU of its own, there are {torch.cuda.device_count()}. "
            "Start no more than that: torchrun --nproc-per-node"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
