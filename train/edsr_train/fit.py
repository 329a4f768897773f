"""A whole training run: data, processes, the loop, and what is left in its folder."""

import contextlib
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsr_runtime.errors import DataError, EdsrError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.config import DataConfig, path_of
from edsr_train.data.left_out import left_out
from edsr_train.data.overlap import same_files
from edsr_train.data.pictures import UnusablePicturesError
from edsr_train.data.sets import ALL, Selection, Source, benchmark_sources, find_sources, pairs_by_scale
from edsr_train.data.store import default_cache
from edsr_train.data.training_set import TrainingSet, open_training_set
from edsr_train.interrupt import stop_requests
from edsr_train.journal import Journal, read_journal
from edsr_train.loop import Watcher, is_judged_anew, train
from edsr_train.processes import Processes, check_divisible, is_torchrun, start_processes
from edsr_train.progress import show_preparation, show_progress
from edsr_train.run_folder import Mode, RunFolder, write_text
from edsr_train.start import Order, Run, absolute, describe, new_run, resumed_run
from edsr_train.updater import check_device, check_tail
from edsr_train.validation import Validation
from edsr_train.voice import Voice
from edsr_train.watchers import Tolerant

Say = Callable[[str], None]

_STOPPING = "stopping: the update is being finished and a checkpoint written"


@dataclass(frozen=True)
class Stopped:
    """A run that was ended before its time, after its checkpoint was written."""

    done: int
    updates: int
    exit_code: int


def fit_in_folder(order: Order, folder: RunFolder, mode: Mode, device: str, voice: Voice) -> Stopped | None:
    """Do what was ordered and leave all it gives in ``folder``.

    Args:
        order: what was asked for.
        folder: of the run.
        mode: whether a run that is there goes on.
        device: ``auto``, ``cpu``, ``cuda``.
        voice: takes lines of text; only in the first of several processes.

    Returns:
        None if all updates are done.

    Raises:
        EdsrError: anything that a user can cause; of several processes, in the one that can say it.
        SaidElsewhereError: in the others.
    """
    with start_processes(device) as processes:
        say: Say = voice if processes.is_first else _say_nothing
        with _own_folder(folder, mode, processes, say) as goes_on:
            with processes.together():
                run = _run(order, folder, goes_on)
                check_device(run.config.training, processes.device)
                check_tail(run.network, run.config.training)
                check_divisible(run.config.training.batch, processes)
            _check_agreement("another checkpoint", f"{run.done} {run.config.network}", processes)
            say(f"network: {describe(run)}")
            for note in run.notes:
                say(note)
            if processes.of_first(processes.is_first and _is_finished(run, folder)):
                say(f"{folder.path}: all {run.done} updates are done already")
                return None
            data, validation = _pictures(run, folder, processes, say)
            line = processes.of_first(_last_line(run, folder, validation) if processes.is_first else None)
            run = run if line is None else run.settled(line["psnr"])
            return _train(run, folder, data, validation, processes, voice, say)


def _train(
    run: Run,
    folder: RunFolder,
    data: TrainingSet,
    validation: Validation,
    processes: Processes,
    voice: Voice,
    say: Say,
) -> Stopped | None:
    config = run.config
    said = _STOPPING + ("" if is_torchrun() else "; Ctrl-C again ends at once")
    with stop_requests(said if processes.is_first else "", twice_ends=not is_torchrun()) as stop:
        with processes.together():
            if processes.is_first:
                _begin(run, folder)
        with _watchers(run, folder, validation, processes, say) as watchers:
            ended = train(
                run.network,
                config.training,
                data,
                folder,
                processes=processes,
                validation=validation,
                resume=run.resume,
                init=run.init,
                watchers=watchers,
                should_stop=lambda: bool(stop) or voice.is_cut,
            )
        if processes.is_first:
            from edsr_train.curves import write_summary

            try:
                write_summary(folder, config, ended.done, run.init)
            except DataError as err:
                say(f"{err}. The weights are whole")
        processes.wait()  # torchrun ends all processes when one ends that has nothing left to do
        if ended.is_whole:
            say(f"wrote {folder.model_file}")
            return None
        code = 128 + (signal.SIGPIPE if voice.is_cut else signal.SIGTERM)  # or it was another process that was told
        return Stopped(ended.done, config.training.updates, stop.exit_code if stop else code)


def _say_nothing(_: str) -> None:
    pass


def _run(order: Order, folder: RunFolder, goes_on: bool) -> Run:
    if goes_on:
        return resumed_run(folder, order.asked, order.config)
    return new_run(order.asked, order.config, order.init, order.init_res_scale)


def _last_line(run: Run, folder: RunFolder, validation: Validation) -> dict[str, Any] | None:
    """Of the log, if it is on the update that the run goes on from, and on this validation."""
    judged_by = validation.fingerprint if validation else None
    lines: list[dict[str, Any]] = []
    if run.due:
        with contextlib.suppress(DataError):  # a log that cannot be read ends no run
            lines = [line for line in read_journal(folder.log_file) if line["update"] == run.done]
    return lines[-1] if lines and lines[-1].get("validation") == judged_by else None


def _is_finished(run: Run, folder: RunFolder) -> bool:
    return run.resume is not None and run.done >= run.config.training.updates and folder.is_finished(run.done)


def _check_agreement(what: str, own: str, processes: Processes) -> None:
    """DataError where processes see different files: on machines that do not share their folders."""
    all_of_them = processes.gather([own])
    with processes.together():
        if own != all_of_them[0]:
            raise DataError(
                f"process {processes.rank} finds {what} than process 0. Let all machines see the same files"
            )


@contextlib.contextmanager
def _own_folder(folder: RunFolder, mode: Mode, processes: Processes, say: Say) -> Iterator[bool]:
    """The folder, locked by the first process; whether the run there goes on."""
    with contextlib.ExitStack() as stack:
        goes_on = False
        with processes.together():
            if processes.is_first:
                stack.enter_context(folder.locked(say))
                goes_on = folder.check(mode)
        yield processes.of_first(goes_on)


def _begin(run: Run, folder: RunFolder) -> None:
    """From here on the folder is this run's."""
    config = absolute(run).config.to_yaml()
    if run.init is not None:
        file = json.dumps(run.init["file"])[1:-1]  # on one line, whatever the name has in it
        config = f"# begun with the weights of {file}, SHA-256 {run.init['sha256']}\n{config}"
    if run.resume is None:
        folder.begin(config)
        return
    folder.clear_partial()
    for damaged in run.damaged:
        folder.set_aside(damaged)
    write_text(folder.config_file, config)


def _pictures(run: Run, folder: RunFolder, processes: Processes, say: Say) -> tuple[TrainingSet, Validation]:
    """What to train on and to be judged by; all that is wrong with any picture is found here, and listed at once."""
    config, scales = run.config.data, run.network.scales
    problems: list[str] = []
    with processes.together():
        cache = path_of(config.cache) if config.cache else default_cache()
        sources = _sources(config, scales, problems)
        judged_by = _validation_sources(config, scales, problems)
        _refuse_inside([("-o", folder.path), ("--cache", cache)], sources)
        _refuse_overlap(config, sources, [source for some in judged_by.values() for source in some])
    for note in left_out(source.root for source in sources):
        say(f"data: {note}")
    with processes.together():
        try:
            pairs = pairs_by_scale(judged_by, problems)
            with show_preparation() if processes.is_first else contextlib.nullcontext(lambda *_: None) as report:
                data = open_training_set(
                    sources,
                    scales,
                    run.config.training.patch,
                    rescale=config.rescale,
                    cache=cache,
                    device=processes.device,
                    report=report,
                    problems=problems,
                )
        except UnusablePicturesError as err:
            if not (err.is_cut and processes.is_first):
                raise
            write_text(folder.problems_file, "\n".join(err.problems) + "\n")
            raise DataError(f"{err}; all of them are in {folder.problems_file}") from err
    _check_agreement("other pictures", data.fingerprint, processes)
    validation = Validation(pairs, PROTOCOLS[config.protocol])
    with processes.together():
        # A picture that cannot be scored is found here, and not at the first validation, hours later.
        bicubic = validation.bicubic() if processes.is_first else {}
    for scale, psnr in bicubic.items():
        count = len(validation.pairs[scale])
        say(f"validation: {count} pictures of {config.val}, x{scale}, bicubic: {config.protocol} {psnr:.3f} dB")
    if run.resume is not None and run.resume.get("validation") and is_judged_anew(run.resume, validation):
        say("validation: other pictures or another protocol than before, so the best weights are chosen anew")
    for note in data.notes:
        say(f"data: {note}")
    return data, validation


def _sources(config: DataConfig, scales: tuple[int, ...], problems: list[str]) -> list[Source]:
    if not config.data:
        raise EdsrError("--data is missing: give a folder of photographs")
    ranges = config.train or ("all",) * len(config.data)
    return [
        source
        for folder, text in zip(config.data, ranges, strict=True)
        for source in find_sources(path_of(folder), scales, config.track, Selection.parse(text), problems=problems)
    ]


def _validation_sources(config: DataConfig, scales: tuple[int, ...], problems: list[str]) -> dict[int, list[Source]]:
    if config.val is None:
        return {}
    folder = path_of(config.val)
    if folder.is_dir():
        return {scale: benchmark_sources(folder, scale, problems) for scale in scales}
    try:
        numbers = Selection.parse(config.val)
    except EdsrError:
        numbers = ALL
    if numbers == ALL:
        raise EdsrError(
            f"--val {config.val}: there is no such folder, nor are these numbers of the first --data, such as 801-810"
        )
    sources = find_sources(path_of(config.data[0]), scales, config.track, numbers, problems=problems)
    return dict.fromkeys(scales, sources)


def _refuse_inside(written: Sequence[tuple[str, Path]], sources: Sequence[Source]) -> None:
    """A run that writes where it looks for photographs would be trained on its own curves the next time."""
    for option, path in written:
        for root in dict.fromkeys(source.root for source in sources):
            inner, outer = path.resolve(), root.resolve()
            if not inner.is_relative_to(outer):
                continue
            if not any(part.startswith(".") for part in inner.relative_to(outer).parts):
                raise EdsrError(
                    f"{option} {path}: lies in {root}, where all pictures are trained on. Choose a folder outside"
                )


def _refuse_overlap(config: DataConfig, sources: Sequence[Source], judged_by: Sequence[Source]) -> None:
    validated = dict.fromkeys(source.hr for source in judged_by)
    if same := same_files(validated, (source.hr for source in sources)):
        file, other = same[0]
        named = file.name if file == other else f"{file.name} is {other}"
        raise EdsrError(
            f"--val {config.val}: {len(same)} of its pictures are trained on too ({named}). Give --train the others"
        )


@contextlib.contextmanager
def _watchers(
    run: Run, folder: RunFolder, validation: Validation, processes: Processes, say: Say
) -> Iterator[tuple[Watcher, ...]]:
    if not processes.is_first:
        yield ()
        return
    from edsr_train.board import Board

    with contextlib.ExitStack() as stack, show_progress(run.config.training, run.done, say) as display:
        yield (
            Tolerant(lambda: display, "the terminal", say),
            Tolerant(lambda: Journal(folder.log_file, run.told), folder.log_file.name, say),
            Tolerant(
                lambda: stack.enter_context(contextlib.closing(Board(folder.board_folder, run.told, validation))),
                folder.board_folder.name,
                say,
            ),
        )
