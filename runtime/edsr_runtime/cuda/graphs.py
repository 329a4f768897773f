"""CUDA graphs by way of the driver itself: PyCUDA does not know them, and for cuda-bindings it is no more work."""

import ctypes
from functools import cache
from typing import Any

from edsr_runtime.cuda.device import DeviceError, DeviceMemoryError

_LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2  # CUresult
_RELAXED = 2  # CUstreamCaptureMode: what other threads do meanwhile, such as allocating memory, disturbs nothing


class DriverGraphs:
    """The part of a ``Device`` that is about graphs."""

    def begin_capture(self, stream: int) -> None:
        """See ``Device``."""
        _call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_RELAXED))

    def end_capture(self, stream: int) -> int:
        """See ``Device``."""
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        _call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            _call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_ulonglong(0))
        finally:
            _call("cuGraphDestroy", graph)
        assert ready.value is not None
        return ready.value

    def launch_graph(self, graph: int, stream: int) -> None:
        """See ``Device``."""
        _call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def close_graph(self, graph: int) -> None:
        """See ``Device``."""
        _call("cuGraphExecDestroy", ctypes.c_void_p(graph))


@cache
def _driver() -> Any:
    return ctypes.CDLL(_LIBRARY)


def _call(function: str, *arguments: Any) -> None:
    code = getattr(_driver(), function)(*arguments)
    if code == _OUT_OF_MEMORY:
        raise DeviceMemoryError(f"the GPU has not enough memory: so says {function}")
    if code:
        name = ctypes.c_char_p()
        _driver().cuGetErrorName(code, ctypes.byref(name))
        raise DeviceError(f"{function} gave {name.value.decode() if name.value else code}")
