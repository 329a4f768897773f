"""Time several candidates so that they can be compared: interleaved, in random order, with ratios taken in pairs.

A shared or warming machine changes its speed from second to second. Candidates that take turns all meet the same
changes, and a ratio of two times from the same round cancels most of them.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_FOR_P99 = 100
"""Fewer runs say nothing of their slowest hundredth."""

_MOST_RUNS = 10_000
"""Of a turn: something that takes a microsecond is known well enough by then."""


@dataclass(frozen=True)
class Candidate:
    """Something that can be timed."""

    name: str
    run: Callable[[], object]
    """Returns when all of its work is done."""


@dataclass(frozen=True)
class Effort:
    """How long every candidate is timed: both minima hold for each of its turns, and so for all of them."""

    rounds: int
    """Turns of every candidate."""
    least_runs: int = 1
    """Timed runs of a turn, at least."""
    least_seconds: float = 0.0
    """Timed seconds of a turn, at least; or ten thousand runs, if those come first."""
    warm_up: int = 2
    """Untimed runs of every candidate before the first round, for memory, threads and clock rate."""


@dataclass(frozen=True)
class Spread:
    """A distribution in short."""

    median: float
    p10: float
    p90: float
    count: int


@dataclass(frozen=True)
class Percentiles:
    """A distribution as MLPerf's single-stream scenario shows it."""

    p50: float
    p90: float
    p99: float | None
    """None where there are fewer than a hundred values."""
    longest: float
    count: int
    total: float
    """Sum: for how long it was looked at."""


def spread(values: Sequence[float]) -> Spread:
    """Median, 10th and 90th percentile (linear interpolation) of at least one value."""
    p10, median, p90 = (float(v) for v in np.percentile(values, (10, 50, 90)))
    return Spread(median, p10, p90, len(values))


def percentiles(values: Sequence[float]) -> Percentiles:
    """Of at least one value (linear interpolation)."""
    p50, p90, p99 = (float(v) for v in np.percentile(values, (50, 90, 99)))
    enough = len(values) >= _FOR_P99
    return Percentiles(p50, p90, p99 if enough else None, float(max(values)), len(values), float(sum(values)))


def take_turns(
    candidates: Sequence[Candidate],
    effort: Effort,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[list[float]]]:
    """Give every candidate one turn per round, in a new random order each round.

    A turn begins with a run that is not timed: it fills the caches, and outlasts the threads of the candidate before,
    which go on spinning for some milliseconds.

    Args:
        candidates: with different names.
        effort: how long.
        seed: of the order.
        clock: in seconds.

    Returns:
        Seconds by name: one list per round, of the runs in its turn. Lists at one index are of the same round.
    """
    seconds: dict[str, list[list[float]]] = {candidate.name: [] for candidate in candidates}
    if len(seconds) < len(candidates):
        raise ValueError("two candidates have the same name")
    order = list(candidates)
    shuffle = random.Random(seed).shuffle
    for candidate in order:
        for _ in range(effort.warm_up):
            candidate.run()
    collects = gc.isenabled()
    gc.disable()  # as timeit does: a collection would be charged to whoever happens to run
    try:
        for _ in range(effort.rounds):
            shuffle(order)
            for candidate in order:
                candidate.run()
                seconds[candidate.name].append(_turn(candidate, effort, clock))
    finally:
        if collects:
            gc.enable()
    return seconds


def _turn(candidate: Candidate, effort: Effort, clock: Callable[[], float]) -> list[float]:
    turn: list[float] = []
    total = 0.0
    while len(turn) < effort.least_runs or (total < effort.least_seconds and len(turn) < _MOST_RUNS):
        start = clock()
        candidate.run()
        turn.append(clock() - start)
        total += turn[-1]
    return turn


def interleave(
    candidates: Sequence[Candidate],
    rounds: int,
    *,
    warm_up: int = 2,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """``take_turns`` with a single timed run in each.

    Returns:
        Seconds by name, one value per round; the values at one index are of the same round.
    """
    turns = take_turns(candidates, Effort(rounds, warm_up=warm_up), seed=seed, clock=clock)
    return {name: [seconds for turn in rounds_ for seconds in turn] for name, rounds_ in turns.items()}


def all_runs(turns: Sequence[Sequence[float]]) -> list[float]:
    """Of one candidate."""
    return [seconds for turn in turns for seconds in turn]


def by_round(turns: Sequence[Sequence[float]]) -> list[float]:
    """The median of each turn of one candidate: what is compared within rounds."""
    return [statistics.median(turn) for turn in turns]


def paired_ratios(numerator: Sequence[float], denominator: Sequence[float]) -> list[float]:
    """Quotients of the values of the same round."""
    return [a / b for a, b in zip(numerator, denominator, strict=True)]


def milliseconds(seconds: Sequence[float]) -> list[float]:
    """For results: milliseconds, to the microsecond."""
    return [round(value * 1e3, 3) for value in seconds]
