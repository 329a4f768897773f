"""A device by way of cuda-bindings, which has wheels where PyCUDA wants a compiler."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from edsr_runtime.cuda.device import Bytes, DeviceError, DeviceMemoryError, Three, not_enough_memory
from edsr_runtime.cuda.graphs import DriverGraphs
from edsr_runtime.cuda.kernels import PARAMETERS, PTX
from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError

try:
    from cuda.bindings import driver  # pyright: ignore  # an optional package, and compiled
except ImportError as err:
    if err.name in ("cuda", "cuda.bindings"):
        raise MissingDependencyError("cuda-bindings", extra="cuda") from err
    raise EnvironmentUnfitError(f"cuda-bindings is installed, but does not load ({err})") from err


class BindingsDevice(DriverGraphs):
    """See ``Device``."""

    library = "cuda-bindings"

    def __init__(self, index: int) -> None:
        """Retain the primary context of one of the GPUs.

        Raises:
            DeviceError: there is none of this index, or it cannot be used.
        """
        self._kernels: dict[str, Any] = {}
        self._module: Any = None
        _call(driver.cuInit, 0)
        self._gpu = _call(driver.cuDeviceGet, index)
        self.name = _call(driver.cuDeviceGetName, 256, self._gpu).split(b"\0")[0].decode()
        self._context = _call(driver.cuDevicePrimaryCtxRetain, self._gpu)
        try:
            with self.current():
                self._module = _call(driver.cuModuleLoadData, PTX.read_bytes() + b"\0")
                for kernel in PARAMETERS:
                    self._kernels[kernel] = _call(driver.cuModuleGetFunction, self._module, kernel.encode())
        except BaseException:
            self.close()
            raise

    @contextmanager
    def current(self) -> Iterator[None]:
        """See ``Device``."""
        _call(driver.cuCtxPushCurrent, self._context)
        try:
            yield
        finally:
            _call(driver.cuCtxPopCurrent)

    def close(self) -> None:
        """See ``Device``."""
        try:
            if self._module is not None:
                with self.current():
                    _call(driver.cuModuleUnload, self._module)
        finally:
            _call(driver.cuDevicePrimaryCtxRelease, self._gpu)

    def allocate(self, size: int) -> int:
        """See ``Device``."""
        try:
            return int(_call(driver.cuMemAlloc, size))
        except DeviceMemoryError as err:
            raise not_enough_memory(size, self.free_memory()) from err

    def free(self, address: int) -> None:
        """See ``Device``."""
        _call(driver.cuMemFree, address)

    def pin(self, size: int, write_only: bool = False) -> Bytes:
        """See ``Device``."""
        address = _call(driver.cuMemHostAlloc, size, driver.CU_MEMHOSTALLOC_WRITECOMBINED if write_only else 0)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(address)))

    def unpin(self, pinned: Bytes) -> None:
        """See ``Device``."""
        _call(driver.cuMemFreeHost, pinned.ctypes.data)

    def open_stream(self) -> int:
        """See ``Device``."""
        return int(_call(driver.cuStreamCreate, int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))

    def close_stream(self, stream: int) -> None:
        """See ``Device``."""
        _call(driver.cuStreamDestroy, stream)

    def open_event(self) -> int:
        """See ``Device``."""
        flags = driver.CUevent_flags.CU_EVENT_BLOCKING_SYNC | driver.CUevent_flags.CU_EVENT_DISABLE_TIMING
        return int(_call(driver.cuEventCreate, int(flags)))

    def close_event(self, event: int) -> None:
        """See ``Device``."""
        _call(driver.cuEventDestroy, event)

    def record(self, event: int, stream: int) -> None:
        """See ``Device``."""
        _call(driver.cuEventRecord, event, stream)

    def wait(self, stream: int, event: int) -> None:
        """See ``Device``."""
        _call(driver.cuStreamWaitEvent, stream, event, 0)

    def wait_host(self, event: int) -> None:
        """See ``Device``."""
        _call(driver.cuEventSynchronize, event)

    def copy_up(self, address: int, pinned: Bytes, stream: int) -> None:
        """See ``Device``."""
        _call(driver.cuMemcpyHtoDAsync, address, pinned.ctypes.data, pinned.nbytes, stream)

    def copy_down(self, pinned: Bytes, address: int, stream: int) -> None:
        """See ``Device``."""
        _call(driver.cuMemcpyDtoHAsync, pinned.ctypes.data, address, pinned.nbytes, stream)

    def launch(self, kernel: str, grid: Three, block: Three, arguments: Sequence[int], stream: int) -> None:
        """See ``Device``."""
        packed = tuple(arguments), (ctypes.c_uint64,) * len(arguments)
        _call(driver.cuLaunchKernel, self._kernels[kernel], *grid, *block, 0, stream, packed, 0)

    def free_memory(self) -> tuple[int, int]:
        """See ``Device``."""
        free, total = _call(driver.cuMemGetInfo)
        return int(free), int(total)


def _call(function: Any, *arguments: Any) -> Any:
    """What the driver gives, without the status that it gives first."""
    try:
        code, *given = function(*arguments)
    except RuntimeError as err:  # the driver's library is not there, or lacks this function
        raise DeviceError(f"cuda-bindings: {err}") from err
    if code != driver.CUresult.CUDA_SUCCESS:
        if code == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise DeviceMemoryError("the GPU has not enough memory")
        raise DeviceError(f"{function.__name__} gave {code.name}")
    return given[0] if len(given) == 1 else tuple(given)
