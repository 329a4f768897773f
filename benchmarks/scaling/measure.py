"""Time and peak memory for larger pictures and tiles, batches, threads and pictures in flight, with fitted slopes."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.context import Context
from benchmarks.cost.graph import Graph
from benchmarks.cost.memory import activation_peak
from benchmarks.scaling.one_run import Found, Run, measure_run
from benchmarks.targets import Target, at_most
from edsr_runtime.zoo import DEFAULT_NAME, model_path

_SCALE = 2
_LINEAR = 1.1  # a slope above this is worse than linear; below, it is noise or what a start costs
_STEP = 1.25  # the same from one point to the next, where noise counts for more
_SLOWER = 1.1  # than with smaller tiles, as a ratio
_MEGA = 1e6


@dataclass(frozen=True)
class Point:
    """One process; of several, where the work is short, the one in the middle."""

    x: float
    """Megapixels LR, side of a tile, pictures in a batch, threads, or pictures in flight."""
    seconds: float
    """Of all of the work at this point."""
    megapixels_per_s: float
    """LR."""
    peak_bytes: int
    grown_bytes: int
    """Without interpreter, engine and model."""
    tiles: int
    kernel_seconds: float
    """CPU time, over all threads, that the system took for itself in ``seconds``."""
    again_seconds: float | None
    """Of the same work a second time in the same process, where that was done."""
    predicted_bytes: int
    """Of activations of the largest tile, in FP32, times the pictures that are worked on at once."""


@dataclass(frozen=True)
class Curve:
    """One thing varied."""

    name: str
    """``picture``, ``tile``, ``batch``, ``threads``, ``in flight``."""
    unit: str
    """Of ``x``."""
    points: list[Point]
    time_slope: float | None
    """Exponent: seconds grow as x to this power, by least squares of logarithms. None where x is no amount of work."""
    memory_slope: float | None
    """The same for ``grown_bytes``."""
    worse_than_linear: bool
    worse_points: list[float]
    """``x`` of points that cost more than those before them promise: of work, growth from the point before to the power
    of more than 1.25; of tiles, more than 1.1 times the time of some smaller tile."""


@dataclass(frozen=True)
class ScalingResult:
    """Of the shipped model, as the command runs it."""

    model: str
    side: int
    """Of the pictures of batch, threads and in flight, LR pixels."""
    curves: list[Curve]
    targets: list[Target]


def measure(context: Context) -> ScalingResult:
    """Run one process per point."""
    settings = context.settings
    model = model_path(DEFAULT_NAME, _SCALE)
    graph = Graph.read(model)
    side, tile_side = settings.scaling_side, max(settings.scaling_tiles)
    repeats = settings.scaling_repeats
    small = partial(Run, str(model), (side, side), repeats=repeats)
    large = partial(Run, str(model), (tile_side, tile_side), again=True)
    curve = partial(_curve, context, graph)
    curves = [
        curve(
            "picture",
            "LR megapixels",
            {mp: _sized(str(model), mp, repeats) for mp in settings.scaling_megapixels},
            of_work=True,
        ),
        curve("tile", "side, LR pixels", {t: large(tile=t) for t in settings.scaling_tiles}),
        curve("batch", "pictures", {b: small(batch=b) for b in settings.scaling_batches}, of_work=True),
        curve("threads", "threads", {t: small(threads=t) for t in settings.scaling_threads}),
        curve("in flight", "pictures", {n: small(in_flight=n) for n in settings.scaling_in_flight}, of_work=True),
    ]
    unless = settings.why_no_target or ("a quick run has too few points" if settings.quick else "")
    slope = curves[0].time_slope
    assert slope is not None
    target = at_most("time grows with the picture to the power of", _LINEAR, slope, "", unless=unless)
    return ScalingResult(model.stem, side, curves, [target])


def fitted_slope(x: Iterable[float], y: Iterable[float]) -> float | None:
    """The exponent a of y = c * x^a by least squares of logarithms; None of fewer than two points, or of zeros."""
    xs, ys = np.array(list(x), float), np.array(list(y), float)
    if len(xs) < 2 or min(xs.min(), ys.min()) <= 0:
        return None
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def _sized(model: str, megapixels: float, repeats: int) -> Run:
    width = round((megapixels * _MEGA * 4 / 3) ** 0.5)
    return Run(model, (round(megapixels * _MEGA / width), width), repeats=repeats if megapixels <= 1 else 1)


def _curve(
    context: Context, graph: Graph, name: str, unit: str, runs: Mapping[float, Run], *, of_work: bool = False
) -> Curve:
    points = []
    for x, run in runs.items():
        context.say(f"scaling: {name} {x:g}")
        processes = 1 if run.repeats == 1 else context.settings.scaling_processes
        found = sorted((measure_run(run) for _ in range(processes)), key=lambda one: one.seconds)
        points.append(_point(x, run, found[processes // 2], graph))
    xs = [point.x for point in points]
    time = fitted_slope(xs, [point.seconds for point in points]) if of_work else None
    memory = fitted_slope(xs, [float(point.grown_bytes) for point in points])
    worse = any(slope is not None and slope > _LINEAR for slope in (time, memory if of_work else None))
    worse_points = steep_steps(points) if of_work else slower_than_before(points) if name == "tile" else []
    return Curve(name, unit, points, time, memory, worse, worse_points)


def steep_steps(points: Sequence[Point]) -> list[float]:
    """Where the time grows faster than the work, from one point to the next."""
    return [
        after.x
        for before, after in itertools.pairwise(points)
        if math.log(after.seconds / before.seconds) > _STEP * math.log(after.x / before.x)
    ]


def slower_than_before(points: Sequence[Point]) -> list[float]:
    """Where the same work takes longer than at some point before."""
    return [
        point.x
        for i, point in enumerate(points)
        if i and point.seconds > _SLOWER * min(earlier.seconds for earlier in points[:i])
    ]


def _point(x: float, run: Run, found: Found, graph: Graph) -> Point:
    pictures = run.batch * run.in_flight
    megapixels = pictures * run.hw[0] * run.hw[1] / _MEGA
    at_once = run.hw if found.tiles == 1 else _tile_hw(run)
    predicted = activation_peak(graph, at_once).bytes * run.batch  # the runtime computes one picture after another
    return Point(
        x,
        found.seconds,
        megapixels / found.seconds,
        found.peak_bytes,
        found.grown_bytes,
        found.tiles,
        found.kernel_seconds,
        found.again_seconds,
        predicted,
    )


def _tile_hw(run: Run) -> tuple[int, int]:
    from edsr_runtime.upscaler import Upscaler

    with Upscaler(run.model, tile=run.tile) as upscaler:
        plan = upscaler.plan(*run.hw)
    return plan.rows[0].length, plan.columns[0].length
