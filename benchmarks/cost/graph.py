"""An ONNX graph for one picture size: the shape of every tensor, and which numbers are weights.

Weights are looked at for their shape only, so that networks of any size are walked in moments.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edsr_runtime.errors import ModelFileError

_INDICES = 64  # so many numbers or fewer may be indices, sizes or pads, which shapes depend on
_ALIASES = frozenset(
    {"Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "DequantizeLinear"}
)
"""What a weight may pass through on its way to where it is used."""
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor before it is computed."""

    shape: tuple[int, ...]
    type: int
    """Of ``TensorProto``."""

    @property
    def bytes(self) -> int:
        """In memory."""
        return math.prod(self.shape) * helper.tensor_dtype_to_np_dtype(self.type).itemsize


class Graph:
    """One model, for any picture size."""

    def __init__(self, model: ModelProto, name: str) -> None:
        """Look through a model, from wherever it comes.

        Args:
            model: with one input, pictures as (N, C, H, W) or (N, H, W, C).
            name: for messages.

        Raises:
            ModelFileError: it has not one input of four dimensions, or goes one way or another.
        """
        self.name = name
        if branching := next((node.op_type for node in model.graph.node if node.op_type in _CONTROL_FLOW), None):
            raise ModelFileError(f"{name}: has the operator {branching}, expected a graph without control flow")
        self.initializers: dict[str, TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes: tuple[NodeProto, ...] = tuple(node for node in model.graph.node if not self._is_constant(node))
        inputs = [value for value in model.graph.input if value.name not in self.initializers]
        if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
            raise ModelFileError(f"{name}: expected one input of four dimensions, (N, C, H, W) or (N, H, W, C)")
        self.input, self.output = inputs[0].name, model.graph.output[0].name
        dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
        self._colours_last = dims[3] in (1, 3) and dims[1] not in (1, 3)
        self._colours = dims[3 if self._colours_last else 1] or 3
        self._type = inputs[0].type.tensor_type.elem_type
        self._model = model
        self.producers = {output: node for node in self.nodes for output in node.output}

    @classmethod
    def read(cls, path: Path) -> "Graph":
        """Of a file.

        Raises:
            ModelFileError: it is not ONNX.
        """
        try:
            return cls(onnx.load(path), path.name)
        except OSError as err:
            raise ModelFileError(f"{path}: cannot be read ({err.strerror})") from err
        except ModelFileError:
            raise
        except Exception as err:  # whatever protobuf says
            raise ModelFileError(f"{path}: is not an ONNX file") from err

    def input_shape(self, hw: tuple[int, int]) -> tuple[int, ...]:
        """Of one picture, LR pixels."""
        return (1, *hw, self._colours) if self._colours_last else (1, self._colours, *hw)

    def spatial(self, shape: Sequence[int], *, of_output: bool = False) -> tuple[int, int]:
        """(H, W) of the input's or the output's shape."""
        last = self._colours_last or (of_output and shape[1] not in (1, 3) and shape[3] in (1, 3))
        return (shape[1], shape[2]) if last else (shape[2], shape[3])

    def tensors(self, hw: tuple[int, int]) -> dict[str, Tensor]:
        """Every tensor but the weights, by name, for one picture of this size.

        Raises:
            ModelFileError: a shape depends on what is computed, or the operators do not fit together.
        """
        light = self._light(hw)
        try:
            inferred = onnx.shape_inference.infer_shapes(light, strict_mode=True, data_prop=True).graph
        except Exception as err:  # onnx has no common base for what may be wrong
            raise ModelFileError(f"{self.name}: its shapes cannot be inferred ({str(err).splitlines()[0]})") from err
        found: dict[str, Tensor] = {}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            tensor = value.type.tensor_type
            dims = tuple(dim.dim_value for dim in tensor.shape.dim)
            known = tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
            if known and value.name not in self.initializers:
                found[value.name] = Tensor(dims, tensor.elem_type)
        missing = [output for node in self.nodes for output in node.output if output and output not in found]
        if missing:
            raise ModelFileError(f"{self.name}: the shape of {missing[0]} depends on more than the picture's size")
        return found

    def scale(self) -> float:
        """Output height divided by input height."""
        side = 48
        return self.spatial(self.tensors((side, side))[self.output].shape, of_output=True)[0] / side

    def weight(self, name: str) -> TensorProto | None:
        """The initializer or constant behind a node's input, or None if it is computed from the picture."""
        while name not in self.initializers:
            node = self.producers.get(name)
            if node is None or node.op_type not in _ALIASES:
                return None
            name = node.input[0]
        found: TensorProto = self.initializers[name]
        return found

    def constant(self, name: str) -> list[int] | None:
        """The numbers of a small constant, such as the start of a slice; None if they are computed."""
        tensor = self.weight(name)
        return None if tensor is None else [int(v) for v in numpy_helper.to_array(tensor).reshape(-1)]

    def digest(self, tensor: TensorProto) -> str:
        """The same for weights that are the same, in whatever files."""
        array = np.ascontiguousarray(numpy_helper.to_array(tensor))
        return hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest()

    def _is_constant(self, node: NodeProto) -> bool:
        """Compute a node that depends on small constants alone, as older exporters leave them for sizes of slices."""
        inputs = [name for name in node.input if name]
        if any(name not in self.initializers or not _is_small(self.initializers[name]) for name in inputs):
            return False
        if not inputs and node.op_type != "Constant":
            return False
        values = {name: numpy_helper.to_array(self.initializers[name]) for name in inputs}
        for name, value in zip(node.output, ReferenceEvaluator(node).run(None, values), strict=True):
            self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return True

    def _light(self, hw: tuple[int, int]) -> ModelProto:
        """The model for this picture size, with its large weights as inputs that have a shape and no numbers."""
        small, weights = [], []
        for tensor in self.initializers.values():
            if _is_small(tensor):
                small.append(tensor)
            else:
                weights.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        picture = helper.make_tensor_value_info(self.input, self._type, self.input_shape(hw))
        outputs = [
            helper.make_tensor_value_info(v.name, v.type.tensor_type.elem_type, None) for v in self._model.graph.output
        ]
        graph = helper.make_graph(self.nodes, "light", [picture, *weights], outputs, small)
        imports = {o.domain: o.version for o in self._model.opset_import}
        opsets = [helper.make_opsetid(domain, version) for domain, version in imports.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self._model.ir_version)


def count(tensor: TensorProto) -> int:
    """Numbers in it."""
    return math.prod(int(length) for length in tensor.dims)


def _is_small(tensor: TensorProto) -> bool:
    return count(tensor) <= _INDICES


def attributes(node: NodeProto) -> Mapping[str, object]:
    """A node's attributes as Python values."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def ints(value: object) -> list[int]:
    """An attribute that is a list of integers."""
    assert isinstance(value, list | tuple)
    return [int(v) for v in value]
