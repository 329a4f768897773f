"""An engine that only copies, so that the runner needs nothing but the device layer."""

from typing import Literal

from edsr_runtime.cuda.device import Device
from edsr_runtime.cuda.engine import EngineError
from edsr_runtime.cuda.kernels import launch_views
from edsr_runtime.trt.profile import Profile, Size


class CopyEngine:
    """See ``Engine``: enlarges once, by one of our own kernels, so nothing but the device layer is needed."""

    io: Literal["float", "uint8"] = "float"
    scale = 1
    supports_capture = True

    def __init__(self, device: Device, most: Size) -> None:
        self.device = device
        self.profile = Profile(Size(1, 1, 1), most, most)

    def create_context(self) -> "CopyContext":
        """See ``Engine``."""
        return CopyContext(self.device)

    def close(self) -> None:
        """See ``Engine``."""


class CopyContext:
    """See ``ExecutionContext``."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._size = Size(1, 1, 1)

    def set_shape(self, size: Size) -> None:
        """See ``ExecutionContext``."""
        self._size = size

    def activation_bytes(self) -> int:
        """See ``ExecutionContext``; it needs none, but wants to see that it gets some."""
        return 1000

    def set_memory(self, address: int, size: int) -> None:
        """See ``ExecutionContext``."""
        if not address or size < 1000:
            raise EngineError(f"{size} bytes at {address:#x} are no memory for activations")

    def enqueue(self, stream: int, lr: int, sr: int) -> None:
        """See ``ExecutionContext``."""
        batch, height, width = self._size
        launch_views(
            self._device, stream, pixel="floats", source=lr, target=sr, flag=0, pictures=batch, hw=(height, width)
        )

    def close(self) -> None:
        """See ``ExecutionContext``."""
