"""The folder that a training run writes: what is in it, and that none of it is ever half there."""

import fcntl
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edsr_runtime.errors import DataError, EdsrError
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.run_config import parse, read_base

KEPT = 3
"""Checkpoints that can be resumed; older ones are removed once a newer one is safely there."""
_CHECKPOINT = re.compile(r"update-(\d{8,})\.pt")


class RunFolder:
    """Paths of a run::

    config.yaml              what the run was told; --config takes it
    checkpoints/update-*.pt  weights and everything else that is needed to go on; the last three
    best.safetensors         the weights with the best validation so far
    model.safetensors        the weights at the end
    log.jsonl                a line every log_every updates, and for every validation
    tensorboard/             the same as scalars, and crops of validation pictures
    curves.png, summary.json written at the end
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
        self._checkpoint_folder = path / "checkpoints"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Before anything is read: can this folder take the run?

        Raises:
            EdsrError: a file in its place, another run that must not be replaced, or nothing to resume.
        """
        if resume and overwrite:
            raise EdsrError("--resume goes on from the folder and --overwrite replaces it: give one of them")
        if self.path.exists() and not self.path.is_dir():
            raise EdsrError(f"{self.path}: is a file, expected a folder for the run")
        if resume:
            if not self.checkpoints():
                raise EdsrError(f"{self.path}: holds no checkpoint to go on from. Leave --resume away to begin a run")
            if not self.config_file.is_file():
                raise EdsrError(f"{self.config_file}: is missing, so it is not known what to train on. Use --init")
        elif self.path.is_dir() and any(self.path.iterdir()) and not overwrite:
            raise EdsrError(f"{self.path}: is not empty. Go on from it with --resume, or replace it with --overwrite")
        elif overwrite and self.path.is_dir() and any(self.path.iterdir()) and not _is_run(self.config_file):
            raise EdsrError(
                f"{self.path}: holds no run that could be replaced (no config.yaml of one). Choose another folder"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep other processes out of it; EdsrError if one is at work there."""
        try:
            self._checkpoint_folder.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as err:
            raise DataError(f"{self.path}: cannot be written to ({err.strerror})") from err
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise EdsrError(f"{self.path}: another process is training there. Wait, or choose another") from err
            yield

    def begin(self, config_yaml: str) -> None:
        """Remove what an earlier run or a killed process left, then write the configuration."""
        for old in (*self.checkpoints(), self.best_file, self.model_file, self.log_file, self.curves_file):
            old.unlink(missing_ok=True)
        self.summary_file.unlink(missing_ok=True)
        for events in self.board_folder.glob("events.*"):
            events.unlink()
        self.clear_partial()
        self.write_text(self.config_file, config_yaml)

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

    def write_text(self, path: Path, text: str) -> None:
        """Write a file of the run, whole or not at all."""
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


def _is_run(config_file: Path) -> bool:
    """Whether this is the configuration of a run of ours."""
    try:
        parse(read_base(str(config_file)))
    except EdsrError:
        return False
    return True
