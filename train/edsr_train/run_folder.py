"""The folder that a training run writes: what is in it, and that none of it is ever half there."""

import contextlib
import errno
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from edsr_runtime.errors import CheckpointError, DataError, EdsrError
from edsr_train.checkpoint import load_network, save_checkpoint
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.run_config import parse, read_base

KEPT = 3
"""Checkpoints that can be resumed; older ones are removed once a newer one is safely there."""
_CHECKPOINT = re.compile(r"update-(\d{8,})\.pt")
_DAMAGED = ".damaged"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what file systems say that have none (some of clusters)
_ATTEMPTS = 100  # to lock a folder that others make and remove at the same time

Mode = Literal["new", "overwrite", "resume", "resume-or-begin"]
"""What is to become of a run that is in the folder: none may be there; it is replaced; it goes on; it goes on, if there
is one."""


class RunFolder:
    """Paths of a run::

    config.yaml              what the run was told; --config takes it
    checkpoints/update-*.pt  weights and everything else that is needed to go on; the last three
    best.safetensors         the weights with the best validation so far
    model.safetensors        the weights at the end
    log.jsonl                a line every log_every updates, and for every validation
    tensorboard/             the same as scalars, and crops of validation pictures
    curves.png, summary.json written at the end
    problems.txt             pictures that could not be used, where there were too many to print
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.best_file = path / "best.safetensors"
        self.model_file = path / "model.safetensors"
        self.log_file = path / "log.jsonl"
        self.board_folder = path / "tensorboard"
        self.curves_file = path / "curves.png"
        self.summary_file = path / "summary.json"
        self.problems_file = path / "problems.txt"
        self._checkpoint_folder = path / "checkpoints"
        self._lock_file = path / ".lock"

    def check(self, mode: Mode) -> bool:
        """Before anything is read: can this folder take the run, and does that go on (True) or begin (False)?

        Only whoever holds the lock can rely on the answer.

        Raises:
            EdsrError: a file in its place, another run that must not be replaced, or nothing to resume.
        """
        self._refuse_file()
        checkpoints = self.checkpoints()
        if mode == "resume" and not checkpoints:
            raise EdsrError(f"{self.path}: holds no checkpoint to go on from. Leave --resume away to begin a run")
        if mode in ("resume", "resume-or-begin") and checkpoints:
            if not self.config_file.is_file():
                raise EdsrError(f"{self.config_file}: is missing, so it is not known what to train on. Use --init")
            return True
        if self._is_empty() or (mode != "new" and _is_run(self.config_file)):
            return False
        if mode == "overwrite":
            raise EdsrError(
                f"{self.path}: holds no run that could be replaced (no config.yaml of one). Choose another folder"
            )
        if checkpoints or not _is_run(self.config_file):
            raise EdsrError(f"{self.path}: is not empty. Go on from it with --resume, or replace it with --overwrite")
        raise EdsrError(f"{self.path}: holds a run that has no checkpoint yet. Replace it with --overwrite")

    @contextmanager
    def locked(self, say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
        """Make the folder and keep other processes out of it. If nothing was begun there in the end, it is as before.

        Args:
            say: takes a line where the file system has no locks.

        Raises:
            EdsrError: another process is at work there, or the folder cannot be written to.
        """
        self._refuse_file()
        made: list[Path] = []
        try:
            lock = self._lock(made, say)
        except OSError as err:
            self._unmake(made)
            raise DataError(f"{self.path}: cannot be written to ({err.strerror})") from err
        with lock:
            try:
                yield
            finally:
                if not self.config_file.exists():
                    self._unmake(made)

    def _lock(self, made: list[Path], say: Callable[[str], None]) -> IO[str]:
        """The open lock file; ``made`` takes what had to be made."""
        for _ in range(_ATTEMPTS):
            for folder in (*reversed(self.path.parents), self.path, self._checkpoint_folder):
                if not folder.exists():
                    with contextlib.suppress(FileExistsError):  # another process is as far
                        folder.mkdir()
                        made.append(folder)
            try:
                lock = self._lock_file.open("w")
            except FileNotFoundError:  # another process has given up, and removed the folder
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                lock.close()
                raise EdsrError(f"{self.path}: another process is training there. Wait, or choose another") from err
            except OSError as err:
                if err.errno not in _NO_LOCKS:
                    lock.close()
                    raise
                say(f"{self.path}: the file system has no locks ({err.strerror}). Let no other run begin there")
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(lock.fileno()).st_ino == self._lock_file.stat().st_ino:
                    return lock
            lock.close()
        raise EdsrError(f"{self.path}: other processes begin and end there all the time. Choose another folder")

    def _unmake(self, made: list[Path]) -> None:
        """Remove the lock and folders that were made for it, as far as they are empty."""
        with contextlib.suppress(OSError):
            if set(self.path.iterdir()) <= {self._lock_file, self._checkpoint_folder, self.problems_file}:
                self._lock_file.unlink(missing_ok=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _refuse_file(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise EdsrError(f"{self.path}: is a file, expected a folder for the run")

    def _is_empty(self) -> bool:
        """Whether nothing is there but what a start leaves that failed."""
        if not self.path.is_dir():
            return True
        for entry in self.path.iterdir():
            is_folder = entry in (self._checkpoint_folder, self.board_folder)
            is_leftover = entry in (self._lock_file, self.problems_file) or _is_partial(entry)
            if not (is_leftover or (is_folder and all(map(_is_partial, entry.iterdir())))):
                return False
        return True

    def begin(self, config_yaml: str) -> None:
        """Remove what an earlier run or a killed process left, then write the configuration."""
        damaged = self._checkpoint_folder.glob(f"*{_DAMAGED}")
        weights = (*self.checkpoints(), *damaged, self.best_file, self.model_file)
        for old in (*weights, self.log_file, self.curves_file, self.summary_file, self.problems_file):
            old.unlink(missing_ok=True)
        for events in self.board_folder.glob("events.*"):
            events.unlink()
        self.clear_partial()
        write_text(self.config_file, config_yaml)

    def clear_partial(self) -> None:
        """Remove files that a killed process was writing."""
        for folder in (self.path, self._checkpoint_folder):
            for partial in folder.glob(".*.partial"):
                partial.unlink(missing_ok=True)

    def checkpoints(self) -> list[Path]:
        """Those that can be resumed, the oldest first."""
        if not self._checkpoint_folder.is_dir():
            return []
        found = {
            file: match for file in self._checkpoint_folder.iterdir() if (match := _CHECKPOINT.fullmatch(file.name))
        }
        return sorted(found, key=lambda file: int(found[file][1]))

    def set_aside(self, damaged: Path) -> None:
        """A checkpoint that cannot be loaded is none any more, but not removed either."""
        with contextlib.suppress(FileNotFoundError):
            damaged.replace(damaged.with_name(f"{damaged.name}{_DAMAGED}"))

    def is_finished(self, done: int) -> bool:
        """Whether the weights and the summary of a run that ended after ``done`` updates are there."""
        try:
            summary = json.loads(self.summary_file.read_text(encoding="utf-8"))
            said = load_network(self.model_file).extra.get("update")
        except (OSError, ValueError, CheckpointError):
            return False
        return said == done and isinstance(summary, dict) and summary.get("updates") == done

    def save(self, done: int, network: SuperResolutionNetwork, state: Mapping[str, Any]) -> None:
        """Write the checkpoint after ``done`` updates, then remove the oldest ones; DataError if it cannot be."""
        path = self._checkpoint_folder / f"update-{done:08}.pt"
        try:
            save_checkpoint(path, network, {"training": dict(state)})
            for old in self.checkpoints()[:-KEPT]:
                old.unlink(missing_ok=True)
        except (OSError, RuntimeError) as err:  # PyTorch makes a RuntimeError of a full disk
            raise DataError(f"{path}: cannot be written ({_reason(err)}); those before it are whole") from err

    def save_weights(self, path: Path, network: SuperResolutionNetwork, extra: Mapping[str, Any]) -> None:
        """Write weights to be used, such as ``best_file``; DataError if they cannot be."""
        try:
            save_checkpoint(path, network, extra)
        except (OSError, RuntimeError) as err:
            raise DataError(f"{path}: cannot be written ({_reason(err)})") from err


def write_text(path: Path, text: str) -> None:
    """Write a file of a run, whole or not at all; DataError if it cannot be."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as err:
        raise DataError(f"{path}: cannot be written ({err.strerror})") from err
    finally:
        partial.unlink(missing_ok=True)


def _reason(err: OSError | RuntimeError) -> str:
    return (isinstance(err, OSError) and err.strerror) or f"is the disk full? {str(err).splitlines()[0]}"


def _is_partial(entry: Path) -> bool:
    return entry.name.startswith(".") and entry.name.endswith(".partial")


def _is_run(config_file: Path) -> bool:
    """Whether this is the configuration of a run of ours."""
    try:
        parse(read_base(str(config_file)))
    except EdsrError:
        return False
    return True
