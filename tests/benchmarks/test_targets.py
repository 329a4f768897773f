"""Targets: met, missed, or not applicable."""

import pytest

from benchmarks.targets import at_least, at_most


@pytest.mark.parametrize(("measured", "met"), [(23.9, False), (24.0, True), (30.0, True)])
def test_a_lower_limit_is_met_from_the_limit_on(measured: float, met: bool) -> None:
    assert at_least("x4", 24, measured, "times").met is met


@pytest.mark.parametrize(("measured", "met"), [(3.1, False), (3.0, True), (-1.0, True)])
def test_an_upper_limit_is_met_up_to_the_limit(measured: float, met: bool) -> None:
    assert at_most("ring", 3, measured, "%").met is met


def test_a_target_that_does_not_apply_is_neither_met_nor_missed() -> None:
    target = at_least("x4", 24, 5.0, "times", unless="the CPU has no AMX")
    assert (target.applies, target.met, target.reason) == (False, None, "the CPU has no AMX")
