"""One picture at a time, from uint8 array to uint8 array: every candidate in turns, beside what the machine can do."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.context import Context
from benchmarks.device import Device
from benchmarks.latency.ceilings import Ceiling, Sizes, highest, measure_ceilings
from benchmarks.latency.entrants import Entrant, Stable
from benchmarks.ours import ALL_FORMS, AUTO, EXPLICIT, NO_COLLAPSE
from benchmarks.peers.peer import Rgb
from benchmarks.peers.registry import PEERS, TORCH_EAGER
from benchmarks.pictures import noise
from benchmarks.same_work import difference
from benchmarks.targets import Target, at_least
from benchmarks.timing import (
    Candidate,
    Effort,
    Percentiles,
    Spread,
    all_runs,
    by_round,
    milliseconds,
    paired_ratios,
    percentiles,
    spread,
    take_turns,
)

_TIMES_TORCH = {2: 9.0, 3: 18.0, 4: 24.0}  # to reach with AMX
_TIMES_NO_COLLAPSE_X4 = 1.6


@dataclass(frozen=True)
class LatencyRow:
    """One candidate at one scale."""

    name: str
    kind: str
    """``ours``, ``peer`` or ``null``."""
    form: str
    description: str
    copies: str
    """Between main memory and a device, and whether they are in the time."""
    latency_ms: Percentiles
    times_torch: Spread
    """Torch's time divided by this one, in pairs: how many times as fast."""
    gflops: float | None
    """Multiplications and additions per second, 10^9, at the median; None where there are none."""
    share_of_ceiling: float | None
    """Of the highest rate of its device in its precision; None where that was not measured."""
    is_valid: bool
    """Whether it stays below the ceiling."""
    max_difference: int | None
    """From torch's result, grey levels after rounding; None where it is meant to differ."""
    changed_share: float | None
    """Of samples, from torch's result."""
    rounds_ms: list[float]
    """The median of each turn, in the same order for all candidates of a scale."""


@dataclass(frozen=True)
class LatencyCase:
    """One scale."""

    scale: int
    rows: list[LatencyRow]
    times_no_collapse: Spread
    """Time without the tail collapse divided by that with it in the same backend and precision, in pairs."""
    collapsed: str
    """The candidate with it."""
    missing: dict[str, str]
    """Candidates that this machine cannot run, and why."""


@dataclass(frozen=True)
class LatencyResult:
    """Whole path, array to array; the file's loading is not in it."""

    network: str
    lr_hw: tuple[int, int]
    effort: Effort
    ceilings: list[Ceiling]
    cases: list[LatencyCase]
    targets: list[Target]


def measure(context: Context) -> LatencyResult:
    """Time every candidate at every scale, after the ceilings.

    Raises:
        GateError: a candidate computes something else.
    """
    settings = context.settings
    context.say("latency: what the machine can do")
    sizes = Sizes(settings.ceiling_matrix, settings.ceiling_convolutions, settings.ceiling_copied_bytes)
    ceilings = measure_ceilings(context.folder, sizes, Effort(settings.ceiling_rounds, 2, warm_up=1))
    cases = [_case(context, scale, highest(ceilings)) for scale in settings.scales]
    effort = settings.latency_effort
    return LatencyResult(context.models.description, settings.lr_hw, effort, ceilings, cases, _targets(context, cases))


def _case(context: Context, scale: int, ceilings: dict[tuple[Device, str], float]) -> LatencyCase:
    settings = context.settings
    context.say(f"latency x{scale}: exporting and loading")
    lr = noise(*settings.lr_hw)
    with ExitStack() as stack:
        stable = Stable(context, scale, lr, stack)
        nulls = [*stable.nulls()]  # before there is an engine that "auto" would take
        entrants = [*stable.peers(PEERS), *stable.ours(ALL_FORMS), *nulls]
        reference = next(e for e in entrants if e.name == TORCH_EAGER.name).upscale(lr)
        differences = {entrant.name: _difference(entrant, lr, reference) for entrant in entrants}
        context.say(f"latency x{scale}: {settings.latency_effort.rounds} rounds of {len(entrants)} candidates")
        candidates = [Candidate(entrant.name, partial(entrant.upscale, lr)) for entrant in entrants]
        turns = take_turns(candidates, settings.latency_effort, seed=scale)
    rounds = {name: by_round(found) for name, found in turns.items()}
    rows = []
    for entrant in entrants:
        latency = percentiles([seconds * 1e3 for seconds in all_runs(turns[entrant.name])])
        gflops = 2 * entrant.mult_adds / 1e6 / latency.p50 if entrant.mult_adds else None
        ceiling = ceilings.get((entrant.device, entrant.precision))
        share = gflops / ceiling if gflops is not None and ceiling is not None else None
        rows.append(
            LatencyRow(
                entrant.name,
                entrant.kind,
                entrant.form,
                entrant.description,
                entrant.copies,
                latency,
                spread(paired_ratios(rounds[TORCH_EAGER.name], rounds[entrant.name])),
                gflops,
                share,
                share is None or share <= entrant.fewer_multiplications,
                *differences[entrant.name],
                milliseconds(rounds[entrant.name]),
            )
        )
    collapsed = _with_collapse(stable)
    gain = spread(paired_ratios(rounds[NO_COLLAPSE.name], rounds[collapsed]))
    return LatencyCase(scale, rows, gain, collapsed, stable.missing)


def _with_collapse(stable: Stable) -> str:
    """What differs from ``NO_COLLAPSE`` in nothing else: ``auto`` may take a backend that needs the collapse."""
    backends = {
        name: (upscaler._backend.name, upscaler._backend.precision) for name, upscaler in stable.upscalers.items()
    }
    return next(form.name for form in (AUTO, *EXPLICIT) if backends.get(form.name) == backends[NO_COLLAPSE.name])


def _difference(entrant: Entrant, lr: Rgb, reference: Rgb) -> tuple[int | None, float | None]:
    if entrant.kind == "null" or not entrant.is_same_function:
        return None, None
    return difference(entrant.name, entrant.upscale(lr), reference)


def _targets(context: Context, cases: list[LatencyCase]) -> list[Target]:
    unless = context.settings.why_no_target or ("" if context.machine.has_amx else "the CPU has no AMX")
    targets = []
    for case in cases:
        auto = next(row for row in case.rows if row.name == AUTO.name)
        promise = f"x{case.scale}, auto, as fast as torch eager FP32"
        targets.append(at_least(promise, _TIMES_TORCH[case.scale], auto.times_torch.median, "times", unless=unless))
        if case.scale == 4:
            promise = f"x4, {case.collapsed}, as fast as without the tail collapse"
            gain = case.times_no_collapse.median
            targets.append(at_least(promise, _TIMES_NO_COLLAPSE_X4, gain, "times", unless=unless))
    return targets
