"""Peak memory is the command's own."""

import sys

import numpy as np
import pytest

from benchmarks.peak_memory import CommandFailedError, run_and_measure

MIB = 1 << 20


def test_what_the_command_holds_is_counted() -> None:
    command = [sys.executable, "-I", "-S", "-c", f"held = b'x' * {200 * MIB}"]
    assert 200 * MIB < run_and_measure(command).peak_bytes < 260 * MIB


def test_what_the_caller_holds_is_not_counted() -> None:
    held = np.ones(300 * MIB, np.uint8)  # resident in this process, which starts the command
    peak = run_and_measure([sys.executable, "-I", "-S", "-c", "pass"]).peak_bytes
    assert held[-1] == 1
    assert peak < 100 * MIB


def test_a_command_that_fails_is_an_error_with_its_last_words() -> None:
    with pytest.raises(CommandFailedError, match="ended with 7: no such picture"):
        run_and_measure([sys.executable, "-c", "import sys; print('no such picture', file=sys.stderr); sys.exit(7)"])
