"""PSNR and SSIM of every model in every form on every set, and by how much each form differs from FP32 PyTorch."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.context import Context
from benchmarks.cost.trained import CHECKPOINTS, checkpoint_behind
from benchmarks.models import Models
from benchmarks.ours import EXPLICIT, ON_A_GPU, ONNXRUNTIME, OPENVINO_FP32, Form, why_missing
from benchmarks.peers.peer import PeerFailedError, Running, Subject, rounded
from benchmarks.peers.registry import LEFT_OUT, PEERS, TORCH_EAGER, start_peer
from benchmarks.peers.torch_eager import TorchEager
from benchmarks.pictures import Rgb
from benchmarks.quality.data_sets import BenchmarkSet, find_sets
from benchmarks.quality.published import published_scores
from benchmarks.quality.tally import Tally
from benchmarks.targets import Target, at_least, at_most
from edsr_runtime.errors import DataError, EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.resize import imresize
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import shipped_models
from edsr_train.checkpoint import load_network
from edsr_train.data.pictures import Pair
from edsr_train.models.branch import SuperResolutionNetwork

_LOSS_LIMIT_DB = 0.01
_BICUBIC_LIMIT_DB = 0.02  # papers round luma differently
_GRAY_DB = 20 * math.log10(255 / 219)  # 219 levels of luma for 255 of gray

WANTED_DB = {
    ("edsr-small", 2, "Set5"): 37.55,
    ("edsr-small", 3, "Set5"): 33.80,
    ("edsr-small", 4, "Set5"): 31.50,
    ("edsr-baseline", 2, "Set5"): 37.80,
    ("edsr-baseline", 3, "Set5"): 34.05,
    ("edsr-baseline", 4, "Set5"): 31.80,
    ("mdsr-baseline", 2, "Set5"): 37.70,
    ("mdsr-baseline", 3, "Set5"): 33.95,
    ("mdsr-baseline", 4, "Set5"): 31.70,
}
"""What our models are to reach without self-ensemble; they saw 532 photographs, most of them small."""

ENSEMBLE = Form("openvino-fp32-ensemble", "openvino", "fp32", self_ensemble=True)
NO_COLLAPSE = Form("openvino-fp32-no-collapse", "openvino", "fp32", collapsed=False)
_FORMS = (*EXPLICIT, NO_COLLAPSE, ENSEMBLE, *ON_A_GPU)
_WHERE_ASKED = (ONNXRUNTIME, NO_COLLAPSE, ENSEMBLE)
"""Two give the pixels of FP32 with OpenVINO but for the last bit, and the third takes eight times as long."""


@dataclass(frozen=True)
class Weights:
    """A checkpoint of others, below the folder of the data."""

    path: Path
    scale: int
    res_scale: float
    """Which the file does not store."""


FOREIGN = (
    Weights(Path("weights/edsr_mobile/edsr_r5f64_x2.pt"), 2, 1.0),
    Weights(Path("weights/edsr_small/edsr_r8f32_x4.pt"), 4, 0.1),
)


@dataclass(frozen=True)
class QualityRow:
    """One form of a model on one set; what is compared is compared with FP32 PyTorch on the unfolded network."""

    name: str
    description: str
    psnr_db: float
    """Mean over pictures, as papers report it."""
    ssim: float
    loss_db: float
    """The reference's PSNR less this one: positive is worse; of an ensemble, less is its gain."""
    worst_loss_db: float
    """Largest of any picture."""
    rms_difference: float
    """Grey levels, clamped to 0..255 and not rounded, over all samples."""
    max_difference: float
    """The same, largest."""
    changed_share: float
    """Of samples, after rounding to uint8."""


@dataclass(frozen=True)
class PublishedRow:
    """One method, on the whole set."""

    method: str
    psnr_db: float
    ssim: float | None


@dataclass(frozen=True)
class QualityCase:
    """One model on one set."""

    model: str
    scale: int
    is_shipped: bool
    set: str
    """Its name, or ``10 of Urban100``."""
    pictures: int
    gray_pictures: int
    """Of them, as they are stored: papers count those otherwise, see ``as_papers_count``."""
    protocol: str
    reference: str
    """Name of the row that the others are compared with."""
    bicubic_psnr_db: float
    bicubic_ssim: float
    rows: list[QualityRow]
    published: list[PublishedRow]
    """Empty where the set is not whole."""
    missing: dict[str, str]
    """Candidates that this machine cannot run or that were left out, and why."""


@dataclass(frozen=True)
class QualityResult:
    """Every model on every set."""

    cases: list[QualityCase]
    targets: list[Target]


@dataclass(frozen=True)
class _Model:
    """What is measured, and the checkpoint it came from."""

    name: str
    scale: int
    path: Path
    no_collapse: Callable[[], Path]
    fp16: Callable[[], Path]
    """For an engine; both are made when they are first asked for."""
    network: SuperResolutionNetwork
    is_shipped: bool

    def file_for(self, form: Form) -> Path:
        if form.is_engine:
            return self.fp16()
        return self.path if form.collapsed else self.no_collapse()


@dataclass(frozen=True)
class _Candidate:
    """What is compared with the reference."""

    name: str
    description: str
    upscale: Callable[[Rgb], tuple[Rgb, NDArray[np.float32]]]
    """Rounded; and as floats of 0..255, neither clamped nor rounded."""


def measure(context: Context) -> QualityResult:
    """Run everything.

    Raises:
        DataError: there are no benchmark data, or they are incomplete.
    """
    if context.data is None:
        raise DataError("quality needs benchmark pictures: pass their folder with --data, or in EDSR_DATA")
    sets = find_sets(context.data, context.settings.quality_sets)
    cases = []
    for model in _models(context, context.data):
        for each in sets:
            pairs = each.pairs(model.scale, context.settings)
            context.say(f"quality: {model.name} on {each.shown(len(pairs))}")
            cases.append(_case(context, model, each, pairs))
    return QualityResult(cases, list(_targets(context, cases)))


def as_papers_count(psnr_db: float, gray_pictures: int, pictures: int) -> float:
    """The mean under ``paper-y`` as papers have it of a set with gray pictures, such as ``bridge`` of Set14.

    Their scripts convert colour pictures to luma of 16..235 and take gray ones as they are, of 0..255, where the same
    error is larger. Ours counts all pictures alike.
    """
    return psnr_db - _GRAY_DB * gray_pictures / pictures


def _models(context: Context, data: Path) -> Iterator[_Model]:
    """Our own, of ``train/checkpoints``: what ships, then what does not; then the weights of others."""
    scales = context.settings.quality_scales
    sources: set[Path] = set()
    for shipped in shipped_models():
        checkpoint = checkpoint_behind(shipped.path)
        if checkpoint is None:
            raise DataError(
                f"{shipped.path.name} was exported from no checkpoint in train/checkpoints: run make models"
            )
        sources.add(checkpoint)
        if shipped.scale in scales:
            yield _of_checkpoint(context.models, checkpoint, None, shipped.scale, shipped.path)
    unshipped = set(CHECKPOINTS.glob("*.safetensors")) - sources if context.settings.quality_unshipped else set()
    for checkpoint in sorted(unshipped):
        for scale in load_network(checkpoint).network.scales:
            if scale in scales:
                yield _of_checkpoint(context.models, checkpoint, None, scale)
    for weights in FOREIGN if context.settings.quality_foreign else ():
        if weights.scale not in scales:
            continue
        checkpoint = data / weights.path
        if not checkpoint.is_file():
            context.say(f"quality: {weights.path} is not among the data")
            continue
        yield _of_checkpoint(context.models, checkpoint, weights.res_scale, weights.scale)


def _of_checkpoint(
    models: Models, checkpoint: Path, res_scale: float | None, scale: int, shipped: Path | None = None
) -> _Model:
    """One scale of a checkpoint: the file that ships, or else one that is exported now."""
    head = "" if checkpoint.stem.endswith(f"_x{scale}") else f"_x{scale}"  # of a network with several
    network = load_network(checkpoint, res_scale=res_scale).network
    export = partial(models.from_checkpoint, checkpoint, res_scale, scale=scale)
    path = export() if shipped is None else shipped
    whole, fp16 = partial(export, collapse_tail=False), partial(export, precision="fp16")
    return _Model(f"{checkpoint.stem}{head}", scale, path, whole, fp16, network, shipped is not None)


def _case(context: Context, model: _Model, each: BenchmarkSet, pairs: list[Pair]) -> QualityCase:
    scale, protocol = model.scale, each.protocol
    missing: dict[str, str] = {}
    reference = TorchEager(model.network.branch(scale))
    with ExitStack() as stack:
        candidates = [
            *_peers(context, model, each, pairs[0].lr, stack, missing),
            *_ours(context, model, each, stack, missing),
        ]
        tallies = {name: Tally(protocol, scale) for name in ("bicubic", TorchEager.name, *(c.name for c in candidates))}
        for pair in pairs:
            clamped = reference.upscale_float(pair.lr).clip(0, 255)
            base = np.rint(clamped).astype(np.uint8)
            base_db = tallies[TorchEager.name].add(pair.hr, base)
            tallies[TorchEager.name].compare(base_db, base, clamped, base_db, base, clamped)
            tallies["bicubic"].add(pair.hr, np.asarray(imresize(pair.lr, scale), np.uint8))
            for candidate in candidates:
                sr, floats = candidate.upscale(pair.lr)
                psnr_db = tallies[candidate.name].add(pair.hr, sr)
                tallies[candidate.name].compare(psnr_db, sr, floats.clip(0, 255), base_db, base, clamped)
        descriptions = {TorchEager.name: reference.description}
        descriptions |= {candidate.name: candidate.description for candidate in candidates}
    rows = [_row(name, description, tallies[name]) for name, description in descriptions.items()]
    names = [pair.name for pair in pairs]
    published = published_scores(each.name, scale, names) if context.settings.quality_side is None else {}
    bicubic = tallies["bicubic"]
    return QualityCase(
        model.name,
        scale,
        model.is_shipped,
        each.shown(len(pairs)),
        len(pairs),
        each.gray_files(names),
        protocol.id,
        TorchEager.name,
        bicubic.psnr_db,
        bicubic.ssim,
        rows,
        [PublishedRow(method, score.psnr_db, score.ssim) for method, score in published.items()],
        missing,
    )


def _ours(
    context: Context, model: _Model, each: BenchmarkSet, stack: ExitStack, missing: dict[str, str]
) -> Iterator[_Candidate]:
    whole = context.settings.quality_form_sets
    for form in _FORMS:
        if form in _WHERE_ASKED and each.name not in whole:
            missing[form.name] = _only_on(whole)
            continue
        try:
            upscaler = form.enter(stack, context.folder, partial(model.file_for, form))
        except (EnvironmentUnfitError, MissingDependencyError) as err:
            missing[form.name] = why_missing(err)
            continue
        yield _Candidate(form.name, upscaler.description, _both_paths(upscaler))


def _peers(
    context: Context, model: _Model, each: BenchmarkSet, lr: Rgb, stack: ExitStack, missing: dict[str, str]
) -> Iterator[_Candidate]:
    """What people use today; FP32 PyTorch is the reference already."""
    settings = context.settings
    for peer in PEERS:
        if peer == TORCH_EAGER:
            continue
        if settings.leaves_out(peer.name):
            missing[peer.name] = LEFT_OUT
            continue
        if each.name not in settings.quality_peer_sets:
            missing[peer.name] = _only_on(settings.quality_peer_sets)
            continue
        if peer.is_slow_to_open:
            missing[peer.name] = "it would be compiled for every size of picture, which takes minutes each"
            continue
        unfolded = context.models.unfolded_network(model.name, model.network, model.scale)
        try:
            subject = Subject(model.network.branch(model.scale), unfolded, context.folder)
            running = start_peer(peer, subject, lr, stack)
        except (PeerFailedError, MissingDependencyError) as err:
            missing[peer.name] = str(err)
            continue
        yield _Candidate(peer.name, running.description, _rounded_too(running))


def _only_on(sets: tuple[str, ...]) -> str:
    return f"measured on {', '.join(sets)} only" if sets else "left out of this run"


def _row(name: str, description: str, tally: Tally) -> QualityRow:
    return QualityRow(
        name,
        description,
        tally.psnr_db,
        tally.ssim,
        tally.loss_db,
        tally.worst_loss_db,
        tally.rms_difference,
        tally.max_difference,
        tally.changed_share,
    )


def _both_paths(upscaler: Upscaler) -> Callable[[Rgb], tuple[Rgb, NDArray[np.float32]]]:
    """Ours has one for uint8 and one for floats."""

    def upscale(lr: Rgb) -> tuple[Rgb, NDArray[np.float32]]:
        floats = upscaler.upscale(lr.astype(np.float32) / np.float32(255)) * np.float32(255)
        return upscaler.upscale(lr), floats

    return upscale


def _rounded_too(running: Running) -> Callable[[Rgb], tuple[Rgb, NDArray[np.float32]]]:
    """Peers round what they give as floats; they are run once, since they are slow."""

    def upscale(lr: Rgb) -> tuple[Rgb, NDArray[np.float32]]:
        floats = running.upscale_float(lr)
        return rounded(lambda _: floats)(lr), floats

    return upscale


def _targets(context: Context, cases: list[QualityCase]) -> Iterator[Target]:
    unless = context.settings.why_no_target
    promised = {TorchEager.name, *(form.name for form in _FORMS if not form.self_ensemble)}
    compared = [(case, row) for case in cases for row in case.rows if row.name in promised]
    case, row = max(compared, key=lambda item: item[1].loss_db)
    promise = f"PSNR loss against FP32 PyTorch (most: {case.model} on {case.set}, {row.name})"
    yield at_most(promise, _LOSS_LIMIT_DB, row.loss_db, "dB", unless=unless)
    seen = set()
    for case in cases:
        fp32 = next((row for row in case.rows if row.name == OPENVINO_FP32.name), None)
        wanted = WANTED_DB.get((case.model.rpartition("_x")[0], case.scale, case.set))
        if wanted is not None and fp32 is not None:
            yield at_least(f"PSNR of {case.model} on {case.set}", wanted, fp32.psnr_db, "dB", unless=unless)
        published = next((row.psnr_db for row in case.published if row.method == "bicubic"), None)
        if published is not None and (case.set, case.scale) not in seen:
            seen.add((case.set, case.scale))
            off = abs(as_papers_count(case.bicubic_psnr_db, case.gray_pictures, case.pictures) - published)
            promise = f"bicubic on {case.set} x{case.scale}, off the published {published:.2f} dB"
            if case.gray_pictures:
                promise += f", with {case.gray_pictures} gray picture counted as papers do"
            yield at_most(promise, _BICUBIC_LIMIT_DB, off, "dB", unless=unless)
