"""Command-line options made from the fields of a configuration."""

import dataclasses
import types
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from edsr_train.config import TrainConfig
from edsr_train.recipes import RECIPES

F = TypeVar("F", bound=Callable[..., Any])


class Integer(click.ParamType):
    """A whole number, also as ``3e5`` and ``300_000``."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click."""
        for kind in (int, float):
            try:
                if (number := kind(value)) == int(number):
                    return int(number)
            except (ValueError, OverflowError):
                continue
        self.fail(f"{value!r} is not a whole number, such as 1000 or 1e3", param, ctx)


def options_of(config_type: type) -> Callable[[F], F]:
    """A decorator that adds one option for each field: its name, type, text and default."""
    hints = get_type_hints(config_type)

    def decorate(function: F) -> F:
        for field in reversed(dataclasses.fields(config_type)):
            function = _option(field, hints[field.name])(function)
        return function

    return decorate


def _option(field: "dataclasses.Field[Any]", hint: Any) -> Callable[[F], F]:
    name = field.name.replace("_", "-")
    arguments: dict[str, Any] = {"default": None, "help": field.metadata["help"] + _defaults(field)}
    if get_origin(hint) is tuple:
        (hint, *_) = get_args(hint)
        arguments["multiple"] = True
    elif get_origin(hint) is types.UnionType:
        (hint,) = (option for option in get_args(hint) if option is not types.NoneType)
    if hint is bool:
        return click.option(f"--{name}/--no-{name}", field.name, **arguments)
    if get_origin(hint) is Literal:
        arguments["type"] = click.Choice(get_args(hint))
    else:
        arguments |= {"type": Integer() if hint is int else hint, "metavar": {int: "N", float: "X"}.get(hint, "TEXT")}
    return click.option(f"--{name}", field.name, **arguments)


def _defaults(field: "dataclasses.Field[Any]") -> str:
    if field.default in ((), None):
        return ""
    shown = [_show(field.default)]
    if field.name in TrainConfig.__dataclass_fields__:
        names: dict[str, list[str]] = {}
        for name, recipe in RECIPES.items():
            value = getattr(recipe.training, field.name)
            if value != field.default:
                names.setdefault(_show(value), []).append(name)
        shown += [f"{', '.join(having)}: {value}" for value, having in names.items()]
    return f"  [{'; '.join(shown)}]"


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
