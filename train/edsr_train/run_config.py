"""One training run as a whole: the network, how to train it and on what; from names, YAML and options, and back."""

import dataclasses
import difflib
import json
import math
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from edsr_runtime.errors import EdsrError
from edsr_train.architectures.base import Architecture
from edsr_train.architectures.registry import ARCHITECTURES
from edsr_train.config import DataConfig, TrainConfig, path_of
from edsr_train.models.branch import NetworkConfig
from edsr_train.plain import first_of_wrong_type, with_tuples
from edsr_train.recipes import RECIPES

Plain = dict[str, dict[str, Any]]
"""Section (``network``, ``training``, ``data``) -> key -> plain value: the YAML file, parsed."""

SCALES = (2, 3, 4)
LARGEST_SIZE = 2**12
"""Of a network, in blocks or feature maps: what is larger is a slip, and slow to be refused for its memory."""
_SECTIONS = ("network", "training", "data")


class Asked(NamedTuple):
    """A value that the user gave on the command line."""

    option: str
    """As it was typed: "--lr 0.001", "--net n_feats=32"."""
    value: Any


@dataclass(frozen=True)
class RunConfig:
    """All that a run is told."""

    architecture: Architecture
    network: NetworkConfig
    training: TrainConfig
    data: DataConfig

    def to_plain(self) -> Plain:
        """Sections of plain values; ``parse`` gives the same configuration back."""
        return {
            "network": {"architecture": self.architecture.name, **dataclasses.asdict(self.network)},
            "training": dataclasses.asdict(self.training),
            "data": dataclasses.asdict(self.data),
        }

    def to_yaml(self) -> str:
        """A YAML file for ``--config``, every value with its text."""
        texts = {
            field.name: field.metadata.get("help", "")
            for config_type in (TrainConfig, DataConfig)
            for field in dataclasses.fields(config_type)
        }
        lines = []
        for section, values in self.to_plain().items():
            lines.append(f"{section}:")
            for name, value in values.items():
                text = f"  # {texts[name]}" if section != "network" else ""
                lines.append(f"  {name}: {_as_yaml(value)}{text}")
        return "\n".join(lines) + "\n"


def read_base(name_or_file: str) -> Plain:
    """The sections of a named configuration, or of a YAML file.

    Raises:
        EdsrError: neither, or a file that is no such YAML.
    """
    if name_or_file in RECIPES:
        recipe = RECIPES[name_or_file]
        network = {"architecture": recipe.architecture, **recipe.network}
        return {"network": network, "training": dataclasses.asdict(recipe.training), "data": {}}
    path = path_of(name_or_file)
    if path.is_dir() or not path.exists():  # a pipe is fine
        raise EdsrError(f"--config {name_or_file}: neither a file nor one of {', '.join(RECIPES)}")
    return _read_yaml(path)


def with_asked(base: Plain, asked: Mapping[str, Asked]) -> Plain:
    """``base`` with what was given on the command line: training and data fields by name, ``net.FIELD`` for others."""
    merged = {section: dict(base.get(section, {})) for section in _SECTIONS}
    for name, (_, value) in asked.items():
        section, key = section_of(name)
        merged[section][key] = value
    return merged


def section_of(name: str) -> tuple[str, str]:
    """Section and key of an asked value."""
    if name.startswith("net."):
        return "network", name.removeprefix("net.")
    return ("training" if name in TrainConfig.__dataclass_fields__ else "data"), name


def parse(plain: Mapping[str, Any], where: str = "the configuration") -> RunConfig:
    """Check everything and fill what is not said with defaults.

    Args:
        plain: see ``Plain``.
        where: what the errors begin with.

    Raises:
        EdsrError: an unknown section, key or architecture, a value of the wrong type or range, or no scale.
    """
    _refuse_unknown(where, plain, _SECTIONS, "section")
    network = dict(_section(plain, "network", where))
    name = network.pop("architecture", None)
    architecture = next((known for known in ARCHITECTURES if known.name == name), None)
    if architecture is None:
        known_names = ", ".join(known.name for known in ARCHITECTURES)
        raise EdsrError(f"{where}: network.architecture is {name!r}, expected one of {known_names}")
    config = _dataclass_from(architecture.config_type, network, f"{where}: network")
    _check_sizes(config, where)
    return RunConfig(
        architecture,
        config,
        _dataclass_from(TrainConfig, _section(plain, "training", where), f"{where}: training"),
        _dataclass_from(DataConfig, _section(plain, "data", where), f"{where}: data"),
    )


def _dataclass_from(config_type: Any, plain: Mapping[str, Any], where: str) -> Any:
    fields = config_type.__dataclass_fields__
    if "scale" in plain and "scale" not in fields and "scales" in fields:
        raise EdsrError(
            f"{where}: scale is {plain['scale']}, but this network has a list of scales. Leave --scale away, or "
            f"choose: --net 'scales=[{plain['scale']}]'"
        )
    _refuse_unknown(where, plain, fields, "key")
    hints = get_type_hints(config_type)
    values = with_tuples({name: _as_meant(value, hints[name]) for name, value in plain.items()})
    if wrong := first_of_wrong_type(config_type, values):
        raise EdsrError(f"{where}.{wrong}")
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise EdsrError(f"{where}.{name} is {value:g}, expected a finite number")
    missing = [
        n for n, f in fields.items() if n not in values and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing == ["scale"]:
        raise EdsrError("--scale is missing: give 2, 3 or 4")
    if missing:
        raise EdsrError(f"{where}: {', '.join(missing)} must be given")
    return config_type(**values)


def _as_yaml(value: Any) -> str:
    """YAML on one line of ASCII: JSON, but for characters that it writes as two halves, which YAML does not join."""

    def joined(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        character: str = json.loads(f'"{match[1]}"')
        return f"\\U{ord(character):08x}"

    return re.sub(r"(\\ud[89ab]..\\ud[c-f]..)|\\.", joined, json.dumps(value))


def _as_meant(value: Any, hint: Any) -> Any:
    """What YAML has no way, or a clumsy one, to say: one value for a list, 1e3 for 1000, 801 for the text."""
    origin = get_origin(hint)
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [] if value is None else [value]
        return [_as_meant(item, get_args(hint)[0]) for item in items]
    options = get_args(hint) if origin is types.UnionType else (hint,)
    if type(value) is int and str in options:
        return str(value)
    if type(value) is float and int in options and value.is_integer():
        return int(value)
    return value


def _check_sizes(config: NetworkConfig, where: str) -> None:
    for name, value in vars(config).items():
        if name in ("scale", "scales"):
            scales = value if isinstance(value, tuple) else (value,)
            if not scales or len(set(scales)) != len(scales) or not set(scales) <= set(SCALES):
                raise EdsrError(f"{where}: network.{name} is {value}, expected of {', '.join(map(str, SCALES))}")
        elif type(value) in (int, float) and not value > 0:
            raise EdsrError(f"{where}: network.{name} is {value:g}, expected a positive number")
        elif type(value) is int and value > LARGEST_SIZE:
            raise EdsrError(f"{where}: network.{name} is {value}, expected at most {LARGEST_SIZE}")


def _section(plain: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    section = plain.get(name) or {}
    if not isinstance(section, Mapping):
        raise EdsrError(f"{where}: {name} is {section!r}, expected keys with values below it")
    return section


def _refuse_unknown(where: str, given: Mapping[str, Any], known: Any, kind: str) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}"
            raise EdsrError(f"{where}: unknown {kind} {name}. {hint}")


def _read_yaml(path: Path) -> Plain:
    from ruamel.yaml import YAML  # only for files: names and options do without
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        read = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise EdsrError(f"{path}: cannot be read ({err.strerror})") from err
    except UnicodeDecodeError as err:
        raise EdsrError(f"{path}: is no text in UTF-8, expected YAML") from err
    except MarkedYAMLError as err:
        line = f"line {err.problem_mark.line + 1}: " if err.problem_mark else ""
        raise EdsrError(f"{path}: {line}{str(err.problem).splitlines()[0]}") from err
    except YAMLError as err:
        raise EdsrError(f"{path}: is no YAML ({str(err).splitlines()[0]})") from err
    if not isinstance(read, dict):
        raise EdsrError(f"{path}: expected the sections {', '.join(_SECTIONS)}. --print-config shows such a file")
    _refuse_unknown(str(path), read, _SECTIONS, "section")
    return {name: dict(_section(read, name, str(path))) for name in _SECTIONS}
