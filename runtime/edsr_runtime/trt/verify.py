"""Whether an engine computes what its network computes: against onnxruntime in FP32, on the CPU."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.backends.base import to_uint8
from edsr_runtime.contract import Contract, read_contract
from edsr_runtime.errors import DataError, EdsrError, GateError, MissingDependencyError, ModelFileError
from edsr_runtime.metrics import PROTOCOLS
from edsr_runtime.model_check import check_model
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.resize import crop_to_multiple, imresize
from edsr_runtime.trt.limits import LARGEST, PSNR_LOSS_DB, RMS
from edsr_runtime.trt.making import export_command
from edsr_runtime.trt.profile import Profile, Size

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
RunFloat = Callable[[Floats], Floats]
"""(N, 3, H, W) of 0..255 -> (N, 3, sH, sW), not clamped."""
RunUint8 = Callable[[Pixels], Pixels]
"""(N, H, W, 3) -> (N, sH, sW, 3)."""

_ROUNDING = 0.5  # by which a uint8 differs from any network
_LONGEST_SIDE = 96  # of invented pictures: onnxruntime needs seconds for larger ones in EDSR
_MOST_AT_ONCE = 2
_PROTOCOL = PROTOCOLS["paper-y"]
_DEMO = Path(__file__).parent.parent / "demo" / "coffee_hr.png"


@dataclass(frozen=True)
class Agreement:
    """How far engine and reference are apart, grey levels."""

    largest: float
    rms: float
    samples: int
    changed: float
    """Share of samples that differ after rounding to 8 bits."""
    rounded: bool
    """The engine gives uint8, so what its rounding hides is not in the numbers above."""


@dataclass(frozen=True)
class Loss:
    """PSNR that the engine loses against the reference, on true pictures."""

    mean_db: float
    worst_db: float
    pictures: int
    protocol: str


@dataclass(frozen=True)
class Pair:
    """A true picture and its small version, both (H, W, 3)."""

    name: str
    lr: Pixels
    hr: Pixels


def open_reference(path: Path, contract: Contract) -> RunFloat:
    """The same network in onnxruntime, FP32, on the CPU: on GPUs its FP32 is TF32.

    Args:
        path: ONNX file.
        contract: of the engine, which must be of the same network.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        ModelFileError: the file is of something else than this network in FP32, or cannot be read.
    """
    found = read_contract(path)
    check_model(path)
    for name, has, wants in (
        ("precision", found.precision, "fp32"),
        ("io", found.io, "float"),
        ("checkpoint", found.source_sha256[:12], contract.source_sha256[:12]),
        ("scale", found.scale, contract.scale),
        ("self-ensemble inside", found.self_ensemble, contract.self_ensemble),
    ):
        if has != wants:
            command = export_command(contract, "fp32", "float", contract.self_ensemble)
            raise ModelFileError(
                f"{path}: its {name} is {has}, expected {wants} to compare the engine with. Export it with: {command}"
            )
    try:
        import onnxruntime as ort
    except ImportError as err:
        raise MissingDependencyError("onnxruntime", extra="cpu") from err
    try:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as err:  # onnxruntime's exceptions have no common base but this
        raise ModelFileError(f"{path}: onnxruntime cannot read it. Copy or export it again.") from err

    def run(lr: Floats) -> Floats:
        return np.asarray(session.run(None, {"input": np.ascontiguousarray(lr)})[0], np.float32)

    return run


def compare_float(engine: RunFloat, reference: RunFloat, pictures: Iterable[Pixels]) -> Agreement:
    """Both on the same (N, H, W, 3) pictures, every sample.

    Raises:
        GateError: the engine gives another shape, NaN or infinity.
    """
    tally = _Tally(rounded=False)
    for lr in pictures:
        planar = lr.transpose(0, 3, 1, 2).astype(np.float32)
        ours, truth = engine(planar), reference(planar)
        _check_output(ours, truth.shape, lr)
        tally.add(np.abs(ours.astype(np.float64) - truth), to_uint8(ours) != to_uint8(truth))
    return tally.result()


def compare_uint8(engine: RunUint8, reference: RunFloat, pictures: Iterable[Pixels]) -> Agreement:
    """The same for an engine with uint8 in and out: what its results differ by, beyond rounding.

    Raises:
        GateError: the engine gives another shape.
    """
    tally = _Tally(rounded=True)
    for lr in pictures:
        truth = reference(lr.transpose(0, 3, 1, 2).astype(np.float32)).transpose(0, 2, 3, 1)
        ours = engine(lr)
        _check_output(ours, truth.shape, lr)
        beyond = np.abs(ours.astype(np.float64) - truth.clip(0, 255)) - _ROUNDING
        tally.add(beyond.clip(0, None), ours != to_uint8(truth.transpose(0, 3, 1, 2)))
    return tally.result()


def lost_psnr(engine: RunUint8, reference: RunFloat, pairs: Iterable[Pair], scale: int) -> Loss:
    """Against the originals, one picture at a time.

    Args:
        engine: the engine, to 8 bits.
        reference: the network in FP32.
        pairs: all that are counted.
        scale: of the model.

    Raises:
        DataError: there is no pair.
    """
    losses = []
    for pair in pairs:
        lr = pair.lr[None]
        truth = to_uint8(reference(lr.transpose(0, 3, 1, 2).astype(np.float32)))
        losses.append(_PROTOCOL.psnr(truth[0], pair.hr, scale) - _PROTOCOL.psnr(engine(lr)[0], pair.hr, scale))
    if not losses:
        raise DataError("there is no picture to compute PSNR on that fits into the engine's profile")
    return Loss(float(np.mean(losses)), max(losses), len(losses), _PROTOCOL.id)


def gate(agreement: Agreement, loss: Loss | None) -> None:
    """What is allowed.

    Raises:
        GateError: more than that.
    """
    if agreement.largest > LARGEST:
        raise GateError(
            f"engine and onnxruntime differ by {agreement.largest:.3g} grey levels at most, allowed {LARGEST:g}: "
            "do not use this engine"
        )
    if agreement.rms > RMS:
        raise GateError(
            f"engine and onnxruntime differ by {agreement.rms:.3g} grey levels rms, allowed {RMS:g}: "
            "do not use this engine"
        )
    if loss is not None and loss.mean_db > PSNR_LOSS_DB:
        raise GateError(
            f"the engine loses {loss.mean_db:.4f} dB ({loss.protocol}, {loss.pictures} pictures), allowed "
            f"{PSNR_LOSS_DB:g}: do not use this engine"
        )


def invented_pictures(profile: Profile) -> list[Pixels]:
    """(N, H, W, 3) that the profile takes: the smallest, noise with odd sides, edges and ramps in a batch.

    The same ones for the same profile.
    """
    random = np.random.default_rng(0)
    noise = _within(profile, Size(1, 41, 67))
    both = _within(profile, Size(_MOST_AT_ONCE, _LONGEST_SIDE, _LONGEST_SIDE))
    pictures = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in (profile.min, noise)]
    _, height, width = both
    ramp = np.linspace(0, 255, width).astype(np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    edges = np.where((np.arange(height)[:, None] // 7 + np.arange(width)[None] // 5) % 2, 255, 0).astype(np.uint8)
    stack = [ramp, edges[:, :, None].repeat(3, 2)] * (both.batch // 2 + 1)
    return [*pictures, np.stack(stack[: both.batch])]


def demo_pair(profile: Profile, scale: int) -> Iterator[Pair]:
    """The bundled photograph, its middle, as large as the profile takes; none if it takes only larger ones."""
    hr = crop_to_multiple(_rgb(_DEMO), scale)
    yield from _cut(_DEMO.stem, np.asarray(imresize(hr, 1 / scale), np.uint8), hr, profile, scale)


def set_pairs(folder: Path, profile: Profile, scale: int) -> Iterator[Pair]:
    """A benchmark set: ``HR/<name>.png`` and ``LR_bicubic/X<scale>/<name>x<scale>.png``, each picture's middle.

    Raises:
        DataError: not such a folder, or a picture without its partner.
    """
    originals = sorted((folder / "HR").glob("*.png"))
    if not originals:
        raise DataError(f"{folder}: expected pictures in {folder / 'HR'}, found none")
    for path in originals:
        small = folder / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"
        if not small.is_file():
            raise DataError(f"{path}: expected its small version {small}, which is not there")
        yield from _cut(path.stem, _rgb(small), _rgb(path), profile, scale)


class _Tally:
    def __init__(self, rounded: bool) -> None:
        self._rounded = rounded
        self._largest = self._squares = 0.0
        self._changed = self._count = 0

    def add(self, difference: NDArray[np.float64], changed: NDArray[np.bool_]) -> None:
        self._largest = max(self._largest, float(difference.max()))
        self._squares += float((difference**2).sum())
        self._changed += int(changed.sum())
        self._count += difference.size

    def result(self) -> Agreement:
        assert self._count, "nothing was compared"
        rms = float(np.sqrt(self._squares / self._count))
        return Agreement(self._largest, rms, self._count, self._changed / self._count, self._rounded)


def _check_output(ours: NDArray[Any], shape: tuple[int, ...], lr: Pixels) -> None:
    if ours.shape != shape:
        raise GateError(f"the engine gives {ours.shape} where onnxruntime gives {shape}: do not use this engine")
    if not np.isfinite(ours).all():
        raise GateError(f"the engine gives NaN or infinity for an input of {lr.shape}: do not use this engine")


def _within(profile: Profile, size: Size) -> Size:
    """The nearest size that the profile takes."""
    return Size(*(min(max(n, low), high) for low, n, high in zip(profile.min, size, profile.max, strict=True)))


def _cut(name: str, lr: Pixels, hr: Pixels, profile: Profile, scale: int) -> Iterator[Pair]:
    height, width = (min(side, limit) for side, limit in zip(lr.shape[:2], profile.max[1:], strict=True))
    if not profile.holds(Size(1, height, width)):
        return
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
    inner = hr[scale * top : scale * (top + height), scale * left : scale * (left + width)]
    if inner.shape[:2] != (scale * height, scale * width):
        raise EdsrError(f"{name}: the original is {hr.shape[:2]}, expected {scale} times {lr.shape[:2]} (HxW)")
    yield Pair(name, np.ascontiguousarray(lr[top : top + height, left : left + width]), np.ascontiguousarray(inner))


def _rgb(path: Path) -> Pixels:
    pixels = read_picture(path).pixels
    if pixels.dtype != np.uint8:
        raise DataError(f"{path}: has {pixels.dtype} samples, expected 8 bits")
    return np.asarray(pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2), np.uint8)
