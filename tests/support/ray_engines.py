"""Engines for tests of several machines: they can be sent to actors."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from edsr_runtime.cluster.ray_executor import remember
from edsr_runtime.errors import EnvironmentUnfitError
from edsr_runtime.pictures.picture import Samples


class Doubling:
    """Enlarges twice by repetition. The first actor that is given a picture that begins with 15 is killed by it; a
    picture takes ``seconds``."""

    scale = 2

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self._folder = folder
        self._seconds = seconds
        remember("doubling")
        with (folder / "loaded").open("a") as file:
            file.write("once\n")

    def bands(self, pixels: Samples, alpha: Samples | None = None) -> Iterator[Samples]:
        if int(pixels[0, 0, 0]) == 15:
            try:
                (self._folder / "killed").open("x").close()
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self._seconds)
        yield np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Unfit:
    """Cannot be loaded."""

    def __init__(self) -> None:
        raise EnvironmentUnfitError("no such thing here")
