"""Progress of a run: lines where nobody watches, a bar on a terminal."""

import io

import pytest
from rich.console import Console

from edsr_train.loop import Progress
from edsr_train.progress import show_progress


def test_away_from_a_terminal_there_are_only_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(10, 0) as display:
        for done in range(1, 11):
            display.update(Progress(done, 1.0))
        display.line("update 10/10  [loss] 1.0")
    assert capsys.readouterr().out == "update 10/10  [loss] 1.0\n"


def test_a_terminal_shows_loss_position_and_lines() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with show_progress(1000, 400, console) as display:
        display.update(Progress(401, 5.0))
        display.update(Progress(402, float("nan")))
        display.update(Progress(403, 10.0))
        display.line("update 403/1000  [loss] 7.5")
    shown = screen.getvalue()
    assert "update 403/1000  [loss] 7.5" in shown
    assert "403/1000" in shown.replace("update 403/1000", "")
    assert "loss 5.100" in shown  # smoothed: 0.98 * 5 + 0.02 * 10
