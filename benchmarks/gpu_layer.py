"""The device layer on a real GPU: each promise of ``Device``, and the runner with an engine that only copies.

Nothing of PyTorch is needed. Every check says what went wrong, and none keeps the others from being made.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_copy import CopyEngine
from benchmarks.gpu_sections import NotHereError
from edsr_runtime.backends.base import NonFiniteError
from edsr_runtime.cuda.device import ALIGNMENT, Bytes, Device, DeviceError, DeviceMemoryError
from edsr_runtime.cuda.kernels import Pixel, launch_mean, launch_views
from edsr_runtime.cuda.runner import Runner
from edsr_runtime.dihedral import VIEWS
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.trt.driver import cuda_driver
from edsr_runtime.trt.profile import Size

Library = Literal["pycuda", "cuda-bindings"]
LIBRARIES: tuple[Library, ...] = ("pycuda", "cuda-bindings")

_MOST = Size(8, 96, 96)
_SLACK = 8 << 20  # bytes: what the driver itself may have taken meanwhile


@dataclass(frozen=True)
class Check:
    """One promise."""

    name: str
    error: str
    """Empty: it holds."""
    seconds: float


@dataclass(frozen=True)
class LayerResult:
    """One library on one GPU."""

    library: str
    gpu: str
    checks: list[Check]
    targets: list[Any]
    """None: these are promises, not measurements."""

    @property
    def failed(self) -> list[Check]:
        """Those that do not hold."""
        return [check for check in self.checks if check.error]


def open_library(library: Library, index: int = 0) -> Device:
    """A device by way of one library.

    Raises:
        EdsrError: there is no driver, no such GPU, or the library is not installed.
    """
    cuda_driver()
    if library == "pycuda":
        from edsr_runtime.cuda.pycuda_device import PyCudaDevice

        return PyCudaDevice(index)
    from edsr_runtime.cuda.bindings_device import BindingsDevice

    return BindingsDevice(index)


def measure(library: Library, smoke: bool) -> LayerResult:
    """Make all checks.

    Raises:
        NotHereError: there is no driver, or the library is not installed.
    """
    try:
        open_library(library).close()
    except DeviceError:
        raise  # it is all there, and does not work
    except (EnvironmentUnfitError, MissingDependencyError) as err:
        raise NotHereError(str(err)) from err
    return check_layer(library, rounds=40 if smoke else 1000)


def check_layer(library: Library, rounds: int = 1000) -> LayerResult:
    """Make all checks; ``rounds`` pictures are run to look for leaks."""
    checks: list[Check] = []

    def made(name: str, check: Callable[[], None]) -> None:
        start = time.perf_counter()
        try:
            check()
            error = ""
        except Exception as err:  # whatever it is, it is the result
            error = f"{type(err).__name__}: {err}"
        checks.append(Check(name, error, round(time.perf_counter() - start, 4)))

    device = open_library(library)
    try:
        for check in CHECKS:
            made(_title(check), lambda check=check: check(device))  # type: ignore[misc]
        made(f"{rounds} pictures leak nothing", lambda: check_leaks(device, rounds))
    finally:
        made("it can be closed", device.close)
    made("it can be opened again", lambda: open_library(library).close())
    return LayerResult(device.library, device.name, checks, [])


def check_copies(device: Device) -> None:
    """bytes go up and come down again"""
    with _bench(device, 1 << 20) as bench:
        given = np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8)
        bench.up[:] = given
        bench.roll()
        bench.finish()
        np.testing.assert_array_equal(bench.down, given)
        assert bench.address % ALIGNMENT == 0, "not aligned"


def check_streams(device: Device) -> None:
    """a stream waits for an event of another one"""
    with _bench(device, 8 << 20) as bench:
        other = device.open_stream()
        crossed = device.open_event()
        try:
            for value in range(1, 5):
                bench.up[:] = value
                device.copy_up(bench.address, bench.up, bench.stream)
                device.record(crossed, bench.stream)
                device.wait(other, crossed)
                device.copy_down(bench.down, bench.address, other)
                device.record(bench.event, other)
                device.wait_host(bench.event)
                assert (bench.down == value).all(), "it did not"
        finally:
            device.close_event(crossed)
            device.close_stream(other)


def check_views(device: Device) -> None:
    """the eight views are those of numpy"""
    random = np.random.default_rng(1)
    cases: tuple[tuple[Pixel, tuple[int, int], int, int], ...] = (
        ("bytes", (37, 37), 0, 8),
        ("floats", (21, 70), 0, 4),
        ("bytes", (21, 70), 4, 4),
        ("floats", (64, 64), 0, 8),
    )
    for pixel, hw, first, views in cases:
        source: NDArray[Any] = random.integers(0, 256, (*hw, 3), dtype=np.uint8)
        planar = source.transpose(2, 0, 1).astype(np.float32)
        raw = source if pixel == "bytes" else planar
        expected = np.stack([_view(planar, v) for v in range(first, first + views)])
        with _bench(device, raw.nbytes, ALIGNMENT + expected.nbytes) as bench:
            bench.up[: raw.nbytes] = np.ascontiguousarray(raw).reshape(-1).view(np.uint8)
            device.copy_up(bench.address, bench.up, bench.stream)
            launch_views(
                device, bench.stream, pixel=pixel, source=bench.address, target=bench.other + ALIGNMENT,
                flag=bench.other, pictures=1, hw=hw, first=first, views=views,
            )  # fmt: skip
            device.copy_down(bench.down, bench.other, bench.stream)
            bench.finish()
            found = bench.down[ALIGNMENT:].view(np.float32).reshape(expected.shape)
            np.testing.assert_array_equal(found, expected)
            assert not bench.down[:4].any(), "the flag was not cleared"


def check_mean(device: Device) -> None:
    """the mean of eight views is rounded half to even, and what is no number raises the flag"""
    hw = 18, 36
    planar = np.random.default_rng(2).normal(128, 90, (3, *hw)).astype(np.float32)
    for bad in (None, np.nan, np.inf, -np.inf):
        stacked = np.concatenate([_view(planar, v).reshape(-1) for v in range(8)])
        if bad is not None:
            stacked[-1] = bad
        half = stacked.nbytes // 2
        with _bench(device, stacked.nbytes, ALIGNMENT + planar.size) as bench:
            bench.up[:] = stacked.view(np.uint8)
            device.copy_up(bench.address, bench.up, bench.stream)
            bench.clear(device)
            launch_mean(
                device, bench.stream, pixel="bytes", straight=bench.address, transposed=bench.address + half,
                target=bench.other + ALIGNMENT, flag=bench.other, pictures=1, hw=hw, views=8, chunk=4, stride=0,
            )  # fmt: skip
            device.copy_down(bench.down, bench.other, bench.stream)
            bench.finish()
            assert bench.down[:4].view(np.uint32)[0] == (bad is not None), f"the flag at {bad}"
            if bad is None:
                found = bench.down[ALIGNMENT:].reshape(*hw, 3).transpose(2, 0, 1).astype(int)
                # sums of eight floats in another order: a half may fall to the other side
                assert np.abs(found - np.rint(planar.clip(0, 255))).max() <= 1
                assert (found != np.rint(planar.clip(0, 255))).mean() < 0.001


def check_graph(device: Device) -> None:
    """a captured graph does again what was noted, with what is in memory then"""
    with _bench(device, 1 << 16) as bench:
        bench.up[:] = 1
        bench.roll()
        bench.finish()
        device.begin_capture(bench.stream)
        bench.roll()
        graph = device.end_capture(bench.stream)
        try:
            for value in range(2, 6):
                bench.up[:] = value
                device.launch_graph(graph, bench.stream)
                bench.finish()
                assert (bench.down == value).all(), f"{value}: {set(bench.down.tolist())} came down"
        finally:
            device.close_graph(graph)


def check_fork(device: Device) -> None:
    """a capture that forks into a second stream and joins it again is one graph"""
    with _bench(device, 1 << 16) as bench:
        other, forked, joined = device.open_stream(), device.open_event(), device.open_event()
        graph = None
        try:
            device.begin_capture(bench.stream)
            device.copy_up(bench.address, bench.up, bench.stream)
            device.record(forked, bench.stream)
            device.wait(other, forked)
            device.copy_down(bench.down, bench.address, other)
            device.record(joined, other)
            device.wait(bench.stream, joined)
            graph = device.end_capture(bench.stream)
            bench.up[:] = 9
            device.launch_graph(graph, bench.stream)
            bench.finish()
            assert (bench.down == 9).all()
        finally:
            if graph is not None:
                device.close_graph(graph)
            device.close_event(forked)
            device.close_event(joined)
            device.close_stream(other)


def check_broken_capture(device: Device) -> None:
    """a capture that cannot end is an error, and its stream works again"""
    with _bench(device, 1 << 12) as bench:
        other, forked = device.open_stream(), device.open_event()
        try:
            device.begin_capture(bench.stream)
            device.record(forked, bench.stream)
            device.wait(other, forked)
            device.copy_down(bench.down, bench.address, other)  # never joined
            _refused(DeviceError, lambda: device.close_graph(device.end_capture(bench.stream)))
            bench.up[:] = 3
            bench.roll()
            bench.finish()
            assert (bench.down == 3).all()
        finally:
            device.close_event(forked)
            device.close_stream(other)


def check_memory(device: Device) -> None:
    """memory that is not there is refused in one sentence, and the device works on"""
    with device.current():
        _, total = device.free_memory()
        err = _refused(DeviceMemoryError, lambda: device.free(device.allocate(2 * total)))
        assert str(err).startswith("the GPU has not enough memory: "), err
    check_copies(device)


def check_threads(device: Device) -> None:
    """three threads, with the context pushed and popped on each"""
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for _ in range(8):
                check_copies(device)
                check_graph(device)
        except BaseException as err:
            errors.append(err)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def check_runner(device: Device) -> None:
    """the runner gives pictures back as they are: bytes and floats, batches, graphs, all eight views"""
    with _runner(device) as runner:
        random = np.random.default_rng(3)
        for shape in ((1, 40, 56), (3, 40, 56), (1, 64, 64), (1, 9, 90)):
            for _ in range(4):  # the third time on, as a graph
                whole = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
                planar = random.normal(128, 90, (shape[0], 3, *shape[1:])).astype(np.float32)
                np.testing.assert_array_equal(runner.run(whole), whole)
                np.testing.assert_array_equal(runner.run(planar), planar)
                if shape[0] == 1:
                    np.testing.assert_array_equal(runner.run(whole, ensemble=True), whole)
                    np.testing.assert_allclose(runner.run(planar, ensemble=True), planar, rtol=1e-6)
        for ensemble in (False, True):
            for bad in (np.nan, np.inf, 1.0):
                planar[0, 1, 2, 3] = bad
                if bad == 1:
                    runner.run(planar, ensemble)
                else:
                    _refused(NonFiniteError, lambda ensemble=ensemble: runner.run(planar, ensemble))  # type: ignore[misc]


def check_graphs_are_used(device: Device) -> None:
    """from the second picture of a size on, the runner launches one graph"""
    with counted_graphs(device) as launched, _runner(device, workers=1) as runner:
        for value in range(6):
            picture = np.full((1, 33, 47, 3), value, np.uint8)
            np.testing.assert_array_equal(runner.run(picture), picture)
    assert len(launched) == 5, f"{len(launched)} of 6 runs were graphs, expected 5"


def check_concurrent_runner(device: Device) -> None:
    """four threads share a runner"""
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for _ in range(40):
                picture = random.integers(0, 256, (1, 40 + seed % 2, 56, 3), dtype=np.uint8)
                np.testing.assert_array_equal(runner.run(picture), picture)
        except BaseException as err:
            errors.append(err)

    with _runner(device, workers=3) as runner:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def check_leaks(device: Device, rounds: int) -> None:
    """``rounds`` pictures through a runner leave the device's memory as it was."""
    picture = np.random.default_rng(4).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    with device.current():
        before, _ = device.free_memory()
    for turn in range(4):
        with _runner(device) as runner:
            tickets = [runner.submit(picture, ensemble=turn % 2 == 1) for _ in range(rounds // 4)]
            for ticket in tickets:
                np.testing.assert_array_equal(ticket.result(), picture)
    with device.current():
        after, _ = device.free_memory()
    assert before - after < _SLACK, f"{before - after} bytes are gone"


CHECKS = (
    check_copies,
    check_streams,
    check_views,
    check_mean,
    check_graph,
    check_fork,
    check_broken_capture,
    check_memory,
    check_threads,
    check_runner,
    check_graphs_are_used,
    check_concurrent_runner,
)


@dataclass
class _Bench:
    device: Device
    stream: int
    event: int
    up: Bytes
    down: Bytes
    address: int
    other: int

    def roll(self) -> None:
        self.device.copy_up(self.address, self.up, self.stream)
        self.device.copy_down(self.down, self.address, self.stream)

    def finish(self) -> None:
        self.device.record(self.event, self.stream)
        self.device.wait_host(self.event)

    def clear(self, device: Device) -> None:
        """The flag, which only views clear."""
        launch_views(
            device, self.stream, pixel="bytes", source=self.other, target=self.other + ALIGNMENT, flag=self.other,
            pictures=1, hw=(1, 1),
        )  # fmt: skip


@contextmanager
def _bench(device: Device, size: int, other: int | None = None) -> Iterator[_Bench]:
    """``size`` bytes up, and as many down unless ``other`` says how many."""
    with device.current():
        stream, event = device.open_stream(), device.open_event()
        up, down = device.pin(size, write_only=True), device.pin(other or size)
        address, second = device.allocate(size), device.allocate(other or size)
        bench = _Bench(device, stream, event, up, down, address, second)
        try:
            yield bench
        finally:
            bench.finish()
            device.free(address)
            device.free(second)
            device.unpin(up)
            device.unpin(down)
            device.close_event(event)
            device.close_stream(stream)


@contextmanager
def counted_graphs(device: Device) -> Iterator[list[int]]:
    """The graphs that are launched on a device in the block."""
    launched: list[int] = []
    launch = device.launch_graph

    def counted(graph: int, stream: int) -> None:
        launched.append(graph)
        launch(graph, stream)

    vars(device)["launch_graph"] = counted  # in front of the method of its class
    try:
        yield launched
    finally:
        del vars(device)["launch_graph"]


@contextmanager
def _runner(device: Device, workers: int = 2) -> Iterator[Runner]:
    runner = Runner(device, CopyEngine(device, _MOST), workers)
    try:
        yield runner
    finally:
        runner.close()


def _view(planar: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    transpose, flip_rows, flip_columns = VIEWS[number]
    turned = planar.swapaxes(1, 2) if transpose else planar
    return np.ascontiguousarray(turned[:, :: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _refused(error: type[Exception], call: Callable[[], object]) -> Exception:
    try:
        call()
    except error as err:
        return err
    raise EdsrError(f"expected {error.__name__}, and nothing was raised")


def _title(check: Callable[[Device], None]) -> str:
    return (check.__doc__ or check.__name__).splitlines()[0]
