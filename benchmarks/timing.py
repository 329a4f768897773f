"""Time several candidates so that they can be compared: interleaved, in random order, with ratios taken in pairs.

A shared or warming machine changes its speed from second to second. Candidates that take turns all meet the same
changes, and a ratio of two times from the same round cancels most of them.
"""

import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """Something that can be timed."""

    name: str
    run: Callable[[], object]
    """Returns when all of its work is done."""


@dataclass(frozen=True)
class Spread:
    """A distribution in short."""

    median: float
    p10: float
    p90: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Median, 10th and 90th percentile (linear interpolation) of at least one value."""
    p10, median, p90 = (float(v) for v in np.percentile(values, (10, 50, 90)))
    return Spread(median, p10, p90, len(values))


def interleave(
    candidates: Sequence[Candidate],
    rounds: int,
    *,
    warm_up: int = 2,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time every candidate once per round, in a new random order each round.

    Each turn is two runs of which the second is timed: the first one fills the caches, and outlasts the threads of the
    candidate before, which go on spinning for some milliseconds.

    Args:
        candidates: with different names.
        rounds: at least 1.
        warm_up: untimed runs of every candidate before the first round, for memory, threads and clock rate.
        seed: of the order.
        clock: in seconds.

    Returns:
        Seconds by name, one value per round; the values at one index are of the same round.
    """
    seconds: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    if len(seconds) < len(candidates):
        raise ValueError("two candidates have the same name")
    order = list(candidates)
    shuffle = random.Random(seed).shuffle
    for candidate in order:
        for _ in range(warm_up):
            candidate.run()
    collects = gc.isenabled()
    gc.disable()  # as timeit does: a collection would be charged to whoever happens to run
    try:
        for _ in range(rounds):
            shuffle(order)
            for candidate in order:
                candidate.run()
                start = clock()
                candidate.run()
                seconds[candidate.name].append(clock() - start)
    finally:
        if collects:
            gc.enable()
    return seconds


def paired_ratios(numerator: Sequence[float], denominator: Sequence[float]) -> list[float]:
    """Quotients of the values of the same round."""
    return [a / b for a, b in zip(numerator, denominator, strict=True)]


def milliseconds(seconds: Sequence[float]) -> list[float]:
    """For results: milliseconds, to the microsecond."""
    return [round(value * 1e3, 3) for value in seconds]
