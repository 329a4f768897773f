"""What precision and folding cost in quality, with real weights on Set5, and what the self-ensemble gains."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.context import Context
from benchmarks.ours import EXPLICIT, OPENVINO_FP32, open_possible
from benchmarks.pictures import Rgb
from benchmarks.targets import Target, at_most
from benchmarks.torch_eager import TorchEager
from edsr_runtime.errors import DataError, MissingDependencyError
from edsr_runtime.metrics import PROTOCOLS
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import shipped_models
from edsr_train.checkpoint import load_network
from edsr_train.data.pictures import Pair
from edsr_train.data.sets import benchmark_pairs

SET = "Set5"
PROTOCOL = PROTOCOLS["paper-y"]
_LIMIT_DB = 0.01

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """A checkpoint among the benchmark data."""

    path: Path
    """Below the folder of the data."""
    scale: int
    res_scale: float
    """Which the file does not store."""
    self_ensemble: bool = False
    """Whether the gain of the self-ensemble is measured too."""


CHECKPOINTS = (
    Weights(Path("weights/edsr_mobile/edsr_r5f64_x2.pt"), 2, 1.0, self_ensemble=True),
    Weights(Path("weights/edsr_small/edsr_r8f32_x4.pt"), 4, 0.1),
)


@dataclass(frozen=True)
class QualityRow:
    """One candidate on all pictures; what is compared is compared with the model's reference."""

    name: str
    description: str
    psnr_db: float
    """Mean over pictures, as papers report it."""
    loss_db: float
    """The reference's PSNR less this one: positive is worse."""
    worst_loss_db: float
    """Largest of any picture."""
    rms_difference: float
    """Grey levels, clamped to 0..255 and not rounded, over all samples."""
    max_difference: float
    """The same, largest."""
    changed_share: float
    """Of samples, after rounding to uint8."""


@dataclass(frozen=True)
class EnsembleRow:
    """What averaging the eight flips and rotations gains."""

    name: str
    psnr_db: float
    """With the self-ensemble."""
    gain_db: float


@dataclass(frozen=True)
class QualityCase:
    """One model."""

    model: str
    scale: int
    reference: str
    """Name of the row that the others are compared with."""
    rows: list[QualityRow]
    ensemble: list[EnsembleRow]


@dataclass(frozen=True)
class PsnrResult:
    """PSNR under one protocol on one set."""

    set: str
    protocol: str
    pictures: int
    cases: list[QualityCase]
    missing: dict[str, str]
    targets: list[Target]


@dataclass(frozen=True)
class _Subject:
    """Something that upscales."""

    name: str
    description: str
    upscale: Callable[[Rgb], NDArray[np.uint8]]
    upscale_float: Callable[[Rgb], Floats]
    """To 0..255, not rounded."""


@dataclass(frozen=True)
class _Outputs:
    """Of one subject for one picture."""

    psnr_db: float
    rounded: NDArray[np.uint8]
    clamped: Floats


def measure(context: Context) -> PsnrResult:
    """Run every model in every form on every picture.

    Raises:
        DataError: there are no benchmark data, or they are incomplete.
        MissingDependencyError: OpenVINO in FP32 is what shipped models are compared with.
    """
    if context.data is None:
        raise DataError("psnr needs benchmark pictures and weights: pass their folder with --data, or in EDSR_DATA")
    cases: list[QualityCase] = []
    missing: dict[str, str] = {}
    pictures = 0
    for weights in CHECKPOINTS:
        checkpoint = context.data / weights.path
        context.say(f"psnr: {checkpoint.stem}")
        network = load_network(checkpoint, res_scale=weights.res_scale).network
        torch_eager = TorchEager(network.branch(weights.scale))
        reference = _Subject(torch_eager.name, torch_eager.description, torch_eager.upscale, torch_eager.upscale_float)
        model = context.models.from_checkpoint(checkpoint, weights.res_scale)
        pairs = _pairs(context, weights.scale)
        case, missing = _case(model, weights.scale, pairs, reference, weights.self_ensemble)
        cases.append(case)
        pictures = len(pairs)
    for shipped in shipped_models():
        context.say(f"psnr: {shipped.path.stem}")
        case, _ = _case(shipped.path, shipped.scale, _pairs(context, shipped.scale), None, False)
        cases.append(case)
    return PsnrResult(SET, PROTOCOL.id, pictures, cases, missing, [_target(context, cases)])


def _pairs(context: Context, scale: int) -> list[Pair]:
    assert context.data is not None
    side = context.settings.psnr_side
    pairs = benchmark_pairs(context.data / "benchmark" / SET, scale)
    if side is None:
        return pairs
    return [Pair(p.name, p.lr[:side, :side], p.hr[: side * scale, : side * scale]) for p in pairs]


def _case(
    model: Path, scale: int, pairs: list[Pair], reference: _Subject | None, with_ensemble: bool
) -> tuple[QualityCase, dict[str, str]]:
    """``reference`` None: our own FP32."""
    with ExitStack() as stack:
        upscalers, missing = open_possible(EXPLICIT, model, stack)
        subjects = {form.name: _subject(form.name, upscaler) for form, upscaler in upscalers.items()}
        if reference is None:
            if OPENVINO_FP32.name not in subjects:
                raise MissingDependencyError("openvino", extra="bench")
            reference = subjects.pop(OPENVINO_FP32.name)
        base = [_outputs(reference, pair, scale) for pair in pairs]
        rows = [_compare(reference, base, base)]
        ensemble = []
        for subject in subjects.values():
            rows.append(_compare(subject, [_outputs(subject, pair, scale) for pair in pairs], base))
        if with_ensemble:
            for form in upscalers:
                alone = next(row.psnr_db for row in rows if row.name == form.name)
                averaging = stack.enter_context(form.open(model, self_ensemble=True))
                psnr = float(np.mean([PROTOCOL.psnr(averaging.upscale(p.lr), p.hr, scale) for p in pairs]))
                ensemble.append(EnsembleRow(form.name, psnr, psnr - alone))
    return QualityCase(model.stem, scale, reference.name, rows, ensemble), missing


def _subject(name: str, upscaler: Upscaler) -> _Subject:
    def upscale_float(lr: Rgb) -> Floats:
        sr: Floats = upscaler.upscale(lr.astype(np.float32) / np.float32(255)) * np.float32(255)
        return sr

    return _Subject(name, upscaler.description, upscaler.upscale, upscale_float)


def _outputs(subject: _Subject, pair: Pair, scale: int) -> _Outputs:
    rounded = subject.upscale(pair.lr)
    return _Outputs(PROTOCOL.psnr(rounded, pair.hr, scale), rounded, subject.upscale_float(pair.lr).clip(0, 255))


def _compare(subject: _Subject, outputs: list[_Outputs], base: list[_Outputs]) -> QualityRow:
    losses = [b.psnr_db - o.psnr_db for o, b in zip(outputs, base, strict=True)]
    differences = [np.abs(o.clamped - b.clamped, dtype=np.float64).ravel() for o, b in zip(outputs, base, strict=True)]
    difference = np.concatenate(differences)
    changed = np.concatenate([(o.rounded != b.rounded).ravel() for o, b in zip(outputs, base, strict=True)])
    return QualityRow(
        subject.name,
        subject.description,
        float(np.mean([o.psnr_db for o in outputs])),
        float(np.mean(losses)),
        max(losses),
        float(np.sqrt(np.mean(difference**2))),
        float(difference.max()),
        float(np.mean(changed)),
    )


def _target(context: Context, cases: list[QualityCase]) -> Target:
    case, row = max(((case, row) for case in cases for row in case.rows), key=lambda item: item[1].loss_db)
    promise = f"PSNR loss against FP32 on {SET} (most: {case.model}, {row.name})"
    return at_most(promise, _LIMIT_DB, row.loss_db, "dB", unless=context.settings.why_no_target)
