"""The compiled kernels, and whether this machine can run them."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

from edsr_runtime.cpu import cpu_flags
from edsr_runtime.errors import EnvironmentUnfitError

_NAME = "edsr_runtime.amx._convolutions"
_NEEDED = frozenset({"amx_tile", "amx_bf16", "avx512f", "avx512_bf16", "avx512bw", "avx512vl", "avx512dq"})
"""As Linux names them."""


class Plane(ctypes.Structure):
    """As in convolutions.c."""

    _fields_ = (("origin", ctypes.c_void_p), ("pitch", ctypes.c_int64), ("mask", ctypes.c_int32))


class Layer(ctypes.Structure):
    """As in convolutions.c."""

    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("kernel", "tiles", "is_rectified", "from_", "to", "skip")),
        ("is_paired", ctypes.c_int32),
        *((name, ctypes.c_int32) for name in ("top", "bottom", "left", "right")),
    )


class Network(ctypes.Structure):
    """As in convolutions.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("features", "height", "width", "scale", "threads", "count")),
        ("layers", ctypes.POINTER(Layer)),
        ("planes", ctypes.POINTER(Plane)),
        ("between", ctypes.POINTER(Plane)),
        *((name, ctypes.c_void_p) for name in ("lr", "first", "first_bias")),
        ("first_kernel", ctypes.c_int32),
        ("first_to", ctypes.c_int32),
        ("sr_bytes", ctypes.c_void_p),
        ("sr_floats", ctypes.c_void_p),
        ("arrived", ctypes.c_int32),
        ("is_not_finite", ctypes.c_int32),
    )


_STRUCTURES = (Plane, Layer, Network)


def check_machine() -> None:
    """Whether the kernels run here.

    Raises:
        EnvironmentUnfitError: they do not; the message is a sentence that says why.
    """
    if lacking := sorted(_NEEDED - cpu_flags().flags):
        raise EnvironmentUnfitError(
            f"this CPU, or what it is emulated by, has no {lacking[0]}, which our AMX kernels need"
        )
    if not load().edsr_amx_allowed():
        raise EnvironmentUnfitError("the system does not let programs use AMX, which our AMX kernels need")


@cache
def load() -> ctypes.CDLL:
    """The library. It loads on every machine; what needs AMX is in it only where it could be compiled.

    Raises:
        EnvironmentUnfitError: it is not there.
    """
    found = importlib.util.find_spec(_NAME)
    if found is None or found.origin is None:
        raise EnvironmentUnfitError(
            "our AMX kernels were not compiled when edsr-toolkit was installed: install gcc 11 or newer, then it again"
        )
    try:
        library = ctypes.CDLL(str(Path(found.origin)))
        layout = [library.edsr_layout(part) for part in range(len(_STRUCTURES))]
    except (OSError, AttributeError) as err:
        raise EnvironmentUnfitError(f"our AMX kernels do not load ({err}): install edsr-toolkit again") from err
    if layout != [ctypes.sizeof(structure) for structure in _STRUCTURES]:
        raise EnvironmentUnfitError("our AMX kernels were compiled from another version: install edsr-toolkit again")
    library.edsr_run.argtypes = (ctypes.POINTER(Network), ctypes.c_int, ctypes.c_int)
    library.edsr_run.restype = None
    if hasattr(library, "edsr_amx_products"):  # not compiled for other processors
        library.edsr_amx_products.argtypes = (ctypes.c_void_p, ctypes.c_int64)
        library.edsr_amx_products.restype = None
    return library
