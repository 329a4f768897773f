"""Which known checkpoint the keys of an unknown one look like: for the sentence that refuses it."""

import dataclasses
import re
from collections.abc import Iterable
from typing import NamedTuple

import torch

from edsr_train.architectures.base import OWN_LAYOUT, Architecture, Layout
from edsr_train.architectures.registry import ARCHITECTURES

_NAMED_KEYS = 2


class _Likeness(NamedTuple):
    """How much two sets of kinds of keys have in common; a kind is a key with all numbers alike."""

    share: float
    """Of the kinds that at least one of them has."""
    shared: int
    architecture: str
    layout: str
    missing: tuple[str, ...]
    """Kinds of the known one that the unknown one lacks."""
    kinds: int
    """Of the known one."""


def nearest_match(keys: Iterable[str]) -> str:
    """A sentence: the known layout that has most in common with these keys, and what is missing of it."""
    found = {_kind(key) for key in keys}
    known = [(architecture, layout) for architecture in ARCHITECTURES for layout in architecture.layouts]
    nearest = max((_likeness(found, *each) for each in known), key=lambda likeness: likeness.share)
    if not nearest.shared:
        return "None of them has a key like these"
    missing = ", ".join(nearest.missing[:_NAMED_KEYS])
    more = " and more" if len(nearest.missing) > _NAMED_KEYS else ""
    lacks = f"; {missing}{more} would belong to it" if missing else ""
    return (
        f"The nearest is {nearest.architecture} ({nearest.layout}), of whose {nearest.kinds} kinds of keys "
        f"{nearest.shared} are there{lacks}"
    )


def _likeness(found: set[str], architecture: Architecture, layout: Layout) -> _Likeness:
    needed = {field.name for field in dataclasses.fields(architecture.config_type) if _is_required(field)}
    config = architecture.config_type(**dict.fromkeys(needed, 2))  # the scale, if anything
    with torch.device("meta"):
        ours = architecture.network_type(config).state_dict()
    kinds = list(dict.fromkeys(_kind(theirs) for key in ours if (theirs := layout.stored_key(key, config))))
    shared = found & set(kinds)
    missing = tuple(kind for kind in kinds if kind not in found)
    share = len(shared) / len(found | set(kinds))
    name = OWN_LAYOUT if layout is architecture.own else layout.name
    return _Likeness(share, len(shared), architecture.name, name, missing, len(kinds))


def _is_required(field: "dataclasses.Field[object]") -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _kind(key: str) -> str:
    return re.sub(r"\d+", "#", key)
