"""A device by way of PyCUDA.

Never by ``pycuda.autoinit``: that makes a second context, while TensorRT works on the primary one. PyCUDA's objects
are given back while the context is current, because it does not clean up for another thread than their maker's.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from edsr_runtime.cuda.device import Bytes, DeviceError, DeviceMemoryError, Three, not_enough_memory
from edsr_runtime.cuda.graphs import DriverGraphs
from edsr_runtime.cuda.kernels import PARAMETERS, PTX
from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError

try:
    import pycuda.driver as driver  # pyright: ignore[reportMissingImports]  # no wheels: it is built where it is used
except ImportError as err:
    if err.name in ("pycuda", "pycuda.driver"):
        raise MissingDependencyError("pycuda", extra="gpu") from err
    raise EnvironmentUnfitError(f"pycuda is installed, but does not load ({err})") from err  # built for another Python

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING; PyCUDA has no name for it


class PyCudaDevice(DriverGraphs):
    """See ``Device``."""

    library = "PyCUDA"

    def __init__(self, index: int) -> None:
        """Retain the primary context of one of the GPUs.

        Raises:
            DeviceError: there is none of this index, or it cannot be used.
        """
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        self._kernels: dict[str, Any] = {}
        with _translated():
            driver.init()
            gpu = driver.Device(index)
            self.name: str = gpu.name()
            self._context: Any = gpu.retain_primary_context()
        try:
            with self.current(), _translated():
                module = driver.module_from_buffer(PTX.read_bytes() + b"\0")
                for kernel, parameters in PARAMETERS.items():
                    self._kernels[kernel] = module.get_function(kernel)
                    self._kernels[kernel].prepare("Q" * parameters)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def current(self) -> Iterator[None]:
        """See ``Device``."""
        with _translated():
            self._context.push()
        try:
            yield
        finally:
            with _translated():
                driver.Context.pop()

    def close(self) -> None:
        """See ``Device``."""

        errors: list[DeviceError] = []

        def let_go() -> None:
            # PyCUDA releases a primary context but leaves it on the thread's stack, which ends with this thread.
            try:
                with _translated():
                    self._context.push()
                    self._kernels.clear()  # and with them their module
                    self._context.detach()
            except DeviceError as err:
                errors.append(err)

        thread = threading.Thread(target=let_go)
        thread.start()
        thread.join()
        for err in errors:
            raise err

    def allocate(self, size: int) -> int:
        """See ``Device``."""
        try:
            with _translated():
                allocation = driver.mem_alloc(size)
        except DeviceMemoryError as err:
            raise not_enough_memory(size, self.free_memory()) from err
        address = int(allocation)
        self._memory[address] = allocation
        return address

    def free(self, address: int) -> None:
        """See ``Device``."""
        with _translated():
            self._memory.pop(address).free()

    def pin(self, size: int, write_only: bool = False) -> Bytes:
        """See ``Device``."""
        flags = driver.host_alloc_flags.WRITECOMBINED if write_only else 0
        with _translated():
            pinned: Bytes = driver.pagelocked_empty(size, np.uint8, mem_flags=flags)
        return pinned

    def unpin(self, pinned: Bytes) -> None:
        """See ``Device``."""
        allocation: Any = pinned.base
        with _translated():
            allocation.free()

    def open_stream(self) -> int:
        """See ``Device``."""
        with _translated():
            stream = driver.Stream(_NON_BLOCKING)
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def close_stream(self, stream: int) -> None:
        """See ``Device``."""
        del self._streams[stream]

    def open_event(self) -> int:
        """See ``Device``."""
        with _translated():
            event = driver.Event(driver.event_flags.BLOCKING_SYNC | driver.event_flags.DISABLE_TIMING)
        self._events[id(event)] = event  # PyCUDA does not give its handle
        return id(event)

    def close_event(self, event: int) -> None:
        """See ``Device``."""
        del self._events[event]

    def record(self, event: int, stream: int) -> None:
        """See ``Device``."""
        with _translated():
            self._events[event].record(self._streams[stream])

    def wait(self, stream: int, event: int) -> None:
        """See ``Device``."""
        with _translated():
            self._streams[stream].wait_for_event(self._events[event])

    def wait_host(self, event: int) -> None:
        """See ``Device``."""
        with _translated():
            self._events[event].synchronize()

    def copy_up(self, address: int, pinned: Bytes, stream: int) -> None:
        """See ``Device``."""
        with _translated():
            driver.memcpy_htod_async(address, pinned, self._streams[stream])

    def copy_down(self, pinned: Bytes, address: int, stream: int) -> None:
        """See ``Device``."""
        with _translated():
            driver.memcpy_dtoh_async(pinned, address, self._streams[stream])

    def launch(self, kernel: str, grid: Three, block: Three, arguments: Sequence[int], stream: int) -> None:
        """See ``Device``."""
        with _translated():
            self._kernels[kernel].prepared_async_call(grid, block, self._streams[stream], *arguments)

    def free_memory(self) -> tuple[int, int]:
        """See ``Device``."""
        with _translated():
            free, total = driver.mem_get_info()
        return int(free), int(total)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except driver.MemoryError as err:
        raise DeviceMemoryError("the GPU has not enough memory") from err
    except driver.Error as err:
        raise DeviceError(f"PyCUDA: {err}") from err
