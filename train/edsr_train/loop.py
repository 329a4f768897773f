"""The training loop: from a network and pictures to a folder of checkpoints, stoppable and resumable at any update."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from edsr_runtime.errors import CheckpointError, DataError, NumericalError
from edsr_train.config import TrainConfig
from edsr_train.data.training_set import TrainingSet
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.processes import Processes, check_divisible
from edsr_train.random_state import random_state, set_random_state
from edsr_train.run_folder import RunFolder
from edsr_train.updater import Updater
from edsr_train.validation import Validation

MAX_BAD_UPDATES = 10  # in a row; a run that diverged does not come back


@dataclass(frozen=True)
class Progress:
    """Where a run is after an update."""

    done: int
    """Updates done, those of earlier sessions included."""
    loss: float
    """Of the last update, mean over all processes; not finite if it was skipped."""


@dataclass(frozen=True)
class Record:
    """A line of the log: a stretch of updates, and the validation at its end, if there was one."""

    update: int
    """The last of the stretch, counted from 1."""
    loss: float
    """Mean over the updates that were not skipped; NaN if all were."""
    lr: float
    """Learning rate of the last update."""
    updates_per_second: float
    """Validations and checkpoints not counted."""
    skipped: int
    """Updates left out since loss or gradient was not finite."""
    psnr: dict[int, float] | None = None
    """Validation by scale, dB."""
    protocol: str | None = None
    """Of the validation: ``paper-y``, ``paper-div2k``."""


class Watcher(Protocol):
    """Whoever wants to see a run."""

    def updated(self, progress: Progress, /) -> None:
        """After every update."""

    def recorded(self, record: Record, network: SuperResolutionNetwork, /) -> None:
        """After every line of the log; ``network`` is the one that is delivered."""


def train(
    network: SuperResolutionNetwork,
    config: TrainConfig,
    data: TrainingSet,
    folder: RunFolder,
    *,
    processes: Processes,
    validation: Validation | None = None,
    resume: Mapping[str, Any] | None = None,
    watchers: tuple[Watcher, ...] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train ``network`` in place; write ``folder`` at every validation and at the end.

    All processes call this with the same arguments; only the first writes, and only its watchers are told.

    Args:
        network: what is trained; with an average, a copy of it is what is validated and saved.
        config: the options.
        data: training pictures.
        folder: takes the checkpoints, the best weights and the last ones; the caller holds its lock.
        processes: this process and the others.
        validation: scored every ``validate_every`` updates.
        resume: the ``training`` entry of a checkpoint that an earlier call wrote; ``network`` has its weights. On a
            CPU the run goes on bit-exactly, given the same number of threads and processes.
        watchers: are told of every update and every line of the log.
        should_stop: asked after every update; if true in any process, a checkpoint is written and the run ends there.

    Returns:
        The number of updates done: fewer than ``config.updates`` if it was stopped.

    Raises:
        NumericalError: ten updates in a row had a loss or gradient that is not finite.
        DataError: ``resume`` is of other pictures, or the folder cannot be written to.
        CheckpointError: ``resume`` is damaged.
    """
    check_divisible(config.batch, processes)
    validation = validation or Validation()
    updater = Updater(network, config, processes)
    start, best = 0, -np.inf
    if resume is not None:
        _check_data(resume, data)
        try:
            updater.restore(resume)
            set_random_state(resume["random"])
            start, best = int(resume["updates"]), float(resume["best"])
        except (KeyError, TypeError, ValueError, RuntimeError) as err:
            reason = str(err).splitlines()[0]
            raise CheckpointError(
                f"{folder.path}: the training state is damaged ({reason}). Begin anew: --init"
            ) from err

    def save(done: int) -> None:
        if processes.is_first:
            state = {"options": asdict(config), "updates": done, "best": float(best), "data": data.fingerprint}
            folder.save(done, updater.delivered, {**state, **updater.state(), "random": random_state()})

    window = _Window()
    bad_in_a_row, saved = 0, start if resume is not None else None
    network.train()
    for update in range(start, config.updates):
        began = time.monotonic()
        plan = data.plan(config.seed, update, config.batch)
        lr, hr = data.cut(plan.part(processes.rank, processes.world))
        loss, is_done = updater.update(update, lr, hr, plan.scale)
        window.add(loss, is_done, time.monotonic() - began)
        bad_in_a_row = 0 if is_done else bad_in_a_row + 1
        if bad_in_a_row == MAX_BAD_UPDATES:
            kept = "nothing was saved yet" if saved is None else f"{folder.path} holds the state of update {saved}"
            raise NumericalError(
                f"loss or gradient was not finite {MAX_BAD_UPDATES} times in a row, up to update {update + 1}; {kept}. "
                "Begin a new run with a lower --lr, more --warmup or --clip"
            )

        done = update + 1
        _tell_update(watchers, Progress(done, loss))
        is_last = done == config.updates
        validates = is_last or done % config.validate_every == 0
        stopped = not is_last and any(processes.mean([float(should_stop())]))
        psnr = None
        if validates and validation:
            psnr = validation.psnr(updater.delivered.eval(), processes)
            network.train()
        if validates or stopped or done % config.log_every == 0:
            protocol = None if psnr is None else validation.protocol.id
            record = replace(window.record(done, config.lr_at(update)), psnr=psnr, protocol=protocol)
            _tell_record(watchers, record, updater.delivered)
            window = _Window()
        if psnr is not None and np.mean(list(psnr.values())) > best:
            best = float(np.mean(list(psnr.values())))
            if processes.is_first:
                said = {"update": done, "psnr": _named(psnr), "protocol": validation.protocol.id}
                folder.save_weights(folder.best_file, updater.delivered, said)
        if validates or stopped:
            save(done)
            saved = done
        if stopped:
            return done
    if processes.is_first:
        folder.save_weights(folder.model_file, updater.delivered, {"update": config.updates})
    return config.updates


class _Window:
    """What happened since the last line of the log."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._skipped = 0
        self._seconds = 0.0

    def add(self, loss: float, is_done: bool, seconds: float) -> None:
        self._losses += [loss] if is_done else []
        self._skipped += not is_done
        self._seconds += seconds

    def record(self, update: int, lr: float) -> Record:
        count = len(self._losses) + self._skipped
        loss = float(np.mean(self._losses)) if self._losses else float("nan")
        return Record(update, loss, lr, count / max(self._seconds, 1e-9), self._skipped)


def _named(psnr: Mapping[int, float]) -> dict[str, float]:
    return {f"x{scale}": value for scale, value in psnr.items()}


def _tell_update(watchers: tuple[Watcher, ...], progress: Progress) -> None:
    for watcher in watchers:
        watcher.updated(progress)


def _tell_record(watchers: tuple[Watcher, ...], record: Record, network: SuperResolutionNetwork) -> None:
    for watcher in watchers:
        watcher.recorded(record, network)


def _check_data(resume: Mapping[str, Any], data: TrainingSet) -> None:
    if resume.get("data", data.fingerprint) != data.fingerprint:
        raise DataError(
            "the training pictures are not those the run began with. Give the same --data, in the same order, or "
            "begin a new run from the weights: --init"
        )
