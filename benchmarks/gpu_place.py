"""Where GPU measurements run: the first GPU by way of PyTorch, or the CPU, which only shows that their code works."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.gpu_sections import NotHereError

_WARM_UP_SIDE = 4096


@dataclass(frozen=True)
class Place:
    """One device of PyTorch's."""

    device: torch.device

    @property
    def is_gpu(self) -> bool:
        """Otherwise times are those of the host, and mean nothing."""
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        """Wait for all work."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def on_stream(self, stream: int) -> AbstractContextManager[object]:
        """Work of PyTorch's goes into this stream of CUDA's until the end of the block."""
        if not self.is_gpu:
            return nullcontext()
        there: AbstractContextManager[object] = torch.cuda.stream(
            torch.cuda.ExternalStream(stream, device=self.device)  # type: ignore[no-untyped-call]
        )
        return there

    def take(self, network: nn.Module) -> nn.Module:
        """Move a network there, with weights in the order in which FP16 is quickest."""
        moved: Any = network
        moved.to(self.device, memory_format=torch.channels_last)
        return network

    def tensor_at(self, address: int, shape: tuple[int, ...]) -> Tensor:
        """float32 memory of somebody else, as a tensor of its own kind: nothing is copied."""
        if self.is_gpu:
            return torch.as_tensor(_Floats(address, shape), device=self.device)
        import ctypes

        size = int(np.prod(shape))
        return torch.from_numpy(np.ctypeslib.as_array((ctypes.c_float * size).from_address(address)).reshape(shape))

    def stamp(self) -> "Stamp":
        """A mark in time that can be recorded into a stream."""
        return Stamp(self)

    def reset_peak(self) -> int:
        """Begin to watch PyTorch's memory; bytes that are in use now."""
        if not self.is_gpu:
            return 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        """Bytes that were in use at the same time since then."""
        return torch.cuda.max_memory_allocated(self.device) if self.is_gpu else 0

    def warm(self, seconds: float) -> None:
        """Compute for a while, so that clocks have risen before anything is timed."""
        if not self.is_gpu:
            return
        a = torch.randn(_WARM_UP_SIDE, _WARM_UP_SIDE, device=self.device, dtype=torch.float16)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for _ in range(20):
                torch.mm(a, a)
            self.synchronize()


class _Floats:
    """What PyTorch takes memory of others from; version 2 knows no streams, so nothing is synchronised."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": "<f4",
            "data": (address, False),
            "strides": None,
            "version": 2,
        }


class Stamp:
    """A CUDA event with a time; on the CPU, the time at which it was recorded."""

    def __init__(self, place: Place) -> None:
        make: Any = torch.cuda.Event
        self._event: Any = make(enable_timing=True) if place.is_gpu else None
        self._seconds = 0.0

    def record(self, stream: int | None = None) -> None:
        """Into this stream; None: PyTorch's current one."""
        if self._event is None:
            self._seconds = time.perf_counter()
        elif stream is None:
            self._event.record()
        else:
            self._event.record(torch.cuda.ExternalStream(stream))  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Until it is reached."""
        if self._event is not None:
            self._event.synchronize()

    def until(self, later: "Stamp") -> float:
        """Milliseconds; both must be reached."""
        if self._event is None:
            return (later._seconds - self._seconds) * 1e3
        return float(self._event.elapsed_time(later._event))


class DeviceClock:
    """Seconds that the device has spent on what was timed by it: a clock for ``timing.interleave``.

    Times are taken by events around the work, so the host's part counts only where the device has to wait for it.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._seconds = 0.0

    def __call__(self) -> float:
        return self._seconds

    def timed(self, run: Callable[[], object], repeats: int = 1) -> Callable[[], None]:
        """The same, ``repeats`` times in a row, waited for and added to the clock as the time of one."""

        def go() -> None:
            first, last = self._place.stamp(), self._place.stamp()
            first.record()
            for _ in range(repeats):
                run()
            last.record()
            last.wait()
            self._seconds += first.until(last) / 1e3 / repeats

        return go


def as_graph(place: Place, run: Callable[[], object]) -> Callable[[], object]:
    """What ``run`` launches, as one CUDA graph; on the CPU, ``run`` itself. Its tensors must stay where they are."""
    if not place.is_gpu:
        return run
    make: Any = torch.cuda.Stream
    side = make(place.device)
    side.wait_stream(torch.cuda.current_stream(place.device))
    with torch.cuda.stream(side):
        for _ in range(3):  # kernels are chosen here, not in the capture
            run()
    torch.cuda.current_stream(place.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    replay: Callable[[], object] = graph.replay
    return replay


def find_place(smoke: bool) -> Place:
    """The GPU; for a smoke run the CPU where there is none.

    Raises:
        NotHereError: there is no GPU, or PyTorch cannot use it.
    """
    if torch.cuda.is_available():
        return Place(torch.device("cuda", 0))
    if smoke:
        return Place(torch.device("cpu"))
    raise NotHereError(f"PyTorch {torch.__version__} sees no GPU")


@contextmanager
def exact_fp32() -> Iterator[None]:
    """FP32 is FP32 in the block, and not TF32, which is PyTorch's default for convolutions."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def to_planes(rgb: NDArray[np.uint8], place: Place) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 of 0..255, there."""
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))).to(place.device).float()
