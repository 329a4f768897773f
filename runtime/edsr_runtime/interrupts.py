"""Ctrl-C, ``kill`` and a closed terminal end a command alike: cleaned up, soon, and with one exit code.

Python lets a signal's handler run between two of its own steps only, and the step that computes a tile may take
minutes. So another thread hears of the signal at once, through a pipe. If the command has not ended by itself a moment
later, that thread saves what is known, removes unfinished files and ends the process.
"""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_INTERRUPTED = 130
GRACE_S = 1.2
"""How long a command may take to end by itself; saving and removing take less than the rest of two seconds."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupts(last_words: Callable[[], None]) -> Iterator[None]:
    """While the block runs, those signals raise ``KeyboardInterrupt`` in it, once; more of them change nothing.

    Args:
        last_words: what is to be done in a thread before the process ends, if the block does not end soon after a
            signal.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    heard, hear = os.pipe()
    os.set_blocking(hear, False)
    ended = threading.Event()
    watched = frozenset(number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)
    is_first = True

    def interrupt(number: int, frame: object) -> None:
        nonlocal is_first
        if is_first:  # nothing must come between the cleaning up
            is_first = False
            raise KeyboardInterrupt

    def watch() -> None:
        while True:
            select.select([heard], [], [])
            numbers = os.read(heard, 64)
            if ended.is_set():
                return
            if watched.intersection(numbers):
                break
        if not ended.wait(GRACE_S):
            with contextlib.suppress(Exception):
                last_words()
            os._exit(EXIT_INTERRUPTED)

    before = [(number, signal.signal(number, interrupt)) for number in watched]
    wakeup_before = signal.set_wakeup_fd(hear, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, name="edsr-interrupts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before:
            signal.signal(number, handler)
        with contextlib.suppress(OSError):
            os.write(hear, b"\0")
        thread.join()
        os.close(heard)
        os.close(hear)
