"""A log for programs: one JSON object a line, appended as things happen."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from edsr_runtime.errors import EnvironmentUnfitError
from edsr_runtime.job.digest import Digest
from edsr_runtime.job.journal import now
from edsr_runtime.jobs import Job
from edsr_runtime.pipeline import Result

STDOUT = "-"


class EventLog:
    """A watcher, and context manager. Every line has ``time`` (UTC) and ``event``."""

    def __init__(self, target: str) -> None:
        """Open for appending.

        Args:
            target: a file, or ``-`` for stdout.

        Raises:
            EnvironmentUnfitError: it cannot be written.
        """
        self._target = target
        self._file: int | None = None  # None: stdout
        if target == STDOUT:
            return
        try:
            needs_end = _ends_in_the_middle_of_a_line(Path(target))
            self._file = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as err:
            raise self._cannot_write(err) from err
        if needs_end:  # a kill left it so
            self._append("\n")

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def write(self, event: str, **content: Any) -> None:
        """One line.

        Raises:
            EnvironmentUnfitError: it cannot be written.
        """
        self._append(json.dumps({"time": now(), "event": event, **content}) + "\n")

    def _append(self, text: str) -> None:
        try:
            if self._file is None:
                sys.stdout.write(text)
                sys.stdout.flush()
            else:
                os.write(self._file, text.encode())  # in one step, so that lines of several commands do not mix
        except OSError as err:
            raise self._cannot_write(err) from err

    def skipped(self, job: Job, reason: str) -> None:
        """A picture that is left alone."""
        self.write("skipped", **_names(job), reason=reason)

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        """See ``Watcher``."""
        self.write("opened", **_names(job), height=lr_hw[0], width=lr_hw[1])

    def advanced(self, job: Job, pixels: int) -> None:
        """See ``Watcher``; nothing is logged."""

    def finished(self, result: Result) -> None:
        """See ``Watcher``."""
        content: dict[str, Any] = _names(result.job) | {"notes": list(result.notes)}
        if result.lr_hw is not None:
            content |= {"height": result.lr_hw[0], "width": result.lr_hw[1]}
        content |= _plain("input", result.input) | _plain("output", result.output)
        if result.error is None:
            self.write("done", **content, seconds=round(result.seconds, 3))
        else:
            self.write("failed", **content, error=result.error)

    def _cannot_write(self, err: OSError) -> EnvironmentUnfitError:
        return EnvironmentUnfitError(f"{self._target}: the log cannot be written ({err.strerror})")


def _ends_in_the_middle_of_a_line(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _names(job: Job) -> dict[str, Any]:
    return {"source": str(job.source), "target": str(job.target)}


def _plain(name: str, digest: Digest | None) -> dict[str, Any]:
    return {} if digest is None else {f"{name}_bytes": digest.size_bytes, f"{name}_sha256": digest.sha256}
