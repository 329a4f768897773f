"""The processes that train one network together, which ``torchrun`` starts; or the only one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_train.tf32 import allow_tf32

_PATIENCE = timedelta(hours=2)  # the others wait while one builds the store of DIV2K

Value = TypeVar("Value")


class SaidElsewhereError(Exception):
    """Another process of the same run has failed and says why; this one has nothing to add."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


@dataclass(frozen=True)
class Processes:
    """This process among all."""

    device: torch.device
    rank: int = 0
    world: int = 1
    gradients: dist.ProcessGroup | None = None
    """Averages gradients where that is not done on the CPU; everything else goes from CPU to CPU."""

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
        return DistributedDataParallel(
            module, device_ids=ids, process_group=self.gradients, find_unused_parameters=has_unused
        )

    def mean(self, values: Sequence[float]) -> list[float]:
        """Mean of each value over all processes; the same numbers everywhere."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
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

    def of_first(self, value: Value) -> Value:
        """The first process's value, in all of them."""
        first: Value = self.gather([value])[0]
        return first

    @contextmanager
    def together(self) -> Iterator[None]:
        """All processes leave the block with an error, or none does.

        The block must not wait for other processes.

        Raises:
            EdsrError: in the first process that has one.
            SaidElsewhereError: in all others.
        """
        error: EdsrError | None = None
        try:
            yield
        except EdsrError as err:
            if self.world == 1:
                raise
            error = err
        if self.world == 1:
            return
        codes = self.gather([None if error is None else error.exit_code])
        failed = next((rank for rank, code in enumerate(codes) if code is not None), None)
        if failed is None:
            return
        if error is not None and failed == self.rank:
            raise error
        raise SaidElsewhereError(codes[failed])

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
        EnvironmentUnfitError: no usable GPU where one was asked for, fewer than processes, or some of the processes
            have one and others have none.
    """
    world, rank = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if world == 1:
        yield Processes(choose_device(device, local_rank))
        return
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        here = Processes(torch.device("cpu"), rank, world)
        with here.together():
            chosen = choose_device(device, local_rank)
        check_alike(chosen, here)
        if chosen.type == "cpu":
            yield Processes(chosen, rank, world)
            return
        gradients = dist.new_group(backend="nccl", timeout=_PATIENCE)
        assert isinstance(gradients, dist.ProcessGroup)  # as every process is in it
        yield Processes(chosen, rank, world, gradients)
    finally:
        dist.destroy_process_group()


def is_torchrun() -> bool:
    """Whether ``torchrun`` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launcher() -> list[str]:
    """The words before ``edsr-train`` that start these processes again; on each machine, if there are several."""
    if not is_torchrun():
        return []
    machines, each = (os.environ.get(name, "1") for name in ("GROUP_WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if machines == "1":
        meeting = ["--standalone", "--nproc-per-node", each]
    else:
        meeting = ["--nnodes", machines, "--nproc-per-node", each, "--rdzv-backend", "c10d", "--rdzv-endpoint"]
        meeting += ["HOST:PORT"]
    return ["torchrun", *meeting, "--no-python"]


def check_alike(chosen: torch.device, processes: Processes) -> None:
    """EnvironmentUnfitError if some processes are to compute on a GPU and others on a CPU."""
    kinds = processes.gather([chosen.type])
    with processes.together():
        if len(set(kinds)) > 1:
            raise EnvironmentUnfitError(
                f"process {kinds.index('cpu')} has no GPU and process {kinds.index('cuda')} has one. Give all of them "
                "one, or say --device cpu"
            )


def check_divisible(batch: int, processes: Processes) -> None:
    """Every process takes the same part of a batch; EdsrError if that cannot be."""
    if batch % processes.world:
        raise EdsrError(f"a batch of {batch} cannot be shared by {processes.world} processes. Choose a multiple")


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """``cpu``, ``cuda``, or ``auto`` as a device, on which float32 is float32.

    Args:
        name: see above.
        local_rank: number of this process on its machine; each takes a GPU of its own.

    Raises:
        EnvironmentUnfitError: there is no such GPU.
    """
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
    allow_tf32(False)
    return torch.device("cuda", local_rank)
