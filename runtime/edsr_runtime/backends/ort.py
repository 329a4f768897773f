"""onnxruntime: the portable backend, and CUDA where onnxruntime-gpu is installed."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edsr_runtime.backends.base import NonFiniteError, Precision, to_uint8
from edsr_runtime.contract import Contract
from edsr_runtime.cpu import cpu_flags
from edsr_runtime.cuda.device import DeviceMemoryError
from edsr_runtime.errors import EnvironmentUnfitError, ModelFileError

_QUIET = 4  # not even errors, which come back as exceptions: nobody is to get more than a sentence
# TF32, its default, has 10 bits of mantissa: that would not be FP32
_CUDA: tuple[str, dict[str, str]] = ("CUDAExecutionProvider", {"use_tf32": "0"})
_CPU: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})
_OUT_OF_MEMORY = re.compile(r"Failed to allocate memory|out of memory|ALLOC_FAILED|bad_alloc|bad allocation")


class OnnxRuntimeBackend:
    """One model in one session; onnxruntime allows calls from several threads."""

    name = "onnxruntime"

    def __init__(self, path: Path, contract: Contract, precision: Precision | None, threads: int | None = None) -> None:
        """Read a model; see ``OpenVinoBackend``.

        Raises:
            ModelFileError: onnxruntime cannot read the file.
            EnvironmentUnfitError: a precision other than the file's.
        """
        if precision not in (None, contract.precision):
            raise EnvironmentUnfitError(
                f"onnxruntime computes in the precision of the file, {contract.precision}, not {precision}: "
                "use --precision auto, or --backend openvino"
            )
        self.precision: Precision = contract.precision
        self._path = path
        self._scale = contract.scale
        options = ort.SessionOptions()
        options.log_severity_level = _QUIET
        if threads is not None:
            options.intra_op_num_threads = threads
        wanted = [provider for provider in (_CUDA, _CPU) if provider[0] in ort.get_available_providers()]
        if _CUDA in wanted:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find, which may be loaded
                ort.preload_dlls()  # CUDA's libraries that came from PyPI, which the loader does not find by itself
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(str(path), options, providers=wanted)
        except Exception as err:  # onnxruntime's exceptions have no common base but this
            raise ModelFileError(f"{path}: onnxruntime cannot read it. Copy or export it again.") from err
        on_gpu = self._session.get_providers()[0] == "CUDAExecutionProvider"
        failed = "" if on_gpu or len(wanted) == 1 else " (CUDA did not start)"
        self.on_gpu = on_gpu
        self._memory = "cuda" if on_gpu else None
        self.device = "CUDA" if on_gpu else f"CPU, {cpu_flags().describe('fp32')}{failed}"

    def run_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``Backend``."""
        sr = np.asarray(self._run(lr), np.float32)
        if not np.isfinite(sr).all():
            raise NonFiniteError
        return sr

    def run_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See ``Backend``."""
        return to_uint8(self.run_float(lr.transpose(0, 3, 1, 2).astype(np.float32)))

    def close(self) -> None:
        """See ``Backend``."""
        self._session = None

    def _run(self, lr: NDArray[np.generic]) -> object:
        assert self._session is not None, "closed"
        lr = np.ascontiguousarray(lr)
        if self._memory is not None:
            return self._run_bound(self._session, lr, self._memory)
        try:
            (sr,) = self._session.run(None, {"input": lr})
        except Exception as err:  # onnxruntime's exceptions have no common base but this
            if isinstance(err, MemoryError) or _OUT_OF_MEMORY.search(str(err)):
                raise DeviceMemoryError(f"there is not enough memory for a tile of {lr.shape[2:]} (HxW)") from err
            raise ModelFileError(f"{self._path}: onnxruntime cannot run it. Copy or export it again.") from err
        self._check_shape(lr, sr)
        return sr

    def _check_shape(self, lr: NDArray[np.generic], sr: object) -> None:
        height, width = lr.shape[2:]
        expected = (lr.shape[0], 3, self._scale * height, self._scale * width)
        found = np.shape(sr) if isinstance(sr, np.ndarray) else type(sr).__name__
        if found != expected:
            raise ModelFileError(
                f"{self._path}: gives {found} where its contract says {expected}. Copy or export it again."
            )

    def _run_bound(self, session: ort.InferenceSession, lr: NDArray[np.generic], memory: str) -> object:
        """With input and output where the network is, so that each is copied once."""
        binding = session.io_binding()
        try:
            binding.bind_ortvalue_input("input", ort.OrtValue.ortvalue_from_numpy(lr, memory, 0))
            binding.bind_output("output", memory, 0)
            session.run_with_iobinding(binding)
            (sr,) = binding.copy_outputs_to_cpu()
        except Exception as err:  # onnxruntime's exceptions have no common base but this
            if _OUT_OF_MEMORY.search(str(err)):
                raise DeviceMemoryError(f"the GPU has not enough memory for a tile of {lr.shape[2:]} (HxW)") from err
            raise
        return sr
