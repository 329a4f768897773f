"""``torch.compile``: whether this machine can, and a sentence where it cannot."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edsr_runtime.errors import EnvironmentUnfitError

# What PyTorch's compiler (inductor) calls: g++ for kernels of the CPU; cc for the launchers of Triton's on a GPU.
_COMPILERS = {"cpu": ("CXX", ("g++", "clang++")), "cuda": ("CC", ("gcc", "clang", "cc"))}


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where there is nothing to compile with; EnvironmentUnfitError."""
    variable, names = _COMPILERS[device.type]
    language = "C++" if variable == "CXX" else "C"
    if not any(shutil.which(name) for name in (os.environ.get(variable), *names) if name):
        raise EnvironmentUnfitError(
            f"--compile needs a {language} compiler, and there is none. Install {names[0]}, or leave it away"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise EnvironmentUnfitError(
            "--compile on a GPU needs Triton. Install it (pip install triton), or leave it away"
        )


@contextmanager
def compiler_errors_said() -> Iterator[None]:
    """Make one sentence of a failure of the compiler within the block; EnvironmentUnfitError."""
    from torch._dynamo.exc import TorchDynamoException  # there is no public name for it

    try:
        yield
    except TorchDynamoException as err:
        lines = [line.strip() for line in str(err).splitlines() if line.strip()]
        reason = lines[0] if lines else type(err).__name__
        raise EnvironmentUnfitError(f"--compile: PyTorch's compiler failed ({reason}). Leave it away") from err
