"""Save networks to checkpoints and load them: ours, which carry their configuration, and those of others.

Our ``.pt`` is one ``torch.save`` of ``{"format": "edsr-toolkit", "version": 1, "architecture": ..., "config": {...},
"state_dict": {...}}`` with anything else beside it (training state); our ``.safetensors`` holds the tensors, and the
rest as JSON in the metadata key ``edsr-toolkit``, and a checksum of both, which that format itself does not have.
Neither holds anything but tensors and plain types.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from edsr_runtime.errors import CheckpointError, CheckpointRefusedError
from edsr_train.architectures.base import OWN_LAYOUT, Architecture, Layout, show_shape
from edsr_train.architectures.registry import ARCHITECTURES
from edsr_train.container import Contents, read_container
from edsr_train.models.branch import NetworkConfig, SuperResolutionNetwork
from edsr_train.nearest import nearest_match
from edsr_train.plain import config_from_plain, first_unplain, in_own_memory
from edsr_train.unwrap import Weights, find_weights

FORMAT = OWN_LAYOUT
VERSION = 1
_SUM = f"{FORMAT}-sha256"
_SUFFIXES = (".pt", ".pth", ".safetensors")
_RESERVED = ("format", "version", "architecture", "config", "state_dict")
_KERNEL_DIMENSIONS = 4  # of a convolution
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_NAMED_KEYS = 3  # how many keys of each kind an error names


@dataclass(frozen=True)
class LoadedNetwork:
    """A network and where it came from."""

    network: SuperResolutionNetwork
    """In eval mode, float32, on the CPU, in memory of its own."""
    architecture: str
    """``edsr``, ``carn``, ...: see ``architectures.registry``."""
    config: NetworkConfig
    """The same as ``network.config``."""
    layout: str
    """Whose names the file has: ``edsr-toolkit``, ``edsr-pytorch``, ``basicsr``, ``mmagic``."""
    sha256: str
    """Of the file, as 64 hexadecimal digits."""
    notes: tuple[str, ...]
    """Lines to print: everything that was concluded and not read."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What ``save_checkpoint`` was given as ``extra``; empty for the files of others."""


def save_checkpoint(
    path: Path, network: SuperResolutionNetwork, extra: Mapping[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write a network and its configuration, whole or not at all.

    Args:
        path: ends in ``.pt``, ``.pth`` or ``.safetensors``, which decides the format. An existing file is replaced.
        network: one of the registered networks.
        extra: tensors and plain types to keep beside it, such as ``{"training": {...}}``; plain types only for
            ``.safetensors``. Comes back as ``LoadedNetwork.extra``.
        half: round kernels of convolutions to FP16 and keep them so, in half the bytes; all else stays as it is.

    Raises:
        CheckpointError: another suffix, weights that are NaN or infinite, kernels beyond FP16 where ``half`` wants
            them, or an ``extra`` that could not be loaded again. Nothing is written then.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise CheckpointError(f"{path}: a checkpoint ends in {', '.join(_SUFFIXES)}, not in {path.suffix or 'nothing'}")
    architecture = next((known for known in ARCHITECTURES if type(network) is known.network_type), None)
    if architecture is None:
        raise TypeError(f"{type(network).__name__} is not a registered network")
    config = network.config
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinity, so nothing was written")
        if half and value.ndim == _KERNEL_DIMENSIONS:
            state[key] = value.half()
            if not torch.isfinite(state[key]).all():
                raise CheckpointError(f"{path}: {key} has values beyond 65504, FP16's largest: nothing was written")
    extra = dict(extra or {})
    if clash := [name for name in extra if name in _RESERVED]:
        raise ValueError(f"extra must not use the names of the format: {', '.join(clash)}")
    described = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": architecture.name,
        "config": dataclasses.asdict(config),
        **extra,
    }
    is_torch = path.suffix.lower() != ".safetensors"
    for name, value in described.items():
        if unplain := first_unplain(value, name, is_torch):
            allowed = "tensors and plain types" if is_torch else "plain types of JSON (.pt holds tensors and more)"
            raise CheckpointError(f"{path}: {unplain} cannot be kept in this checkpoint, which holds {allowed}")

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            if is_torch:
                # To an open file: with a path, torch would write the file's name into it.
                torch.save({**described, "state_dict": state}, file)
            else:
                text = json.dumps(described)
                file.write(_in_order(safetensors.torch.save(state, {FORMAT: text, _SUM: _checksum(text, state)})))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _in_order(content: bytes) -> bytes:
    """A file of safetensors with its metadata sorted: the library writes them in any order, each time another."""
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the weights are aligned
    return len(text).to_bytes(8, "little") + text + content[begin:]


def _checksum(description: str, state: Mapping[str, Tensor]) -> str:
    """Of everything in a file of safetensors."""
    found = hashlib.sha256(description.encode())
    for key, value in sorted(state.items()):
        found.update(f"\n{key} {value.dtype} {tuple(value.shape)}\n".encode("utf-8", "surrogatepass"))
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def load_network(path: Path, *, res_scale: float | None = None, scale: int | None = None) -> LoadedNetwork:
    """Load a checkpoint, ours or of a project that is known here, completely or not at all.

    Args:
        path: ``.pt``, ``.pth`` or ``.safetensors``; the contents decide, not the suffix.
        res_scale: residual scaling, where the file does not store it. Wins over what is known of published sizes.
        scale: of a network whose weights do not show it, where the file does not store it; else it is not looked at.

    Returns:
        The network for RGB in 0..255, whatever range it was trained on.

    Raises:
        CheckpointError: the file is no checkpoint, of no known network, incomplete, or its residual scaling cannot
            be known; one sentence that begins with the path.
    """
    path = Path(path)
    contents = read_container(path)
    try:
        if res_scale is not None:
            _check_res_scale(res_scale)
        return _load(contents, res_scale, scale)
    except CheckpointError as err:
        raise type(err)(f"{path}: {err}") from err


def _load(contents: Contents, res_scale: float | None, scale: int | None) -> LoadedNetwork:
    if (own := _own_description(contents)) is not None:
        return _load_own(contents, own, res_scale)
    candidates = find_weights(contents.value)
    foreign = [(architecture, layout) for architecture in ARCHITECTURES for layout in architecture.foreign]
    # One landmark missing, in the second round: this says which keys, as for every other missing key.
    for claims in (Layout.claims, Layout.almost_claims):
        for weights in candidates:
            shapes = _shapes(weights.tensors)
            claiming = [(architecture, layout) for architecture, layout in foreign if claims(layout, shapes)]
            if claiming:  # some networks have the keys of others, and more
                architecture, layout = max(claiming, key=lambda each: len(each[1].landmarks))
                return _load_foreign(contents, weights, architecture, layout, res_scale, scale)
    raise CheckpointError(_unknown_layout(candidates))


def _own_description(contents: Contents) -> dict[str, Any] | None:
    """The part of our format that is not weights, or None for a file of others."""
    if FORMAT in contents.metadata:
        try:
            described = json.loads(contents.metadata[FORMAT])
        except (json.JSONDecodeError, RecursionError) as err:
            raise CheckpointError(f"its metadata is damaged ({err})") from err
        if not isinstance(described, dict):
            raise CheckpointError("its metadata is damaged (no JSON object)")
        if foreign := sorted(set(contents.metadata) - {FORMAT, _SUM, "format"}):  # which others write: "pt"
            raise CheckpointError(f"its metadata has {foreign[0]!r}, which no file of ours has. Save it again")
        tensors = _tensors_only(contents.value)
        if contents.metadata.get(_SUM) not in (None, _checksum(contents.metadata[FORMAT], tensors)):
            raise CheckpointError("its checksum is not that of what is in it. The file is damaged: copy it again")
        return {**described, "state_dict": contents.value}
    if isinstance(contents.value, dict) and contents.value.get("format") == FORMAT:
        return contents.value
    return None


def _load_own(contents: Contents, own: dict[str, Any], res_scale: float | None) -> LoadedNetwork:
    version = own.get("version")
    if version != VERSION:
        raise CheckpointRefusedError(f"is of version {version} of our format, this program knows {VERSION}. Update it")
    architecture = next((known for known in ARCHITECTURES if known.name == own.get("architecture")), None)
    if architecture is None:
        known = ", ".join(known.name for known in ARCHITECTURES)
        raise CheckpointRefusedError(
            f"holds the network {own.get('architecture')!r}, this program knows {known}. Update it"
        )
    config = config_from_plain(architecture.config_type, own.get("config"))
    tensors = _tensors_only(own.get("state_dict"))
    if architecture.has_res_scale:
        stored: float = config.res_scale  # type: ignore[attr-defined]
        _check_res_scale(stored)
        if res_scale is not None and res_scale != stored:
            raise CheckpointError(
                f"stores residual scaling {stored:g}, and --res-scale {res_scale:g} contradicts it. Leave it away"
            )
    else:
        _refuse_res_scale(architecture, res_scale)
    # Before anything is built: a configuration must not ask for more than the file holds.
    _check_config(architecture, config, tensors)
    state, notes = _our_state(tensors, architecture, architecture.own, config)
    extra = {name: in_own_memory(value) for name, value in own.items() if name not in _RESERVED}
    network = _build(architecture, config, state)
    return LoadedNetwork(network, architecture.name, config, FORMAT, contents.sha256, notes, extra)


def _load_foreign(
    contents: Contents,
    weights: Weights,
    architecture: Architecture,
    layout: Layout,
    res_scale: float | None,
    scale: int | None,
) -> LoadedNetwork:
    config = layout.configure(_shapes(weights.tensors))
    if "scale" in architecture.unseen:
        config = _with_scale(architecture, config, scale)
    scaling_note: tuple[str, ...] = ()
    if architecture.has_res_scale:
        config, scaling_note = _with_res_scale(architecture, config, res_scale)
    else:
        _refuse_res_scale(architecture, res_scale)
    state, notes = _our_state(weights.tensors, architecture, layout, config)
    state, layout_notes = layout.adapt(state)
    network = _build(architecture, config, state)
    notes = (*weights.notes, *scaling_note, *layout_notes, *notes)
    return LoadedNetwork(network, architecture.name, config, layout.name, contents.sha256, notes)


def _with_scale(architecture: Architecture, config: Any, given: int | None) -> NetworkConfig:
    if given is None:
        raise CheckpointError(
            f"{architecture.name.upper()}, whose weights do not show the scale, and no stored configuration. "
            "Pass --scale 2, 3 or 4"
        )
    return dataclasses.replace(config, scale=given)


def _with_res_scale(
    architecture: Architecture, config: Any, given: float | None
) -> tuple[NetworkConfig, tuple[str, ...]]:
    published = architecture.published_res_scale(config)
    if given is not None:
        against = f", against {published[0]:g}: {published[1]}" if published and published[0] != given else ""
        return dataclasses.replace(config, res_scale=given), (f"residual scaling: {given:g}, as given{against}",)
    if published is None:
        raise CheckpointError(
            f"{architecture.describe(config)}, and no stored configuration, so residual scaling is unknown. "
            "Pass --res-scale 1 (or 0.1 if it was trained with it)"
        )
    value, reason = published
    return dataclasses.replace(config, res_scale=value), (f"residual scaling: {value:g} ({reason})",)


def _check_res_scale(res_scale: float) -> None:
    if not (math.isfinite(res_scale) and res_scale > 0):
        raise CheckpointError(f"residual scaling is {res_scale:g}, expected a positive number such as 1 or 0.1")


def _refuse_res_scale(architecture: Architecture, res_scale: float | None) -> None:
    if res_scale is not None:
        raise CheckpointError(f"{architecture.name} has no residual scaling. Leave --res-scale away")


def _check_config(architecture: Architecture, config: NetworkConfig, tensors: dict[str, Tensor]) -> None:
    unseen = (*architecture.unseen, *(["res_scale"] if architecture.has_res_scale else []))
    stored = {name: getattr(config, name) for name in unseen}
    shown = dataclasses.replace(architecture.own.configure(_shapes(tensors)), **stored)
    if shown != config:
        raise CheckpointError(
            f"its configuration does not fit its weights: {config} is stored, the tensors are of {shown}"
        )


def _our_state(
    tensors: dict[str, Tensor], architecture: Architecture, layout: Layout, config: NetworkConfig
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of the file under our keys, as float32 copies; refuses anything that does not fit exactly."""
    with torch.device("meta"):  # shapes without memory, and without drawing random numbers
        expected = architecture.network_type(config).state_dict()
    stored_keys = {ours: theirs for ours in expected if (theirs := layout.stored_key(ours, config)) is not None}
    missing = [theirs for theirs in stored_keys.values() if theirs not in tensors]
    unexpected = [key for key in tensors if key not in set(stored_keys.values())]
    misshapen = [
        f"{theirs} is {show_shape(tensors[theirs].shape)}, expected {show_shape(expected[ours].shape)}"
        for ours, theirs in stored_keys.items()
        if theirs in tensors and tensors[theirs].shape != expected[ours].shape
    ]
    if missing or unexpected or misshapen:
        problems = _listed("missing", missing) + _listed("unexpected", unexpected) + _listed("wrong shape", misshapen)
        raise CheckpointError(
            f"does not fit {architecture.describe(config)}, in the layout {layout.name}: {'; '.join(problems)}"
        )
    dtypes = {tensors[theirs].dtype for ours, theirs in stored_keys.items() if expected[ours].is_floating_point()}
    dtypes -= {torch.float32}
    converted = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
    notes = (f"precision: {converted} in the file, computed in float32",) if converted else ()
    return {ours: _copy(theirs, tensors[theirs], expected[ours]) for ours, theirs in stored_keys.items()}, notes


def _listed(kind: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _NAMED_KEYS} more" if len(items) > _NAMED_KEYS else ""
    return [f"{kind}: {', '.join(items[:_NAMED_KEYS])}{more}"]


def _copy(key: str, tensor: Tensor, like: Tensor) -> Tensor:
    """A copy in memory of its own: the tensor may be a view of the file. Float32, or the count of batch norm."""
    if not like.is_floating_point() and tensor.dtype == like.dtype and not tensor.is_meta:
        return tensor.detach().clone()
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in _FLOATS:
        kind = "no values" if tensor.is_meta else str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(f"{key} holds {kind}. Weights in float32, float16, bfloat16 or float64 are expected")
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > held:  # a few bytes, repeated until they fill the memory
        raise CheckpointError(f"{key} claims {tensor.numel()} values, the file holds {held}. It was not copied")
    copy = tensor.detach().to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    if not torch.isfinite(copy).all():
        raise CheckpointError(f"{key} holds NaN or infinity. The training that wrote it broke; use an earlier file")
    return copy


def _build(architecture: Architecture, config: NetworkConfig, state: dict[str, Tensor]) -> SuperResolutionNetwork:
    with torch.device("meta"):
        network = architecture.network_type(config)
    network.load_state_dict(state, strict=True, assign=True)
    network.eval()
    return network


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def _tensors_only(value: object) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        raise CheckpointError("its state_dict is missing")
    for key, item in value.items():
        if not (isinstance(key, str) and isinstance(item, Tensor)):
            raise CheckpointError(f"its state_dict holds {key!r}, which is no tensor under a name")
    return dict(value)


def _unknown_layout(candidates: list[Weights]) -> str:
    known = "; ".join(
        f"{architecture.name} ({', '.join(dict.fromkeys((FORMAT, *(each.name for each in architecture.foreign))))})"
        for architecture in ARCHITECTURES
    )
    if not candidates:
        return f"holds no tensors under names. Known checkpoints: {known}"
    keys = list(max(candidates, key=lambda weights: len(weights.tensors)).tensors)
    return (
        f"is of no network that is known here ({len(keys)} tensors, the first: {', '.join(keys[:4])}). "
        f"Known checkpoints: {known}. {nearest_match(keys)}"
    )
