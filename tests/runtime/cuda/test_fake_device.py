"""The fake device notices what a real one would answer with wrong pixels, so that the other tests here can fail."""

from collections.abc import Iterator

import numpy as np
import pytest

from edsr_runtime.cuda.device import Bytes, DeviceError, DeviceMemoryError
from fake_device import POISON, FakeDevice, MisuseError

SIZE = 512


class Bench:
    """A device with two streams, an event, pinned memory and device memory."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.one, self.other = device.open_stream(), device.open_stream()
        self.event = device.open_event()
        self.up, self.down = device.pin(SIZE, write_only=True), device.pin(SIZE)
        self.address = device.allocate(SIZE)
        self.up[:] = 7

    def finish(self, stream: int) -> None:
        self.device.record(self.event, stream)
        self.device.wait_host(self.event)


@pytest.fixture
def bench() -> Iterator[Bench]:
    device = FakeDevice()
    with device.current():
        yield Bench(device)


def roll(bench: Bench) -> Bytes:
    """Up and down again, in one stream."""
    bench.device.copy_up(bench.address, bench.up, bench.one)
    bench.device.copy_down(bench.down, bench.address, bench.one)
    return bench.down


def test_nothing_is_there_before_it_is_waited_for(bench: Bench) -> None:
    down = roll(bench)
    assert set(down) == {POISON}
    bench.finish(bench.other)
    assert set(down) == {POISON}  # that was not its stream
    bench.finish(bench.one)
    assert set(down) == {7}


def test_an_event_stands_only_for_what_was_before_it(bench: Bench) -> None:
    bench.device.record(bench.event, bench.one)
    down = roll(bench)
    bench.device.wait_host(bench.event)
    assert set(down) == {POISON}


def test_pinned_memory_must_not_change_on_its_way_up(bench: Bench) -> None:
    roll(bench)
    bench.up[3] = 8
    with pytest.raises(MisuseError, match="the host has written into pinned memory on its way up"):
        bench.finish(bench.one)


def test_two_streams_race_unless_one_waits_for_the_other(bench: Bench) -> None:
    device = bench.device
    device.copy_up(bench.address, bench.up, bench.one)
    with pytest.raises(MisuseError, match="copy_down and copy_up race"):
        device.copy_down(bench.down, bench.address, bench.other)
    device.record(bench.event, bench.one)
    device.wait(bench.other, bench.event)
    device.copy_down(bench.down, bench.address, bench.other)
    bench.finish(bench.other)
    assert set(bench.down) == {7}


def test_two_streams_may_read_the_same(bench: Bench) -> None:
    bench.device.copy_up(bench.address, bench.up, bench.one)
    bench.finish(bench.one)
    third = bench.device.pin(SIZE)
    bench.device.copy_down(bench.down, bench.address, bench.one)
    bench.device.copy_down(third, bench.address, bench.other)


def test_memory_is_freed_once_and_not_in_use(bench: Bench) -> None:
    device = bench.device
    roll(bench)
    for free, memory in ((device.free, bench.address), (device.unpin, bench.down)):
        with pytest.raises(MisuseError, match="of memory that copy_"):
            free(memory)  # type: ignore[operator]
    bench.finish(bench.one)
    device.free(bench.address)
    with pytest.raises(MisuseError, match="is freed, but not allocated"):
        device.free(bench.address)
    with pytest.raises(MisuseError, match=r"not \(or no longer\) allocated"):
        device.copy_up(bench.address, bench.up, bench.one)


def test_memory_ends_where_it_ends(bench: Bench) -> None:
    with pytest.raises(MisuseError, match=r"512 bytes at .* are not"):
        bench.device.copy_up(bench.address + 256, bench.up, bench.one)


def test_only_pinned_memory_is_copied(bench: Bench) -> None:
    with pytest.raises(MisuseError, match="not pinned"):
        bench.device.copy_up(bench.address, np.zeros(SIZE, np.uint8), bench.one)


def test_a_thread_needs_the_context() -> None:
    with pytest.raises(MisuseError, match="allocate on a thread without the context"):
        FakeDevice().allocate(1)


def test_streams_are_closed_when_their_work_is_done(bench: Bench) -> None:
    roll(bench)
    with pytest.raises(MisuseError, match="closed with work in it"):
        bench.device.close_stream(bench.one)


def test_what_is_left_is_named(bench: Bench) -> None:
    with pytest.raises(AssertionError, match="'device memory': 1, 'pinned memory': 2, 'streams': 2, 'events': 1"):
        bench.device.assert_clean()


def test_a_graph_does_what_was_noted_when_it_is_launched(bench: Bench) -> None:
    device = bench.device
    device.begin_capture(bench.one)
    device.copy_up(bench.address, bench.up, bench.one)
    device.record(bench.event, bench.one)
    device.wait(bench.other, bench.event)
    device.copy_down(bench.down, bench.address, bench.other)
    device.record(bench.event, bench.other)
    device.wait(bench.one, bench.event)
    graph = device.end_capture(bench.one)
    bench.finish(bench.one)
    bench.down[:] = 1
    for value in (5, 6):
        bench.up[:] = value
        device.launch_graph(graph, bench.one)
        assert set(bench.down) == {POISON}
        bench.finish(bench.one)
        assert set(bench.down) == {value}
    device.free(bench.address)
    with pytest.raises(MisuseError, match="no longer"):
        device.launch_graph(graph, bench.one)


def test_a_fork_in_a_capture_must_be_joined(bench: Bench) -> None:
    device = bench.device
    device.begin_capture(bench.one)
    device.copy_up(bench.address, bench.up, bench.one)
    device.record(bench.event, bench.one)
    device.wait(bench.other, bench.event)
    device.copy_down(bench.down, bench.address, bench.other)
    with pytest.raises(DeviceError, match="forked in a capture and not joined"):
        device.end_capture(bench.one)


def test_errors_come_where_a_device_has_them(bench: Bench) -> None:
    device = bench.device
    device.fail_at = lambda what: what == "copy_down"
    roll(bench)
    with pytest.raises(DeviceError, match="copy_down failed"):
        bench.finish(bench.one)
    device.refuse = lambda what: what == "record"
    with pytest.raises(DeviceError, match="record was refused"):
        bench.finish(bench.one)
    device.capacity = device.used + 1000
    with pytest.raises(DeviceMemoryError, match=r"^the GPU has not enough memory: 0 MiB more were needed, 0 MiB of"):
        device.allocate(1001)
