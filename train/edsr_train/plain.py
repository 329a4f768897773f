"""Plain types: what a checkpoint may hold beside tensors, so that opening it runs nothing."""

import types
from collections import OrderedDict
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from edsr_runtime.errors import CheckpointError, EdsrError
from edsr_train.models.branch import NetworkConfig


def config_from_plain(config_type: type[NetworkConfig], plain: object) -> NetworkConfig:
    """The configuration from what a checkpoint stores; lists become tuples, since JSON has none.

    Raises:
        CheckpointError: a field is missing, unknown, or not of its type.
    """
    if not isinstance(plain, dict):
        raise CheckpointError("its configuration is missing")
    names = config_type.__dataclass_fields__.keys()
    if plain.keys() != names:
        different = ", ".join(sorted(map(str, plain.keys() ^ names)))
        raise CheckpointError(f"its configuration differs from the one known here in: {different}")
    values = with_tuples(plain)
    if wrong := first_of_wrong_type(config_type, values):
        raise CheckpointError(f"its configuration says {wrong}")
    try:
        return config_type(**values)
    except EdsrError as err:
        raise CheckpointError(f"its configuration is none: {err}") from err


def with_tuples(plain: dict[str, Any]) -> dict[str, Any]:
    """``plain`` with its lists as tuples, which configurations have."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}


def first_of_wrong_type(config_type: type, values: dict[str, Any]) -> str | None:
    """``n_feats = '64', expected int`` for the first value that is not of its field's type, or None."""
    hints = get_type_hints(config_type)
    for name, value in values.items():
        if not _is_of(value, hints[name]):
            return f"{name} = {value!r}, expected {_in_words(hints[name])}"
    return None


def _is_of(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_of(item, get_args(hint)[0]) for item in value)
    if origin in (Union, types.UnionType):
        return any(_is_of(value, option) for option in get_args(hint))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _in_words(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(map(str, get_args(hint)))
    if origin is tuple:
        return f"a list of {_in_words(get_args(hint)[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join("nothing" if option is types.NoneType else _in_words(option) for option in get_args(hint))
    return str(hint.__name__)


def first_unplain(value: object, where: str, is_torch: bool) -> str | None:
    """Name the first thing in ``value`` that a checkpoint cannot hold, or None if it can hold all of it.

    Args:
        value: what is to be stored.
        where: its name, with which the answer begins.
        is_torch: PyTorch's format, which also holds tensors, tuples, bytes and integer keys; else JSON.
    """
    allowed = (bool, int, float, str, *((bytes, Tensor) if is_torch else ()))
    if value is None or type(value) in allowed:
        return None
    if isinstance(value, dict) and type(value) in (dict, OrderedDict):  # a state_dict() is an OrderedDict
        for key, item in value.items():
            if type(key) is not str and not (is_torch and type(key) is int):
                return f"{where} (a dict with the key {key!r})"
            if found := first_unplain(item, f"{where}[{key!r}]", is_torch):
                return found
        return None
    # A configuration's tuple may become a list in JSON: its field says what it was.
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        for index, item in enumerate(value):
            if found := first_unplain(item, f"{where}[{index}]", is_torch):
                return found
        return None
    return f"{where} (a {type(value).__name__})"


def in_own_memory(value: Any) -> Any:
    """``value`` with every tensor copied, so that it outlives the file it was mapped from."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: in_own_memory(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(in_own_memory(item) for item in value)
    return value
