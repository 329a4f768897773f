"""The runner on the fake device: order, overlap, shutdown, errors, threads, memory, and the numbers."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edsr_runtime.backends.base import NonFiniteError, to_uint8
from edsr_runtime.cuda.device import DeviceError, DeviceMemoryError
from edsr_runtime.cuda.engine import EngineError
from edsr_runtime.cuda.runner import Runner, Ticket
from edsr_runtime.dihedral import VIEWS, View
from edsr_runtime.errors import ShapeError
from edsr_runtime.trt.profile import Size
from fake_device import FakeDevice, MisuseError
from fake_engine import FakeEngine, Network, repeat

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
TWICE = repeat(2)


@contextmanager
def running(device: FakeDevice, engine: FakeEngine | None = None, **options: Any) -> Iterator[Runner]:
    """A runner that is closed in the end, and its engine with it."""
    engine = engine or FakeEngine(device)
    runner = None
    try:
        runner = Runner(device, engine, **options)
        yield runner
    finally:
        device.refuse = device.fail_at = lambda what: False
        if runner is not None:
            runner.close()
        with device.current():
            engine.close()


def pictures(count: int, height: int = 9, width: int = 13, batch: int = 1) -> list[Pixels]:
    random = np.random.default_rng(height)
    return [random.integers(0, 256, (batch, height, width, 3), dtype=np.uint8) for _ in range(count)]


def planar(picture: Pixels) -> Floats:
    return np.ascontiguousarray(picture.transpose(0, 3, 1, 2), np.float32)


def enlarged(picture: Pixels, network: Network = TWICE) -> Pixels:
    return to_uint8(network(planar(picture)))


def mean_of_views(network: Network, lr: Floats) -> Floats:
    """As the upscaler does it on the host."""

    def flip(x: Floats, view: View) -> Floats:
        return x[:, :, :: -1 if view.flip_rows else 1, :: -1 if view.flip_columns else 1]

    total = np.zeros_like(network(lr))
    for view in VIEWS:
        turned = flip(lr.swapaxes(2, 3) if view.transpose else lr, view)
        sr = flip(network(np.ascontiguousarray(turned)), view)
        total += sr.swapaxes(2, 3) if view.transpose else sr
    return total / np.float32(len(VIEWS))


# --- order and overlap ---


def test_results_are_those_of_the_engine_rounded_and_in_order(device: FakeDevice) -> None:
    given = pictures(7)
    with running(device) as runner:
        tickets = [runner.submit(picture) for picture in given]
        for picture, ticket in zip(given, tickets, strict=True):
            np.testing.assert_array_equal(ticket.result(), enlarged(picture))


def test_floats_come_back_as_floats_neither_rounded_nor_clamped(device: FakeDevice) -> None:
    lr = np.random.default_rng(0).normal(100, 200, (2, 3, 7, 5)).astype(np.float32)
    with running(device) as runner:
        result = runner.run(lr)
    np.testing.assert_array_equal(result, repeat(2)(lr))
    assert result.min() < 0
    assert result.max() > 255


def test_the_next_tile_is_on_its_way_before_the_last_one_is_fetched(device: FakeDevice) -> None:
    given = pictures(6)
    with running(device, FakeEngine(device, supports_capture=False)) as runner:
        under_way = [runner.submit(given[0])]
        for picture in given[1:]:
            under_way.append(runner.submit(picture))
            under_way.pop(0).result()
        under_way.pop().result()
    staged = [entry.time for entry in device.log if entry.what == "copy_up"]
    fetched = [entry.time for entry in device.log if entry.what == "wait_host"][: len(given)]
    assert len(staged) == len(fetched) == len(given)
    for number in range(len(given) - 1):
        assert staged[number + 1] < fetched[number]
    for number in range(len(given) - 2):
        assert fetched[number] < staged[number + 2]  # not earlier: that worker was busy


def test_two_workers_take_turns_on_streams_of_their_own(device: FakeDevice) -> None:
    with running(device, FakeEngine(device, supports_capture=False)) as runner:
        for ticket in [runner.submit(picture) for picture in pictures(4)]:
            ticket.result()
    first, second, *rest = (entry.stream for entry in device.log if entry.what == "copy_up")
    assert first != second
    assert rest == [first, second]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_one_thread_that_never_asks_does_not_wait_for_itself(device: FakeDevice, workers: int) -> None:
    given = pictures(3 * workers + 1)
    with running(device, workers=workers) as runner:
        tickets = [runner.submit(picture) for picture in given]
        assert runner._posts[0]._device is device
    for picture, ticket in zip(given, tickets, strict=True):  # closed meanwhile: what was under way has been finished
        np.testing.assert_array_equal(ticket.result(), enlarged(picture))


def test_pictures_may_be_changed_and_results_kept(device: FakeDevice) -> None:
    (picture,) = pictures(1)
    expected = enlarged(picture)
    with running(device, workers=1) as runner:
        ticket = runner.submit(picture)
        picture[:] = 0
        result = ticket.result()
        runner.run(picture)
        np.testing.assert_array_equal(result, expected)
        assert ticket.result() is result


def test_a_second_worker_is_made_when_it_is_needed(device: FakeDevice) -> None:
    engine = FakeEngine(device)
    with running(device, engine) as runner:
        assert engine.contexts == 1
        runner.submit(pictures(1)[0])
        assert engine.contexts == 1
        runner.submit(pictures(1)[0])
        assert engine.contexts == 2


# --- memory and graphs ---


def test_the_same_kind_of_work_needs_no_new_memory(device: FakeDevice) -> None:
    given = pictures(12)
    with running(device) as runner:
        for picture in given[:2]:
            runner.run(picture)
        before = device.count("allocate"), device.count("pin"), device.used
        for picture in given[2:]:
            np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
        assert (device.count("allocate"), device.count("pin"), device.used) == before


def test_memory_is_that_of_the_largest_so_far(device: FakeDevice) -> None:
    with running(device, workers=1) as runner:
        runner.run(pictures(1, 20, 20)[0])
        largest, allocations = device.used, device.count("allocate")
        for height, width in ((4, 5), (19, 20), (20, 20), (5, 4)):
            (picture,) = pictures(1, height, width)
            np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
        assert (device.used, device.count("allocate")) == (largest, allocations)
        runner.run(pictures(1, 25, 20)[0])
        assert device.used > largest
    assert device.used == 0


def test_from_the_second_time_on_it_is_one_graph(device: FakeDevice) -> None:
    given = pictures(5)
    with running(device, workers=1) as runner:
        for picture in given:
            np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
    names = [what for what in device.names() if what in ("begin_capture", "engine", "launch_graph")]
    assert names == [
        "engine",
        "begin_capture",
        "engine",
        "launch_graph",
        "launch_graph",
        "launch_graph",
        "launch_graph",
    ]


def test_a_graph_ends_with_its_shape(device: FakeDevice) -> None:
    small, large = pictures(3, 9, 13), pictures(3, 15, 13)
    with running(device, workers=1) as runner:
        for picture in (small[0], small[1], large[0], large[1], small[2], large[2]):
            np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
            np.testing.assert_array_equal(runner.run(planar(picture)), repeat(2)(planar(picture)))
        assert device.count("launch_graph") == 0  # the kinds alternate: a graph would never be used again
        for picture in (*small, *large):
            np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
        assert device.count("launch_graph") == 4
        assert device.count("close_graph") == 1


def test_an_engine_that_makes_its_own_graphs_is_left_to_it(device: FakeDevice) -> None:
    with running(device, FakeEngine(device, supports_capture=False)) as runner:
        for picture in pictures(6):
            np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
    assert device.count("begin_capture") == 0


@pytest.mark.parametrize("what", ["begin_capture", "engine", "end_capture"])
def test_without_a_graph_it_goes_on(device: FakeDevice, what: str) -> None:
    given = pictures(5)
    with running(device, workers=1) as runner:
        runner.run(given[0])
        refusals = iter([True])
        device.refuse = lambda name: name == what and next(refusals, False)
        for picture in given[1:]:
            np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
        assert device.count("launch_graph") == 0
        assert device.count("begin_capture") == 1  # and is not tried again


# --- the self-ensemble ---


@pytest.mark.parametrize("hw", [(12, 12), (9, 14), (14, 9), (1, 30)])
@pytest.mark.parametrize("most", [1, 2, 3, 4, 7, 8, 16])
@pytest.mark.parametrize("scale", [2, 3])
def test_the_mean_of_the_views_is_that_of_the_cpu(
    device: FakeDevice, hw: tuple[int, int], most: int, scale: int
) -> None:
    engine = FakeEngine(device, scale=scale, most=Size(most, 32, 32))
    (picture,) = pictures(1, *hw)
    lr = planar(picture)
    expected = mean_of_views(engine.network, lr)
    assert np.abs(expected - engine.network(lr)).max() > 1  # the views differ
    with running(device, engine, workers=1) as runner:
        for _ in range(3):  # the third time as a graph
            np.testing.assert_array_equal(runner.run(lr, ensemble=True), expected)
        for _ in range(3):
            np.testing.assert_array_equal(runner.run(picture, ensemble=True), to_uint8(expected))
        np.testing.assert_array_equal(runner.run(picture), enlarged(picture, engine.network))


def test_square_pictures_have_their_views_in_one_batch_others_in_two_on_two_streams(device: FakeDevice) -> None:
    engine = FakeEngine(device, supports_capture=False)
    with running(device, engine, workers=1) as runner:
        runner.run(pictures(1, 12, 12)[0], ensemble=True)
        assert engine.runs == [Size(8, 12, 12)]
        engine.runs.clear()
        runner.run(pictures(1, 9, 14)[0], ensemble=True)
        assert sorted(engine.runs) == [Size(4, 9, 14), Size(4, 14, 9)]
    first, *both = (entry.stream for entry in device.log if entry.what == "engine")
    assert len(set(both)) == 2
    assert first in both
    assert device.count("copy_up") == device.count("copy_down") == 2  # eight views, one picture up and one down


def test_views_are_averaged_before_they_are_rounded(device: FakeDevice) -> None:
    # A step of 1 at the left, of eight views in four on this side: rounded before, the mean would be 0 or 1.
    def step(lr: Floats) -> Floats:
        sr = np.zeros((len(lr), 3, 2 * lr.shape[2], 2 * lr.shape[3]), np.float32)
        sr[..., :1] = 2.9
        return sr

    with running(device, FakeEngine(device, step)) as runner:
        result = runner.run(np.zeros((1, 6, 6, 3), np.uint8), ensemble=True)
    assert result[0, 5, 0, 0] == 1  # 2.9 in two of eight views: 0.725
    assert result[0, 0, 0, 0] == 1  # in four of them, two rows and two columns: 1.45


# --- numbers that are none ---


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("as_float", [False, True])
def test_what_is_no_number_is_found_and_not_remembered(
    device: FakeDevice, bad: float, ensemble: bool, as_float: bool
) -> None:
    def network(lr: Floats) -> Floats:
        sr = repeat(2)(lr)
        sr[lr.repeat(2, axis=2).repeat(2, axis=3) == 255] = bad
        return sr

    with running(device, FakeEngine(device, network), workers=1) as runner:
        for brightest, turns in ((200, 2), (255, 2), (200, 1), (255, 1), (200, 1)):
            for _ in range(turns):
                picture = np.minimum(pictures(1)[0], 200)
                picture[0, 4, 5, 1] = brightest
                lr = planar(picture) if as_float else picture
                if brightest == 255:
                    with pytest.raises(NonFiniteError):
                        runner.run(lr, ensemble)
                else:
                    runner.run(lr, ensemble)


# --- uint8 inside ---


def test_an_engine_of_uint8_is_fed_directly(device: FakeDevice) -> None:
    given = pictures(4, batch=2)
    with running(device, FakeEngine(device, io="uint8")) as runner:
        for picture in given:
            np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
        with pytest.raises(ShapeError, match=r"neither 16-bit nor gray nor translucent .* --io float$"):
            runner.run(planar(given[0]))
        np.testing.assert_array_equal(runner.run(given[0]), enlarged(given[0]))
    assert not any(name.startswith(("views", "mean")) for name in device.names())


@pytest.mark.parametrize("io", ["float", "uint8"])
def test_pictures_of_bytes_go_up_and_down_as_bytes(device: FakeDevice, io: Any) -> None:
    """A quarter of what floats are, whatever the engine takes; with it comes the flag for what is no number."""
    (picture,) = pictures(1, 9, 13)
    pixels = 9 * 13 * 3

    def copied(lr: Any) -> tuple[int, int]:
        device.log.clear()
        with running(device, FakeEngine(device, io=io, supports_capture=False)) as runner:
            runner.run(lr)
        up, down = ([entry.detail for entry in device.log if entry.what == f"copy_{way}"] for way in ("up", "down"))
        assert len(up) == len(down) == 1
        return up[0], down[0]

    flag = 256 if io == "float" else 0
    assert copied(picture) == (pixels, 4 * pixels + flag)
    if io == "float":
        assert copied(planar(picture)) == (4 * pixels, 16 * pixels + flag)


# --- what is refused ---


@pytest.mark.parametrize("shape", [(1, 40, 8, 3), (9, 8, 8, 3), (1, 2, 8, 3)])
def test_what_the_profile_does_not_hold_is_refused(device: FakeDevice, shape: tuple[int, ...]) -> None:
    with (
        running(device, FakeEngine(device, least=Size(1, 3, 3))) as runner,
        pytest.raises(EngineError, match=r"^the engine takes 1x3x3 .. 8x32x32 \(NxHxW\), not "),
    ):
        runner.run(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "array", [np.zeros((1, 3, 8, 8), np.uint8), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 8, 8), np.float64)]
)
def test_other_arrays_are_refused(device: FakeDevice, array: Any) -> None:
    with running(device) as runner, pytest.raises(ShapeError, match=r"expected \(N, H, W, 3\) uint8 or \(N, 3, H, W\)"):
        runner.run(array)


# --- the end ---


def test_closing_finishes_what_is_under_way_and_ends_the_rest(device: FakeDevice) -> None:
    first, second, third = pictures(3)
    with running(device) as runner:
        tickets = [runner.submit(first), runner.submit(second)]
        runner.close()
        with pytest.raises(ValueError, match="this runner is closed"):
            runner.submit(third)
        runner.close()
    for picture, ticket in zip((first, second), tickets, strict=True):
        np.testing.assert_array_equal(ticket.result(), enlarged(picture))


def test_everything_is_given_back_in_the_right_order(device: FakeDevice) -> None:
    order: list[str] = []

    class Watched(FakeEngine):
        def create_context(self) -> Any:
            context = super().create_context()
            close = context.close
            context.close = lambda: (order.append("context"), close())  # type: ignore[method-assign, func-returns-value]
            return context

    with running(device, Watched(device)) as runner:
        for picture in (*pictures(4), *pictures(4, 12, 9)):
            runner.run(picture, ensemble=True)
        before = len(device.log)
        device.refuse = lambda what: bool(order.append(what))  # type: ignore[func-returns-value]
        runner.close()
    assert len(device.log) > before
    for start in [0, order.index("context", order.index("close_stream"))]:  # of each worker
        last_context = max(i for i, what in enumerate(order[start:], start) if what == "context")
        assert "close_graph" in order[: last_context + 1]
    first_context = order.index("context")
    assert order.index("close_graph") < first_context < order.index("free") < order.index("close_stream")


# --- errors in the middle ---

LEAVING = ("free", "unpin", "close_stream", "close_event", "close_graph")


def scenario(runner: Runner) -> None:
    """All there is: graphs, growth, an ensemble with two lanes, floats."""
    tickets: list[tuple[Ticket, Any]] = []
    for picture in (*pictures(4), *pictures(3, 12, 12), *pictures(1, 15, 9)):
        tickets.append((runner.submit(picture), enlarged(picture)))
    for picture in pictures(3, 11, 7):
        tickets.append((runner.submit(picture, ensemble=True), to_uint8(mean_of_views(repeat(2), planar(picture)))))
        tickets.append((runner.submit(planar(picture)), repeat(2)(planar(picture))))
    for ticket, expected in tickets:
        np.testing.assert_array_equal(ticket.result(), expected)


def number_of_calls(hook: str) -> int:
    device = FakeDevice()
    counter = itertools.count()
    with running(device) as runner:
        setattr(device, hook, lambda what: what not in LEAVING and next(counter) < 0)
        scenario(runner)
    return next(counter)


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        ("refuse", DeviceError),
        ("refuse", DeviceMemoryError),
        ("refuse", KeyboardInterrupt),  # which comes before a call or after it
        ("fail_at", DeviceError),
    ],
)
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_an_error_anywhere_leaves_nothing_behind_and_no_wrong_pixel(
    hook: str, error: type[BaseException], step: int
) -> None:
    total = number_of_calls(hook)
    assert total > 50
    for number in range(0, total, step):
        device = FakeDevice()
        counter = itertools.count()

        def strike(what: str, counter: Iterator[int] = counter, number: int = number) -> bool:
            if what not in LEAVING and next(counter) == number:
                raise error(what)
            return False

        with running(device) as runner:
            setattr(device, hook, strike)
            with suppress(DeviceError, KeyboardInterrupt):
                scenario(runner)
            setattr(device, hook, lambda what: False)
            scenario(runner)  # and it works again
        device.assert_clean()


@pytest.mark.parametrize("what", ["open_stream", "open_event", "create_context"])
def test_a_runner_that_cannot_be_made_leaves_nothing(device: FakeDevice, what: str) -> None:
    device.refuse = lambda name: name == what
    with pytest.raises(DeviceError), running(device):
        pass


def test_an_error_on_the_device_belongs_to_its_ticket_only(device: FakeDevice) -> None:
    given = pictures(3)
    with running(device, FakeEngine(device, supports_capture=False)) as runner:
        turns = itertools.count()
        device.fail_at = lambda what: what == "engine" and next(turns) == 1
        tickets = [runner.submit(picture) for picture in given]
        np.testing.assert_array_equal(tickets[0].result(), enlarged(given[0]))
        for _ in range(2):
            with pytest.raises(DeviceError, match="engine failed"):
                tickets[1].result()
        np.testing.assert_array_equal(tickets[2].result(), enlarged(given[2]))


# --- not enough memory ---


def test_with_memory_for_one_worker_there_is_one(device: FakeDevice) -> None:
    notes: list[str] = []
    given = pictures(6, 20, 20)
    with running(device, note=notes.append) as runner:
        first = runner.submit(given[0])
        device.capacity = int(device.used * 1.5)
        results = [first, *(runner.submit(picture) for picture in given[1:])]
        for picture, ticket in zip(given, results, strict=True):
            np.testing.assert_array_equal(ticket.result(), enlarged(picture))
    assert notes == ["the GPU's memory is enough for 1 worker only"]


def test_the_last_worker_gives_back_its_memory_and_takes_smaller_work(device: FakeDevice) -> None:
    engine = FakeEngine(device)
    with running(device, engine) as runner:
        runner.run(pictures(1, 10, 10)[0])
        device.capacity = int(device.used * 2.5)
        with pytest.raises(DeviceMemoryError, match=r"^the GPU has not enough memory: \d+ MiB more were needed"):
            runner.run(pictures(1, 32, 32)[0])
        assert device.used == 0
        given = pictures(4, 10, 10)
        tickets = [runner.submit(picture) for picture in given]
        for picture, ticket in zip(given, tickets, strict=True):
            np.testing.assert_array_equal(ticket.result(), enlarged(picture))
        assert engine.contexts == 2  # all workers are there again


# --- threads, and work that is not wanted any more ---


def test_threads_share_a_runner(device: FakeDevice) -> None:
    def work(seed: int) -> None:
        for height, width in itertools.product((5, 8, 11), (6, 11)):
            picture = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
            tickets = [runner.submit(picture) for _ in range(3)]
            np.testing.assert_array_equal(
                runner.run(picture, True), to_uint8(mean_of_views(repeat(2), planar(picture)))
            )
            for ticket in tickets:
                np.testing.assert_array_equal(ticket.result(), enlarged(picture))

    with running(device) as runner, ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))


def test_closing_waits_for_other_threads(device: FakeDevice) -> None:
    with running(device) as runner:
        started = threading.Event()

        def work() -> int:
            done = 0
            try:
                for picture in itertools.cycle(pictures(3)):
                    np.testing.assert_array_equal(runner.run(picture), enlarged(picture))
                    done += 1
                    started.set()
            except ValueError as err:
                assert str(err) == "this runner is closed"
            return done

        with ThreadPoolExecutor(3) as pool:
            threads = [pool.submit(work) for _ in range(3)]
            assert started.wait(60)
            runner.close()
            assert sum(thread.result() for thread in threads) > 0


def test_cancelled_work_is_finished_but_not_kept(device: FakeDevice) -> None:
    given = pictures(4)
    with running(device) as runner:
        tickets = [runner.submit(picture) for picture in given]
        for number in (0, 3):
            tickets[number].cancel()
            with pytest.raises(ValueError, match="this work was cancelled"):
                tickets[number].result()
        for number in (1, 2):
            np.testing.assert_array_equal(tickets[number].result(), enlarged(given[number]))
        del tickets
        np.testing.assert_array_equal(runner.run(given[0]), enlarged(given[0]))


def test_what_is_cancelled_while_it_is_waited_for_is_not_kept(device: FakeDevice) -> None:
    with running(device, workers=1) as runner:
        ticket = runner.submit(pictures(1)[0])
        device.before_wait = ticket.cancel
        with pytest.raises(ValueError, match="this work was cancelled"):
            ticket.result()
        device.before_wait = lambda: None
        assert ticket._result is None


def test_a_cancelled_error_is_nobodys(device: FakeDevice) -> None:
    with running(device) as runner:
        device.fail_at = lambda what: what == "engine"
        ticket = runner.submit(pictures(1)[0])
        ticket.cancel()
        with pytest.raises(ValueError, match="cancelled"):
            ticket.result()


def test_a_result_can_be_asked_for_again_after_an_interrupt(device: FakeDevice) -> None:
    (picture,) = pictures(1)

    def interrupt(what: str) -> bool:
        if what == "wait_host":
            raise KeyboardInterrupt
        return False

    with running(device, workers=1) as runner:
        ticket = runner.submit(picture)
        device.refuse = interrupt
        with pytest.raises(KeyboardInterrupt):
            ticket.result()
        device.refuse = lambda what: False
        np.testing.assert_array_equal(ticket.result(), enlarged(picture))


# --- many ---


def test_a_thousand_pictures_leak_nothing(device: FakeDevice) -> None:
    kinds = [(pictures(1, height, width)[0], ensemble) for height, width, ensemble in ((4, 5, 0), (6, 3, 0), (4, 4, 1))]
    expected = [
        to_uint8(mean_of_views(repeat(2), planar(picture))) if ensemble else enlarged(picture)
        for picture, ensemble in kinds
    ]
    used: set[int] = set()
    with running(device) as runner:
        for number in range(1000):
            kind = number // 7 % 3
            np.testing.assert_array_equal(runner.run(kinds[kind][0], bool(kinds[kind][1])), expected[kind])
            if number >= 100:
                used.add(device.used)
        held = {what: device.count(f"open_{what}") - device.count(f"close_{what}") for what in ("stream", "event")}
    assert len(used) == 1
    assert device.count("allocate") <= 2 * 8  # two workers, five buffers each, grown a few times
    assert held == {"stream": 2, "event": 6}
    assert device.count("copy_up") < 1000  # graphs were in use
    copies = [entry for entry in device.log if entry.what in ("copy_down", "launch_graph")]
    assert len(copies) >= 1000


def test_the_runner_would_be_caught_without_its_wait(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    # The fake is only worth something if it can say no: here the result is read before its event.
    with running(device) as runner:
        ticket = runner.submit(pictures(1)[0])
        with monkeypatch.context() as patched:
            patched.setattr(device, "wait_host", lambda event: None)
            with suppress(NonFiniteError, MisuseError):
                assert not np.array_equal(ticket.result(), enlarged(pictures(1)[0]))
