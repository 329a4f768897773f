"""Workers that share an engine, and tickets for what was handed in.

Work goes to the workers in turn, so results are there in the order of the tickets. Whoever hands something in while all
workers are busy first fetches the oldest result, which then waits in its ticket: nobody has to ask for results in time,
and one thread alone keeps all workers busy. Any number of threads may call.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from edsr_runtime.cuda.device import Device, DeviceMemoryError
from edsr_runtime.cuda.engine import Engine
from edsr_runtime.cuda.worker import Worker

WORKERS = 2
"""One computes while the pictures of the other are on their way."""


class Ticket:
    """For one piece of work."""

    def __init__(self, post: "_Post") -> None:
        self._post = post
        self._result: NDArray[Any] | None = None
        self._error: Exception | None = None
        self._is_cancelled = False

    def result(self) -> NDArray[Any]:
        """Wait for it. May be asked for again, and after the runner was closed.

        Raises:
            NonFiniteError: NaN or infinity in it.
            DeviceError: it failed on the device.
            ValueError: it was cancelled.
        """
        self._post.fetch(self)
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise ValueError("this work was cancelled")
        return self._result

    def cancel(self) -> None:
        """The result is not wanted. The device still finishes the work, but nothing of it is kept."""
        self._is_cancelled = True
        self._result = self._error = None

    def take(self, worker: Worker) -> None:
        """Fetch the result; for ``_Post``."""
        try:
            self._result = worker.finish()
        except Exception as err:
            self._error = err
        if self._is_cancelled:  # looked at last: it may come from another thread at any time
            self._result = self._error = None


class Runner:
    """Runs an engine on a device. Both must be closed after it."""

    def __init__(
        self,
        device: Device,
        engine: Engine,
        workers: int = WORKERS,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Make the first worker; the others are made when they are first needed.

        Args:
            device: where.
            engine: what.
            workers: how many pieces of work are under way at the same time, at most.
            note: takes a sentence for the user when there is not enough memory for so many.

        Raises:
            DeviceMemoryError, EngineError: it cannot be made; nothing is left behind.
        """
        assert workers > 0
        self._device = device
        self._engine = engine
        self._workers = workers
        self._note = note
        self._choosing = threading.Lock()
        self._posts = [_Post(device, engine) for _ in range(workers)]
        self._turn = 0
        self._is_closed = False
        with device.current():
            self._posts[0].open()

    def submit(self, pixels: NDArray[Any], ensemble: bool = False) -> Ticket:
        """Hand in work. It is under way when this returns, and the pictures may be changed.

        Args:
            pixels: (N, H, W, 3) uint8 or (N, 3, H, W) float32 of 0..255.
            ensemble: the mean of the eight views, before rounding; N is 1 then.

        Returns:
            For the result of the same type and layout; uint8 is clamped and rounded half to even, float32 is not.

        Raises:
            DeviceMemoryError: it needs more memory than there is, even with one worker only.
            EngineError, DeviceError: it cannot be done.
            ShapeError: another shape or type.
            ValueError: the runner was closed.
        """
        while True:
            post = self._next()
            try:
                ticket = post.start(pixels, ensemble)
            except DeviceMemoryError:
                if not self._dismiss(post):
                    self._recall()
                    raise
            else:
                if ticket is not None:
                    return ticket

    def run(self, pixels: NDArray[Any], ensemble: bool = False) -> NDArray[Any]:
        """``submit``, and wait for the result."""
        return self.submit(pixels, ensemble).result()

    def close(self) -> None:
        """Finish what is under way, for those who hold tickets, and give everything back."""
        with self._choosing:
            self._is_closed = True
            posts = list(self._posts)
        with contextlib.ExitStack() as closed:
            for post in posts:
                closed.callback(post.close)

    def _next(self) -> "_Post":
        with self._choosing:
            if self._is_closed:
                raise ValueError("this runner is closed")
            post = self._posts[self._turn % len(self._posts)]
            self._turn += 1
            return post

    def _dismiss(self, post: "_Post") -> bool:
        """Go on with one worker less, if there is another one."""
        with self._choosing:
            if post not in self._posts:  # another thread has met the same
                return True
            if len(self._posts) == 1:
                return False
            self._posts.remove(post)
            left = len(self._posts)
        post.close()
        self._note(f"the GPU's memory is enough for {left} worker{'s' if left > 1 else ''} only")
        return True

    def _recall(self) -> None:
        """Smaller work will come, for which there may be enough memory for all workers."""
        with self._choosing:
            missing = 0 if self._is_closed else self._workers - len(self._posts)
            self._posts += [_Post(self._device, self._engine) for _ in range(missing)]


class _Post:
    """A worker's place: the worker, once it is needed, and what it has in hand."""

    def __init__(self, device: Device, engine: Engine) -> None:
        self._device = device
        self._engine = engine
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._ticket: Ticket | None = None
        self._is_closed = False

    def open(self) -> Worker:
        """The worker; the context must be current."""
        if self._worker is None:
            self._worker = Worker(self._device, self._engine)
        return self._worker

    def start(self, pixels: NDArray[Any], ensemble: bool) -> Ticket | None:
        """None: it has been closed meanwhile."""
        with self._lock, self._device.current():
            if self._is_closed:
                return None
            self._finish()
            ticket = Ticket(self)
            self.open().start(pixels, ensemble)
            self._ticket = ticket
            return ticket

    def fetch(self, ticket: Ticket) -> None:
        with self._lock:
            if self._ticket is ticket:
                with self._device.current():
                    self._finish()

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._worker is not None:
                with self._device.current():
                    try:
                        self._finish()
                    finally:
                        self._worker.close()
                        self._worker = None

    def _finish(self) -> None:
        if self._ticket is not None:
            assert self._worker is not None
            self._ticket.take(self._worker)
            self._ticket = None  # only now: an interrupt while waiting leaves it in hand
