"""Ctrl-C as a request that is granted at a good moment."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether a signal asked to stop, and which."""

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
def stop_requests() -> Iterator[StopRequest]:
    """Within the block, the first SIGINT or SIGTERM is only noted; a second one acts as usual, at once.

    An update must not be cut in two: its weights and its optimizer would no longer belong together.
    """
    request = StopRequest()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number: int, _: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
