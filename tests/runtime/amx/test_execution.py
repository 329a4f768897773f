"""The kernels compute what onnxruntime does, but for rounding to BF16: at borders and corners, in tiles of any size."""

import os
import signal
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edsr_runtime.amx import execution, library
from edsr_runtime.amx.execution import Execution
from edsr_runtime.amx.program import Program, read_program
from edsr_runtime.backends.base import NonFiniteError
from edsr_runtime.cpu import CpuFlags
from edsr_runtime.errors import EnvironmentUnfitError

SUITED = ("edsr-x2", "edsr-x3", "direct-x2", "wide-x3", "mdsr-x4")
ROWS_FOR_PAIRS = execution._ROWS_FOR_PAIRS
SIZES = ((3, 3), (3, 40), (37, 5), (16, 16), (17, 33), (31, 48))
"""The smallest; narrow ones; just what is computed at once, and one pixel more."""
FAULT = 0.06
"""Of the spread of a result: rounding leaves half of that, a kernel at the wrong place many times as much."""


@pytest.fixture(autouse=True, params=[False, True], ids=["alone", "in-pairs"])
def in_pairs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Convolutions one by one, as in low pictures, or in pairs, as in all others."""
    monkeypatch.setattr(execution, "_ROWS_FOR_PAIRS", 0 if request.param else 1_000_000)
    return bool(request.param)


def noise(*hw: int) -> NDArray[np.uint8]:
    return np.random.default_rng(sum(hw)).integers(0, 256, (*hw, 3), dtype=np.uint8)


def exact(path: Path, lr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) -> (3, sH, sW), by onnxruntime."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (sr,) = session.run(None, {"input": lr.transpose(2, 0, 1)[None].astype(np.float32)})
    return np.asarray(sr)[0]


def computed(program: Program, lr: NDArray[np.uint8], **how: Any) -> NDArray[np.float32]:
    with closing(Execution(program, how.pop("threads", 2), **how)) as running:
        return running.run_float(lr.astype(np.float32))


@pytest.mark.parametrize("name", SUITED)
def test_every_pixel_is_the_networks(name: str, suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    path = suited_models[name]
    program = read_program(path)
    for hw in SIZES if on_matrix_units else SIZES[:4]:
        lr = noise(*hw)
        expected = exact(path, lr)
        found = computed(program, lr, on_matrix_units=on_matrix_units)
        assert np.abs(found - expected).max() < FAULT * expected.std(), hw


def test_a_ring_with_the_kernels_of_the_inside_would_be_found(
    suited_models: dict[str, Path], on_matrix_units: bool
) -> None:
    path = suited_models["edsr-x2"]
    program = read_program(path)
    inner = next(c for c in program.convolutions if c.vertical == c.horizontal == "inner")
    wrong = replace(
        program,
        convolutions=tuple(
            replace(c, kernel=inner.kernel, bias=inner.bias) if c.target is None else c for c in program.convolutions
        ),
    )
    lr = noise(12, 13)
    difference = np.abs(computed(wrong, lr, on_matrix_units=on_matrix_units) - exact(path, lr))
    assert difference[:, 2:-2, 2:-2].max() < FAULT * exact(path, lr).std() < difference.max() / 5


def test_uint8_is_the_same_clamped_and_rounded(suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    for name in ("edsr-x2", "edsr-x3", "mdsr-x4"):
        lr = np.where(noise(9, 21) > 127, np.uint8(255), np.uint8(0))
        with closing(Execution(read_program(suited_models[name]), 2, on_matrix_units=on_matrix_units)) as running:
            floats = running.run_float(lr.astype(np.float32))
            assert floats.min() < 0 and floats.max() > 255, "nothing would be clamped"
            expected = np.rint(floats.clip(0, 255)).astype(np.uint8).transpose(1, 2, 0)
            np.testing.assert_array_equal(running.run_uint8(lr), expected)


def test_the_number_of_threads_changes_no_bit(suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    program = read_program(suited_models["mdsr-x4"])
    lr = noise(10, 19)
    alone = computed(program, lr, threads=1, on_matrix_units=on_matrix_units)
    for threads in (2, 3, 12):  # more than there are rows, too
        np.testing.assert_array_equal(
            computed(program, lr, threads=threads, on_matrix_units=on_matrix_units), alone, strict=True
        )


def test_pairs_change_no_bit(
    suited_models: dict[str, Path], on_matrix_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("edsr-x2", "mdsr-x4"):
        program = read_program(suited_models[name])
        assert sum(convolution.is_paired for convolution in program.convolutions) >= 2
        for hw, threads in (((3, 3), 1), ((11, 18), 3), ((24, 40), 2)):
            found = []
            for rows in (0, 1_000_000):
                monkeypatch.setattr(execution, "_ROWS_FOR_PAIRS", rows)
                found.append(computed(program, noise(*hw), threads=threads, on_matrix_units=on_matrix_units))
            np.testing.assert_array_equal(*found)


def test_what_was_computed_before_changes_no_bit(suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    program = read_program(suited_models["edsr-x3"])
    sizes = ((20, 30), (6, 7), (30, 20), (20, 30), (3, 3))
    fresh = [computed(program, noise(*hw), on_matrix_units=on_matrix_units) for hw in sizes]
    with closing(Execution(program, 2, on_matrix_units=on_matrix_units)) as running:
        for hw, expected in zip(sizes, fresh, strict=True):
            np.testing.assert_array_equal(running.run_float(noise(*hw).astype(np.float32)), expected)


def test_two_callers_at_once_get_their_own(suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    program = read_program(suited_models["direct-x2"])
    pictures = [noise(8 + i % 3, 17) for i in range(12)]
    with closing(Execution(program, 2, on_matrix_units=on_matrix_units)) as running, ThreadPoolExecutor(4) as pool:
        expected = [running.run_uint8(lr) for lr in pictures]
        for found, wanted in zip(pool.map(running.run_uint8, pictures), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_not_hidden(value: float, suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    program = read_program(suited_models["edsr-x2"])
    lr = noise(6, 20).astype(np.float32)
    lr[3, 11, 1] = value
    with closing(Execution(program, 2, on_matrix_units=on_matrix_units)) as running:
        with pytest.raises(NonFiniteError):
            running.run_float(lr)
        assert np.isfinite(running.run_float(noise(6, 20).astype(np.float32))).all(), "the next picture is another"


def test_without_matrix_units_it_is_an_error_with_advice(
    suited_models: dict[str, Path], kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "cpu_flags", lambda: CpuFlags("old", frozenset({"avx2"})))
    with pytest.raises(EnvironmentUnfitError, match=r"has no amx_bf16, which our AMX kernels need"):
        Execution(read_program(suited_models["edsr-x2"]), 1)


def test_what_was_forked_computes_too(suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    program, lr = read_program(suited_models["direct-x2"]), noise(9, 20)
    with closing(Execution(program, 2, on_matrix_units=on_matrix_units)) as running:
        expected = running.run_uint8(lr)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process with threads
            child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(running.run_uint8(lr), expected) else 1)
        for _ in range(300):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.1)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child computes for ever")
        assert os.waitstatus_to_exitcode(status) == 0


def test_closing_waits_for_the_picture_and_ends_it_all(suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    program = read_program(suited_models["edsr-x2"])
    lr = noise(60, 90) if on_matrix_units else noise(20, 30)
    for threads in (1, 3):
        running = Execution(program, threads, on_matrix_units=on_matrix_units)
        expected = running.run_uint8(lr)
        with ThreadPoolExecutor(1) as pool:
            under_way = [pool.submit(running.run_uint8, lr) for _ in range(20)]
            under_way[0].result()
            running.close()
            running.close()
            for future in under_way:
                try:
                    np.testing.assert_array_equal(future.result(), expected)
                except ValueError as err:
                    assert str(err) == "this model is closed"
        with pytest.raises(ValueError, match="this model is closed"):
            running.run_uint8(lr)


def test_a_thread_that_cannot_be_started_leaves_none_waiting(
    suited_models: dict[str, Path], on_matrix_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, lr = read_program(suited_models["direct-x2"]), noise(9, 20)
    with closing(Execution(program, 3, on_matrix_units=on_matrix_units)) as running:
        expected = running.run_uint8(lr)
        submit, calls = running._pool.submit, []

        def fails_at_the_second(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) == 2:
                raise RuntimeError("can't start new thread")
            return submit(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(running._pool, "submit", fails_at_the_second)
            with pytest.raises(EnvironmentUnfitError, match="3 threads cannot be started: use fewer"):
                running.run_uint8(lr)
        np.testing.assert_array_equal(running.run_uint8(lr), expected)


def test_ctrl_c_before_the_own_share_leaves_none_waiting(
    suited_models: dict[str, Path], on_matrix_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, lr = read_program(suited_models["direct-x2"]), noise(9, 20)
    with closing(Execution(program, 2, on_matrix_units=on_matrix_units)) as running:
        expected = running.run_uint8(lr)
        share = running._share

        def interrupted(network: Any, thread: int) -> None:
            if thread == 0:
                raise KeyboardInterrupt
            share(network, thread)

        with monkeypatch.context() as patch:
            patch.setattr(running, "_share", interrupted)
            with pytest.raises(KeyboardInterrupt):
                running.run_uint8(lr)
        np.testing.assert_array_equal(running.run_uint8(lr), expected)


def test_pairs_are_taken_where_each_thread_has_many_rows(
    kernels: None, suited_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_ROWS_FOR_PAIRS", ROWS_FOR_PAIRS)
    program = read_program(suited_models["edsr-x2"])
    with closing(Execution(program, 2, on_matrix_units=False)) as running:
        for height, planes in ((47, 4), (48, 3)):
            running._prepared(height, 8)
            assert len(running._planes) == planes


@pytest.mark.parametrize("name", ["direct-x2", "wide-x3", "mdsr-x4"])
def test_uint8_is_rounded_in_every_network(name: str, suited_models: dict[str, Path], on_matrix_units: bool) -> None:
    sizes = ((1, 1), (1, 9), (2, 2)) if name.startswith("direct") else ((3, 4),)
    with closing(Execution(read_program(suited_models[name]), 2, on_matrix_units=on_matrix_units)) as running:
        for hw in sizes:
            lr = noise(*hw)
            floats = running.run_float(lr.astype(np.float32))
            expected = exact(suited_models[name], lr)
            assert np.abs(floats - expected).max() < FAULT * max(expected.std(), 10)
            np.testing.assert_array_equal(
                running.run_uint8(lr), np.rint(floats.clip(0, 255)).astype(np.uint8).transpose(1, 2, 0)
            )


def test_a_library_of_another_version_is_refused(kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Longer(library.Plane):
        _fields_ = (("more", library.ctypes.c_int64),)

    monkeypatch.setattr(library, "_STRUCTURES", (Longer, library.Layer, library.Network))
    library.load.cache_clear()
    try:
        with pytest.raises(EnvironmentUnfitError, match="compiled from another version: install edsr-toolkit again"):
            library.load()
    finally:
        library.load.cache_clear()
