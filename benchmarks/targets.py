"""What a measurement is meant to reach, and whether it did."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """A promise with its limit. Stored with the result, so that a report needs to know nothing else."""

    promise: str
    bound: Literal["at least", "at most"]
    limit: float
    unit: str
    measured: float
    met: bool | None
    """None where the promise does not apply."""
    applies: bool
    reason: str
    """Why it does not apply; empty where it does."""


def at_least(promise: str, limit: float, measured: float, unit: str, *, unless: str = "") -> Target:
    """A lower limit; ``unless`` is the reason why it does not apply here, if there is one."""
    return _target(promise, "at least", limit, measured, unit, unless)


def at_most(promise: str, limit: float, measured: float, unit: str, *, unless: str = "") -> Target:
    """An upper limit; see ``at_least``."""
    return _target(promise, "at most", limit, measured, unit, unless)


def _target(
    promise: str, bound: Literal["at least", "at most"], limit: float, measured: float, unit: str, unless: str
) -> Target:
    reached = measured >= limit if bound == "at least" else measured <= limit
    return Target(promise, bound, limit, unit, measured, None if unless else reached, not unless, unless)
