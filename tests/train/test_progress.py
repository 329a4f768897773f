"""Progress of a run: lines where nobody watches, a bar on a terminal."""

import io
import math

import pytest
from rich.console import Console

from edsr_train.loop import Progress, Record
from edsr_train.progress import describe, show_preparation, show_progress
from tiny_networks import tiny_edsr
from tiny_training import options

NETWORK = tiny_edsr()


def test_away_from_a_terminal_there_are_only_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(options(updates=10, validate_every=4), 0) as display:
        for done in range(1, 11):
            display.updated(Progress(done, 1.0))
            display.recorded(Record(done, 1.5, 1e-4, 2.25, skipped=int(done == 5)), NETWORK)
    assert capsys.readouterr().out.splitlines() == [
        "update 4/10  loss 1.5000  2.2 updates/s",
        "update 5/10  loss 1.5000  2.2 updates/s  1 skipped (loss or gradient not finite)",
        "update 8/10  loss 1.5000  2.2 updates/s",
        "update 10/10  loss 1.5000  2.2 updates/s",
    ]


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
    with show_progress(options(updates=1000, validate_every=403), 400, console) as display:
        display.updated(Progress(401, 5.0))
        display.updated(Progress(402, math.nan))
        display.updated(Progress(403, 10.0))
        display.recorded(Record(403, 7.5, 1e-4, 2.0, 0), NETWORK)
    shown = screen.getvalue()
    assert "update 403/1000  loss 7.5000" in shown
    assert "403/1000" in shown.replace("update 403/1000", "")
    assert "loss 5.100" in shown  # smoothed: 0.98 * 5 + 0.02 * 10
