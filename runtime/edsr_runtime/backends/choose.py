"""Which backend runs a model, and why: said in one line, never decided in silence."""

import ctypes
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edsr_runtime.amx.availability import why_not_amx
from edsr_runtime.backends.base import Backend, Precision
from edsr_runtime.backends.engines import Wish, build_engine_for, find_engine, is_engine
from edsr_runtime.contract import Contract
from edsr_runtime.cpu import cpu_flags
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, MissingDependencyError, ModelFileError
from edsr_runtime.trt.driver import cuda_driver

AMX = "amx"
"""Our own kernels, for some networks on some CPUs."""
BACKENDS = ("openvino", "onnxruntime")
"""What runs all ONNX files, in FP32 too."""
TENSORRT = "tensorrt"
"""What runs engines that were built of them."""
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class Choice:
    """A backend's name, and the reason if nobody asked for it."""

    name: str
    reason: str
    engine: Path | None = None
    """What TensorRT is to run."""


@dataclass(frozen=True)
class Model:
    """What is to be run."""

    path: Path
    """ONNX file or engine."""
    wish: Wish
    """What its engine is to do."""
    may_build: bool = False
    """If there is no engine."""
    note: Callable[[str], None] = lambda line: None
    """Takes sentences for the user while one is built."""
    needs_gpu: bool = False
    """Whether it is to be run on a GPU or not at all."""


def choose(backend: str, model: Model | None = None) -> Choice:
    """Resolve ``auto``, and find the engine where TensorRT is to run the model.

    Raises:
        MissingDependencyError: nothing is installed that could run a model.
        EdsrError: TensorRT was asked for, and there is no engine that could be used.
        EnvironmentUnfitError: a GPU was asked for, and nothing could run the model there.
    """
    if backend not in ("auto", AMX, *BACKENDS, TENSORRT):
        raise EdsrError(f"unknown backend {backend!r}: expected auto, {', '.join((AMX, *BACKENDS))} or {TENSORRT}")
    if model is not None and is_engine(model.path):
        if backend in (AMX, *BACKENDS):
            raise EdsrError(f"{model.path}: an engine is run by TensorRT, not by {backend}: leave --backend out")
        return Choice(TENSORRT, "as asked", model.path)
    if model is not None and model.needs_gpu:
        _check_gpu(backend)
    if backend in (AMX, *BACKENDS):
        return Choice(backend, "as asked")
    if backend == TENSORRT:
        assert model is not None
        return Choice(TENSORRT, "as asked", _engine_for(model))
    engine, against = (None, "") if model is None else _engine_if_possible(model)
    if engine is not None:
        return Choice(TENSORRT, "auto: there is an engine of it for this GPU", engine)
    if model is not None and model.needs_gpu and not _onnxruntime_has_gpu():
        lack = against.removeprefix("; ") or "there is no engine of it: build one with edsr-trt build, or pass --build"
        raise EnvironmentUnfitError(
            f"nothing here runs {model.path.name} on a GPU: {lack}; and onnxruntime-gpu is not installed"
        )
    return _choose_for_onnx(model, against)


def _check_gpu(backend: str) -> None:
    if backend in (AMX, "openvino"):
        raise EnvironmentUnfitError(f"{backend} runs on the CPU here, and a GPU was asked for: use another backend")
    cuda_driver()
    if backend == "onnxruntime" and not _onnxruntime_has_gpu():
        raise EnvironmentUnfitError(
            "a GPU was asked for, and onnxruntime is installed for the CPU only: install onnxruntime-gpu in its place"
        )


def _choose_for_onnx(model: Model | None, against: str) -> Choice:
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if not installed:
        raise MissingDependencyError("openvino or onnxruntime", extra="cpu")
    if _onnxruntime_has_gpu():
        return Choice("onnxruntime", f"auto: onnxruntime-gpu and an NVIDIA driver are installed{against}")
    if cpu_flags().has_amx and model is not None and model.wish.precision in (None, "bf16"):
        lack = why_not_amx(model.path)
        if lack is None:
            return Choice(AMX, f"auto: kernels of our own, the fastest on this CPU{against}")
        against += f"; {lack}"
    if installed[0] == "openvino":
        return Choice("openvino", f"auto: the fastest on CPUs{against}")
    return Choice("onnxruntime", f"auto: openvino, which is faster on CPUs, is not installed{against}")


def _engine_for(model: Model) -> Path:
    try:
        engine = find_engine(model.wish)
    except EdsrError:
        if not model.may_build:
            raise
        engine = None
    if engine is not None:
        return engine
    if not model.may_build:
        raise ModelFileError(
            f"there is no engine of {model.path.name} for what is asked: build one with edsr-trt build, or pass --build"
        )
    return build_engine_for(model.path, model.wish, model.note)


def _engine_if_possible(model: Model) -> tuple[Path | None, str]:
    """Or None, and what is to be said about that: nothing where nobody could expect an engine."""
    try:
        engine = find_engine(model.wish)
        against = ""
    except EdsrError as err:
        engine, against = None, f"; its engine cannot be used: {err}"
    if engine is not None or not model.may_build:
        return engine, against
    try:
        cuda_driver()
        return build_engine_for(model.path, model.wish, model.note), ""
    except (EnvironmentUnfitError, MissingDependencyError) as err:
        return None, f"; no engine was built: {err}"


def open_backend(
    name: str, path: Path, contract: Contract, precision: Precision | None, threads: int | None
) -> Backend:
    """Load a model; ``precision`` None is the backend's best for 8-bit pictures.

    Raises:
        MissingDependencyError: the backend's package is not installed.
    """
    try:
        if name == AMX:
            from edsr_runtime.backends.amx import AmxBackend

            return AmxBackend(path, precision, threads)
        if name == "openvino":
            from edsr_runtime.backends.ov import OpenVinoBackend

            return OpenVinoBackend(path, contract, precision, threads)
        from edsr_runtime.backends.ort import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, contract, precision, threads)
    except ImportError as err:
        raise MissingDependencyError(name, extra="cpu") from err


def exact_backend(name: str) -> tuple[str, Precision | None]:
    """What runs the same model in its highest precision on the same device, and that precision; None: the file's."""
    if name == AMX:
        name = "openvino" if importlib.util.find_spec("openvino") else "onnxruntime"
    return name, "fp32" if name == "openvino" else None


def _onnxruntime_has_gpu() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    from importlib.metadata import PackageNotFoundError, version  # slow; needed only where there is a driver

    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    return True
