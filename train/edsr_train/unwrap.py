"""Find the weights inside what programs wrap around them: containers of a checkpoint and prefixes of keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

Found = tuple[dict[str, Tensor], tuple[str, ...]]
"""A dict of tensors and the lines to print about its choice."""

# An averaged copy (EMA) comes first: it is what its author evaluated. mmengine's "ema_state_dict" is left out on
# purpose: mmengine swaps the two when it saves, so that its averaged weights are those under "state_dict".
_AVERAGED = ("params_ema", "ema", "model_ema")
_CONTAINERS = (*_AVERAGED, "params", "state_dict", "model_state_dict", "model", "network", "net", "generator")
_PREFIXES = ("module.", "_orig_mod.", "generator_ema.", "generator.", "model.", "network.", "net.")
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Weights:
    """One dict of tensors found in a checkpoint."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    """Lines to print where the choice of these tensors is not the only one possible."""


def find_weights(value: object) -> list[Weights]:
    """All dicts of tensors that may be a network's weights, the likeliest first.

    Whatever else lies beside them (epoch, optimizer) is passed over.
    """
    return [
        Weights(tensors, (*container_notes, *prefix_notes))
        for found, container_notes in _tensor_dicts(value)
        for tensors, prefix_notes in _without_prefixes(found)
    ]


def _tensor_dicts(value: object, depth: int = 0) -> Iterator[Found]:
    if not isinstance(value, Mapping) or depth > _MAX_DEPTH:
        return
    inner = [name for name in _CONTAINERS if isinstance(value.get(name), Mapping)]
    for name in inner:
        notes: tuple[str, ...] = ()
        if name in _AVERAGED:
            others = ", ".join(other for other in inner if other not in _AVERAGED)
            notes = (f"weights: the averaged copy, {name}" + (f" ({others} is left aside)" if others else ""),)
        for tensors, inner_notes in _tensor_dicts(value[name], depth + 1):
            yield tensors, (*notes, *inner_notes)
    tensors = {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, Tensor)}
    if tensors:
        yield tensors, ()


def _without_prefixes(tensors: dict[str, Tensor], depth: int = 0) -> Iterator[Found]:
    for prefix in _PREFIXES if depth < _MAX_DEPTH else ():
        inner = {key.removeprefix(prefix): item for key, item in tensors.items() if key.startswith(prefix)}
        if not inner:
            continue
        others = [key for key in tensors if not key.startswith(prefix)]
        notes = (f"weights: those under {prefix} ({_some(others)} left aside)",) if others else ()
        for found, inner_notes in _without_prefixes(inner, depth + 1):
            yield found, (*notes, *inner_notes)
    yield tensors, ()


def _some(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
