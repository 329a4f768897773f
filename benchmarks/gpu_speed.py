"""How long a network takes on a GPU: folded and not, in PyTorch's forms, beside what the GPU can do at most."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu_networks import BASELINE, FULL, TINY, Half, Kind, folded, tera_operations
from benchmarks.gpu_place import DeviceClock, Place, as_graph, exact_fp32, find_place
from benchmarks.targets import Target, at_least, at_most
from benchmarks.timing import Candidate, Spread, interleave, milliseconds, paired_ratios, spread

EAGER_HALF = "eager-fp16"
FOLDED_GRAPH = "folded-fp16-graph"

_TIMES_EAGER = 1.8  # to reach, EDSR-baseline x4
_OF_CEILING = 55.0  # %, EDSR x4
_ENSEMBLE_TIMES = 8.0
_CEILING_SIDE = 8192


@dataclass(frozen=True)
class Case:
    """What is run."""

    kind: Kind
    batch: int
    side: int
    """LR pixels."""
    rounds: int
    compiles: bool
    """Whether torch.compile is among the forms: it takes most of a minute."""


BASELINE_CASE = Case(BASELINE, 1, 512, 20, True)
FULL_CASE = Case(FULL, 1, 256, 12, False)
ENSEMBLE_CASES = (Case(BASELINE, 1, 256, 20, False), Case(FULL, 1, 128, 12, False))


@dataclass(frozen=True)
class FormRow:
    """One way to run the network."""

    name: str
    device_ms: Spread
    times_eager: Spread
    """Eager FP16's time divided by this one, in pairs."""
    tera_operations: float
    """10^12, of the convolutions of this form: folding leaves fewer."""
    tflops: float
    """Per second of the median."""
    peak_bytes: int
    """PyTorch's memory while it runs, without weights."""
    samples_ms: list[float]


@dataclass(frozen=True)
class SpeedResult:
    """Device time by CUDA events, input and output on the device."""

    network: str
    batch: int
    side: int
    ceiling_tflops: float
    """A product of two matrices in FP16, measured in the same process."""
    rows: list[FormRow]
    missing: dict[str, str]
    """Forms that could not be run, and why."""
    targets: list[Target]


@dataclass(frozen=True)
class EnsembleRow:
    """The eight views of one tile."""

    network: str
    side: int
    single_ms: Spread
    eight_runs_ms: Spread
    batch_of_eight_ms: Spread
    times_single: Spread
    """The batch's time divided by that of a single run, in pairs."""


@dataclass(frozen=True)
class EnsembleResult:
    """Folded, FP16, as graphs."""

    rows: list[EnsembleRow]
    targets: list[Target]


def measure_baseline(smoke: bool) -> SpeedResult:
    """EDSR-baseline x4.

    Raises:
        NotHereError: there is no GPU.
    """
    result = _measure(smoke, BASELINE_CASE)
    targets = []
    best = _row(result, FOLDED_GRAPH)
    if best is not None:
        promise = "EDSR-baseline x4, folded, as a graph: as fast as PyTorch eager FP16, channels_last"
        targets.append(at_least(promise, _TIMES_EAGER, best.times_eager.median, "times", unless=_unless(smoke)))
    return _with(result, targets)


def measure_full(smoke: bool) -> SpeedResult:
    """The EDSR of the paper, x4.

    Raises:
        NotHereError: there is no GPU.
    """
    result = _measure(smoke, FULL_CASE)
    targets = []
    best = _row(result, FOLDED_GRAPH)
    if best is not None and result.ceiling_tflops:
        promise = "EDSR x4, folded, as a graph: share of the measured FP16 matmul ceiling"
        share = 100 * best.tflops / result.ceiling_tflops
        targets.append(at_least(promise, _OF_CEILING, share, "%", unless=_unless(smoke)))
    return _with(result, targets)


@torch.inference_mode()
def measure_ensemble(smoke: bool) -> EnsembleResult:
    """One batch of eight beside eight runs.

    Raises:
        NotHereError: there is no GPU.
    """
    place = find_place(smoke)
    torch.backends.cudnn.benchmark = True
    rows = [_ensemble(place, _smoke(case) if smoke else case) for case in ENSEMBLE_CASES[: 1 if smoke else None]]
    targets = [
        at_most(
            f"{row.network}: a batch of eight beside a single run", _ENSEMBLE_TIMES, row.times_single.median, "times",
            unless=_unless(smoke),
        )
        for row in rows
    ]  # fmt: skip
    return EnsembleResult(rows, targets)


def matmul_ceiling(place: Place, rounds: int = 10) -> float:
    """10^12 operations per second of a large product in FP16; on the CPU a tiny one, which means nothing."""
    side = _CEILING_SIDE if place.is_gpu else 64
    dtype = torch.float16 if place.is_gpu else torch.float32
    a, b = (torch.randn(side, side, device=place.device, dtype=dtype) for _ in range(2))
    clock = DeviceClock(place)
    timed = clock.timed(lambda: a @ b, repeats=5)
    seconds = interleave([Candidate("matmul", timed)], rounds, clock=clock)["matmul"]
    return 2 * side**3 / spread(seconds).median / 1e12


@torch.inference_mode()
def _measure(smoke: bool, case: Case) -> SpeedResult:
    place = find_place(smoke)
    case = _smoke(case) if smoke else case
    torch.backends.cudnn.benchmark = True
    place.warm(1.0)
    ceiling = matmul_ceiling(place, rounds=2 if smoke else 10)
    clock, missing = DeviceClock(place), dict[str, str]()
    candidates: list[Candidate] = []
    operations: dict[str, float] = {}
    peaks: dict[str, int] = {}
    lr = _noise(case, place)
    for name, make in _forms(place, case).items():
        try:
            network, run = make(lr)
            peaks[name] = _peak(place, run)
            operations[name] = tera_operations(network, case.kind.scale, case.batch, case.side, case.side)
        except Exception as err:  # whatever keeps one form from running is no reason to lose the others
            missing[name] = f"{type(err).__name__}: {err}"[:500]
        else:
            candidates.append(Candidate(name, clock.timed(run)))
    place.warm(0.5)
    with exact_fp32():
        seconds = interleave(candidates, case.rounds, clock=clock)
    rows = [
        FormRow(
            name,
            spread(milliseconds(taken)),
            spread(paired_ratios(seconds.get(EAGER_HALF, taken), taken)),
            operations[name],
            operations[name] / spread(taken).median,
            peaks[name],
            milliseconds(taken),
        )
        for name, taken in seconds.items()
    ]
    return SpeedResult(case.kind.name, case.batch, case.side, ceiling, rows, missing, [])


Made = tuple[nn.Module, Callable[[], object]]


def _forms(place: Place, case: Case) -> dict[str, Callable[[Tensor], Made]]:
    """By name, what makes the network and what runs it once."""

    def eager(network: nn.Module) -> Callable[[Tensor], Made]:
        def make(lr: Tensor) -> Made:
            moved = place.take(network)
            return network, lambda: moved(lr)

        return make

    def as_users_have_it(network: nn.Module) -> Callable[[Tensor], Made]:
        def make(lr: Tensor) -> Made:
            moved = network.to(place.device)
            return network, lambda: moved(lr)

        return make

    def compiled(network: nn.Module) -> Callable[[Tensor], Made]:
        def make(lr: Tensor) -> Made:
            moved: Any = torch.compile(place.take(network), backend="inductor" if place.is_gpu else "eager")
            return network, lambda: moved(lr)

        return make

    def graph(network: nn.Module) -> Callable[[Tensor], Made]:
        def make(lr: Tensor) -> Made:
            moved = place.take(network)
            return network, as_graph(place, lambda: moved(lr))

        return make

    half = place.is_gpu

    @cache
    def unfolded() -> nn.Module:
        return Half(case.kind.network()) if half else case.kind.network()

    @cache
    def ours(collapse: bool = True) -> nn.Module:
        return folded(case.kind.network(), scale=case.kind.scale, half=half, collapse=collapse)

    forms: dict[str, Callable[[Tensor], Made]] = {
        "eager-fp32": lambda lr: as_users_have_it(case.kind.network())(lr),
        EAGER_HALF: lambda lr: eager(unfolded())(lr),
        "eager-fp16-graph": lambda lr: graph(unfolded())(lr),
        "folded-fp16": lambda lr: eager(ours())(lr),
        FOLDED_GRAPH: lambda lr: graph(ours())(lr),
        "folded-no-collapse-fp16-graph": lambda lr: graph(ours(collapse=False))(lr),
    }
    if case.compiles:
        forms["compile-fp16"] = lambda lr: compiled(unfolded())(lr)
        forms["folded-compile-fp16"] = lambda lr: compiled(ours())(lr)
    return forms


def _ensemble(place: Place, case: Case) -> EnsembleRow:
    network = place.take(folded(case.kind.network(), scale=case.kind.scale, half=place.is_gpu))
    views = torch.cat([_noise(case, place) for _ in range(8)])
    single = as_graph(place, lambda: network(views[:1]))
    batch = as_graph(place, lambda: network(views))
    clock = DeviceClock(place)

    def eight() -> None:
        for _ in range(8):
            single()

    candidates = [
        Candidate(name, clock.timed(run)) for name, run in (("single", single), ("eight", eight), ("batch", batch))
    ]
    place.warm(0.5)
    seconds = interleave(candidates, case.rounds, clock=clock)
    one, eight_times, together = (spread(milliseconds(seconds[name])) for name in ("single", "eight", "batch"))
    times = spread(paired_ratios(seconds["batch"], seconds["single"]))
    return EnsembleRow(case.kind.name, case.side, one, eight_times, together, times)


def _noise(case: Case, place: Place) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    lr = torch.rand(case.batch, 3, case.side, case.side, generator=generator) * 255
    return lr.to(place.device)


def _peak(place: Place, run: Callable[[], object]) -> int:
    run()  # whatever is made once
    place.synchronize()
    before = place.reset_peak()
    run()
    place.synchronize()
    return max(0, place.peak() - before)


def _smoke(case: Case) -> Case:
    return Case(TINY, 1, 16, 2, case.compiles)


def _unless(smoke: bool) -> str:
    return "smoke run" if smoke else ""


def _row(result: SpeedResult, name: str) -> FormRow | None:
    return next((row for row in result.rows if row.name == name), None)


def _with(result: SpeedResult, targets: list[Target]) -> SpeedResult:
    return SpeedResult(
        result.network, result.batch, result.side, result.ceiling_tflops, result.rows, result.missing, targets
    )
