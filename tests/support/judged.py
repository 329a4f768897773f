"""Whether times that were measured may be judged: on a machine where others compute too, they say nothing."""

from benchmarks.machine import OTHERS_LIMIT


def is_quiet(others_share: float | None) -> bool:
    """Whether others left the processors alone; see ``OthersMeter``."""
    return others_share is not None and others_share <= OTHERS_LIMIT
