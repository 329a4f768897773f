"""TensorRT and TensorRT-RTX: engines on an NVIDIA GPU, with several tiles under way at the same time."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.backends.base import Precision
from edsr_runtime.backends.trt_engine import TrtEngine
from edsr_runtime.contract import Contract
from edsr_runtime.cuda.choose import open_device
from edsr_runtime.cuda.device import Device
from edsr_runtime.cuda.engine import Engine
from edsr_runtime.cuda.runner import WORKERS, Runner
from edsr_runtime.trt.driver import cuda_driver
from edsr_runtime.trt.engine_file import check, open_engine_file
from edsr_runtime.trt.flavour import load_flavour
from edsr_runtime.trt.folder import is_ours


class TensorRtBackend:
    """See ``DeviceBackend``."""

    name = "tensorrt"

    def __init__(
        self,
        device: Device,
        engine: Engine,
        contract: Contract,
        flavour: str,
        workers: int = WORKERS,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Take over an engine that is loaded, and its device: both are closed with the backend.

        Args:
            device: where it is.
            engine: of this ``contract``.
            contract: of the model.
            flavour: what runs it, for people.
            workers: tiles that are under way at the same time.
            note: takes a sentence for the user when something has to be done otherwise.

        Raises:
            DeviceMemoryError, EngineError: it cannot be run.
        """
        self.precision: Precision = contract.precision
        self.device = f"{device.name}, {flavour}, {device.library}"
        self.workers = workers
        profile = engine.profile
        self.largest_hw = profile.max.height, profile.max.width
        self.smallest_side = max(contract.min_side, profile.min.height, profile.min.width)
        self._batch = profile.max.batch
        self._device = device
        self._engine = engine
        self._runner = Runner(device, engine, workers, note)

    def run_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``Backend``."""
        return self._run(lr)

    def run_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See ``Backend``. An engine with uint8 in and out cannot show NaN."""
        return self._run(lr)

    def mean_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``DeviceBackend``."""
        return self._runner.run(lr, ensemble=True)

    def mean_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See ``DeviceBackend``."""
        return self._runner.run(lr, ensemble=True)

    def close(self) -> None:
        """See ``Backend``."""
        with contextlib.ExitStack() as closed:  # all of them, even if one fails
            closed.callback(self._device.close)
            closed.callback(_close_engine, self._engine, self._device)
            closed.callback(self._runner.close)

    def _run(self, lr: NDArray[Any]) -> NDArray[Any]:
        batches = [lr[first : first + self._batch] for first in range(0, len(lr), self._batch)]
        tickets = [self._runner.submit(batch) for batch in batches]
        results = [ticket.result() for ticket in tickets]
        return results[0] if len(results) == 1 else np.concatenate(results)


def open_tensorrt(
    path: Path, trust: bool = False, workers: int = WORKERS, note: Callable[[str], None] = lambda line: None
) -> TensorRtBackend:
    """Load an engine onto the first GPU that CUDA_VISIBLE_DEVICES leaves.

    Args:
        path: the engine; its description lies beside it.
        trust: it may lie outside our own folder; see ``open_engine_file``.
        workers: tiles that are under way at the same time.
        note: takes sentences for the user.

    Raises:
        ModelFileError: the file cannot be used.
        EnvironmentUnfitError, MissingDependencyError: this machine cannot run it.
    """
    driver = cuda_driver()  # first of all: without one, TensorRT ends the process
    plan, description = open_engine_file(path, trust)
    flavour = load_flavour(description.flavour)
    check(description, flavour, driver)
    device = open_device(0)
    with contextlib.ExitStack() as undone:
        undone.callback(device.close)
        with device.current():
            engine = TrtEngine(flavour, plan, description.contract, _jit_cache(path, device.name))
        undone.callback(_close_engine, engine, device)
        backend = TensorRtBackend(device, engine, description.contract, str(flavour), workers, note)
        undone.pop_all()
    return backend


def _close_engine(engine: Engine, device: Device) -> None:
    with device.current():
        engine.close()


def _jit_cache(engine: Path, gpu: str) -> Path | None:
    """Only in our own folder: what is in there is run."""
    letters = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    kernels = engine.with_name(f"{engine.name}.{letters}.jit")
    return kernels if is_ours(kernels if kernels.exists() else engine) else None
