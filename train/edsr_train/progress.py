"""Where a run is: a bar with loss, updates per second and time left on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from edsr_train.loop import Progress

_SMOOTHING = 0.98  # of the loss that is shown: it averages over about 50 updates


@dataclass(frozen=True)
class Display:
    """Two functions for ``train``."""

    line: Callable[[str], None]
    update: Callable[[Progress], None]


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} updates/s" if task.speed else "")


@contextmanager
def show_progress(updates: int, start: int, console: Console | None = None) -> Iterator[Display]:
    """Show a run of ``updates`` that begins at ``start``, on stdout unless there is a ``console``."""
    console = console or Console(file=sys.stdout)
    if not console.is_terminal:
        yield Display(line=_print_line, update=lambda _: None)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"), _Speed())
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=updates, completed=start, loss="-")
        smoothed: float | None = None

        def update(progress: Progress) -> None:
            nonlocal smoothed
            if abs(progress.loss) < float("inf"):  # False for NaN too
                last = progress.loss if smoothed is None else smoothed
                smoothed = _SMOOTHING * last + (1 - _SMOOTHING) * progress.loss
            bar.update(task, completed=progress.done, loss="-" if smoothed is None else f"{smoothed:.3f}")

        yield Display(line=lambda text: console.print(text, markup=False, highlight=False), update=update)


def _print_line(text: str) -> None:
    print(text, flush=True)
