"""The contract: what a model file says about itself, so that nobody has to guess how to run it.

Export writes it into ONNX ``metadata_props`` under one key, as JSON. Everything here is plain data; nothing heavy is
imported, and a model's contract is read without loading the model.
"""

import dataclasses
import json
import math
import reprlib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edsr_runtime.errors import ModelFileError
from edsr_runtime.protobuf import read_metadata

METADATA_KEY = "edsr_toolkit.contract"
SCHEMA = 2
_READABLE = (1, 2)  # 1 lacks the last three fields, and was written for networks that have the values given there
_NAMED_FIELDS = 3  # how many an error names


@dataclass(frozen=True)
class Parity:
    """How far the file was from the unfolded PyTorch network when it was exported."""

    max_difference: float
    """Largest absolute difference, grey levels of 0..255."""
    rms_difference: float
    """Root mean square difference, grey levels."""
    shapes: tuple[tuple[int, ...], ...]
    """Input shapes (N, 3, H, W) that were compared."""


@dataclass(frozen=True)
class Contract:
    """What the runtime must know about a model file."""

    architecture: str
    """``edsr``, ``carn``, ...: the family the checkpoint belonged to."""
    scale: int
    """Enlargement of height and width."""
    config: dict[str, Any]
    """What the network was built from: blocks, feature maps, residual scaling, ... as in its checkpoint."""
    n_feats: int
    """Feature maps of the widest layer before the tail."""
    folds: tuple[str, ...]
    """What was folded, in the order it was done."""
    range_shift: int
    """k: activations inside are smaller by 2^-k than the checkpoint's, for FP16 headroom."""
    mean: tuple[float, float, float]
    """RGB mean of 0..255 that the network subtracts and adds back; zeros where it works on luma."""
    io: Literal["float", "uint8"]
    """``float``: float32 (N, 3, H, W), 0..255, not clamped. ``uint8``: (N, H, W, 3), clamped and rounded."""
    receptive_radius: int
    """LR pixels around a pixel that can change it; also the halo that makes tiles seamless."""
    min_side: int
    """Smallest height and width, LR pixels."""
    precision: Literal["fp32", "fp16"]
    """Type of weights and activations inside."""
    self_ensemble: bool
    """True if the file averages the eight flips and rotations itself."""
    source_sha256: str
    """SHA-256 of the checkpoint."""
    tool_version: str
    """Version of edsr-toolkit that wrote the file."""
    parity: Parity
    colors: Literal["rgb", "y"] = "rgb"
    """What the layers work on; with ``y``, luma, chroma is enlarged bicubically inside the file."""
    enlarged_first: bool = False
    """True if the layers work on the picture that the file has enlarged bicubically: at HR resolution."""
    floats_per_pixel: int = 0
    """Numbers per LR pixel that the layer which takes most of them takes: at HR resolution, scale^2 for each feature
    map. Memory goes by it. 0: as many as ``n_feats``."""

    @property
    def widest(self) -> int:
        """``floats_per_pixel``, also of a file of the first schema."""
        return self.floats_per_pixel or self.n_feats

    def to_json(self) -> str:
        """One line, keys sorted: the same contract gives the same bytes."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, origin: str) -> "Contract":
        """Parse and check; ``origin`` names the file in messages.

        Raises:
            ModelFileError: not JSON, another schema, a field missing, unknown or of the wrong type.
        """
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as err:
            raise ModelFileError(f"{origin}: its contract is not JSON ({err}). Export the checkpoint again.") from err
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        if type(schema) is not int or schema not in _READABLE:
            raise ModelFileError(f"{origin}: its contract is not of schema {SCHEMA}. Export the checkpoint again.")
        later = {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
        if schema == 1 and not later.keys() & data.keys():
            data |= later
        contract = _build(cls, data, f"{origin}: its contract")
        assert isinstance(contract, cls)
        contract._check(origin)
        return contract

    def _check(self, origin: str) -> None:
        limits = {
            "scale": (1, 16),
            "n_feats": (1, 100_000),
            "range_shift": (0, 100),
            "receptive_radius": (0, 100_000),
            "min_side": (1, 100_000),
            "floats_per_pixel": (0, 10_000_000),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ModelFileError(
                    f"{origin}: its contract says {name} = {reprlib.repr(value)}, expected {low} to {high}"
                )


def read_contract(path: Path) -> Contract:
    """The contract of an ONNX file, without loading its weights.

    Raises:
        ModelFileError: no such file, not ONNX, or exported by something else.
    """
    try:
        is_file = path.is_file()
    except OSError as err:  # its folder may not be entered
        raise ModelFileError(f"{path}: cannot be read ({err.strerror})") from err
    if not is_file:
        raise ModelFileError(f"{path}: no such file; expected an ONNX file written by edsr-export")
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        raise ModelFileError(
            f"{path}: an ONNX file without a contract, so how to feed it is unknown. "
            "Export its checkpoint with: edsr-export --ckpt CHECKPOINT"
        )
    return Contract.from_json(metadata[METADATA_KEY], str(path))


def _build(cls: type, data: Any, origin: str) -> Any:
    hints = typing.get_type_hints(cls)
    if not isinstance(data, dict) or set(data) != set(hints):
        given = set(data) if isinstance(data, dict) else set()
        missing, unknown = sorted(set(hints) - given), sorted(given - set(hints))
        raise ModelFileError(
            f"{origin} does not have the fields that this version knows (missing: {_names(missing)}; "
            f"unknown: {_names(unknown)}). Export the checkpoint again."
        )
    return cls(**{name: _convert(hints[name], data[name], f"{origin}, field {name}") for name in hints})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """``value`` from JSON as the annotated type; JSON has lists for tuples and no difference of 1 and 1.0."""
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return _build(hint, value, where)
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind is Literal and value in arguments:
        return value
    if kind is tuple and isinstance(value, list):
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) == len(value):
            return tuple(_convert(t, v, where) for t, v in zip(items, value, strict=True))
    if hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
            return float(value)
    elif kind is dict and isinstance(value, dict):
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    elif kind is None and type(value) is hint:
        return value
    expected = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    raise ModelFileError(f"{where} is {reprlib.repr(value)}, expected {expected}. Export the checkpoint again.")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON allows integers of any length
        return False


def _names(fields: list[str]) -> str:
    return ", ".join(reprlib.repr(field) for field in fields[:_NAMED_FIELDS]) or "none"
