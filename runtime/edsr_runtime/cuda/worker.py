"""A worker: pictures up, through the network, and down, on streams and in memory of its own.

It does one task at a time. Several workers share an engine, so that the copies of one overlap the computing of another.
Memory and shapes stay as they are as long as tasks of the same kind come, and from the second of them on, all of it is
launched as one CUDA graph where the engine allows that.
"""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.backends.base import NonFiniteError
from edsr_runtime.cuda.device import Device, DeviceError, DeviceMemoryError
from edsr_runtime.cuda.engine import Engine
from edsr_runtime.cuda.kernels import launch_mean
from edsr_runtime.cuda.lane import Lane
from edsr_runtime.cuda.memory import Buffer, PinnedBuffer
from edsr_runtime.cuda.task import Share, Task, shares

_HEAD = 256  # bytes in front of a result: a flag, and what keeps the rest aligned
_FLOAT_BYTES = 4


class Worker:
    """All calls need the device's context on the calling thread, and come from one thread at a time."""

    def __init__(self, device: Device, engine: Engine) -> None:
        """Make what does not depend on the task.

        Raises:
            DeviceMemoryError, EngineError: it cannot be made; nothing is left behind.
        """
        self._device = device
        self._engine = engine
        self._captures = engine.supports_capture
        self._task: Task | None = None
        self._runs = 0
        self._is_busy = False
        self._graph: int | None = None
        self._shares: tuple[Share, ...] = ()
        self._lanes: list[Lane] = []
        self._up, self._down = Buffer(device), Buffer(device)
        self._pinned_up, self._pinned_down = PinnedBuffer(device, write_only=True), PinnedBuffer(device)
        with contextlib.ExitStack() as opened:
            opened.callback(self._release_memory)
            opened.callback(self._close_lanes)
            self._lanes.append(Lane(device, engine))
            self._done = device.open_event()
            opened.callback(device.close_event, self._done)
            self._forked = device.open_event()
            opened.callback(device.close_event, self._forked)
            opened.callback(self._forget)
            self._opened = opened.pop_all()

    def start(self, pixels: NDArray[Any], ensemble: bool) -> None:
        """Hand in a task. The pictures are copied, and may be changed afterwards.

        Args:
            pixels: (N, H, W, 3) uint8 or (N, 3, H, W) float32.
            ensemble: whether the mean of the eight views is wanted; N is 1 then.

        Raises:
            DeviceMemoryError: not enough memory; the worker has given back its own.
            EngineError, DeviceError: it cannot be done; nothing of it is under way.
        """
        task = Task.of(pixels, ensemble)
        if self._is_busy:  # nobody has fetched the last result, because an interrupt came in between
            self._wait_for_all()
        try:
            self._is_busy = True
            if task != self._task:
                self._prepare(task)
            staged = self._pinned_up.first(task.source_bytes)
            np.copyto(staged.view(pixels.dtype).reshape(pixels.shape), pixels)
            self._launch()
        except BaseException as err:
            self._wait_for_all()
            self._is_busy = False
            if isinstance(err, DeviceMemoryError):
                self._release_memory()
            raise

    def finish(self) -> NDArray[Any]:
        """Wait for the task and give its result, of the same type and layout as the pictures.

        Raises:
            NonFiniteError: NaN or infinity in it.
            DeviceError: it failed on the device.
        """
        task = self._task
        assert task is not None
        self._device.wait_host(self._done)
        self._is_busy = False
        down = self._pinned_down.first(_HEAD + task.result_bytes(self._engine.scale))
        if self._engine.io == "float" and down[0]:
            raise NonFiniteError
        result = down[_HEAD:].view(np.uint8 if task.pixel == "bytes" else np.float32)
        return result.reshape(task.result_shape(self._engine.scale)).copy()

    def close(self) -> None:
        """Wait for what is under way and give everything back, even if some of it fails."""
        self._wait_for_all()
        self._opened.close()

    def _prepare(self, task: Task) -> None:
        """Have shapes and memory for a task of another kind than the last one; its addresses are in no graph."""
        self._forget()
        plan = shares(task, self._engine)
        while len(self._lanes) < len(plan):
            self._lanes.append(Lane(self._device, self._engine))
        result = _HEAD + task.result_bytes(self._engine.scale)
        self._pinned_up.hold(task.source_bytes)
        self._pinned_down.hold(result)
        self._up.hold(task.source_bytes)
        self._down.hold(result)
        for lane, share in zip(self._lanes, plan, strict=False):
            lane.prepare(share)
        self._task, self._shares = task, plan

    def _launch(self) -> None:
        stream = self._lanes[0].stream
        if self._graph is None and self._runs and self._captures:
            self._graph = self._capture(stream)
        if self._graph is not None:
            self._device.launch_graph(self._graph, stream)
        else:
            self._enqueue()
        self._device.record(self._done, stream)
        self._runs += 1

    def _capture(self, stream: int) -> int | None:
        """The task as a graph; None where it cannot be one, which only costs time."""
        try:
            self._device.begin_capture(stream)
            self._enqueue()
            return self._device.end_capture(stream)
        except BaseException as err:
            with contextlib.suppress(DeviceError):  # there is nothing to end, if that was what failed
                self._device.close_graph(self._device.end_capture(stream))
            if not isinstance(err, DeviceError):
                raise
            self._captures = False
            return None

    def _enqueue(self) -> None:
        """All of the task, in order, into the streams."""
        task, device, first = self._task, self._device, self._lanes[0]
        assert task is not None
        up, down = self._up.address, self._down.address
        staged = self._pinned_up.first(task.source_bytes)
        fetched = self._pinned_down.first(_HEAD + task.result_bytes(self._engine.scale))
        device.copy_up(up, staged, first.stream)
        if self._engine.io == "uint8":
            first.context.enqueue(first.stream, up, down + _HEAD)
            device.copy_down(fetched[_HEAD:], down + _HEAD, first.stream)
            return
        others = self._lanes[1 : len(self._shares)]
        if others:
            device.record(self._forked, first.stream)
        for lane in others:
            device.wait(lane.stream, self._forked)
        for lane, share in zip(self._lanes, self._shares, strict=False):
            lane.run(task, share, up, flag=down if lane is first else 0)
        for lane in others:
            device.record(lane.done, lane.stream)
            device.wait(first.stream, lane.done)
        self._average(task)
        device.copy_down(fetched, down, first.stream)

    def _average(self, task: Task) -> None:
        share, lane = self._shares[0], self._lanes[0]
        straight = lane.sr.address
        transposed = straight + share.half if len(self._shares) == 1 else self._lanes[1].sr.address
        launch_mean(
            self._device,
            lane.stream,
            pixel=task.pixel,
            straight=straight,
            transposed=transposed,
            target=self._down.address + _HEAD,
            flag=self._down.address,
            pictures=task.pictures,
            hw=(self._engine.scale * task.height, self._engine.scale * task.width),
            views=task.views,
            chunk=share.size.batch,
            stride=share.sr_stride // _FLOAT_BYTES,
        )

    def _wait_for_all(self) -> None:
        """Until nothing is under way; what has failed is over too."""
        for lane in self._lanes:
            with contextlib.suppress(DeviceError):
                lane.wait()

    def _forget(self) -> None:
        graph, self._graph = self._graph, None
        self._task, self._runs = None, 0
        if graph is not None:
            self._device.close_graph(graph)

    def _release_memory(self) -> None:
        self._forget()
        with contextlib.ExitStack() as released:  # all of them, even if one fails
            for memory in (self._up, self._down, self._pinned_up, self._pinned_down):
                released.callback(memory.close)
            for lane in self._lanes:
                released.callback(lane.release_memory)

    def _close_lanes(self) -> None:
        with contextlib.ExitStack() as closed:
            while self._lanes:
                closed.callback(self._lanes.pop().close)
