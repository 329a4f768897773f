"""A CUDA device of numpy memory that does nothing before somebody waits for it, and notices what is done wrong.

Work is noted when it is handed in and done when ``wait_host`` needs it, and only as much of it as the event stands for:
a wait that is missing leaves old bytes where new ones should be. Results that are under way are filled with ``POISON``.
Every access is compared with all those that are not ordered before it by streams, events and waits: two of them that
touch the same bytes, one of them writing, are a race. Addresses are never given twice, so whoever uses memory after it
was freed is found.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.cuda.device import ALIGNMENT, Bytes, DeviceError, Three, not_enough_memory
from edsr_runtime.cuda.kernels import PARAMETERS
from edsr_runtime.dihedral import VIEWS

POISON = 0xEE
_GAP = 4096


class MisuseError(AssertionError):
    """What a real device would answer with wrong pixels, a crash or a leak."""


@dataclass(frozen=True)
class Entry:
    """One operation."""

    time: int
    """When it was handed in."""
    what: str
    """``allocate``, ``copy_up``, ``views_of_bytes``, ``enqueue``, ``wait_host``, ..."""
    stream: int = 0
    detail: int = 0
    """Size in bytes, event, graph."""
    thread: str = ""


Clock = dict[int, int]
"""How much of every stream is over, for certain."""


@dataclass(frozen=True)
class _Range:
    """Bytes: of the device, or pinned."""

    start: int
    stop: int
    writes: bool
    is_pinned: bool = False

    def clashes(self, other: "_Range") -> bool:
        return (self.writes or other.writes) and self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class _Access:
    what: str
    stream: int
    index: int
    ranges: tuple[_Range, ...]


@dataclass
class _Timeline:
    """What is in a stream, and what is certain to be over before what comes into it next."""

    queue: deque[Callable[[], None]] = field(default_factory=deque)
    entered: int = 0
    done: int = 0
    clock: Clock = field(default_factory=dict)
    noting: "_Graph | None" = None


@dataclass
class _Event:
    stream: int = 0
    entered: int = 0
    clock: Clock = field(default_factory=dict)
    noting: "_Graph | None" = None


@dataclass
class _Graph:
    origin: int
    ranges: list[_Range] = field(default_factory=list)
    work: list[Callable[[], None]] = field(default_factory=list)
    prepare: list[Callable[[], None]] = field(default_factory=list)
    accesses: list[_Access] = field(default_factory=list)
    timelines: dict[int, _Timeline] = field(default_factory=dict)


class FakeDevice:
    """See ``Device``."""

    name = "Fake"
    library = "numpy"

    def __init__(self, capacity: int = 1 << 30) -> None:
        """With ``capacity`` bytes of memory, which may be changed."""
        self.capacity = capacity
        self.log: list[Entry] = []
        self.fail_at: Callable[[str], bool] = lambda what: False
        """Whether the operation of this name fails when it is done."""
        self.refuse: Callable[[str], bool] = lambda what: False
        """Whether it is refused when it is handed in."""
        self.before_wait: Callable[[], None] = lambda: None
        """Called by whoever waits for an event, while others may work."""
        self.is_closed = False
        self._lock = threading.RLock()
        self._depth = threading.local()
        self._numbers = itertools.count(1)
        self._next_address = 1 << 40
        self._memory: dict[int, NDArray[np.uint8]] = {}
        self._pinned: dict[int, NDArray[np.uint8]] = {}
        self._streams: dict[int, _Timeline] = {}
        self._events: dict[int, _Event] = {}
        self._graphs: dict[int, _Graph] = {}
        self._accesses: list[_Access] = []
        self._host: Clock = {}

    # --- for tests ---

    def names(self) -> list[str]:
        """What was done, in order."""
        return [entry.what for entry in self.log]

    def count(self, what: str) -> int:
        """How often."""
        return self.names().count(what)

    @property
    def used(self) -> int:
        """Bytes of device memory."""
        return sum(memory.size for memory in self._memory.values())

    def assert_clean(self) -> None:
        """Nothing is left."""
        left = {
            "device memory": self._memory,
            "pinned memory": self._pinned,
            "streams": self._streams,
            "events": self._events,
            "graphs": self._graphs,
        }
        remains = {what: len(things) for what, things in left.items() if things}
        assert not remains, f"not given back: {remains}"
        assert getattr(self._depth, "value", 0) == 0, "the context was left on the thread"

    def execute(
        self,
        stream: int,
        what: str,
        reads: Sequence[tuple[int, int]],
        writes: Sequence[tuple[int, int]],
        work: Callable[[], None],
    ) -> None:
        """Work of somebody else, such as an engine, on (address, size) pairs."""
        ranges = [self._device_range(*r, writes=False) for r in reads]
        ranges += [self._device_range(*w, writes=True) for w in writes]
        self._enter(stream, what, ranges, work)

    def view(self, address: int, size: int) -> NDArray[np.uint8]:
        """Bytes of device memory."""
        for start, memory in self._memory.items():
            if start <= address and address + size <= start + memory.size:
                return memory[address - start : address - start + size]
        raise MisuseError(f"{size} bytes at {address:#x} are not (or no longer) allocated")

    def floats(self, address: int, *shape: int) -> NDArray[np.float32]:
        """The same as numbers."""
        return self.view(address, 4 * int(np.prod(shape))).view(np.float32).reshape(shape)

    # --- the device ---

    @contextmanager
    def current(self) -> Iterator[None]:
        """See ``Device``."""
        if self.is_closed:
            raise MisuseError("the device was closed")
        self._depth.value = getattr(self._depth, "value", 0) + 1
        try:
            yield
        finally:
            self._depth.value -= 1

    def close(self) -> None:
        """See ``Device``."""
        self._need(not self.is_closed, "closed twice")
        self.is_closed = True

    def allocate(self, size: int) -> int:
        """See ``Device``."""
        with self._called("allocate", detail=size):
            self._need(size > 0, "no bytes are asked for")
            if self.used + size > self.capacity:
                raise not_enough_memory(size, (self.capacity - self.used, self.capacity))
            address = self._next_address
            self._next_address += -(-size // ALIGNMENT) * ALIGNMENT + _GAP
            self._memory[address] = np.full(size, POISON, np.uint8)
            return address

    def free(self, address: int) -> None:
        """See ``Device``."""
        with self._called("free"):
            self._need(address in self._memory, f"{address:#x} is freed, but not allocated")
            size = self._memory[address].size
            self._unused(_Range(address, address + size, True), "free")
            del self._memory[address]

    def pin(self, size: int, write_only: bool = False) -> Bytes:
        """See ``Device``."""
        with self._called("pin", detail=size):
            pinned = np.full(size, POISON, np.uint8)
            self._pinned[pinned.ctypes.data] = pinned
            return pinned

    def unpin(self, pinned: Bytes) -> None:
        """See ``Device``."""
        with self._called("unpin"):
            address = pinned.ctypes.data
            self._need(address in self._pinned, "memory is unpinned that is not pinned")
            self._unused(_Range(address, address + pinned.size, True), "unpin")
            del self._pinned[address]

    def open_stream(self) -> int:
        """See ``Device``."""
        with self._called("open_stream"):
            number = next(self._numbers)
            self._streams[number] = _Timeline()
            return number

    def close_stream(self, stream: int) -> None:
        """See ``Device``."""
        with self._called("close_stream", stream):
            timeline = self._timeline(stream)
            self._need(self._host.get(stream, 0) >= timeline.entered, "a stream is closed with work in it")
            del self._streams[stream]

    def open_event(self) -> int:
        """See ``Device``."""
        with self._called("open_event"):
            number = next(self._numbers)
            self._events[number] = _Event()
            return number

    def close_event(self, event: int) -> None:
        """See ``Device``."""
        with self._called("close_event", detail=event):
            self._event(event)
            del self._events[event]

    def record(self, event: int, stream: int) -> None:
        """See ``Device``."""
        with self._called("record", stream, event):
            timeline, mark = self._timeline(stream), self._event(event)
            mark.stream, mark.entered, mark.clock = stream, timeline.entered, self._clock(stream, timeline)
            mark.noting = timeline.noting

    def wait(self, stream: int, event: int) -> None:
        """See ``Device``."""
        with self._called("wait", stream, event):
            mark = self._event(event)
            if mark.noting is not None and self._streams[stream].noting is None:
                self._join(stream, mark.noting)
            timeline = self._timeline(stream)
            self._need(timeline.noting is mark.noting, "an event from outside a capture is waited for in it")
            timeline.clock = _merged(timeline.clock, mark.clock)
            if mark.noting is None:
                source, entered = mark.stream, mark.entered
                if source:
                    self._enter(stream, "", [], lambda: self._advance(source, entered))

    def wait_host(self, event: int) -> None:
        """See ``Device``."""
        self.before_wait()
        with self._called("wait_host", detail=event):
            mark = self._event(event)
            self._need(mark.noting is None, "the host waits for an event in a capture")
            if mark.stream:
                self._advance(mark.stream, mark.entered)
                self._host = _merged(self._host, mark.clock)
                self._accesses = [a for a in self._accesses if not self._is_over(a)]

    def copy_up(self, address: int, pinned: Bytes, stream: int) -> None:
        """See ``Device``."""
        size = pinned.size
        before: list[NDArray[np.uint8]] = []

        def prepare() -> None:
            before[:] = [pinned.copy()]

        def work() -> None:
            self._need(bool((before[0] == pinned).all()), "the host has written into pinned memory on its way up")
            self.view(address, size)[:] = pinned

        ranges = [self._pinned_range(pinned.ctypes.data, size, False), self._device_range(address, size, True)]
        self._enter(stream, "copy_up", ranges, work, prepare, size)

    def copy_down(self, pinned: Bytes, address: int, stream: int) -> None:
        """See ``Device``."""
        size = pinned.size

        def prepare() -> None:
            pinned[:] = POISON

        def work() -> None:
            pinned[:] = self.view(address, size)

        ranges = [self._pinned_range(pinned.ctypes.data, size, True), self._device_range(address, size, False)]
        self._enter(stream, "copy_down", ranges, work, prepare, size)

    def launch(self, kernel: str, grid: Three, block: Three, arguments: Sequence[int], stream: int) -> None:
        """See ``Device``."""
        self._need(PARAMETERS.get(kernel) == len(arguments), f"{kernel} has not {len(arguments)} parameters")
        make = _views if kernel.startswith("views") else _mean
        reads, writes, work = make(self, kernel.rpartition("_")[2], grid, block, *arguments)
        self.execute(stream, kernel, reads, writes, work)

    def begin_capture(self, stream: int) -> None:
        """See ``Device``."""
        with self._called("begin_capture", stream):
            self._need(self._streams[stream].noting is None, "this stream is being captured")
            self._join(stream, _Graph(stream))

    def end_capture(self, stream: int) -> int:
        """See ``Device``."""
        with self._called("end_capture", stream, may_refuse=False):
            graph = self._streams[stream].noting
            if graph is None or graph.origin != stream:
                raise DeviceError("no capture began in this stream")
            for number in graph.timelines:
                self._streams[number].noting = None
            if self.refuse("end_capture"):
                raise DeviceError("some of it cannot be captured")
            over = graph.timelines[stream].clock
            for number, timeline in graph.timelines.items():
                joined = number == stream or over.get(number, 0) >= timeline.entered
                if not joined:
                    raise DeviceError("a stream was forked in a capture and not joined again")
            number = next(self._numbers)
            self._graphs[number] = graph
            return number

    def launch_graph(self, graph: int, stream: int) -> None:
        """See ``Device``."""
        noted = self._graphs[graph]

        def prepare() -> None:
            for before in noted.prepare:
                before()

        def work() -> None:
            for part in noted.work:
                part()

        for r in noted.ranges:  # its addresses must be alive still
            if r.is_pinned:
                self._pinned_range(r.start, r.stop - r.start, r.writes)
            else:
                self.view(r.start, r.stop - r.start)
        self._enter(stream, "launch_graph", list(noted.ranges), work, prepare, graph)

    def close_graph(self, graph: int) -> None:
        """See ``Device``."""
        with self._called("close_graph", detail=graph):
            self._need(graph in self._graphs, "a graph is closed that is not open")
            del self._graphs[graph]

    def free_memory(self) -> tuple[int, int]:
        """See ``Device``."""
        return self.capacity - self.used, self.capacity

    # --- inside ---

    @contextmanager
    def _called(self, what: str, stream: int = 0, detail: int = 0, may_refuse: bool = True) -> Iterator[None]:
        with self._lock:
            self._need(getattr(self._depth, "value", 0) > 0, f"{what} on a thread without the context")
            self.log.append(Entry(len(self.log), what, stream, detail, threading.current_thread().name))
            if may_refuse and self.refuse(what):
                raise DeviceError(f"{what} was refused")
            yield

    def _enter(
        self,
        stream: int,
        what: str,
        ranges: list[_Range],
        work: Callable[[], None],
        prepare: Callable[[], None] = lambda: None,
        detail: int = 0,
    ) -> None:
        with self._called(what, stream, detail):
            timeline = self._timeline(stream)
            clock = self._clock(stream, timeline)
            graph = timeline.noting
            for access in graph.accesses if graph is not None else self._accesses:
                if clock.get(access.stream, 0) < access.index:
                    for mine, other in itertools.product(ranges, access.ranges):
                        self._need(not mine.clashes(other), f"{what} and {access.what} race for the same bytes")
            timeline.entered += 1
            timeline.clock = _merged(clock, {stream: timeline.entered})
            access = _Access(what, stream, timeline.entered, tuple(ranges))

            def do() -> None:
                if self.fail_at(what):
                    raise DeviceError(f"{what} failed")
                work()

            if graph is not None:
                graph.ranges += ranges
                graph.work.append(do)
                graph.prepare.append(prepare)
                graph.accesses.append(access)
                return
            prepare()
            self._accesses.append(access)
            timeline.queue.append(do)

    def _advance(self, stream: int, entered: int) -> None:
        timeline = self._streams[stream]
        while timeline.done < entered:
            timeline.done += 1
            timeline.queue.popleft()()

    def _clock(self, stream: int, timeline: _Timeline) -> Clock:
        if timeline.noting is not None:
            return dict(timeline.clock)
        return _merged(timeline.clock, self._host)

    def _join(self, stream: int, graph: _Graph) -> None:
        graph.timelines[stream] = _Timeline(noting=graph)
        self._streams[stream].noting = graph

    def _timeline(self, stream: int) -> _Timeline:
        self._need(stream in self._streams, "this stream is not open")
        timeline = self._streams[stream]
        return timeline if timeline.noting is None else timeline.noting.timelines[stream]

    def _event(self, event: int) -> _Event:
        self._need(event in self._events, "this event is not open")
        return self._events[event]

    def _device_range(self, address: int, size: int, writes: bool) -> _Range:
        self.view(address, size)
        return _Range(address, address + size, writes)

    def _pinned_range(self, start: int, size: int, writes: bool) -> _Range:
        inside = (first <= start and start + size <= first + p.size for first, p in self._pinned.items())
        self._need(any(inside), "copied from or to memory that is not pinned")
        return _Range(start, start + size, writes, is_pinned=True)

    def _is_over(self, access: _Access) -> bool:
        return self._host.get(access.stream, 0) >= access.index

    def _unused(self, whole: _Range, what: str) -> None:
        for access in self._accesses:
            if not self._is_over(access):
                busy = any(whole.clashes(r) for r in access.ranges)
                self._need(not busy, f"{what} of memory that {access.what} is using")

    def _need(self, condition: bool, sentence: str) -> None:
        if not condition:
            raise MisuseError(sentence)


def _merged(one: Clock, other: Clock) -> Clock:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in one.keys() | other.keys()}


# --- kernels.cu in numpy; each gives what it reads, what it writes, and the work ---

_Spans = list[tuple[int, int]]


def _views(
    device: FakeDevice,
    pixel: str,
    grid: Three,
    block: Three,
    source: int,
    target: int,
    flag: int,
    height: int,
    width: int,
    first: int,
    views: int,
) -> tuple[_Spans, _Spans, Callable[[], None]]:
    pictures, rest = divmod(grid[2], views)
    assert rest == 0
    side = (width, height) if first & 4 else (height, width)
    transposed = {v & 4 for v in range(first, first + views)}
    assert len(transposed) == 1 or height == width
    assert grid[0] * block[0] >= side[1]
    assert grid[1] * block[1] >= side[0]
    size = pictures * 3 * height * width * (1 if pixel == "bytes" else 4)

    def work() -> None:
        x = _planes(device.view(source, size), pixel, pictures, height, width)
        out = device.floats(target, pictures * views, 3, *side)
        for index in range(pictures * views):
            view = VIEWS[first + index % views]
            turned = x[index // views].swapaxes(1, 2) if view.transpose else x[index // views]
            out[index] = turned[:, :: -1 if view.flip_rows else 1, :: -1 if view.flip_columns else 1]
        if flag:
            device.view(flag, 4)[:] = 0

    writes = [(target, pictures * views * 3 * height * width * 4), *([(flag, 4)] if flag else [])]
    return [(source, size)], writes, work


def _mean(
    device: FakeDevice,
    pixel: str,
    grid: Three,
    block: Three,
    straight: int,
    transposed: int,
    target: int,
    flag: int,
    height: int,
    width: int,
    views: int,
    chunk: int,
    stride: int,
) -> tuple[_Spans, _Spans, Callable[[], None]]:
    pictures = grid[2]
    assert grid[0] * block[0] >= width
    assert grid[1] * block[1] >= height
    item = 3 * height * width * 4
    where = [[straight + p // chunk * stride * 4 + p % chunk * item] for p in range(pictures)]
    if views == 8:
        assert pictures == 1
        bases = [straight] * 4 + [transposed] * 4
        where = [[base + v % 4 // chunk * stride * 4 + v % 4 % chunk * item for v, base in enumerate(bases)]]
    size = pictures * 3 * height * width * (1 if pixel == "bytes" else 4)

    def work() -> None:
        out = np.empty((pictures, 3, height, width), np.float32)
        for picture, addresses in enumerate(where):
            total = np.zeros((3, height, width), np.float32)
            for view, address in zip(VIEWS, addresses, strict=False):
                side = (width, height) if view.transpose else (height, width)
                y = device.floats(address, 3, *side)
                y = y[:, :: -1 if view.flip_rows else 1, :: -1 if view.flip_columns else 1]
                total += y.swapaxes(1, 2) if view.transpose else y
            out[picture] = total / np.float32(views)
        if not np.isfinite(out).all():
            device.view(flag, 4).view(np.uint32)[:] = 1
        if pixel == "bytes":
            with np.errstate(invalid="ignore"):
                rounded = np.rint(np.clip(np.nan_to_num(out, nan=0.0), 0, 255)).astype(np.uint8)
            device.view(target, size)[:] = rounded.transpose(0, 2, 3, 1).reshape(-1)
        else:
            device.view(target, size)[:] = out.reshape(-1).view(np.uint8)

    reads = [(address, item) for addresses in where for address in addresses]
    return reads, [(target, size), (flag, 4)], work


def _planes(data: NDArray[np.uint8], pixel: str, pictures: int, height: int, width: int) -> NDArray[Any]:
    """(N, 3, H, W)."""
    if pixel == "floats":
        return data.view(np.float32).reshape(pictures, 3, height, width)
    return data.reshape(pictures, height, width, 3).transpose(0, 3, 1, 2)
