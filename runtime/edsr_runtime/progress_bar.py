"""The progress bar on a terminal, made with rich."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from edsr_runtime.printable import printable
from edsr_runtime.progress import Meter, show_duration


class ProgressBar:
    """Context manager, and the ``Display`` of a command on a terminal: pictures, megapixels per second, time left."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            console=console or Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """See ``Display``."""
        self._progress.console.print(Text(printable(line)), soft_wrap=True)

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
