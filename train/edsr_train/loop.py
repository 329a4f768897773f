"""The training loop: from a network and pictures to a folder of checkpoints, stoppable and resumable at any update."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edsr_runtime.errors import CheckpointError, DataError, NumericalError
from edsr_train.config import TrainConfig
from edsr_train.data.batches import batches
from edsr_train.data.training_set import TrainingSet
from edsr_train.memory import memory_for
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.processes import Processes, check_divisible
from edsr_train.random_state import random_state, set_random_state
from edsr_train.run_folder import RunFolder
from edsr_train.updater import Step, Updater
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
    validation: str | None = None
    """Fingerprint of the validation: scores of different ones cannot be compared."""
    rescaled: int = 0
    """Updates left out besides, since the scale of the loss was too large for fp16; it is smaller now."""
    idle: int = 0
    """Kernels that the last update gave no gradient, as those of a residual block whose ReLU is never active."""


@dataclass(frozen=True)
class Ended:
    """How a call of ``train`` ended."""

    done: int
    """Updates done, those of earlier sessions included."""
    is_whole: bool
    """Whether nothing is left to do; else it was stopped, and the last checkpoint has everything."""


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
    init: Mapping[str, str] | None = None,
    watchers: tuple[Watcher, ...] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Ended:
    """Train ``network`` in place; write ``folder`` at every validation and at the end.

    All processes call this with the same arguments; only the first writes, and only its watchers are told. What an
    update gave is safely in a checkpoint before anything is done with it: validation, the log, the best weights.

    Args:
        network: what is trained; with an average, a copy of it is what is validated and saved.
        config: the options.
        data: training pictures.
        folder: takes the checkpoints, the best weights and the last ones; the caller holds its lock.
        processes: this process and the others.
        validation: scored every ``validate_every`` updates.
        resume: the ``training`` entry of a checkpoint that an earlier call wrote; ``network`` has its weights. On a
            CPU the run goes on bit-exactly, given the same number of threads and processes.
        init: file and checksum of the weights that the run began with; every file of weights says so.
        watchers: are told of every update and every line of the log.
        should_stop: asked after every update and before every validation picture; if true in any process, a checkpoint
            is written and the run ends there.

    Raises:
        NumericalError: ten updates in a row had a loss or gradient that is not finite.
        DataError: ``resume`` is of other pictures, or the folder cannot be written to.
        CheckpointError: ``resume`` is damaged.
        EnvironmentUnfitError: too little memory, or a device that cannot do what the options ask for.
    """
    check_divisible(config.batch, processes)
    validation = validation or Validation()
    updater = Updater(network, config, processes)
    start, best, due = 0, -np.inf, None
    judged_by = validation.fingerprint if validation else None
    if resume is not None:
        _check_data(resume, data)
        try:
            updater.restore(resume)
            set_random_state(resume["random"])
            start, best = int(resume["updates"]), float(resume["best"])
            due = None if resume.get("due") is None else Record(**resume["due"])
        except (KeyError, TypeError, ValueError, RuntimeError) as err:
            reason = str(err).splitlines()[0]
            raise CheckpointError(
                f"{folder.path}: the training state is damaged ({reason}). Begin anew: --init"
            ) from err
        if not validation:
            judged_by = resume.get("validation")  # for a later session that validates again
        elif is_judged_anew(resume, validation):
            best = -np.inf

    def save(done: int, due: Record | None = None) -> None:
        """Write a checkpoint; ``due``: the line of the log that is still to be told, with its validation."""
        state = {
            "options": asdict(config),
            "updates": done,
            "best": float(best),
            "validation": judged_by,
            "due": None if due is None else asdict(due),
            "data": data.fingerprint,
            "init": None if init is None else dict(init),
        }
        with processes.together():
            if processes.is_first:
                folder.save(done, updater.delivered, {**state, **updater.state(), "random": random_state()})

    def save_weights(path: Path, extra: Mapping[str, Any]) -> None:
        with processes.together():
            if processes.is_first:
                folder.save_weights(path, updater.delivered, {**extra, **({"init": dict(init)} if init else {})})

    def judge(record: Record) -> bool:
        """Validate, keep the weights if they are the best, and tell everybody; False if it was stopped."""
        nonlocal best
        psnr = None
        if validation:
            psnr = validation.psnr(updater.delivered.eval(), processes, should_stop)
            network.train()
            if psnr is None:
                return False
            record = replace(record, psnr=psnr, protocol=validation.protocol.id, validation=judged_by)
        if psnr is not None and np.mean(list(psnr.values())) > best:
            best = float(np.mean(list(psnr.values())))
            said = {"update": record.update, "psnr": _named(psnr), "protocol": validation.protocol.id}
            save_weights(folder.best_file, said)
        _tell_record(watchers, record, updater.delivered)
        return True

    window = _Window()
    bad_in_a_row, saved = 0, start if resume is not None else None
    with processes.together():
        validation.try_largest(updater.delivered.eval())
    network.train()
    if due is not None and not judge(due):
        return Ended(start, is_whole=False)
    plans = (
        data.plan(config.seed, update, config.batch).part(processes.rank, processes.world)
        for update in range(start, config.updates)
    )
    what = f"a batch of {config.batch} patches of {config.patch}x{config.patch} LR pixels"
    with closing(batches(data, plans)) as supply:
        for update in range(start, config.updates):
            began = time.monotonic()
            with memory_for(what, "Choose a smaller --batch or --patch"):
                batch = next(supply)
            step = updater.update(update, batch.lr, batch.hr, batch.scale)
            window.add(step, time.monotonic() - began)
            if step.is_done:
                bad_in_a_row = 0
            elif not step.is_rescaled:
                bad_in_a_row += 1
            if bad_in_a_row == MAX_BAD_UPDATES:
                with processes.together():
                    raise _diverged(update + 1, folder, saved)

            done = update + 1
            _tell_update(watchers, Progress(done, step.loss))
            validates = done == config.updates or done % config.validate_every == 0
            is_stopped = any(processes.mean([float(should_stop())]))
            if not (validates or is_stopped or done % config.log_every == 0):
                continue
            record = window.record(done, config.lr_at(update), updater.idle_kernels())
            window = _Window()
            if validates or is_stopped:
                save(done, record if validates else None)
                saved = done
            if validates and (is_stopped or not judge(record)):
                return Ended(done, is_whole=False)
            if not validates:
                _tell_record(watchers, record, updater.delivered)
            if is_stopped:
                return Ended(done, is_whole=False)
    save_weights(folder.model_file, {"update": config.updates})
    return Ended(config.updates, is_whole=True)


def is_judged_anew(resume: Mapping[str, Any], validation: Validation) -> bool:
    """Whether scores from now on cannot be compared with those of the checkpoint: other pictures, another protocol."""
    return bool(validation) and resume.get("validation") != validation.fingerprint


class _Window:
    """What happened since the last line of the log."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._skipped = 0
        self._rescaled = 0
        self._seconds = 0.0

    def add(self, step: Step, seconds: float) -> None:
        self._losses += [step.loss] if step.is_done else []
        self._rescaled += step.is_rescaled
        self._skipped += not (step.is_done or step.is_rescaled)
        self._seconds += seconds

    def record(self, update: int, lr: float, idle: int) -> Record:
        count = len(self._losses) + self._skipped + self._rescaled
        loss = float(np.mean(self._losses)) if self._losses else float("nan")
        speed = count / max(self._seconds, 1e-9)
        return Record(update, loss, lr, speed, self._skipped, rescaled=self._rescaled, idle=idle)


def _diverged(update: int, folder: RunFolder, saved: int | None) -> NumericalError:
    kept = "nothing was saved yet" if saved is None else f"{folder.path} holds the state of update {saved}"
    return NumericalError(
        f"loss or gradient was not finite {MAX_BAD_UPDATES} times in a row, up to update {update}; {kept}. "
        "Begin a new run with a lower --lr, more --warmup or --clip"
    )


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
