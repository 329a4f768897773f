"""A job on a Ray cluster: paths go out, receipts come back, pixels stay where they are read and written.

Every actor loads the model once and does a few pictures at a time, as this process would. The journal is kept here
alone. Actors and nodes may die: their pictures are given to others, who find what is finished already, byte for byte.
Sources, targets and the model lie on storage that every machine sees under the same path, and that renames atomically.
"""

import contextlib
import logging
import os
import pickle
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.jobs import Job
from edsr_runtime.pictures.row_writer import remove_partials
from edsr_runtime.pipeline import Engine, Options, Result, Seconds, Watcher, upscale_files

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked for reports to its makers
try:
    import ray  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]
    from ray.data import DataContext  # pyright: ignore[reportMissingImports]
    from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]
except ImportError as err:
    raise MissingDependencyError("ray", extra="ray") from err

Open = Callable[[], AbstractContextManager[Engine]]
"""Loads the model in an actor; it is sent there."""

_ATTEMPTS = 4
_unsaid: list[str] = []
"""In an actor."""
BATCH = 4
"""Pictures that an actor is given at a time: enough to decode one and encode another while one is computed."""


@dataclass(frozen=True)
class Slots:
    """What an actor takes of a machine."""

    cpus: int = 1
    """Threads of the network."""
    gpus: int = 0
    """1: a GPU for each actor."""


def remember(line: str) -> None:
    """The ``note`` of an engine in an actor: the line goes to where the job was started, with the next receipts."""
    _unsaid.append(line)


def upscale_on_ray(
    jobs: Sequence[Job],
    open_engine: Open,
    options: Options,
    watcher: Watcher,
    *,
    address: str | None = None,
    slots: Slots | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Seconds:
    """``upscale_files`` on a cluster.

    Args:
        jobs: all pictures.
        open_engine: loads the model in every actor.
        options: of files.
        watcher: see ``upscale_files``; is told of pictures in the order in which they are done.
        address: of the cluster, such as ``ray://head:10001`` or ``auto``; None: one on this machine, for this job.
        slots: what an actor takes.
        say: takes sentences for the user.

    Raises:
        EdsrError: not of one picture alone: the model, the machines, the cluster.
    """
    slots = slots or Slots()
    start = time.perf_counter()
    spent: list[Seconds] = []
    left = dict(enumerate(jobs))
    gave_up: RayError | None = None
    told: set[str] = set()
    with _connected(address), _without_leftovers(jobs, options.tag):
        for attempt in range(_ATTEMPTS):
            if attempt:
                say(f"ray: {len(left)} pictures were lost with their actors, and are given to others")
            batch = BATCH if attempt == 0 else 1  # a picture that ends its actor takes no other one with it
            gave_up = None
            try:
                for answer in _answers(left, open_engine, options, slots, batch, say):
                    for line in answer.said:
                        if line not in told:  # several actors say the same
                            told.add(line)
                            say(line)
                    if answer.failure is not None:
                        text, exit_code = answer.failure
                        failure = EdsrError(text)
                        failure.exit_code = exit_code
                        raise failure
                    for number, result, pixels in answer.results:
                        _tell(watcher, replace(result, job=left.pop(number)), pixels)
                    spent.append(answer.seconds)
            except RayError as err:  # an actor that died before it began, for one
                gave_up = err
            if not left:
                break
    if left and gave_up is not None:
        raise EnvironmentUnfitError(
            f"the cluster gave up ({type(gave_up).__name__}: {_first_line(gave_up)}); finished pictures are intact: "
            "go on with --resume"
        ) from gave_up
    for job in left.values():
        error = f"{job.source}: the actor that worked on it ended, {_ATTEMPTS} times; try it alone, with --sandbox"
        watcher.finished(Result(job, error))
    return Seconds(
        decode=sum(seconds.decode for seconds in spent),
        infer=sum(seconds.infer for seconds in spent),
        encode=sum(seconds.encode for seconds in spent),
        waited=sum(seconds.waited for seconds in spent),
        total=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class _Answer:
    """Of an actor, for a few pictures."""

    results: tuple[tuple[int, Result, int], ...]
    """With their place in the list before, and the pixels that were computed behind."""
    seconds: Seconds
    said: tuple[str, ...] = ()
    """See ``remember``."""
    failure: tuple[str, int] | None = None
    """What ends the work: a sentence and an exit code."""


class _Collector:
    """The watcher in an actor."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.pixels: Counter[Job] = Counter()

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        pass

    def advanced(self, job: Job, pixels: int) -> None:
        self.pixels[job] += pixels

    def finished(self, result: Result) -> None:
        self.results.append(result)


class _Actor:
    """What works on the machines; Ray makes one for each slot."""

    def __init__(self, open_engine: Open, options: Options) -> None:
        self._options = options
        self._failure: tuple[str, int] | None = None
        try:
            self._engine = contextlib.ExitStack().enter_context(open_engine())
        except EdsrError as err:  # raised here, it would be tried again and again
            self._failure = str(err), err.exit_code

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        numbered = [pickle.loads(item) for item in batch["job"]]
        collector, seconds, failure = _Collector(), Seconds(0, 0, 0, 0, 0), self._failure
        if failure is None:
            try:
                seconds = upscale_files([job for _, job in numbered], self._engine, self._options, collector)
            except EdsrError as err:
                failure = str(err), err.exit_code
        said = tuple(_unsaid)
        _unsaid.clear()
        numbers = {job: number for number, job in numbered}
        results = tuple((numbers[one.job], one, collector.pixels[one.job]) for one in collector.results)
        return {"answer": [pickle.dumps(_Answer(results, seconds, said, failure))]}


def _answers(
    jobs: Mapping[int, Job],
    open_engine: Open,
    options: Options,
    slots: Slots,
    batch: int,
    say: Callable[[str], None],
) -> Iterator[_Answer]:
    """As they come; none for what was lost with an actor or a node.

    Ray is not asked to try again by itself: it would wait for the same actor to come back, for which there may be no
    room any more.
    """
    actors = _actors(slots, -(-len(jobs) // batch))
    nodes = len(_alive())
    say(f"ray: {actors} actor{'s' if actors > 1 else ''} on {nodes} node{'s' if nodes > 1 else ''}")
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    context.execution_options.preserve_order = False
    rows = [{"job": pickle.dumps((number, _absolute(job)))} for number, job in jobs.items()]
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on names of options that will change after the versions that we allow
        dataset = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // batch)).map_batches(
            _Actor,
            fn_constructor_args=(open_engine, options),
            batch_size=batch,
            batch_format="numpy",
            concurrency=actors,
            num_cpus=slots.cpus,
            num_gpus=slots.gpus or None,
            max_restarts=0,
            max_task_retries=0,
        )
    for row in dataset.iter_rows():
        answer = pickle.loads(row["answer"])
        assert isinstance(answer, _Answer)
        yield answer


def _tell(watcher: Watcher, result: Result, pixels: int) -> None:
    if result.lr_hw is not None:
        watcher.opened(result.job, result.lr_hw)
        watcher.advanced(result.job, pixels)
    watcher.finished(result)


def _absolute(job: Job) -> Job:
    """An actor runs in another folder."""
    return replace(job, source=Path(os.path.abspath(job.source)), target=Path(os.path.abspath(job.target)))


@contextlib.contextmanager
def _without_leftovers(jobs: Sequence[Job], tag: str) -> Iterator[None]:
    """Of actors that were killed."""
    try:
        yield
    finally:
        for folder in {job.target.parent for job in jobs} if tag else ():
            remove_partials(folder, tag)


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    if ray.is_initialized():  # whoever has done that also ends it
        yield
        return
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False if address is None else None,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as err:
        where = "on this machine" if address is None else f"at {address}"
        raise EnvironmentUnfitError(f"there is no Ray cluster {where} ({_first_line(err)})") from err
    try:
        yield
    finally:
        ray.shutdown()


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _actors(slots: Slots, batches: int) -> int:
    """As many as fit into the machines there are, and no more than have something to do."""
    fitting = 0
    for node in _alive():
        found = node["Resources"]
        share = int(found.get("CPU", 0)) // slots.cpus
        fitting += min(share, int(found.get("GPU", 0)) // slots.gpus) if slots.gpus else share
    if not fitting:
        what = f"{slots.cpus} CPUs" + (f" and {slots.gpus} GPU" if slots.gpus else "")
        raise EnvironmentUnfitError(
            f"no machine of the cluster has {what} for an actor: use fewer --threads, or no --gpus"
        )
    return max(1, min(fitting, batches))


def _first_line(err: BaseException) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]
