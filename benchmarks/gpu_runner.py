"""The runner on a real GPU with PyTorch in TensorRT's place: the same pixels, copies hidden, tiles per second."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu_engine import TorchEngine
from benchmarks.gpu_layer import LIBRARIES, counted_graphs, open_library
from benchmarks.gpu_networks import BASELINE, FULL, TINY, Kind, folded
from benchmarks.gpu_place import DeviceClock, Place, Stamp, as_graph, find_place, to_planes
from benchmarks.gpu_sections import NotHereError
from benchmarks.pictures import Rgb, texture
from benchmarks.targets import Target, at_least, at_most
from benchmarks.timing import Candidate, Spread, interleave, milliseconds, spread
from edsr_runtime.cuda.device import Bytes, Device
from edsr_runtime.cuda.runner import Runner
from edsr_runtime.dihedral import VIEWS
from edsr_runtime.errors import EdsrError, GateError
from edsr_runtime.trt.profile import Size

_HIDDEN_SHARE = 0.95  # of the time of copies, while the other worker computes
_TIMES_ALONE = 1.1
_FP16_LEVELS = 1  # after rounding, between two runs that choose other kernels


@dataclass(frozen=True)
class Work:
    """What goes through the runner."""

    kind: Kind
    tile: int
    """Side, LR pixels."""
    tiles: int
    """Different ones."""
    rounds: int


WORKS = (Work(BASELINE, 256, 48, 6), Work(FULL, 192, 16, 4))
SMOKE_WORKS = (Work(TINY, 24, 6, 2),)


@dataclass(frozen=True)
class PixelRow:
    """What the runner gives, beside the same network called by PyTorch."""

    name: str
    largest: int
    """Grey levels, after rounding."""
    changed_share: float


@dataclass(frozen=True)
class ThroughputRow:
    """So many workers."""

    workers: int
    graphs: bool
    tile_ms: Spread
    """Wall clock, array to array: staging, copies, network, and the copy out of pinned memory."""
    samples_ms: list[float]


@dataclass(frozen=True)
class Overlap:
    """Of copies with the network, by events in the streams; without graphs, whose insides have none."""

    workers: int
    copy_ms: float
    """All copies together."""
    hidden_ms: float
    """Of that, while another worker's network ran."""
    compute_ms: float
    busy_share: float
    """Of the time from the first copy to the last in which a network ran."""

    @property
    def hidden_share(self) -> float:
        """1: no copy was waited for."""
        return self.hidden_ms / self.copy_ms if self.copy_ms else 0.0


@dataclass(frozen=True)
class RunnerCase:
    """One network."""

    network: str
    tile: int
    tiles: int
    pixels: list[PixelRow]
    throughput: list[ThroughputRow]
    compute_ms: float
    """Of one tile's network alone, as a graph, by events."""
    overlaps: list[Overlap]


@dataclass(frozen=True)
class RunnerResult:
    """All of it."""

    library: str
    cases: list[RunnerCase]
    targets: list[Target]


def measure(smoke: bool) -> RunnerResult:
    """Pixels first: what computes something else is not timed.

    Raises:
        NotHereError: there is no GPU.
        GateError: the runner gives other pixels than PyTorch.
    """
    place = find_place(smoke)
    torch.backends.cudnn.benchmark = True
    device = open_any_library()
    try:
        cases = [_case(place, device, work) for work in (SMOKE_WORKS if smoke else WORKS)]
        targets = [target for case in cases for target in _targets(case, "smoke run" if smoke else "")]
        return RunnerResult(device.library, cases, targets)
    finally:
        device.close()


def _case(place: Place, device: Device, work: Work) -> RunnerCase:
    network = place.take(folded(work.kind.network(), half=place.is_gpu))
    tiles = [texture(work.tile, work.tile, seed)[None] for seed in range(work.tiles)]
    with torch.inference_mode():
        pixels = list(compare_pixels(place, device, network, work, tiles[0]))
        place.warm(1.0)
        clock, lr = DeviceClock(place), to_planes(tiles[0], place)
        alone = clock.timed(as_graph(place, lambda: network(lr)))
        compute_ms = milliseconds(interleave([Candidate("alone", alone)], 3 * work.rounds, clock=clock)["alone"])
    return RunnerCase(
        work.kind.name,
        work.tile,
        len(tiles),
        pixels,
        _throughput(place, device, network, work, tiles),
        spread(compute_ms).median,
        [overlap(place, device, network, work, tiles, workers) for workers in (1, 2)],
    )


def _targets(case: RunnerCase, unless: str) -> list[Target]:
    alone, together = case.overlaps
    two = min(row.tile_ms.median for row in case.throughput if row.workers == alone.workers + 1)
    ratio = two / case.compute_ms if case.compute_ms else 0.0
    return [
        at_least(
            f"{case.network}: copies that are hidden behind the network, two workers",
            100 * _HIDDEN_SHARE,
            100 * together.hidden_share,
            "%",
            unless=unless,
        ),
        at_most(
            f"{case.network}: a tile, array to array, two workers, beside its network alone",
            _TIMES_ALONE,
            ratio,
            "times",
            unless=unless,
        ),
    ]


def open_any_library() -> Device:
    """PyCUDA, else cuda-bindings.

    Raises:
        NotHereError: neither works here; with both reasons.
    """
    reasons = []
    for library in LIBRARIES:
        try:
            return open_library(library)
        except EdsrError as err:
            reasons.append(f"{library}: {err}")
    raise NotHereError("; ".join(reasons))


@contextmanager
def running(device: Device, engine: TorchEngine, workers: int = 2) -> Iterator[Runner]:
    """A runner that is closed in the end."""
    runner = Runner(device, engine, workers)
    try:
        yield runner
    finally:
        runner.close()


def rounded(network: torch.nn.Module, rgb: Rgb, place: Place, ensemble: bool) -> Rgb:
    """(N, H, W, 3) through a network in PyTorch's own way; the mean of the views before rounding."""
    lr = to_planes(rgb, place)
    if not ensemble:
        sr = network(lr)
    else:
        total = torch.zeros((), device=place.device)
        for view in VIEWS:
            axes = [axis for axis, wanted in ((2, view.flip_rows), (3, view.flip_columns)) if wanted]
            turned = lr.transpose(2, 3) if view.transpose else lr
            back = network(turned.flip(axes).contiguous()).flip(axes)
            total = total + (back.transpose(2, 3) if view.transpose else back)
        sr = total / len(VIEWS)
    levels: Rgb = sr.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return levels


def compare_pixels(place: Place, device: Device, network: Any, work: Work, tile: Rgb) -> Iterator[PixelRow]:
    oblong = np.ascontiguousarray(tile[:, : work.tile * 3 // 4])
    for name, rgb, ensemble, captures in (
        ("square tile", tile, False, False),
        ("square tile, as a graph", tile, False, True),
        ("eight views in one batch", tile, True, False),
        ("eight views in one batch, as a graph", tile, True, True),
        ("eight views on two streams", oblong, True, False),
        ("eight views on two streams, as a graph", oblong, True, True),
    ):
        expected = rounded(network, rgb, place, ensemble).astype(np.int16)
        engine = TorchEngine(place, network, work.kind.scale, _most(work), captures and place.is_gpu)
        with counted_graphs(device) as launched, running(device, engine, workers=1) as runner:
            for _ in range(3):
                difference: NDArray[Any] = np.abs(runner.run(rgb, ensemble).astype(np.int16) - expected)
                largest = int(difference.max())
                if largest > _FP16_LEVELS:
                    raise GateError(f"{name}: the runner differs from PyTorch by {largest} grey levels, allowed 1")
        if engine.supports_capture and not launched:
            raise GateError(f"{name}: it could not be captured, so it was not run as a graph")
        yield PixelRow(name, largest, float(np.mean(difference > 0)))


def _throughput(place: Place, device: Device, network: Any, work: Work, tiles: Sequence[Rgb]) -> list[ThroughputRow]:
    forms = [(workers, graphs) for workers in (1, 2, 3) for graphs in ((False, True) if place.is_gpu else (False,))]
    with contextlib.ExitStack() as stack:
        runners = {
            form: stack.enter_context(
                running(device, TorchEngine(place, network, work.kind.scale, _most(work), form[1]), form[0])
            )
            for form in forms
        }
        pools = {form: stack.enter_context(_threads(place, network, tiles[0], form[0])) for form in forms}
        candidates = [
            Candidate(str(form), lambda pool=pools[form], runner=runners[form]: _run_all(pool, runner, tiles))  # type: ignore[misc]
            for form in forms
        ]
        seconds = interleave(candidates, work.rounds, warm_up=2)
    rows = []
    for workers, graphs in forms:
        per_tile = milliseconds([value / len(tiles) for value in seconds[str((workers, graphs))]])
        rows.append(ThroughputRow(workers, graphs, spread(per_tile), per_tile))
    return rows


def _threads(place: Place, network: Any, tile: Rgb, count: int) -> ThreadPoolExecutor:
    """As the upscaler has them, one for each worker. cuDNN chooses its kernels anew in every thread: in each once."""

    @torch.inference_mode()
    def begin() -> None:
        network(to_planes(tile, place))
        place.synchronize()

    return ThreadPoolExecutor(count, initializer=begin)


def _run_all(pool: ThreadPoolExecutor, runner: Runner, tiles: Sequence[Rgb]) -> list[NDArray[Any]]:
    return list(pool.map(runner.run, tiles))


class _Watched:
    """A device that marks the beginning and end of every copy in its stream."""

    def __init__(self, device: Device, place: Place) -> None:
        self._device = device
        self._place = place
        self.copies: list[tuple[int, Stamp, Stamp]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def copy_up(self, address: int, pinned: Bytes, stream: int) -> None:
        with self._marked(stream):
            self._device.copy_up(address, pinned, stream)

    def copy_down(self, pinned: Bytes, address: int, stream: int) -> None:
        with self._marked(stream):
            self._device.copy_down(pinned, address, stream)

    @contextmanager
    def _marked(self, stream: int) -> Iterator[None]:
        before, after = self._place.stamp(), self._place.stamp()
        before.record(stream)
        yield
        after.record(stream)
        self.copies.append((stream, before, after))


def overlap(place: Place, device: Device, network: Any, work: Work, tiles: Sequence[Rgb], workers: int) -> Overlap:
    watched: Any = _Watched(device, place)
    engine = TorchEngine(place, network, work.kind.scale, _most(work), supports_capture=False)
    with running(watched, engine, workers) as runner, _threads(place, network, tiles[0], workers) as pool:
        _run_all(pool, runner, tiles)  # warm
        engine.stamps = True
        watched.copies.clear()
        start = place.stamp()
        start.record()
        _run_all(pool, runner, tiles)
        place.synchronize()
    copies = [(start.until(a), start.until(b)) for _, a, b in watched.copies]
    computed = [(start.until(a), start.until(b)) for a, b in engine.runs]
    return overlap_of(copies, computed, workers)


def overlap_of(copies: Sequence[tuple[float, float]], computed: Sequence[tuple[float, float]], workers: int) -> Overlap:
    """From intervals in milliseconds. The first copy up and the last one down have nothing to hide behind."""
    ordered = sorted(copies)
    inner = ordered[1:-1]
    busy = _union(computed)
    begin = min(start for start, _ in ordered)
    end = max(stop for _, stop in ordered)
    return Overlap(
        workers,
        sum(stop - start for start, stop in inner),
        sum(max(0.0, min(stop, b) - max(start, a)) for start, stop in inner for a, b in busy),
        sum(stop - start for start, stop in computed),
        sum(b - a for a, b in busy) / (end - begin) if end > begin else 0.0,
    )


def _union(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        else:
            joined.append((start, stop))
    return joined


def _most(work: Work) -> Size:
    return Size(8, work.tile, work.tile)
