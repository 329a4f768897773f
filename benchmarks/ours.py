"""Our runtime in its forms: backend, precision, folded or not, averaging or not, in tiles or whole."""

import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.engine_folder import engines_below
from edsr_runtime.backends.choose import TENSORRT as TENSORRT_BACKEND
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.trt.driver import cuda_driver
from edsr_runtime.trt.flavour import load_flavour
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
    needs_gpu: bool = False
    """Whether it is on a GPU or nowhere."""

    @property
    def is_engine(self) -> bool:
        """Whether it is given a model in FP16, and an engine is built of that."""
        return self.backend == TENSORRT_BACKEND

    def enter(
        self, stack: ExitStack, folder: Path, model: Callable[[], Path], *, tile: int | Literal["auto"] = "auto"
    ) -> Upscaler:
        """Load a model, until ``stack`` is closed.

        Args:
            stack: takes the upscaler.
            folder: for the engine, if there is to be one.
            model: makes the file; not asked where the machine cannot do this.
            tile: as in ``open``.

        Raises:
            EnvironmentUnfitError, MissingDependencyError: not on this machine.
        """
        if self.needs_gpu:
            cuda_driver()
        if self.is_engine:
            load_flavour()
            stack.enter_context(engines_below(Path(tempfile.mkdtemp(prefix="engines-", dir=folder))))
        return stack.enter_context(self.open(model(), tile=tile))

    def open(self, model: Path, *, self_ensemble: bool = False, tile: int | Literal["auto"] = "auto") -> Upscaler:
        """Load a model to run in this way.

        Raises:
            EnvironmentUnfitError, MissingDependencyError: not on this machine.
        """
        averages = self_ensemble or self.self_ensemble
        return Upscaler(
            model,
            backend=self.backend,
            precision=self.precision,
            self_ensemble=averages,
            tile=tile,
            build=self.is_engine,
            needs_gpu=self.needs_gpu,
        )


AUTO = Form("auto", "auto", "auto")
AMX = Form("amx", "amx", "bf16")
OPENVINO_BF16 = Form("openvino-bf16", "openvino", "bf16")
OPENVINO_FP32 = Form("openvino-fp32", "openvino", "fp32")
ONNXRUNTIME = Form("onnxruntime", "onnxruntime", "auto")
"""In the precision of the file, which is all it can do."""
NO_COLLAPSE = Form("auto-no-collapse", "auto", "auto", collapsed=False)
ENSEMBLE = Form("auto-ensemble", "auto", "auto", self_ensemble=True)
IN_TILES = Form("auto-tiles", "auto", "auto", in_tiles=True)
ONNXRUNTIME_GPU = Form("onnxruntime-gpu", "onnxruntime", "auto", needs_gpu=True)
TENSORRT = Form("tensorrt", TENSORRT_BACKEND, "auto", needs_gpu=True)
"""In FP16, by an engine that is built for the occasion."""

EXPLICIT = (AMX, OPENVINO_BF16, OPENVINO_FP32, ONNXRUNTIME)
ON_A_GPU = (ONNXRUNTIME_GPU, TENSORRT)
ALL_FORMS = (AUTO, *EXPLICIT, NO_COLLAPSE, ENSEMBLE, IN_TILES, *ON_A_GPU)


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
            missing[form.name] = why_missing(err)
    return opened, missing


def why_missing(err: EdsrError) -> str:
    """The reason why a form is not there, without the folder of its model: results name none of this machine."""
    return re.sub(r"^.*/(?=[^/]+\.onnx: )", "", str(err))
