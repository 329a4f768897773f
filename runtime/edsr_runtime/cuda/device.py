"""What the runner needs of a CUDA device: so little that PyCUDA, cuda-bindings and a fake for tests can all give it.

Streams, events, graphs and device memory are integers: CUDA's own handles and addresses, as TensorRT takes them. All
calls but ``current`` and ``close`` need the device's context on the calling thread, and so does whatever TensorRT does:
``with device.current(): ...``. Nothing here waits for the device but ``wait_host`` and the calls that give something
back.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.errors import EnvironmentUnfitError

Bytes = NDArray[np.uint8]
"""One axis of bytes in memory that the device reads and writes by itself."""
Three = tuple[int, int, int]

ALIGNMENT = 256
"""Bytes: of every address that ``allocate`` gives, and what TensorRT wants of the addresses it is given."""


class DeviceError(EnvironmentUnfitError):
    """CUDA or TensorRT refused a call, or work on the device failed."""


class DeviceMemoryError(DeviceError):
    """The device has not enough memory; a smaller tile may fit."""


class Device(Protocol):
    """One GPU, by its primary context, which it shares with everybody else in the process."""

    name: str
    """``NVIDIA L4``."""
    library: str
    """What it is reached by: ``PyCUDA``, ``cuda-bindings``."""

    def current(self) -> AbstractContextManager[None]:
        """Make the context that of the calling thread, until the end of the block. May be nested."""
        ...

    def close(self) -> None:
        """Let go of the context. Everything on it must have been given back."""
        ...

    def allocate(self, size: int) -> int:
        """The address of ``size`` bytes of device memory.

        Raises:
            DeviceMemoryError: there are not so many.
        """
        ...

    def free(self, address: int) -> None:
        """Give back what ``allocate`` gave. No work that uses it may be under way."""
        ...

    def pin(self, size: int, write_only: bool = False) -> Bytes:
        """Host memory for copies. ``write_only``: quicker on its way up, very slow if the host reads it.

        Raises:
            DeviceMemoryError: there is not so much.
        """
        ...

    def unpin(self, pinned: Bytes) -> None:
        """Give back what ``pin`` gave."""
        ...

    def open_stream(self) -> int:
        """A queue of work, done in order, and not synchronous with the default stream."""
        ...

    def close_stream(self, stream: int) -> None:
        """Give it back."""
        ...

    def open_event(self) -> int:
        """A mark in a stream. It counts as reached until it is recorded."""
        ...

    def close_event(self, event: int) -> None:
        """Give it back."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Put the mark behind all work that is in the stream now."""
        ...

    def wait(self, stream: int, event: int) -> None:
        """Let what comes into the stream from now on wait for the mark."""
        ...

    def wait_host(self, event: int) -> None:
        """Return when the mark is reached; other threads run meanwhile.

        Raises:
            DeviceError: work before it failed.
        """
        ...

    def copy_up(self, address: int, pinned: Bytes, stream: int) -> None:
        """Pinned memory to the device. It must not be written to before the copy is done."""
        ...

    def copy_down(self, pinned: Bytes, address: int, stream: int) -> None:
        """The device to pinned memory. It must not be looked at before the copy is done."""
        ...

    def launch(self, kernel: str, grid: Three, block: Three, arguments: Sequence[int], stream: int) -> None:
        """Run one of ``kernels.cu``, whose parameters all are 64 bits wide."""
        ...

    def begin_capture(self, stream: int) -> None:
        """From now on work in this stream is not done but noted, also in streams that wait for events in it."""
        ...

    def end_capture(self, stream: int) -> int:
        """What has been noted, ready to be launched.

        Raises:
            DeviceError: some of it cannot be; the stream works again all the same.
        """
        ...

    def launch_graph(self, graph: int, stream: int) -> None:
        """Do what was noted, with the addresses and the kernels' arguments of then."""
        ...

    def close_graph(self, graph: int) -> None:
        """Give it back."""
        ...

    def free_memory(self) -> tuple[int, int]:
        """Bytes of device memory that are free, and in all."""
        ...


def not_enough_memory(size: int, memory: tuple[int, int]) -> DeviceMemoryError:
    """For ``allocate``: what was wanted and what there is, (free, in all), in bytes."""
    free, total = memory
    return DeviceMemoryError(
        f"the GPU has not enough memory: {_mib(size)} more were needed, {_mib(free)} of {_mib(total)} are free"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
