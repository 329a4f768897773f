"""Which backend runs a model, and why: said in one line, never decided in silence."""

import ctypes
import importlib.util
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edsr_runtime.backends.base import Backend, Precision
from edsr_runtime.contract import Contract
from edsr_runtime.errors import EdsrError, MissingDependencyError

BACKENDS = ("openvino", "onnxruntime")
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class Choice:
    """A backend's name, and the reason if nobody asked for it."""

    name: str
    reason: str


def choose(backend: str) -> Choice:
    """Resolve ``auto``.

    Raises:
        MissingDependencyError: nothing is installed that could run a model.
    """
    if backend != "auto":
        if backend not in BACKENDS:
            raise EdsrError(f"unknown backend {backend!r}: expected auto, {' or '.join(BACKENDS)}")
        return Choice(backend, "as asked")
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if not installed:
        raise MissingDependencyError("openvino or onnxruntime", extra="cpu")
    if _onnxruntime_has_gpu():
        return Choice("onnxruntime", "auto: onnxruntime-gpu and an NVIDIA driver are installed")
    if installed[0] == "openvino":
        return Choice("openvino", "auto: the fastest on CPUs")
    return Choice("onnxruntime", "auto: openvino, which is faster on CPUs, is not installed")


def open_backend(
    name: str, path: Path, contract: Contract, precision: Precision | None, threads: int | None
) -> Backend:
    """Load a model; ``precision`` None is the backend's best for 8-bit pictures.

    Raises:
        MissingDependencyError: the backend's package is not installed.
    """
    try:
        if name == "openvino":
            from edsr_runtime.backends.ov import OpenVinoBackend

            return OpenVinoBackend(path, contract, precision, threads)
        from edsr_runtime.backends.ort import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, contract, precision, threads)
    except ImportError as err:
        raise MissingDependencyError(name, extra="cpu") from err


def _onnxruntime_has_gpu() -> bool:
    try:
        version("onnxruntime-gpu")
        ctypes.CDLL("libcuda.so.1")
    except (PackageNotFoundError, OSError):
        return False
    return True
