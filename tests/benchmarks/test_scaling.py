"""Slopes are those of power laws, and a point is measured in a process of its own."""

import numpy as np
import pytest

from benchmarks.scaling.measure import Point, fitted_slope, slower_than_before, steep_steps
from benchmarks.scaling.one_run import Run, _timed, measure_run
from edsr_runtime.errors import EdsrError
from edsr_runtime.zoo import DEFAULT_NAME, model_path


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_slope_is_the_exponent(power: float) -> None:
    xs = [0.05, 1.0, 7.0, 25.0]
    assert fitted_slope(xs, [3 * x**power for x in xs]) == pytest.approx(power)


def test_there_is_no_slope_of_one_point_or_of_nothing() -> None:
    assert fitted_slope([1.0], [2.0]) is None
    assert fitted_slope([1.0, 2.0], [0.0, 2.0]) is None


def points(seconds: dict[float, float]) -> list[Point]:
    return [Point(x, s, 1.0, 1, 1, 1, 0.0, None, 1) for x, s in seconds.items()]


def test_a_single_point_that_costs_too_much_is_found() -> None:
    assert steep_steps(points({1: 0.14, 2: 0.38, 4: 0.59, 8: 1.1})) == [2]  # and the slope of all is 0.96
    assert steep_steps(points({1: 0.14, 2: 0.28, 4: 0.57, 8: 1.1})) == []
    assert slower_than_before(points({64: 31.0, 512: 10.0, 1024: 10.1, 2048: 15.0})) == [2048]
    assert slower_than_before(points({64: 31.0, 512: 10.0, 1024: 10.9, 2048: 10.5})) == []


def test_a_point_is_measured_in_a_process_of_its_own() -> None:
    model = str(model_path(DEFAULT_NAME, 2))
    small = measure_run(Run(model, (40, 40), tile=64, threads=1, repeats=2))
    large = measure_run(Run(model, (160, 160), tile=64, threads=1, again=True))
    assert (small.tiles, large.tiles) == (1, 16)
    assert 0 < small.seconds < large.seconds
    assert 20e6 < small.peak_bytes < 3e9  # the AMX kernels need no OpenVINO
    assert 0 <= small.grown_bytes < small.peak_bytes
    assert 0 <= large.kernel_seconds < large.seconds  # on one thread
    assert small.again_seconds is None
    assert large.again_seconds is not None and large.again_seconds > small.seconds


def test_what_the_kernel_takes_for_fresh_memory_is_counted() -> None:
    seconds, kernel = _timed(lambda: np.ones(1 << 29, np.uint8))
    assert 0 < kernel < 1.5 * seconds  # one thread; ticks are coarse
    assert _timed(lambda: None)[1] < kernel


def test_a_run_that_fails_says_why() -> None:
    with pytest.raises(EdsrError, match="no such file"):
        measure_run(Run("missing.onnx", (40, 40)))
