"""OpenVINO on the CPU.

The graph is adapted after reading, for reasons that were measured on EDSR-baseline x4:

* In BF16, OpenVINO rounds a convolution's bias and output to BF16, whose step is 1 between 128 and 255. If the last
  bias follows a clamp instead, both become operations fused into the convolution and are done in FP32.
* Clamp and rounding follow the last convolution directly and are fused too, so that pixel shuffle and transposition
  move bytes and not floats.
"""

import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from edsr_runtime.backends.base import NonFiniteError, Precision
from edsr_runtime.contract import Contract
from edsr_runtime.cpu import cpu_flags
from edsr_runtime.cuda.device import DeviceMemoryError
from edsr_runtime.errors import EnvironmentUnfitError, ModelFileError

_NO_CLAMP = 3e38
_OUT_OF_MEMORY = re.compile(r"bad_alloc|bad allocation|[Nn]ot enough memory|could not allocate")
_HINTS = {"bf16": "bf16", "fp32": "f32"}


class OpenVinoBackend:
    """One model, compiled when it is first needed: once for float and once for uint8 pictures."""

    name = "openvino"

    def __init__(self, path: Path, contract: Contract, precision: Precision | None, threads: int | None = None) -> None:
        """Read a model.

        Args:
            path: ONNX file.
            contract: its contract.
            precision: ``bf16``, ``fp32``, or None for BF16 where the CPU computes in it, else FP32.
            threads: CPU threads; default: OpenVINO's choice, one per physical core.

        Raises:
            ModelFileError: OpenVINO cannot read the file.
            EnvironmentUnfitError: BF16 is asked for and the CPU does not compute in it.
        """
        self._core = ov.Core()
        capable = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not capable:
            raise EnvironmentUnfitError("this CPU has neither AMX nor AVX512-BF16 for bf16: use --precision fp32")
        if precision == "fp16":
            raise EnvironmentUnfitError("OpenVINO computes in bf16 or fp32 on a CPU, not in fp16: use --precision auto")
        self.precision: Precision = precision or ("bf16" if capable else "fp32")
        self.device = "CPU, " + cpu_flags().describe(self.precision)
        self._contract = contract
        self._path = path
        self._options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._lock = threading.Lock()
        self._requests: dict[str, ov.InferRequest] = {}
        self._read()

    def run_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``Backend``."""
        with self._lock:
            request = self._inferred("float", lr)
            if not _is_finite(request):
                raise NonFiniteError
            return np.array(request.get_output_tensor(0).data, np.float32)

    def run_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See ``Backend``."""
        with self._lock:
            request = self._inferred("uint8", lr)
            if not _is_finite(request):
                raise NonFiniteError
            return np.array(request.get_output_tensor(0).data, np.uint8)

    def close(self) -> None:
        """See ``Backend``."""
        with self._lock:
            self._requests.clear()

    def _inferred(self, io: str, lr: NDArray[np.generic]) -> ov.InferRequest:
        try:
            request = self._request(io)
            request.infer([np.ascontiguousarray(lr)], share_inputs=True)
        except (RuntimeError, MemoryError) as err:
            if isinstance(err, MemoryError) or _OUT_OF_MEMORY.search(str(err)):
                self._requests.pop(io, None)
                shape = lr.shape[2:] if io == "float" else lr.shape[1:3]
                raise DeviceMemoryError(f"there is not enough memory for a tile of {shape} (HxW)") from err
            raise ModelFileError(f"{self._path}: OpenVINO cannot run it. Copy or export it again.") from err
        return request

    def _request(self, io: str) -> ov.InferRequest:
        if io not in self._requests:
            adapt = _float_model if io == "float" else _uint8_model
            compiled = self._core.compile_model(adapt(self._read()), "CPU", self._options)
            self._requests[io] = compiled.create_infer_request()
        return self._requests[io]

    def _read(self) -> ov.Model:
        try:
            return self._core.read_model(str(self._path))
        except RuntimeError as err:
            raise ModelFileError(f"{self._path}: OpenVINO cannot read it. Copy or export it again.") from err


class _Ending:
    """Where a graph's arithmetic ends: the last biases, behind which there is only movement of data, or not."""

    def __init__(self, model: ov.Model) -> None:
        self.biases: list[ov.Node] = []
        self.only_moves = True
        self._result = model.get_results()[0].input_value(0)
        pending, seen = [self._result.get_node()], set()
        while pending:
            node = pending.pop()
            if node.get_friendly_name() in seen:
                continue
            seen.add(node.get_friendly_name())
            kind = node.get_type_name()
            if kind == "Add" and node.input_value(0).get_node().get_type_name() == "Convolution":
                self.biases.append(node)
            elif kind in ("Concat", "DepthToSpace", "Convert"):
                pending += [value.get_node() for value in node.input_values()]
            elif kind == "Add":  # the mean, added in FP32 after a network in FP16
                self.only_moves = False
                pending.append(node.input_value(0).get_node())
            else:
                self.only_moves = False

    def features(self) -> ov.Output:
        """What the last convolutions see; a NaN or infinity anywhere before them is in it.

        The result itself where they are not found: they have no bias, or an ensemble is summed up behind them.
        """
        if not self.biases:
            return self._result
        inputs = [bias.input_value(0).get_node().input_value(0) for bias in self.biases]
        return next((x for x in inputs if "Slice" not in x.get_node().get_type_name()), inputs[0])


def _fuse_last_bias(ending: _Ending) -> None:
    for bias in ending.biases:
        clamped = ops.clamp(bias.input_value(0), -_NO_CLAMP, _NO_CLAMP)
        bias.input(0).replace_source_output(clamped.output(0))


def _is_finite(request: ov.InferRequest) -> bool:
    return bool(np.isfinite(request.get_output_tensor(1).data).all())


def _check(ending: _Ending) -> ov.Node:
    """One number that is finite if all inside was: neither a clamp nor a uint8 lets NaN and infinity through."""
    # As FP32: in FP16 the sum of a whole picture would overflow.
    magnitudes = ops.abs(ops.convert(ending.features(), np.float32))
    return ops.reduce_sum(magnitudes, np.arange(4), keep_dims=False)


def _float_model(model: ov.Model) -> ov.Model:
    """(N, 3, H, W) float -> (N, 3, sH, sW) float, and the check."""
    ending = _Ending(model)
    check = _check(ending)
    _fuse_last_bias(ending)
    return _model([model.get_results()[0].input_value(0).get_node(), check], model.get_parameters())


def _uint8_model(model: ov.Model) -> ov.Model:
    """(N, H, W, 3) uint8 -> (N, sH, sW, 3) uint8, and the check."""
    ending = _Ending(model)
    check = _check(ending)
    lr = ops.parameter(ov.PartialShape([-1, -1, -1, 3]), np.uint8, name="input")
    (old,) = model.get_parameters()
    pixels = ops.transpose(ops.convert(lr, np.float32), [0, 3, 1, 2])
    for reader in list(old.output(0).get_target_inputs()):
        reader.replace_source_output(pixels.output(0))
    _fuse_last_bias(ending)
    if ending.only_moves:
        for bias in ending.biases:
            _put_behind(bias, _as_uint8)
        sr = model.get_results()[0].input_value(0)
    else:
        sr = _as_uint8(model.get_results()[0].input_value(0))
    return _model([ops.transpose(sr, [0, 2, 3, 1]), check], [lr])


def _model(outputs: list[ov.Node], inputs: list[ov.Node]) -> ov.Model:
    return ov.Model(outputs, inputs, "adapted")  # pyright: ignore[reportGeneralTypeIssues]  # its annotations clash


def _as_uint8(sr: ov.Output) -> ov.Output:
    return ops.convert(ops.round(ops.clamp(sr, 0.0, 255.0), "half_to_even"), np.uint8).output(0)


def _put_behind(node: ov.Node, change: Callable[[ov.Output], ov.Output]) -> None:
    """Let everybody who reads ``node`` read ``change(node)``."""
    readers = list(node.output(0).get_target_inputs())
    changed = change(node.output(0))
    for reader in readers:
        reader.replace_source_output(changed)
