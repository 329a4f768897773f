"""Progress bars on a terminal, made with rich."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

from edsr_runtime.printable import printable
from edsr_runtime.progress import Meter, show_duration


class TerminalBar:
    """Context manager: a bar at the bottom of the terminal, which goes in the end, and lines above it, which stay."""

    def __init__(self, begun_as: str, total: float | None, console: Console | None, *more: ProgressColumn) -> None:
        """Prepare it.

        Args:
            begun_as: what stands beside it at first.
            total: of what it counts; None: not known yet.
            console: where; None: stderr.
            more: columns behind those of every bar.
        """
        self._progress = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            *more,
            console=console or Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task(begun_as, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """One line, however long; see ``Display``."""
        self._progress.console.print(Text(printable(line)), soft_wrap=True)


class ProgressBar(TerminalBar):
    """The ``Display`` of a command on a terminal: pictures, megapixels per second, time left."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__("reading", None, console)

    def show(self, meter: Meter) -> None:
        """See ``Display``."""
        self._progress.update(self._task, total=meter.total_pixels, completed=meter.pixels, description=describe(meter))


def describe(meter: Meter) -> str:
    """``3/12 pictures, 8.3 megapixels/s, 2 min 05 s left``"""
    parts = [f"{meter.finished_pictures}/{meter.pictures} pictures"]
    if meter.pixels:
        parts.append(f"{meter.megapixels_per_second:.1f} megapixels/s")
    if meter.seconds_left is not None:
        about = "" if meter.is_certain else "about "
        parts.append(f"{about}{show_duration(meter.seconds_left)} left")
    return ", ".join(parts)
