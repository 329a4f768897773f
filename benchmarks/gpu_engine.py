"""An engine for the runner where no TensorRT runs: PyTorch's.

It works on the streams and addresses that the runner gives it, as TensorRT does, so everything around an engine is
measured and checked for real.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.gpu_place import Place
from edsr_runtime.cuda.engine import EngineError
from edsr_runtime.trt.profile import Profile, Size


class TorchEngine:
    """See ``Engine``: a network that PyTorch computes."""

    io: Literal["float", "uint8"] = "float"

    def __init__(self, place: Place, network: nn.Module, scale: int, most: Size, supports_capture: bool = True) -> None:
        """For a network of (N, 3, H, W) float32 in and out that is at this place."""
        self.place = place
        self.network = network
        self.scale = scale
        self.profile = Profile(Size(1, 1, 1), most, most)
        self.supports_capture = supports_capture
        self.runs: list[tuple[Any, Any]] = []
        """Stamps before and after each run, if ``stamps`` is set."""
        self.stamps = False

    def create_context(self) -> "TorchContext":
        """See ``Engine``."""
        return TorchContext(self)

    def close(self) -> None:
        """See ``Engine``."""


class TorchContext:
    """See ``ExecutionContext``. PyTorch's memory is this context's own: a graph goes on using it."""

    def __init__(self, engine: TorchEngine) -> None:
        self._engine = engine
        self._size: Size | None = None
        self._pool: Any = torch.cuda.MemPool() if engine.place.is_gpu else None
        self._tensors: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def set_shape(self, size: Size) -> None:
        """See ``ExecutionContext``."""
        if not self._engine.profile.holds(size):
            raise EngineError(f"{size} is outside {self._engine.profile}")
        self._size = size
        self._tensors.clear()

    def activation_bytes(self) -> int:
        """See ``ExecutionContext``."""
        return 0

    def set_memory(self, address: int, size: int) -> None:
        """See ``ExecutionContext``."""

    @torch.inference_mode()
    def enqueue(self, stream: int, lr: int, sr: int) -> None:
        """See ``ExecutionContext``."""
        engine = self._engine
        before = engine.place.stamp()
        with engine.place.on_stream(stream), self._own_memory():
            given, wanted = self._at(lr, sr)
            if engine.stamps:
                before.record(stream)
            wanted.copy_(engine.network(given))
            if engine.stamps:
                after = engine.place.stamp()
                after.record(stream)
                engine.runs.append((before, after))

    def close(self) -> None:
        """See ``ExecutionContext``."""
        self._tensors.clear()
        self._pool = None

    def _at(self, lr: int, sr: int) -> tuple[Tensor, Tensor]:
        assert self._size is not None
        batch, height, width = self._size
        if (lr, sr) not in self._tensors:
            place, scale = self._engine.place, self._engine.scale
            self._tensors[lr, sr] = (
                place.tensor_at(lr, (batch, 3, height, width)),
                place.tensor_at(sr, (batch, 3, scale * height, scale * width)),
            )
        return self._tensors[lr, sr]

    def _own_memory(self) -> AbstractContextManager[object]:
        if self._pool is None:
            return nullcontext()
        there: AbstractContextManager[object] = torch.cuda.use_mem_pool(self._pool)
        return there
