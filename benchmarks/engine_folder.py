"""Engines that are built to be measured stay out of the user's folder, and none of the user's is taken for them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_VARIABLE = "XDG_CACHE_HOME"


@contextlib.contextmanager
def engines_below(folder: Path) -> Iterator[None]:
    """Keep engines in this folder for a while."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE)
        if before is not None:
            os.environ[_VARIABLE] = before
