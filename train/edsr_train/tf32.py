"""TF32: convolutions of NVIDIA GPUs that round what they multiply to ten bits of mantissa. PyTorch does so unasked."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def allow_tf32(allowed: bool) -> None:
    """Whether float32 convolutions on a GPU may round to TF32, from now on."""
    # Not conv.fp32_precision: whatever reads this one afterwards, as PyTorch's compiler does, fails.
    torch.backends.cudnn.allow_tf32 = allowed


def is_tf32_allowed() -> bool:
    """At first it is: PyTorch's default."""
    return bool(torch.backends.cudnn.allow_tf32)


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """Within the block, TF32 if it is wanted; else nothing changes."""
    before = is_tf32_allowed()
    allow_tf32(wanted or before)
    try:
        yield
    finally:
        allow_tf32(before)
