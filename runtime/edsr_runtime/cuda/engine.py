"""What the runner needs of an engine: TensorRT's in use, a stand-in in tests.

An engine enlarges ``scale`` times. With ``io`` "float" it takes (N, 3, H, W) float32 of 0..255 and gives
(N, 3, sH, sW), not clamped; with "uint8" (N, H, W, 3) and (N, sH, sW, 3) bytes. All calls need the device's context on
the calling thread.
"""

from typing import Literal, Protocol

from edsr_runtime.cuda.device import DeviceError
from edsr_runtime.trt.profile import Profile, Size


class EngineError(DeviceError):
    """An engine refused what it was asked for."""


class ExecutionContext(Protocol):
    """One run of an engine at a time; several contexts may run at the same time."""

    def set_shape(self, size: Size) -> None:
        """What ``enqueue`` will run, until the next call; within the engine's profile.

        Raises:
            EngineError: it is not.
        """
        ...

    def activation_bytes(self) -> int:
        """Device memory that a run of the shape needs besides input and output; 0 if the context has its own."""
        ...

    def set_memory(self, address: int, size: int) -> None:
        """Where that memory is, until the next call. No other context may use it at the same time."""
        ...

    def enqueue(self, stream: int, lr: int, sr: int) -> None:
        """Put a run into the stream, from and to these addresses, which are aligned to ``device.ALIGNMENT``.

        Raises:
            EngineError: it could not be.
        """
        ...

    def close(self) -> None:
        """Give everything back; nothing of it may be under way."""
        ...


class Engine(Protocol):
    """A loaded engine. Its contexts must be closed before it is."""

    io: Literal["float", "uint8"]
    scale: int
    profile: Profile
    supports_capture: bool
    """Whether runs may be noted in a CUDA graph. If not, the engine may make its own."""

    def create_context(self) -> ExecutionContext:
        """One more. Takes long: not for the hot path.

        Raises:
            DeviceMemoryError, EngineError: it could not be made.
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...
