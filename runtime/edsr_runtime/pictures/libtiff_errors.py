"""What libtiff finds wrong with a file. Pillow lets it print that on stderr and goes on with wrong pixels.

libtiff reports an error through one function for the whole process. Ours remembers it for the thread that decodes.
"""

import ctypes
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import TiffImagePlugin  # noqa: F401  (loads the libtiff that decodes)

_MAPS = Path("/proc/self/maps")
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)

_found = threading.local()


def _remember(module: bytes | None, message: bytes | None, arguments: int | None) -> None:
    names = getattr(_found, "names", None)
    if names is not None:
        names.append((module or b"libtiff").decode("latin-1"))


_handler = _HANDLER(_remember)  # as long as libtiff may call it


def _install() -> bool:
    """Whether there is a libtiff that can be told; where Pillow was built with its own inside, there is none."""
    try:
        maps = _MAPS.read_text()
    except OSError:
        return False
    libraries = sorted(set(re.findall(r"(/\S*/libtiff[^/\s]*\.so\S*)", maps)))
    for library in libraries:
        try:
            ctypes.CDLL(library).TIFFSetErrorHandler(_handler)
        except (OSError, AttributeError):
            return False
    return bool(libraries)


IS_HEARD = _install()
"""Whether libtiff's errors are heard of in this process."""


@contextmanager
def libtiff_errors() -> Iterator[None]:
    """Raise what libtiff reports while the block runs.

    Raises:
        ValueError: it found something wrong; the part of it that did.
    """
    _found.names = []
    try:
        yield
        if _found.names:
            raise ValueError(f"libtiff, {_found.names[0]}")
    finally:
        del _found.names
