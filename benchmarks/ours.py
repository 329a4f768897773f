"""Our runtime in its forms: backend and precision."""

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

    def open(self, model: Path, *, self_ensemble: bool = False) -> Upscaler:
        """Load a model to run in this way.

        Raises:
            EnvironmentUnfitError, MissingDependencyError: not on this machine.
        """
        return Upscaler(model, backend=self.backend, precision=self.precision, self_ensemble=self_ensemble)


AUTO = Form("auto", "auto", "auto")
OPENVINO_BF16 = Form("openvino-bf16", "openvino", "bf16")
OPENVINO_FP32 = Form("openvino-fp32", "openvino", "fp32")
ONNXRUNTIME = Form("onnxruntime", "onnxruntime", "auto")
"""In the precision of the file, which is all it can do."""

EXPLICIT = (OPENVINO_BF16, OPENVINO_FP32, ONNXRUNTIME)


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
