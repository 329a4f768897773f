"""What an engine really computes in.

In a strongly typed network, which is the only kind that is built here, every layer computes in the types of its
tensors. So the parsed network definition says it all, and it can be read without a GPU. What the engine holds is a
second witness: its weights have as many bytes as the definition says. Where there is a GPU, the engine itself is asked.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from edsr_runtime.errors import GateError

Precision = Literal["fp32", "fp16"]

_TYPES: dict[Precision, str] = {"fp32": "float", "fp16": "half"}
_CONVOLUTIONS = ("CONVOLUTION", "DECONVOLUTION")
_COMPUTED = ("half", "float", "bf16", "uint8", "fp8", "int8", "fp4", "int4")  # the others belong to shapes
_NUMPY_NAMES = {"float16": "half", "float32": "float"}
_TOO_FEW, _SLACK = 0.75, 1.5  # of the bytes expected: half as many are another type; padding may make it more


@dataclass(frozen=True)
class Layer:
    """One layer of the network definition that computes pictures, not shapes."""

    name: str
    kind: str
    """``CONVOLUTION``, as TensorRT names it."""
    takes: str
    """Type of its first input: ``half``; empty for constants."""
    gives: str
    """Type of its output."""


@dataclass(frozen=True)
class PrecisionReport:
    """What was asked for, what was found, and where."""

    asked: Precision
    layers: tuple[Layer, ...]
    kernels: dict[str, int]
    """Kernels of convolutions, by type."""
    weights: int
    """Numbers in the kernels and biases of all convolutions, each counted once."""
    bytes_per_weight: float
    """In the built engine, as its builder reports; 0 if it does not."""
    proofs: tuple[str, ...]
    """What was looked at, one line each."""

    def count(self) -> dict[str, int]:
        """How many layers of each kind and type there are: ``{"convolution half": 43, ...}``."""
        return dict(Counter(f"{layer.kind.lower()} {layer.gives}" for layer in self.layers))


@dataclass(frozen=True)
class Definition:
    """What the network definition says."""

    layers: tuple[Layer, ...]
    kernels: dict[str, int]
    weights: int


def read_definition(trt: Any, network: Any) -> Definition:
    """Of a parsed network, before it is built: building may give back its weights."""
    layers: list[Layer] = []
    kernels: Counter[str] = Counter()
    weights: dict[int, int] = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        if kind in _CONVOLUTIONS:
            layer.__class__ = trt.IConvolutionLayer if kind == "CONVOLUTION" else trt.IDeconvolutionLayer
            for array, is_kernel in ((layer.kernel, True), (layer.bias, False)):
                if array is None or not array.size:
                    continue
                weights[_address(array)] = array.size
                if is_kernel:
                    kernels[_type_name(array.dtype)] += 1
        gives = _tensor_type(layer.get_output(0))
        if gives in _COMPUTED:
            takes = _tensor_type(layer.get_input(0)) if layer.num_inputs else ""
            layers.append(Layer(layer.name, kind, takes, gives))
    return Definition(tuple(layers), dict(kernels), sum(weights.values()))


def prove(
    asked: Precision, definition: Definition, weight_bytes: int | None, inspected: Iterable[str] | None, builder: str
) -> PrecisionReport:
    """Look at every witness.

    Args:
        asked: what all convolutions must compute in.
        definition: of the network that was built.
        weight_bytes: of the engine, as the builder reports; None if it does not.
        inspected: type of each convolution that the engine itself names; None if it could not be asked.
        builder: who built it, for the message.

    Raises:
        GateError: a witness says otherwise.
    """
    wanted = _TYPES[asked]
    convolutions = [layer for layer in definition.layers if layer.kind in _CONVOLUTIONS]
    if not convolutions:
        raise GateError("the network has no convolution, so its precision cannot be shown. Nothing was written.")
    for layer in convolutions:
        if {layer.takes, layer.gives} != {wanted}:
            raise GateError(
                f"the convolution {layer.name} takes {layer.takes} and gives {layer.gives}, expected {wanted} "
                f"for {asked}. Nothing was written."
            )
    if other := sorted(set(definition.kernels) - {wanted}):
        raise GateError(f"there are kernels of type {other[0]}, expected {wanted} for {asked}. Nothing was written.")
    proofs = [f"network definition, strongly typed: {len(convolutions)} of {len(convolutions)} convolutions {wanted}"]
    each = 0.0
    if weight_bytes is not None and definition.weights:
        each = weight_bytes / definition.weights
        size = 2 if asked == "fp16" else 4
        if each < size * _TOO_FEW:
            raise GateError(
                f"the engine holds {each:.2f} bytes for each weight, expected {size} for {asked}. Nothing was written."
            )
        if each < size * _SLACK:
            proofs.append(f"{builder}'s report: {each:.2f} bytes for each of {definition.weights:,} weights")
    if inspected is not None and (found := Counter(inspected)):
        if other := sorted(set(found) - {wanted}):
            raise GateError(
                f"{found[other[0]]} of the engine's {found.total()} convolutions compute in {other[0]}, expected "
                f"{wanted} for {asked}. Nothing was written."
            )
        proofs.append(f"engine inspector: {found.total()} of {found.total()} convolutions {wanted}")
    return PrecisionReport(asked, definition.layers, definition.kernels, definition.weights, each, tuple(proofs))


def convolution_types(inspector_json: str) -> list[str]:
    """Type of the first output of each convolution in what TensorRT's engine inspector prints as JSON.

    Empty where layers were fused beyond recognition, as TensorRT-RTX does, or the engine was built without details.
    """
    layers = json.loads(inspector_json).get("Layers", [])
    found = []
    for layer in layers:
        if not isinstance(layer, dict) or "conv" not in str(layer.get("LayerType", "")).lower():
            continue
        outputs = layer.get("Outputs") or [{}]
        named = re.search(r"\b(half|fp16|float|fp32|bfloat16|bf16|int8|fp8)\b", _format(outputs[0]), re.IGNORECASE)
        if named:
            found.append({"fp16": "half", "fp32": "float", "bfloat16": "bf16"}.get(named[1].lower(), named[1].lower()))
    return found


def _format(tensor: dict[str, Any]) -> str:
    """Two entries from TensorRT 11 on; before, "Format/Datatype", such as "Half NHWC8"."""
    entries = {key.lower(): str(value) for key, value in tensor.items()}
    return entries.get("datatype") or entries.get("format/datatype", "")


def _tensor_type(tensor: Any) -> str:
    return tensor.dtype.name.lower() if tensor is not None else ""


def _type_name(dtype: Any) -> str:
    """Of an array of numpy, or of TensorRT's own where numpy has no such type."""
    name = str(getattr(dtype, "name", dtype)).lower()
    return _NUMPY_NAMES.get(name, name)


def _address(array: Any) -> int:
    """Arrays that share their memory are one initializer: an ensemble uses each eight times."""
    return int(array.ctypes.data) if hasattr(array, "ctypes") else id(array)
