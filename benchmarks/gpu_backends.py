"""The product itself on a GPU: TensorRT's engines and onnxruntime's CUDA provider, where they are installed."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import torch

from benchmarks.engine_folder import engines_below
from benchmarks.gpu_networks import BASELINE, TINY, Kind
from benchmarks.gpu_place import Place
from benchmarks.gpu_runner import rounded
from benchmarks.gpu_sections import NotHereError
from benchmarks.pictures import Rgb, texture
from benchmarks.targets import Target
from benchmarks.timing import Candidate, Spread, interleave, milliseconds, spread
from edsr_runtime.errors import EnvironmentUnfitError, GateError, MissingDependencyError
from edsr_runtime.trt.driver import cuda_driver

_TILE = 256
_SAME_FUNCTION = 2  # grey levels after rounding: FP16 against FP32


@dataclass(frozen=True)
class BackendRow:
    """One backend and one kind of work, array to array."""

    name: str
    description: str
    ms: Spread
    largest: int
    """From PyTorch's FP32 on the CPU, grey levels after rounding."""
    changed_share: float
    samples_ms: list[float]


@dataclass(frozen=True)
class BackendResult:
    """EDSR-baseline x4, one picture of the engine's tile."""

    network: str
    side: int
    rows: list[BackendRow]
    targets: list[Target]


def measure_tensorrt(smoke: bool) -> BackendResult:
    """An engine in FP16, built here; float and the self-ensemble.

    Raises:
        NotHereError: no TensorRT that runs here is installed.
        GateError: it computes something else than PyTorch.
    """
    from edsr_runtime.trt.flavour import load_flavour

    if smoke:
        raise NotHereError("a smoke run has no GPU; what is done here, it does with onnxruntime")
    try:
        driver, flavour = cuda_driver(), load_flavour()
    except (EnvironmentUnfitError, MissingDependencyError) as err:
        raise NotHereError(str(err)) from err
    if flavour.kind == "rtx" and driver.gpus[0].sm not in flavour.trt.ComputeCapability.__members__:
        raise NotHereError(f"{flavour} is not for the {driver.gpus[0]}")
    return _measure(smoke, "tensorrt", "fp16", build=True)


def measure_onnxruntime(smoke: bool) -> BackendResult:
    """The CUDA provider with bound input and output, in FP32.

    Raises:
        NotHereError: onnxruntime-gpu is not installed.
        GateError: it computes something else than PyTorch.
    """
    try:
        import onnxruntime as ort
    except ImportError as err:
        raise NotHereError(f"onnxruntime is not installed ({err})") from err
    if not smoke and "CUDAExecutionProvider" not in ort.get_available_providers():
        raise NotHereError(f"onnxruntime {ort.__version__} has no CUDA: onnxruntime-gpu is not installed")
    return _measure(smoke, "onnxruntime", "fp32", build=False)


def _measure(smoke: bool, backend: str, precision: str, build: bool) -> BackendResult:
    kind, side, rounds = (TINY, 24, 2) if smoke else (BASELINE, _TILE, 20)
    rgb = texture(side, side)
    with _folder() as folder, contextlib.ExitStack() as stack:
        model = _exported(kind, folder, precision)
        from edsr_runtime.upscaler import Upscaler

        runs: dict[str, Callable[[], Rgb]] = {}
        descriptions: dict[str, str] = {}
        for name, ensemble in ((backend, False), (f"{backend}, self-ensemble", True)):
            upscaler = stack.enter_context(
                Upscaler(model, backend, self_ensemble=ensemble, build=build, needs_gpu=not smoke)
            )
            runs[name], descriptions[name] = partial(upscaler.upscale, rgb), upscaler.description
        reference = {backend: _reference(kind, rgb, False), f"{backend}, self-ensemble": _reference(kind, rgb, True)}
        differences = {name: np.abs(run().astype(np.int16) - reference[name]) for name, run in runs.items()}
        for name, difference in differences.items():
            if difference.max() > _SAME_FUNCTION:
                raise GateError(f"{name} differs from PyTorch by {difference.max()} grey levels, allowed 2")
        seconds = interleave([Candidate(name, run) for name, run in runs.items()], rounds)
    rows = [
        BackendRow(
            name,
            descriptions[name],
            spread(milliseconds(taken)),
            int(differences[name].max()),
            float((differences[name] > 0).mean()),
            milliseconds(taken),
        )
        for name, taken in seconds.items()
    ]
    return BackendResult(kind.name, side, rows, [])


@torch.inference_mode()
def _reference(kind: Kind, rgb: Rgb, ensemble: bool) -> Rgb:
    sr: Rgb = rounded(kind.network(), rgb[None], Place(torch.device("cpu")), ensemble)[0]
    return sr


def _exported(kind: Kind, folder: Path, precision: str) -> Path:
    from edsr_export.exporting import ExportOptions, export_checkpoint
    from edsr_train.checkpoint import save_checkpoint

    checkpoint = folder / "network.pt"
    save_checkpoint(checkpoint, kind.network())
    options = ExportOptions(precision="fp16" if precision == "fp16" else "fp32")
    try:
        (exported,) = export_checkpoint(checkpoint, folder, options)
    except PackageNotFoundError as err:  # a file names the version that wrote it
        raise NotHereError("the project is not installed: pip install --no-deps -e .") from err
    return exported.path


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """For models, and for the engines of them: none of the user's is touched."""
    with tempfile.TemporaryDirectory(prefix="edsr-gpu-") as name, engines_below(Path(name)):
        yield Path(name)
