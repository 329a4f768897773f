"""Progress of a run: lines where nobody watches, a bar on a terminal."""

import errno
import io
import math
import os
import subprocess
import sys

import pytest
from rich.console import Console

from edsr_train.loop import Progress, Record
from edsr_train.progress import describe, show_preparation, show_progress
from edsr_train.voice import Voice
from tiny_networks import tiny_edsr
from tiny_training import options

NETWORK = tiny_edsr()


def test_away_from_a_terminal_there_are_only_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(options(updates=10, validate_every=4), 0, Voice()) as display:
        for done in range(1, 11):
            display.updated(Progress(done, 1.0))
            display.recorded(Record(done, 1.5, 1e-4, 2.25, skipped=int(done == 5)), NETWORK)
    assert capsys.readouterr().out.splitlines() == [
        "update 4/10  loss 1.5000  2.2 updates/s",
        "update 5/10  loss 1.5000  2.2 updates/s  1 skipped (loss or gradient not finite)",
        "update 8/10  loss 1.5000  2.2 updates/s",
        "update 10/10  loss 1.5000  2.2 updates/s",
    ]


def test_updates_that_fp16_cost_are_named_apart() -> None:
    line = describe(Record(4, 1.5, 1e-4, 2.0, 1, rescaled=3), 8)
    assert line.endswith(
        "1 skipped (loss or gradient not finite)  3 left out (fp16 overflowed, the scale of the loss came down)"
    )


def test_kernels_that_get_no_gradient_are_told() -> None:
    assert describe(Record(4, 1.5, 1e-4, 2.0, 0, idle=2), 8).endswith("  2 kernels without gradient (dead ReLUs?)")
    assert describe(Record(4, 1.5, 1e-4, 2.0, 0, idle=1), 8).endswith("  1 kernel without gradient (dead ReLUs?)")


TALKER = """
from edsr_train.voice import Voice
voice = Voice()
print("ready", flush=True)
input()  # until nobody reads any more
voice("one")
voice("two")
import sys
print(voice.is_cut, file=sys.stderr)
"""


def test_a_closed_pipe_is_noted_and_ends_nothing() -> None:
    pipe = subprocess.PIPE
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TALKER]
    with subprocess.Popen(command, text=True, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout and process.stdin and process.stderr
        assert process.stdout.readline() == "ready\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == "True\n"
    assert process.returncode == 0


class Gone(io.StringIO):
    """A terminal that was closed."""

    is_closed = False

    def write(self, text: str) -> int:
        if self.is_closed:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


def test_a_closed_terminal_does_not_fail_at_the_end() -> None:
    screen = Gone()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with show_progress(options(), 0, pytest.fail, console):
        Gone.is_closed = True


def test_scores_are_named_where_there_are_several() -> None:
    one = Record(4, 1.5, 1e-4, 2.0, 0, {2: 30.5}, "paper-y")
    assert describe(one, 8) == "update 4/8  loss 1.5000  2.0 updates/s  paper-y 30.500 dB"
    assert describe(Record(4, 1.5, 1e-4, 2.0, 0, {2: 30.5, 4: 28}, "paper-div2k"), 8).endswith(
        "paper-div2k x2 30.500, x4 28.000 dB"
    )


def test_a_terminal_shows_what_is_being_prepared() -> None:
    screen = io.StringIO()
    with show_preparation(Console(file=screen, force_terminal=True, width=100, color_system=None)) as report:
        report(3, 800, "preparing DIV2K/DIV2K_train_HR")
    assert "preparing DIV2K/DIV2K_train_HR" in screen.getvalue()
    assert "3/800" in screen.getvalue()


def test_a_terminal_shows_loss_position_and_lines() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with show_progress(options(updates=1000, validate_every=403), 400, pytest.fail, console) as display:
        display.updated(Progress(401, 5.0))
        display.updated(Progress(402, math.nan))
        display.updated(Progress(403, 10.0))
        display.recorded(Record(403, 7.5, 1e-4, 2.0, 0), NETWORK)
    shown = screen.getvalue()
    assert "update 403/1000  loss 7.5000" in shown
    assert "403/1000" in shown.replace("update 403/1000", "")
    assert "loss 5.100" in shown  # smoothed: 0.98 * 5 + 0.02 * 10
