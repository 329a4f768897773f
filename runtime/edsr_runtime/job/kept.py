"""A job as a whole: what is still to be made, and everything that is to be told of it, kept as it goes on."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, JobError
from edsr_runtime.job.event_log import STDOUT, EventLog
from edsr_runtime.job.journal import Journal, Row, journal_name, now, open_journal
from edsr_runtime.job.selection import Selection, select
from edsr_runtime.job.settings import Settings
from edsr_runtime.job.shard import Shard
from edsr_runtime.jobs import Job, Work
from edsr_runtime.pictures.row_writer import remove_partials
from edsr_runtime.pipeline import Options, Result, Watcher


@dataclass(frozen=True)
class JobOptions:
    """How a job is kept."""

    journal: Path | None = None
    """None: a hidden file in the output folder, where a folder or several pictures are upscaled; else none."""
    resume: bool = False
    """Go on where an earlier run has ended."""
    retry_failed: bool = False
    """The same, and try again what failed."""
    shard: Shard | None = None
    log: str | None = None
    """File for JSON lines, ``-`` for stdout."""

    @property
    def goes_on(self) -> bool:
        return self.resume or self.retry_failed


@dataclass(frozen=True)
class KeptJob:
    """One that is about to be done."""

    selection: Selection
    options: Options
    """With what the journal needs."""
    watchers: tuple[Watcher, ...]
    """To be told besides the one that shows it: journal and log."""
    tile: int | None
    """What ``--tile auto`` is in this job; None: no journal is kept, or another tile was asked for."""
    leave: Callable[[], None]
    """Write to the disk what is known so far, from any thread, within a moment; the process ends after it."""


@contextlib.contextmanager
def kept(
    work: Work,
    job_options: JobOptions,
    options: Options,
    settings: Callable[[], Settings],
    choose_tile: Callable[[], int],
    version: str,
    say: Callable[[str], None],
) -> Iterator[KeptJob]:
    """Open journal and log of a job, and select what is to be done.

    Args:
        work: what was planned.
        job_options: how it is kept.
        options: of files.
        settings: asked for only where there is a journal.
        choose_tile: what ``auto`` would be now; the same.
        version: of this program.
        say: takes sentences for the user.

    Raises:
        JobError: the journal is in use, damaged or of another job, or the log is one of the other files.
        EnvironmentUnfitError: journal or log cannot be written.
    """
    if job_options.log is not None and job_options.log != STDOUT:
        _check_log(Path(job_options.log), work, _path(work, job_options))
    with contextlib.ExitStack() as opened:
        log = opened.enter_context(EventLog(job_options.log)) if job_options.log is not None else None
        journal = _open(work, job_options, opened, say)
        watchers: list[Watcher] = []
        tile: int | None = None
        if journal is None:
            selection = Selection(work.jobs, work.existing)
        else:
            known = settings()
            selection = _select(work, journal, job_options, known, say)
            _remove_leftovers(work, journal)
            keeper = _Keeper(journal, work, known)
            tile = _tile(journal, known, selection, job_options, choose_tile)
            noted = known.__dict__ | {"shard": str(job_options.shard), "chosen_tile": tile}
            journal.begin(keeper.to_begin(selection), version, noted)
            watchers.append(keeper)
            options = replace(options, receipts=True, tag=journal.id)
        if log is not None:
            _log_start(log, selection, version)
            watchers.append(log)
            options = replace(options, receipts=True)
        leave = (lambda: None) if journal is None else (lambda: journal.leave(timeout_s=0.3))
        with contextlib.nullcontext() if log is None else _ending(log):
            yield KeptJob(selection, options, tuple(watchers), tile, leave)


def look_up(work: Work, job_options: JobOptions, settings: Callable[[], Settings]) -> tuple[Selection, int | None]:
    """What ``kept`` would select, and the tile that it would keep, without changing anything.

    Raises:
        JobError: as there.
    """
    path = _path(work, job_options)
    if not job_options.goes_on or path is None or not path.exists():
        return Selection(work.jobs, work.existing), None
    with open_journal(path, read_only=True) as journal:
        known = settings()
        selection = select(work, journal.rows(), known, retry_failed=job_options.retry_failed)
        return selection, journal.tile(known.hash_for_tiles()) if known.tile == "auto" else None


class _Keeper:
    """The watcher that writes the journal."""

    def __init__(self, journal: Journal, work: Work, settings: Settings) -> None:
        self._journal = journal
        self._work = work
        self._settings = settings

    def to_begin(self, selection: Selection) -> list[Row]:
        """Rows of what is about to be done. Those of finished pictures stay until they are made again."""
        again = {job for job, _ in selection.redone}
        return [self._row(job) for job in selection.todo if job not in again]

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        """See ``Watcher``."""

    def advanced(self, job: Job, pixels: int) -> None:
        """See ``Watcher``."""

    def finished(self, result: Result) -> None:
        """See ``Watcher``."""
        self._journal.record(
            replace(
                self._row(result.job),
                state="done" if result.error is None else "failed",
                input=result.input,
                output=result.output,
                seconds=round(result.seconds, 3),
                finished=now(),
                error=result.error,
            )
        )

    def _row(self, job: Job) -> Row:
        settings = self._settings.hash_for(job)
        return Row(self._work.key(job), str(job.source.absolute()), "pending", job.may_replace, settings)


def _path(work: Work, job_options: JobOptions) -> Path | None:
    if job_options.journal is not None:
        return job_options.journal
    if work.is_folder or job_options.goes_on or job_options.shard is not None:
        return work.folder / journal_name(job_options.shard)
    return None


def _check_log(log: Path, work: Work, journal: Path | None) -> None:
    """It is appended to, whatever it is."""
    if journal is not None and _are_same(journal, log):
        raise JobError(f"{log}: is the journal of this job, which the log would damage: give --jsonl another name")
    for job in work.planned:
        if _are_same(job.source, log) or _are_same(job.target, log):
            raise JobError(f"{log}: is a picture of this job, which the log would damage: give --jsonl another name")


def _are_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there yet
        return one.name == other.name and os.path.realpath(one) == os.path.realpath(other)


def _open(
    work: Work, job_options: JobOptions, opened: contextlib.ExitStack, say: Callable[[str], None]
) -> Journal | None:
    path = _path(work, job_options)
    if path is None:
        return None
    is_wanted = job_options.goes_on or job_options.journal is not None or job_options.shard is not None
    if not is_wanted and not work.jobs and not path.exists():
        return None  # nothing has been kept, and there is nothing to keep
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return opened.enter_context(open_journal(path))
    except OSError as err:
        reason: EdsrError = EnvironmentUnfitError(f"{path}: the journal cannot be kept there ({err.strerror})")
    except EnvironmentUnfitError as err:
        reason = err
    if is_wanted:
        raise reason
    say(f"no journal is kept, so this job cannot be resumed: {reason}")
    return None


def _select(
    work: Work, journal: Journal, job_options: JobOptions, settings: Settings, say: Callable[[str], None]
) -> Selection:
    rows = journal.rows()
    if not job_options.goes_on:
        return Selection(work.jobs, work.existing)
    if not rows:
        say(f"{journal.path} is new: starting from the beginning")
        return Selection(work.jobs, work.existing)
    if job_options.journal is not None and work.planned and not any(work.key(job) in rows for job in work.planned):
        raise JobError(
            f"{journal.path} is the journal of other pictures: none of those asked for is in it. "
            "Give another one with --job, or leave --resume out"
        )
    done = sum(row.state == "done" for row in rows.values())
    if done:
        say(f"comparing {done} finished pictures with the journal")
    _say_gone(work, rows, job_options, say)
    return select(work, rows, settings, retry_failed=job_options.retry_failed)


def _say_gone(work: Work, rows: Mapping[str, Row], job_options: JobOptions, say: Callable[[str], None]) -> None:
    """What was to be made and is asked for no more: of a share, others may be the ones who do it now."""
    asked = {work.key(job) for job in work.planned}
    gone = [row.source for key, row in rows.items() if key not in asked and row.state != "done"]
    if gone and job_options.shard is None:
        more = f", and {len(gone) - 3} more" if len(gone) > 3 else ""
        say(f"not made, and not among the inputs any more: {', '.join(gone[:3])}{more}")


def _tile(
    journal: Journal, settings: Settings, selection: Selection, job_options: JobOptions, choose: Callable[[], int]
) -> int | None:
    """That of the pictures that the others are made beside: the last bit of a result may depend on it."""
    if settings.tile != "auto":
        return None
    key = settings.hash_for_tiles()
    found = journal.tile(key) if job_options.goes_on or selection.existing else None
    if found is None:
        found = choose()
        journal.keep_tile(key, found)
    return found


def _remove_leftovers(work: Work, journal: Journal) -> None:
    """Of an earlier run of this job that was killed; nobody else is at work on it, the journal is locked."""
    for folder in {job.target.parent for job in work.planned}:
        remove_partials(folder, journal.id)


@contextlib.contextmanager
def _ending(log: EventLog) -> Iterator[None]:
    """The last line, which says how it ended; only a kill leaves none."""
    try:
        yield
    except SystemExit:  # some pictures failed, and that is in the log
        log.write("ended")
        raise
    except BaseException as err:
        with contextlib.suppress(EnvironmentUnfitError):
            log.write("ended", error="interrupted" if isinstance(err, KeyboardInterrupt) else str(err))
        raise
    log.write("ended")


def _log_start(log: EventLog, selection: Selection, version: str) -> None:
    log.write("started", version=version, pictures=len(selection.todo))
    for job in selection.existing:
        log.skipped(job, "existed")
    for job in selection.verified:
        log.skipped(job, "verified")
    for job, error in selection.failed:
        log.skipped(job, f"failed earlier: {error}")
    for job, reason in selection.redone:
        log.write("redone", source=str(job.source), target=str(job.target), reason=reason)


def told_to_all(watchers: Sequence[Watcher]) -> Watcher:
    """One watcher that tells several."""
    return _All(tuple(watchers))


@dataclass(frozen=True)
class _All:
    watchers: tuple[Watcher, ...]

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        for watcher in self.watchers:
            watcher.opened(job, lr_hw)

    def advanced(self, job: Job, pixels: int) -> None:
        for watcher in self.watchers:
            watcher.advanced(job, pixels)

    def finished(self, result: Result) -> None:
        for watcher in self.watchers:
            watcher.finished(result)
