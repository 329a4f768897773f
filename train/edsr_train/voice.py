"""What a run says on stdout, also when nobody listens any more."""

import contextlib
import os
import sys


class Voice:
    """Prints lines; a reader that went away (``| head``) is noted instead of ending the run in the middle."""

    def __init__(self) -> None:
        self.is_cut = False
        """Whether the other end of a pipe is closed."""

    def __call__(self, text: str) -> None:
        """Print a line."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            self.is_cut = True
            _silence()
        except OSError:  # a terminal that is gone, a full disk under a redirected log: the run is worth more
            _silence()


def _silence() -> None:
    """Nothing that is printed from now on goes anywhere, or Python fails once more when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
