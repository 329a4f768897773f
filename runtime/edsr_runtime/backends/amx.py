"""Our own kernels for CPUs with AMX."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.amx.availability import program_for
from edsr_runtime.amx.execution import Execution
from edsr_runtime.backends.base import Precision
from edsr_runtime.cpu import usable_cores, usable_processors
from edsr_runtime.cuda.device import DeviceMemoryError
from edsr_runtime.errors import EnvironmentUnfitError

_Number = TypeVar("_Number", np.float32, np.uint8)


class AmxBackend:
    """One model, in BF16 with FP32 sums. Pictures one after another, each with all threads."""

    name = "amx"
    precision: Precision = "bf16"

    def __init__(self, path: Path, precision: Precision | None, threads: int | None = None) -> None:
        """Read a model.

        Args:
            path: ONNX file.
            precision: ``bf16`` or None.
            threads: CPU threads; default: one for each core that the process may use. They wait for each other after
                every layer, so there are never more than processors for them.

        Raises:
            EnvironmentUnfitError: another precision is asked for, or neither this machine nor these kernels can do it.
            ModelFileError: the file cannot be read.
        """
        if precision not in (None, "bf16"):
            raise EnvironmentUnfitError(
                f"our AMX kernels compute in bf16, not in {precision}: use --precision auto, or --backend openvino"
            )
        try:
            program = program_for(path)
        except EnvironmentUnfitError as err:
            raise EnvironmentUnfitError(f"{path}: {err}: use --backend auto") from err
        count = min(threads or usable_cores(), usable_processors())
        self.device = f"CPU, AMX, {count} {'thread' if count == 1 else 'threads'}"
        self._execution = Execution(program, count)

    def run_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``Backend``."""
        with _memory_for(lr.shape[2:]):
            return _batch([self._execution.run_float(picture) for picture in lr.transpose(0, 2, 3, 1)])

    def run_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See ``Backend``."""
        with _memory_for(lr.shape[1:3]):
            return _batch([self._execution.run_uint8(picture) for picture in lr])

    def close(self) -> None:
        """See ``Backend``."""
        self._execution.close()


def _batch(pictures: list[NDArray[_Number]]) -> NDArray[_Number]:
    """Not copied if it is one."""
    return pictures[0][None] if len(pictures) == 1 else np.stack(pictures)


@contextmanager
def _memory_for(hw: Sequence[int]) -> Iterator[None]:
    try:
        yield
    except MemoryError as err:
        raise DeviceMemoryError(f"there is not enough memory for a tile of {tuple(hw)} (HxW)") from err
