"""Signals that end a command: at once where nothing is lost by that, at a good moment while a network is trained."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, ``kill``, and a terminal that was closed."""
Handler = Callable[[int, FrameType | None], None]


class InterruptedBySignalError(KeyboardInterrupt):
    """A signal ended the work at once."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number
        """What a shell expects of a command that this signal ended."""


class StopRequest:
    """Whether something asked to stop, and which signal that was, or would have been."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a command that a signal ended."""
        assert self.signal is not None
        return 128 + self.signal


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within the block, every signal raises ``InterruptedBySignalError``, so that what was begun is cleaned up."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise InterruptedBySignalError(number)

    with _handlers({number: interrupt for number in SIGNALS}):
        yield


@contextmanager
def stop_requests(said: str = "", *, twice_ends: bool = True) -> Iterator[StopRequest]:
    """Within the block, the first signal is only noted: an update must not be cut in two, nor a file.

    Args:
        said: is written to stderr then, at once.
        twice_ends: whether a second Ctrl-C ends at once; other signals never do, as they may come several times by
            themselves: ``torchrun`` passes each on to all its processes, and sends one more.
    """
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        if request and number == signal.SIGINT and twice_ends:
            raise InterruptedBySignalError(number)
        if not request:
            request.signal = signal.Signals(number)
            with contextlib.suppress(OSError):  # not print: that may be what was interrupted
                os.write(2, f"\n{said}\n".encode() if said else b"")

    with _handlers({number: note for number in SIGNALS}):
        yield request


@contextmanager
def _handlers(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Set handlers, but for signals that this process was started to ignore (``nohup``)."""
    before = {number: signal.getsignal(number) for number in handlers}
    changed = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in changed:
        signal.signal(number, handlers[number])
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])
