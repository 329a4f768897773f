"""A whole training run: data, processes, the loop, and what is left in its folder."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edsr_runtime.errors import EdsrError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.config import DataConfig
from edsr_train.data.sets import ALL, Selection, Source, benchmark_pairs, find_sources, pairs_of
from edsr_train.data.store import default_cache
from edsr_train.data.training_set import TrainingSet, open_training_set
from edsr_train.interrupt import stop_requests
from edsr_train.journal import Journal
from edsr_train.loop import Watcher, train
from edsr_train.processes import Processes, check_divisible, start_processes
from edsr_train.progress import show_preparation, show_progress
from edsr_train.run_folder import RunFolder
from edsr_train.start import Run, absolute, describe
from edsr_train.validation import Validation


@dataclass(frozen=True)
class Stopped:
    """A run that a signal ended, after its checkpoint was written."""

    done: int
    exit_code: int


def fit_in_folder(run: Run, folder: RunFolder, device: str, say: Callable[[str], None]) -> Stopped | None:
    """Train ``run`` and leave all it gives in ``folder``.

    Args:
        run: new, or resumed from ``folder``.
        folder: was checked.
        device: ``auto``, ``cpu``, ``cuda``.
        say: takes lines of text; only in the first of several processes.

    Returns:
        None if all updates are done.

    Raises:
        EdsrError: anything that a user can cause.
    """
    config = run.config
    with start_processes(device) as processes:
        say = say if processes.is_first else _say_nothing
        say(f"network: {describe(run)}")
        for note in run.notes:
            say(note)
        if run.done >= config.training.updates:
            say(f"{folder.path}: all {run.done} updates are done already")
            if processes.is_first and not folder.model_file.exists():  # a kill came between checkpoint and weights
                folder.save_weights(folder.model_file, run.network, {"update": run.done})
                say(f"wrote {folder.model_file}")
            return None
        check_divisible(config.training.batch, processes)
        validation = _validation(config.data, run.network.scales)
        # A picture that cannot be scored is found here, and not at the first validation, hours later.
        for scale, psnr in validation.bicubic().items():
            count = len(validation.pairs[scale])
            say(
                f"validation: {count} pictures of {config.data.val}, x{scale}, "
                f"bicubic: {config.data.protocol} {psnr:.3f} dB"
            )
        data = _training_set(run, processes, say)
        with _own_folder(run, folder, processes), stop_requests() as stop:
            with _watchers(run, folder, validation, processes) as watchers:
                done = train(
                    run.network,
                    config.training,
                    data,
                    folder,
                    processes=processes,
                    validation=validation,
                    resume=run.resume,
                    watchers=watchers,
                    should_stop=lambda: bool(stop),
                )
            if processes.is_first:
                from edsr_train.curves import write_summary

                write_summary(folder, config, done)
        if done < config.training.updates:
            return Stopped(done, stop.exit_code if stop else 128 + signal.SIGTERM)  # else another process was told
        say(f"wrote {folder.model_file}")
        return None


def _say_nothing(_: str) -> None:
    pass


def _sources(config: DataConfig, scales: tuple[int, ...]) -> list[Source]:
    if not config.data:
        raise EdsrError("--data is missing: give a folder of photographs")
    ranges = config.train or ("all",) * len(config.data)
    return [
        source
        for folder, text in zip(config.data, ranges, strict=True)
        for source in find_sources(Path(folder), scales, config.track, Selection.parse(text))
    ]


def _validation(config: DataConfig, scales: tuple[int, ...]) -> Validation:
    if config.val is None:
        return Validation()
    protocol = PROTOCOLS[config.protocol]
    folder = Path(config.val)
    if folder.is_dir():
        return Validation({scale: benchmark_pairs(folder, scale) for scale in scales}, protocol)
    numbers = Selection.parse(config.val)
    if numbers == ALL or not config.data:
        raise EdsrError(f"--val {config.val}: expected a folder that exists, or numbers of the first --data: 801-810")
    sources = find_sources(Path(config.data[0]), scales, config.track, numbers)
    if trained_on := {s.hr for s in _sources(config, scales)} & {s.hr for s in sources}:
        raise EdsrError(
            f"--val {config.val}: {len(trained_on)} of its pictures are trained on too. Give --train the others"
        )
    return Validation({scale: pairs_of(sources, scale) for scale in scales}, protocol)


def _training_set(run: Run, processes: Processes, say: Callable[[str], None]) -> TrainingSet:
    config, scales = run.config, run.network.scales
    sources = _sources(config.data, scales)
    with show_preparation() if processes.is_first else contextlib.nullcontext(lambda *_: None) as report:
        data = open_training_set(
            sources,
            scales,
            config.training.patch,
            rescale=config.data.rescale,
            cache=Path(config.data.cache) if config.data.cache else default_cache(),
            device=processes.device,
            report=report,
        )
    for note in data.notes:
        say(f"data: {note}")
    return data


@contextlib.contextmanager
def _own_folder(run: Run, folder: RunFolder, processes: Processes) -> Iterator[None]:
    """The folder, locked, and begun where the run is new."""
    if not processes.is_first:
        yield
        return
    with folder.locked():
        if run.resume is None:
            folder.begin(absolute(run).config.to_yaml())
        else:
            folder.clear_partial()
            folder.write_text(folder.config_file, absolute(run).config.to_yaml())
        yield


@contextlib.contextmanager
def _watchers(
    run: Run, folder: RunFolder, validation: Validation, processes: Processes
) -> Iterator[tuple[Watcher, ...]]:
    if not processes.is_first:
        yield ()
        return
    from edsr_train.board import Board

    board = Board(folder.board_folder, run.done, validation)
    with contextlib.closing(board), show_progress(run.config.training, run.done) as display:
        yield display, Journal(folder.log_file, run.done), board
