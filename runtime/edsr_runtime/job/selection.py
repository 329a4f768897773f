"""Which pictures of a job are still to be made, by its journal and by the files themselves."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edsr_runtime.job.digest import Digest, digest_of
from edsr_runtime.job.journal import Row
from edsr_runtime.job.settings import Settings
from edsr_runtime.jobs import Job, Work


@dataclass(frozen=True)
class Selection:
    """What a run does with every picture that was planned."""

    todo: tuple[Job, ...]
    """To be made."""
    existing: tuple[Job, ...] = ()
    """Left alone: a file of that name was there before the job."""
    verified: tuple[Job, ...] = ()
    """Left alone: made earlier, from this input with these settings, and the file is still what was written."""
    redone: tuple[tuple[Job, str], ...] = ()
    """Those among ``todo`` that had been made earlier, and why they are made again."""
    failed: tuple[tuple[Job, str], ...] = ()
    """Left alone: they failed earlier, with these sentences."""


def select(
    work: Work,
    rows: Mapping[str, Row],
    settings: Settings,
    *,
    retry_failed: bool = False,
    checking: Callable[[Job], None] = lambda job: None,
) -> Selection:
    """Go on where an earlier run has ended. Finished pictures are compared with the journal: input and output.

    Args:
        work: what was planned.
        rows: the journal, by name.
        settings: of this run.
        retry_failed: try again what failed.
        checking: is told before files are read.
    """
    existing = set(work.existing)
    todo: list[Job] = []
    kept: list[Job] = []
    verified: list[Job] = []
    redone: list[tuple[Job, str]] = []
    failed: list[tuple[Job, str]] = []
    for job in work.planned:
        row = rows.get(work.key(job))
        if row is None:
            (kept if job in existing else todo).append(job)
            continue
        if row.state == "pending":
            todo.append(replace(job, may_replace=job.may_replace or row.may_replace))
            continue
        checking(job)
        if row.state == "failed":
            if retry_failed or row.settings != settings.hash_for(job) or _has_changed(job, row.input):
                todo.append(replace(job, may_replace=job.may_replace or row.may_replace))
            else:
                failed.append((job, row.error or "failed"))
            continue
        reason = _reason_to_redo(job, row, settings)
        if reason is None:
            verified.append(job)
        else:
            again = replace(job, may_replace=True)
            todo.append(again)
            redone.append((again, reason))
    return Selection(tuple(todo), tuple(kept), tuple(verified), tuple(redone), tuple(failed))


def _reason_to_redo(job: Job, row: Row, settings: Settings) -> str | None:
    if row.settings != settings.hash_for(job):
        return "the settings are others"
    if not os.path.lexists(job.target):
        return "its output is gone"
    if row.output is None or _digest(job.target) != row.output:
        return "its output is not what was written"
    if row.input is None or _digest(job.source) != row.input:
        return "its input has changed"
    return None


def _has_changed(job: Job, known: Digest | None) -> bool:
    """Where nothing is known, it could not be read then: whether it can be now, trying it tells."""
    return known is not None and _digest(job.source) != known


def _digest(path: Path) -> Digest | None:
    try:
        return digest_of(path)
    except OSError:
        return None
