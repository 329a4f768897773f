"""What it costs that the collapsed tail is right in the border ring too, and not only inside."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.context import Context
from benchmarks.ours import EXPLICIT, open_possible
from benchmarks.pictures import noise
from benchmarks.targets import Target, at_most
from benchmarks.timing import Candidate, Spread, interleave, paired_ratios, spread

_LIMIT = 3.0  # percent of the run time


@dataclass(frozen=True)
class RingRow:
    """One form at one scale."""

    scale: int
    name: str
    description: str
    latency_ms: Spread
    """Of the exact graph."""
    overhead_percent: Spread
    """Time of the exact graph over that of the plain one, less one, in pairs."""
    noise_percent: Spread
    """The same for a second copy of the plain graph: what no difference at all looks like here."""


@dataclass(frozen=True)
class RingResult:
    """Array to array, as in speed."""

    network: str
    lr_hw: tuple[int, int]
    rows: list[RingRow]
    missing: dict[str, str]
    targets: list[Target]


def measure(context: Context) -> RingResult:
    """Time the exact graph against one that leaves the ring wrong, at every scale and in every form."""
    rows: list[RingRow] = []
    missing: dict[str, str] = {}
    for scale in context.settings.scales:
        scale_rows, missing = _rows(context, scale)
        rows += scale_rows
    worst = max(rows, key=lambda row: row.overhead_percent.median)
    promise = f"run time for the exact border ring (most: x{worst.scale}, {worst.name})"
    unless = context.settings.why_no_target
    target = at_most(promise, _LIMIT, worst.overhead_percent.median, "%", unless=unless)
    return RingResult(context.models.description, context.settings.lr_hw, rows, missing, [target])


def _rows(context: Context, scale: int) -> tuple[list[RingRow], dict[str, str]]:
    settings, models = context.settings, context.models
    context.say(f"ring x{scale}: exporting")
    lr = noise(*settings.lr_hw)
    exact, plain = models.exported(scale), models.without_ring(scale)
    rows = []
    with ExitStack() as stack:
        upscalers, missing = open_possible(EXPLICIT, exact, stack)
        for form, upscaler in upscalers.items():
            context.say(f"ring x{scale}: {settings.ring_rounds} rounds of {form.name}")
            with form.open(plain) as first, form.open(plain) as second:
                candidates = [
                    Candidate("exact", partial(upscaler.upscale, lr)),
                    Candidate("plain", partial(first.upscale, lr)),
                    Candidate("plain again", partial(second.upscale, lr)),
                ]
                seconds = interleave(candidates, settings.ring_rounds, warm_up=settings.warm_up, seed=scale)
            rows.append(
                RingRow(
                    scale,
                    form.name,
                    upscaler.description,
                    spread([value * 1e3 for value in seconds["exact"]]),
                    spread(_percent_more(seconds["exact"], seconds["plain"])),
                    spread(_percent_more(seconds["plain again"], seconds["plain"])),
                )
            )
    return rows, missing


def _percent_more(seconds: list[float], base: list[float]) -> list[float]:
    return [(ratio - 1) * 100 for ratio in paired_ratios(seconds, base)]
