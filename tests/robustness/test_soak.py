"""Thousands of pictures in one process: memory and descriptors stay where they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import soak
from benchmarks.machine import OthersMeter
from judged import is_quiet

GROWTH_MIB = 64
"""Over the whole run, at the upper end of the confidence interval."""
THROUGHPUT = 0.05
"""Largest change from the first tenth to the last (see ``soak``), on a quiet machine."""


@pytest.mark.parametrize(
    ("small", "large", "large_hw"),
    [(60, 30, (64, 96)), pytest.param(5000, 200, (720, 1280), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_memory_and_descriptors_do_not_grow(
    tmp_path: Path, small: int, large: int, large_hw: tuple[int, int], record_property: Callable[[str, object], None]
) -> None:
    others = OthersMeter()
    found = soak.measure(tmp_path, small, large, large_hw)
    share = others.share()
    record_property("soak", found | {"others_share": share, "judged": is_quiet(share)})
    for phase in (found["small"], found["large"]):
        assert phase["errors"] == []
        assert phase["pictures"] == (small if phase is found["small"] else large)
        assert phase["descriptors_last"] <= phase["descriptors_first"] + 2
        if phase["pictures"] >= 200:
            upper = phase["memory_slope_bytes_per_picture"] + phase["memory_slope_confidence_95"]
            assert upper * phase["pictures"] < GROWTH_MIB << 20, phase
            changed = phase["last_tenth_took_times_first_of_young"] - 1
            assert abs(changed) <= THROUGHPUT or not is_quiet(share), phase


def test_a_slope_is_found_with_its_confidence() -> None:
    noise = np.random.default_rng(0).normal(0, 5, 1000)
    found, confidence = soak.slope(list(noise + 0.5 * np.arange(1000)))
    assert found == pytest.approx(0.5, abs=0.005)
    assert 0 < confidence < 0.005
    flat, confidence = soak.slope(list(noise))
    assert abs(flat) < 2 * confidence
