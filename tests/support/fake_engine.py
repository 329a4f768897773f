"""An engine on the fake device: any function of (N, 3, H, W) pictures, with the manners of TensorRT's."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.backends.base import to_uint8
from edsr_runtime.cuda.device import ALIGNMENT, DeviceMemoryError
from edsr_runtime.cuda.engine import EngineError
from edsr_runtime.trt.profile import Profile, Size
from fake_device import POISON, FakeDevice, MisuseError

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]

ACTIVATION_BYTES = 64
"""Per LR pixel."""


def repeat(scale: int) -> Network:
    """Enlarges by repetition, with something added that tells pixels of a view apart."""

    def run(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        sr = lr.repeat(scale, axis=2).repeat(scale, axis=3)
        rows = np.arange(sr.shape[2], dtype=np.float32)[:, None] / 8
        return np.asarray(sr + rows + np.arange(sr.shape[3], dtype=np.float32) / 4, np.float32)

    return run


class FakeEngine:
    """See ``Engine``."""

    def __init__(
        self,
        device: FakeDevice,
        network: Network | None = None,
        scale: int = 2,
        io: Literal["float", "uint8"] = "float",
        most: Size = Size(8, 32, 32),  # noqa: B008 - immutable
        least: Size = Size(1, 1, 1),  # noqa: B008
        supports_capture: bool = True,
    ) -> None:
        self.device = device
        self.network = network or repeat(scale)
        self.scale = scale
        self.io: Literal["float", "uint8"] = io
        self.profile = Profile(least, most, most)
        self.supports_capture = supports_capture
        self.contexts = 0
        self.most_contexts = 0
        self.runs: list[Size] = []
        """Sizes, in the order in which they were done."""
        self.is_closed = False

    def create_context(self) -> "FakeContext":
        """See ``Engine``."""
        if self.is_closed:
            raise MisuseError("a context of a closed engine")
        if self.device.refuse("create_context"):
            raise DeviceMemoryError("no memory for a context")
        self.contexts += 1
        self.most_contexts = max(self.contexts, self.most_contexts)
        return FakeContext(self)

    def close(self) -> None:
        """See ``Engine``."""
        if self.contexts or self.is_closed:
            raise MisuseError("the engine is closed before its contexts, or twice")
        self.is_closed = True


class FakeContext:
    """See ``ExecutionContext``."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._size: Size | None = None
        self._memory = 0, 0
        self._is_closed = False

    def set_shape(self, size: Size) -> None:
        """See ``ExecutionContext``."""
        if not self._engine.profile.holds(size):
            raise EngineError(f"{size} is outside the profile")
        self._size = size
        self._memory = 0, 0

    def activation_bytes(self) -> int:
        """See ``ExecutionContext``."""
        assert self._size is not None
        return ACTIVATION_BYTES * int(np.prod(self._size))

    def set_memory(self, address: int, size: int) -> None:
        """See ``ExecutionContext``."""
        if address % ALIGNMENT or size < self.activation_bytes():
            raise MisuseError("the activations do not fit into the memory they are given")
        self._memory = address, size

    def enqueue(self, stream: int, lr: int, sr: int) -> None:
        """See ``ExecutionContext``."""
        engine, size = self._engine, self._size
        if self._is_closed or size is None or lr % ALIGNMENT or sr % ALIGNMENT:
            raise MisuseError("closed, without a shape, or at an address that is not aligned")
        device, is_float = engine.device, engine.io == "float"
        if device.refuse("engine"):
            raise EngineError("the engine refused")
        taken = 3 * int(np.prod(size)) * (4 if is_float else 1)
        given = taken * engine.scale**2
        memory = self._memory

        def work() -> None:
            engine.runs.append(size)
            batch, height, width = size
            device.view(*memory)[:] = POISON
            data = device.view(lr, taken)
            if is_float:
                y = engine.network(data.view(np.float32).reshape(batch, 3, height, width).copy())
                device.view(sr, given)[:] = np.ascontiguousarray(y, np.float32).reshape(-1).view(np.uint8)
            else:
                x = data.reshape(batch, height, width, 3).transpose(0, 3, 1, 2).astype(np.float32)
                device.view(sr, given)[:] = to_uint8(engine.network(x)).reshape(-1)

        device.execute(stream, "engine", [(lr, taken)], [(sr, given), memory], work)

    def close(self) -> None:
        """See ``ExecutionContext``."""
        if self._is_closed:
            raise MisuseError("closed twice")
        self._is_closed = True
        self._engine.contexts -= 1
