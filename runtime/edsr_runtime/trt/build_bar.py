"""The progress bar of a build."""

from rich.console import Console
from rich.progress import TimeElapsedColumn

from edsr_runtime.progress_bar import TerminalBar
from edsr_runtime.trt.build_progress import BuildProgress


class BuildBar(TerminalBar):
    """How far TensorRT is, its phase, and for how long it has been working."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__("preparing", 1.0, console, TimeElapsedColumn())

    def watch(self, progress: BuildProgress) -> None:
        """Show it as it is now."""
        self._progress.update(self._task, completed=progress.fraction, description=progress.phase)
