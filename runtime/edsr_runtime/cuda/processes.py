"""Several GPUs: a process for each, and every one does its share of the pictures.

A process sees only its own GPU (CUDA_VISIBLE_DEVICES), so nothing else has to know of several. What it has to say comes
through a pipe and is told to the same watcher, in the caller's thread.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_runtime.jobs import Job
from edsr_runtime.pipeline import Engine, Options, Result, Seconds, Watcher, upscale_files

VISIBLE = "CUDA_VISIBLE_DEVICES"
_FOR_THE_PARENT = (signal.SIGINT, signal.SIGHUP)
_GRACE_S = 30.0  # for a process that is told to end: it removes what it has half written


class Open(Protocol):
    """Loads the model, in the process of a GPU; it is sent there, so it must be a module's function or class."""

    def __call__(self, *, note: Callable[[str], None]) -> AbstractContextManager[Engine]: ...


def visible_device(index: int, visible: str | None) -> str:
    """What CUDA_VISIBLE_DEVICES must be for one of the GPUs that it, as it is, leaves.

    Raises:
        EnvironmentUnfitError: it does not leave so many.
    """
    if visible is None:
        return str(index)
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if index >= len(names):
        raise EnvironmentUnfitError(f"there is no GPU {index}: {VISIBLE} is {visible!r}")
    return names[index]


def upscale_on_gpus(
    jobs: Sequence[Job],
    gpus: Sequence[int],
    open_engine: Open,
    options: Options,
    watcher: Watcher,
    say: Callable[[str], None],
) -> Seconds:
    """``upscale_files`` on several GPUs: the n-th of them does every n-th picture.

    Args:
        jobs: all pictures.
        gpus: indices, each once.
        open_engine: loads the model in each process.
        options: of files.
        watcher: see ``upscale_files``.
        say: takes sentences for the user.

    Returns:
        Sums over the processes, and the time that passed.

    Raises:
        EdsrError: of one of them, which ends the others; so does whatever else is raised here.
    """
    start = time.perf_counter()
    devices = {gpu: visible_device(gpu, os.environ.get(VISIBLE)) for gpu in gpus}
    shares = {gpu: list(jobs[position :: len(gpus)]) for position, gpu in enumerate(gpus)}
    spent: list[Seconds] = []
    with _without_empty_folders(jobs), _processes() as begin:
        pipes = {begin(_work, devices[gpu], share, open_engine, options): gpu for gpu, share in shares.items() if share}
        while pipes:
            for pipe in wait(list(pipes)):
                assert isinstance(pipe, Connection)
                try:
                    message: _Message = pipe.recv()
                except (EOFError, OSError) as err:  # between two messages, or in the middle of one
                    raise EnvironmentUnfitError(
                        f"the process for GPU {pipes[pipe]} has ended before its work was done"
                    ) from err
                if message.kind == "said":
                    say(f"GPU {pipes[pipe]}: {message.content[0]}")
                elif message.kind == "failed":
                    text, exit_code = message.content
                    error = EdsrError(f"GPU {pipes[pipe]}: {text}")
                    error.exit_code = exit_code
                    raise error
                elif message.kind == "done":
                    spent.append(message.content[0])
                    del pipes[pipe]
                else:
                    getattr(watcher, message.kind)(*message.content)
    return Seconds(
        decode=sum(seconds.decode for seconds in spent),
        infer=sum(seconds.infer for seconds in spent),
        encode=sum(seconds.encode for seconds in spent),
        waited=sum(seconds.waited for seconds in spent),
        total=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class _Message:
    kind: str
    """``opened``, ``advanced`` and ``finished`` are for the watcher; ``said``, ``failed``, ``done``."""
    content: tuple[Any, ...]


class _Sender:
    """The watcher in a process."""

    def __init__(self, pipe: "Connection[_Message, _Message]") -> None:
        self._pipe = pipe
        self._one_at_a_time = threading.Lock()

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        self.send("opened", job, lr_hw)

    def advanced(self, job: Job, pixels: int) -> None:
        self.send("advanced", job, pixels)

    def finished(self, result: Result) -> None:
        self.send("finished", result)

    def send(self, kind: str, *content: Any) -> None:
        with self._one_at_a_time:
            self._pipe.send(_Message(kind, content))


def _work(pipe: Any, device: str, jobs: Sequence[Job], open_engine: Open, options: Options) -> None:
    """What a process does."""
    os.environ[VISIBLE] = device
    for number in _FOR_THE_PARENT:  # they come to all processes of a terminal; who ends these is their parent
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    sender = _Sender(pipe)
    try:
        with open_engine(note=lambda line: sender.send("said", line)) as engine:
            sender.send("said", getattr(engine, "description", "ready"))
            seconds = upscale_files(jobs, engine, options, sender)
        sender.send("done", seconds)
    except EdsrError as err:
        sender.send("failed", str(err), err.exit_code)
    except KeyboardInterrupt:
        pass
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


def _end(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: nothing must come between the cleaning up
    raise KeyboardInterrupt


@contextmanager
def _without_empty_folders(jobs: Sequence[Job]) -> Iterator[None]:
    """Remove folders that were not there before and stayed empty: the process that made one may not be the last."""
    parents = {folder for job in jobs for folder in job.target.parents}
    absent = sorted((folder for folder in parents if not folder.exists()), key=lambda folder: -len(folder.parts))
    try:
        yield
    finally:
        for folder in absent:
            with suppress(OSError):  # it is not empty, as it should be, or was never made
                folder.rmdir()


@contextmanager
def _processes() -> Iterator[Callable[..., Any]]:
    """Gives what begins a process and returns the pipe out of it. In the end none is left, whatever happened."""
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    resource_tracker.ensure_running()  # which begins with the first process else, and unblocks signals
    begun: list[SpawnProcess] = []
    pipes: list[Connection[Any, Any]] = []

    def begin(work: Callable[..., None], *arguments: Any) -> Any:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(sender, *arguments))
        pipes.append(receiver)
        # What is blocked here is blocked there too, until it is ignored: a process that is only just loading its
        # modules would show them all in a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)
        try:
            process.start()
            begun.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            sender.close()  # this end of it is the process's alone: when that ends, reading ends
        return receiver

    try:
        yield begin
    except BaseException:
        for process in begun:
            process.terminate()
        raise
    finally:
        for process in begun:
            with suppress(KeyboardInterrupt):  # of somebody impatient
                process.join(_GRACE_S)
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in pipes:
            pipe.close()
