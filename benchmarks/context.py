"""What every measurement is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.models import Models
from benchmarks.settings import Settings


@dataclass(frozen=True)
class Context:
    """Of one run."""

    settings: Settings
    machine: Machine
    models: Models
    folder: Path
    """For files of the run; removed at its end."""
    data: Path | None
    """Benchmark pictures and weights: ``benchmark/<Set>/HR``, ``weights/``."""
    say: Callable[[str], None]
    """Takes a line on what is being done."""
    runs: Path | None = None
    """Folder of training runs, which then stay and go on where they were stopped; None: they are files of the run."""

    @property
    def run_folder(self) -> Path:
        """Where training runs have their folders."""
        return self.runs or self.folder / "runs"
