"""A lane of a worker: an execution context with its stream and its memory."""

import contextlib

from edsr_runtime.cuda.device import Device
from edsr_runtime.cuda.engine import Engine
from edsr_runtime.cuda.kernels import launch_views
from edsr_runtime.cuda.memory import Buffer
from edsr_runtime.cuda.task import Share, Task


class Lane:
    """Runs its share of a task, one run after the other."""

    def __init__(self, device: Device, engine: Engine) -> None:
        """Make what does not depend on the task.

        Raises:
            DeviceMemoryError, EngineError: it cannot be made; nothing is left behind.
        """
        self._device = device
        self._engine = engine
        self._lr, self.sr = Buffer(device), Buffer(device)
        self._activations = Buffer(device)
        with contextlib.ExitStack() as opened:
            self.stream = device.open_stream()
            opened.callback(device.close_stream, self.stream)
            self.done = device.open_event()
            opened.callback(device.close_event, self.done)
            opened.callback(self.release_memory)
            self.context = engine.create_context()
            opened.callback(self.context.close)
            self._opened = opened.pop_all()

    def prepare(self, share: Share) -> None:
        """Have shape and memory for it; nothing may be under way.

        Raises:
            DeviceMemoryError, EngineError: it cannot be done.
        """
        if self._engine.io == "float":  # otherwise the pictures themselves are input and output
            self._lr.hold(share.lr_bytes)
            self.sr.hold(share.count * share.sr_stride)
        self.context.set_shape(share.size)
        size = self.context.activation_bytes()
        if size:
            self._activations.hold(size)
            self.context.set_memory(self._activations.address, size)

    def run(self, task: Task, share: Share, source: int, flag: int) -> None:
        """Put all runs into the stream, from the pictures at ``source``; the flag, if it is given, is cleared."""
        for index in range(share.count):
            sr = self.sr.address + index * share.sr_stride
            launch_views(
                self._device,
                self.stream,
                pixel=task.pixel,
                source=source,
                target=self._lr.address,
                flag=flag if index == 0 else 0,
                pictures=task.pictures,
                hw=(task.height, task.width),
                first=share.first + index * share.size.batch,
                views=share.size.batch if task.ensemble else 1,
            )
            self.context.enqueue(self.stream, self._lr.address, sr)

    def wait(self) -> None:
        """Until nothing of it is under way.

        Raises:
            DeviceError: some of it failed.
        """
        self._device.record(self.done, self.stream)
        self._device.wait_host(self.done)

    def release_memory(self) -> None:
        """Give it back; the lane must be prepared again before it runs."""
        with contextlib.ExitStack() as released:
            for buffer in (self._lr, self.sr, self._activations):
                released.callback(buffer.close)

    def close(self) -> None:
        """Give everything back, even if some of it fails; nothing may be under way."""
        self._opened.close()
