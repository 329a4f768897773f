"""From a checkpoint to proven ONNX files: the work behind the command ``edsr-export``."""

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from onnx import ModelProto
from torch import nn

from edsr_export import verify
from edsr_export.cost import Cost, cost_at_paper_size
from edsr_export.deploy import Deployed, SelfEnsemble, Uint8Pictures
from edsr_export.fold import Folded, choose_range_shift, fold
from edsr_export.receptive_field import receptive_radius
from edsr_export.storage import store_in_half
from edsr_export.tail import MIN_SIDE, CollapsedTail
from edsr_export.to_onnx import DEFAULT_OPSET, OPSETS, check_model, set_metadata, to_onnx
from edsr_runtime.contract import METADATA_KEY, Contract, Parity
from edsr_runtime.errors import EdsrError, GateError
from edsr_runtime.seal import sealed
from edsr_train.checkpoint import LoadedNetwork, load_network
from edsr_train.models.bicubic import Bicubic
from edsr_train.models.branch import Branch

_FP16_MAX = 65504.0


@dataclass(frozen=True)
class ExportOptions:
    """What is written, and how."""

    scales: tuple[int, ...] = ()
    """Heads to write; empty: all."""
    precision: Literal["fp32", "fp16"] = "fp32"
    """Type of weights and activations inside; the last sum is FP32 in both."""
    io: Literal["float", "uint8"] = "float"
    """See ``Contract.io``."""
    self_ensemble: bool = False
    """Average the eight flips and rotations inside the graph."""
    collapse_tail: bool = True
    """Make one convolution of a linear tail."""
    opset: int = DEFAULT_OPSET
    """ONNX operator set."""

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise EdsrError(f"opset is {self.opset}, expected {OPSETS[0]} to {OPSETS[-1]}")

    @property
    def suffix(self) -> str:
        """What the options add to a file's name."""
        parts = {"_fp16": self.precision == "fp16", "_u8": self.io == "uint8", "_plus": self.self_ensemble}
        return "".join(text for text, wanted in parts.items() if wanted)


@dataclass(frozen=True)
class Exported:
    """One file that was written, and what is known about it."""

    path: Path
    contract: Contract
    size_bytes: int
    before: Cost
    """At HR 1280x720, of the network as trained."""
    after: Cost
    """The same of what was written, one pass of the ensemble."""


def export_checkpoint(
    checkpoint: Path,
    output: Path | None = None,
    options: ExportOptions | None = None,
    *,
    res_scale: float | None = None,
    overwrite: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> list[Exported]:
    """Export every wanted head of a checkpoint.

    Args:
        checkpoint: ours or a known foreign layout.
        output: a file ending in ``.onnx``, or a folder; default: beside the checkpoint.
        options: see there.
        res_scale: residual scaling, where the checkpoint does not tell.
        overwrite: replace existing files.
        note: takes the lines that loading wants said.

    Returns:
        What was written, in the order of scales. Files are written one by one, each whole or not at all.

    Raises:
        EdsrError: checkpoint, options or output do not fit; nothing of that head was written.
        GateError: the graph is not equal to the network; nothing of that head was written.
    """
    options = options or ExportOptions()
    only = options.scales[0] if len(set(options.scales)) == 1 else None
    loaded = load_network(checkpoint, res_scale=res_scale, scale=only)
    for line in loaded.notes:
        note(line)
    available = loaded.network.scales
    wanted = tuple(dict.fromkeys(options.scales)) or available
    if unknown := [scale for scale in wanted if scale not in available]:
        raise EdsrError(f"{checkpoint}: has no head for scale {unknown[0]}, only for {', '.join(map(str, available))}")
    paths = {s: _output_path(checkpoint, output, options, s, several=len(available) > 1) for s in wanted}
    if len(set(paths.values())) < len(wanted):
        raise EdsrError(f"-o {output} is one file for {len(wanted)} scales: pass a folder, or one --scale")
    for path in paths.values():
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        if not existing.is_dir():
            raise EdsrError(f"{path} cannot be written: {existing} is a file, not a folder")
        if path.exists() and not overwrite:
            raise EdsrError(f"{path} exists: pass --force to replace it, or another -o")
    return [_export_branch(loaded, scale, path, options) for scale, path in paths.items()]


def _output_path(checkpoint: Path, output: Path | None, options: ExportOptions, scale: int, several: bool) -> Path:
    if output is not None and output.suffix == ".onnx" and not output.is_dir():
        return output
    head = f"_x{scale}" if several else ""
    return (output or checkpoint.parent) / f"{checkpoint.stem}{head}{options.suffix}.onnx"


def _export_branch(loaded: LoadedNetwork, scale: int, path: Path, options: ExportOptions) -> Exported:
    branch = loaded.network.branch(scale).eval()
    folded = _fold(branch, options)
    deployed = Deployed(folded, torch.float16 if options.precision == "fp16" else torch.float32)
    min_side = MIN_SIDE if isinstance(folded.tail, CollapsedTail) else 1
    if options.io == "uint8":  # rounding hides small errors
        unrounded = dataclasses.replace(options, io="float")
        _prove(_graph(deployed, unrounded, min_side), branch, unrounded, min_side)
    model = _graph(deployed, options, min_side)
    after = cost_at_paper_size(deployed, scale)
    contract = Contract(
        architecture=loaded.architecture,
        scale=scale,
        config=dataclasses.asdict(loaded.config),
        n_feats=max(m.out_channels for m in folded.features.modules() if isinstance(m, nn.Conv2d)),
        folds=folded.folds,
        range_shift=folded.range_shift,
        mean=_mean(folded),
        io=options.io,
        receptive_radius=receptive_radius(branch, scale),
        min_side=min_side,
        precision=options.precision,
        self_ensemble=options.self_ensemble,
        source_sha256=loaded.sha256,
        tool_version=version("edsr-toolkit"),
        parity=_prove(model, branch, options, min_side),
        colors="rgb" if _takes_colours(folded) else "y",
        enlarged_first=any(isinstance(m, Bicubic) for m in branch.features.modules()),
        floats_per_pixel=after.floats_per_pixel,
    )
    set_metadata(model, METADATA_KEY, contract.to_json())
    size = _write(path, model)
    return Exported(path, contract, size, cost_at_paper_size(branch, scale), after)


def _fold(branch: Branch, options: ExportOptions) -> Folded:
    half = options.precision == "fp16"
    return fold(
        branch,
        collapse_tail=options.collapse_tail,
        mean_in_bias=not half,  # after FP16 it is added in FP32: that halves the rounding error of the network
        range_shift=choose_range_shift(branch) if half else 0,
    )


def _graph(deployed: Deployed, options: ExportOptions, min_side: int) -> ModelProto:
    if options.precision == "fp16":
        for name, tensor in deployed.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise GateError(
                    f"{name} has values beyond {_FP16_MAX:g}, the largest of FP16. Export with --precision fp32."
                )
    module: nn.Module = SelfEnsemble(deployed) if options.self_ensemble else deployed
    uint8 = options.io == "uint8"
    module = Uint8Pictures(module) if uint8 else module
    model = to_onnx(module, uint8=uint8, min_side=min_side, scale=deployed.scale, opset=options.opset)
    store_in_half(model)
    check_model(model)
    return model


def _prove(model: ModelProto, branch: Branch, options: ExportOptions, min_side: int) -> Parity:
    reference: verify.Network = branch
    if options.self_ensemble:
        reference = partial(verify.ensemble, branch)
    return verify.compare(
        model,
        reference,
        uint8=options.io == "uint8",
        tolerance=verify.TOLERANCES[options.precision],
        shapes=verify.shapes_to_compare(min_side),
    )


def _mean(folded: Folded) -> tuple[float, float, float]:
    red, green, blue = (0.0 - folded.shift_in).flatten().tolist()
    return red, green, blue


def _takes_colours(folded: Folded) -> bool:
    first = next(m for m in folded.features.modules() if isinstance(m, nn.Conv2d))
    return first.in_channels == 3


def _write(path: Path, model: ModelProto) -> int:
    """Write beside, then rename: nobody ever sees half a file."""
    data = sealed(model.SerializeToString(deterministic=True))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.flush()
                temporary.chmod(0o644)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as err:
        raise EdsrError(f"{path} cannot be written ({err.strerror})") from err
    return len(data)
