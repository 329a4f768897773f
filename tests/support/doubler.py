"""An upscaler that enlarges twice by repetition, for tests of several processes: it can be sent to them."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from edsr_runtime.cuda.processes import VISIBLE
from edsr_runtime.errors import EnvironmentUnfitError, NumericalError
from edsr_runtime.pictures.picture import Samples


class Doubler:
    """What it does with pictures is told by their first sample: 13 is refused, 14 is an error of the machine, 15 ends
    the process, 16 takes for ever, 17 meets what a terminal sends to all of its processes."""

    scale = 2
    description = "a doubler"

    def __init__(self, *, note: Callable[[str], None]) -> None:
        note(f"sees {os.environ[VISIBLE]}")
        self.note = note

    def bands(self, pixels: Samples, alpha: Samples | None = None) -> Iterator[Samples]:
        first = int(pixels[0, 0, 0])
        if first == 13:
            raise NumericalError("it is thirteen")
        if first == 14:
            raise EnvironmentUnfitError("no electricity")
        if first == 15:
            os._exit(7)
        if first == 17:
            for number in (signal.SIGINT, signal.SIGHUP):
                os.kill(os.getpid(), number)
        for row in pixels:
            yield np.repeat(np.repeat(row[None], 2, axis=0), 2, axis=1)
            if first == 16:
                self.note("waiting")
                time.sleep(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        pass
