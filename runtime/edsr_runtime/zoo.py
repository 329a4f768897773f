"""The models that come with the package."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edsr_runtime.errors import ModelFileError

Precision = Literal["fp32", "fp16"]

DEFAULT_NAME = "edsr-small"
_FOLDER = Path(__file__).parent / "models"


@dataclass(frozen=True)
class ShippedModel:
    """One file of package data; its card lies beside it as ``<name>.md``."""

    name: str
    scale: int
    path: Path
    precision: Precision = "fp32"
    """FP16 files are for TensorRT; the other backends choose the precision themselves."""


def shipped_models(precision: Precision = "fp32") -> list[ShippedModel]:
    """All of them in this precision, by name and scale."""
    suffix = "_fp16" if precision == "fp16" else ""
    found = ((path, re.fullmatch(rf"(.+)_x(\d){suffix}", path.stem)) for path in sorted(_FOLDER.glob("*.onnx")))
    return [ShippedModel(match[1], int(match[2]), path, precision) for path, match in found if match]


def model_path(name: str, scale: int, precision: Precision = "fp32") -> Path:
    """The file of a shipped model.

    Raises:
        ModelFileError: there is none of this name, scale and precision.
    """
    models = shipped_models(precision)
    for model in models:
        if (model.name, model.scale) == (name, scale):
            return model.path
    have = ", ".join(f"{m.name} x{m.scale}" for m in models) or "none"
    kind = "model" if precision == "fp32" else f"{precision.upper()} model"
    raise ModelFileError(f"no {kind} {name} x{scale} comes with the package (there are: {have}). Pass a file with -m.")
