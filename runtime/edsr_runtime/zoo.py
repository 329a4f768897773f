"""The models that come with the package."""

import re
from dataclasses import dataclass
from pathlib import Path

from edsr_runtime.errors import ModelFileError

DEFAULT_NAME = "edsr-small"
_FOLDER = Path(__file__).parent / "models"


@dataclass(frozen=True)
class ShippedModel:
    """One file of package data; its card lies beside it as ``<name>.md``."""

    name: str
    scale: int
    path: Path


def shipped_models() -> list[ShippedModel]:
    """All of them, by name and scale."""
    found = ((path, re.fullmatch(r"(.+)_x(\d)", path.stem)) for path in sorted(_FOLDER.glob("*.onnx")))
    return [ShippedModel(match[1], int(match[2]), path) for path, match in found if match]


def model_path(name: str, scale: int) -> Path:
    """The file of a shipped model.

    Raises:
        ModelFileError: there is none of this name and scale.
    """
    models = shipped_models()
    for model in models:
        if (model.name, model.scale) == (name, scale):
            return model.path
    have = ", ".join(f"{m.name} x{m.scale}" for m in models) or "none"
    raise ModelFileError(f"no model {name} x{scale} comes with the package (there are: {have}). Pass a file with -m.")
