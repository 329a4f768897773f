"""Our runtime in its forms: backend, precision, folded or not, averaging or not, in tiles or whole."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.upscaler import Upscaler


@dataclass(frozen=True)
class Form:
    """One way to run a model."""

    name: str
    backend: str
    precision: Literal["auto", "bf16", "fp32"]
    collapsed: bool = True
    """Whether it is given the model with the tail collapse, or one exported with ``--no-collapse``."""
    self_ensemble: bool = False
    in_tiles: bool = False
    """As small as is sensible, with the exact halo; otherwise as large as memory allows."""

    def open(self, model: Path, *, self_ensemble: bool = False, tile: int | Literal["auto"] = "auto") -> Upscaler:
        """Load a model to run in this way.

        Raises:
            EnvironmentUnfitError, MissingDependencyError: not on this machine.
        """
        averages = self_ensemble or self.self_ensemble
        return Upscaler(model, backend=self.backend, precision=self.precision, self_ensemble=averages, tile=tile)


AUTO = Form("auto", "auto", "auto")
OPENVINO_BF16 = Form("openvino-bf16", "openvino", "bf16")
OPENVINO_FP32 = Form("openvino-fp32", "openvino", "fp32")
ONNXRUNTIME = Form("onnxruntime", "onnxruntime", "auto")
"""In the precision of the file, which is all it can do."""
NO_COLLAPSE = Form("auto-no-collapse", "auto", "auto", collapsed=False)
ENSEMBLE = Form("auto-ensemble", "auto", "auto", self_ensemble=True)
IN_TILES = Form("auto-tiles", "auto", "auto", in_tiles=True)

EXPLICIT = (OPENVINO_BF16, OPENVINO_FP32, ONNXRUNTIME)
ALL_FORMS = (AUTO, *EXPLICIT, NO_COLLAPSE, ENSEMBLE, IN_TILES)


def open_possible(
    forms: tuple[Form, ...], model: Path, stack: ExitStack
) -> tuple[dict[Form, Upscaler], dict[str, str]]:
    """Load a model in every form that this machine can do.

    Returns:
        The upscalers, which ``stack`` closes; and by name the reason why another form is not there.
    """
    opened, missing = {}, {}
    for form in forms:
        try:
            opened[form] = stack.enter_context(form.open(model))
        except (EnvironmentUnfitError, MissingDependencyError) as err:
            missing[form.name] = str(err)
    return opened, missing
