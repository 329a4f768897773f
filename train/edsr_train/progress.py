"""Where a run is: a bar with loss, updates per second and time left on a terminal, plain lines elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from edsr_train.config import TrainConfig
from edsr_train.loop import Progress, Record
from edsr_train.models.branch import SuperResolutionNetwork

_SMOOTHING = 0.98  # of the loss that is shown: it averages over about 50 updates


class Display:
    """Watches a run: a line for every validation and checkpoint, and a bar in between."""

    def __init__(self, config: TrainConfig, line: Callable[[str], None], bar: Callable[[int, str], None]) -> None:
        self._config, self._line, self._bar = config, line, bar
        self._loss: float | None = None

    def updated(self, progress: Progress) -> None:
        """Move the bar."""
        if abs(progress.loss) < float("inf"):  # False for NaN too
            last = progress.loss if self._loss is None else self._loss
            self._loss = _SMOOTHING * last + (1 - _SMOOTHING) * progress.loss
        self._bar(progress.done, "-" if self._loss is None else f"{self._loss:.3f}")

    def recorded(self, record: Record, _: SuperResolutionNetwork) -> None:
        """Print a line where a checkpoint is written, and wherever updates were skipped."""
        is_last = record.update == self._config.updates
        if record.skipped or is_last or record.update % self._config.validate_every == 0:
            self._line(describe(record, self._config.updates))


def describe(record: Record, updates: int) -> str:
    """One line on a stretch of updates."""
    line = f"update {record.update}/{updates}  loss {record.loss:.4f}  {record.updates_per_second:.1f} updates/s"
    if record.skipped:
        line += f"  {record.skipped} skipped (loss or gradient not finite)"
    if record.rescaled:
        line += f"  {record.rescaled} left out (fp16 overflowed, the scale of the loss came down)"
    if record.idle:
        line += f"  {record.idle} {'kernel' if record.idle == 1 else 'kernels'} without gradient (dead ReLUs?)"
    if record.psnr:
        several = len(record.psnr) > 1
        scores = (f"{f'x{scale} ' if several else ''}{psnr:.3f}" for scale, psnr in record.psnr.items())
        line += f"  {record.protocol} {', '.join(scores)} dB"
    return line


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} updates/s" if task.speed else "")


@contextmanager
def show_progress(
    config: TrainConfig, start: int, say: Callable[[str], None], console: Console | None = None
) -> Iterator[Display]:
    """Show a run that begins at the update ``start``.

    Args:
        config: of the run.
        start: updates done before.
        say: takes lines where there is no terminal.
        console: stdout unless given.
    """
    console = console or Console(file=sys.stdout)
    if not console.is_terminal:
        yield Display(config, line=say, bar=lambda *_: None)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"), _Speed())
    bar = Bar(*columns, TimeRemainingColumn(), console=console, transient=True)
    bar.start()
    try:
        task = bar.add_task("", total=config.updates, completed=start, loss="-")
        yield Display(
            config,
            line=lambda text: console.print(text, markup=False, highlight=False),
            bar=lambda done, loss: bar.update(task, completed=done, loss=loss),
        )
    finally:
        with contextlib.suppress(OSError):  # the terminal was closed, the run is not to be lost for that
            bar.stop()


@contextmanager
def show_preparation(console: Console | None = None) -> Iterator[Callable[[int, int, str], None]]:
    """Show what happens to pictures before a run: a function that takes the number done, of how many, and what."""
    console = console or Console(file=sys.stdout)
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
