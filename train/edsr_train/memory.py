"""Too little memory as a sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edsr_runtime.errors import EnvironmentUnfitError

_TEXTS = (  # of PyTorch's RuntimeErrors: its allocator on the CPU, cuBLAS and cuDNN
    "can't allocate memory",
    "not enough memory",
    "Storage size calculation overflowed",
    "out of memory",
    "ALLOC_FAILED",
)


@contextmanager
def memory_for(what: str, advice: str) -> Iterator[None]:
    """Make one sentence of a lack of memory within the block.

    Raises:
        EnvironmentUnfitError: there is too little of it, on the GPU or here.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as err:
        text = str(err)
        is_it = isinstance(err, torch.OutOfMemoryError | MemoryError) or any(known in text for known in _TEXTS)
        if not is_it:
            raise
        where = "the GPU's memory" if isinstance(err, torch.OutOfMemoryError) else "memory"
        raise EnvironmentUnfitError(f"{what} does not fit into {where}. {advice}") from err


def machine_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
