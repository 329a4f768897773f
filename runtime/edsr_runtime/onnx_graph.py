"""Nodes and weights of an ONNX file, without the onnx package. For files that ``check_model`` has let through.

Field numbers: onnx/onnx.proto3.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.errors import ModelFileError
from edsr_runtime.protobuf_walk import BYTES, Field, MessageError, content, integers, walk

_TYPES = {1: "<f4", 7: "<i8", 10: "<f2"}
"""By TensorProto.DataType: what our files have."""
_MAX_NAME = 4096
_MAX_NUMBERS = 64


@dataclass
class Node:
    """One operator."""

    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    """Attributes that are integers or lists of them."""
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    kind: int
    raw: Field | None


class StorageError(ModelFileError):
    """Weights are stored in a way that edsr-export does not write."""


class Graph:
    """What a file computes. Weights are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Read the nodes.

        Raises:
            ModelFileError: it cannot be read, or is none.
        """
        self._path = path
        self._tensors: dict[str, _Tensor] = {}
        self._casts: dict[str, str] = {}
        nodes: list[Node] = []
        try:
            with path.open("rb") as file:
                for part in walk(file, 0, path.stat().st_size):
                    if part.number == 7 and part.wire == BYTES:
                        nodes += self._read(file, part)
        except OSError as err:
            raise ModelFileError(f"{path}: cannot be read ({err.strerror})") from err
        except MessageError as err:
            raise ModelFileError(f"{path}: damaged ONNX file ({err}). Copy it, or export it again.") from err
        self.nodes: Sequence[Node] = [node for node in nodes if not self._is_cast_of_weights(node)]
        self.shapes: Mapping[str, tuple[int, ...]] = {
            **{name: tensor.shape for name, tensor in self._tensors.items()},
            **{name: self._tensors[stored].shape for name, stored in self._casts.items()},
        }
        """Of weights, by name; those that are stored in FP16 and cast have the names that they are used by too."""

    def array(self, name: str) -> NDArray[np.generic]:
        """Weights by name, in the type in which they are used: cast ones in FP32.

        Raises:
            StorageError: they are in another file, or not as raw bytes, or of an unusual type.
        """
        tensor = self._tensors[self._casts.get(name, name)]
        kind = _TYPES.get(tensor.kind)
        if tensor.raw is None or kind is None:
            raise StorageError(
                f"{self._path}: the weights {name!r} are not stored as edsr-export stores them. Export it again."
            )
        with self._path.open("rb") as file:
            data = content(file, tensor.raw, tensor.raw.length)
        if len(data) != np.dtype(kind).itemsize * math.prod(tensor.shape):
            raise StorageError(
                f"{self._path}: the weights {name!r} are not as long as their shape says. Copy it again."
            )
        values = np.frombuffer(data, kind).reshape(tensor.shape)
        return values.astype(np.float32) if name in self._casts else values

    def _read(self, file: BinaryIO, graph: Field) -> list[Node]:
        nodes = []
        for part in walk(file, graph.start, graph.length):
            if part.number == 1:
                nodes.append(_node(file, part))
            elif part.number == 5:
                name, tensor = _tensor(file, part)
                self._tensors[name] = tensor
        return nodes

    def _is_cast_of_weights(self, node: Node) -> bool:
        is_cast = node.operator == "Cast" and len(node.inputs) == len(node.outputs) == 1
        if not is_cast or node.inputs[0] not in self._tensors or node.numbers.get("to") != [1]:
            return False
        self._casts[node.outputs[0]] = node.inputs[0]
        return True


def _text(file: BinaryIO, part: Field) -> str:
    return content(file, part, _MAX_NAME).decode("utf-8", "replace")


def _node(file: BinaryIO, part: Field) -> Node:
    node = Node()
    for item in walk(file, part.start, part.length):
        if item.number == 1:
            node.inputs.append(_text(file, item))
        elif item.number == 2:
            node.outputs.append(_text(file, item))
        elif item.number == 4:
            node.operator = _text(file, item)
        elif item.number == 5:
            _attribute(file, item, node)
    return node


def _attribute(file: BinaryIO, part: Field, node: Node) -> None:
    name, numbers = "", []
    text: str | None = None
    for item in walk(file, part.start, part.length):
        if item.number == 1:
            name = _text(file, item)
        elif item.number in (3, 8):
            numbers += integers(file, item, _MAX_NUMBERS)
        elif item.number == 4:
            text = _text(file, item)
    if text is not None:
        node.texts[name] = text
    else:
        node.numbers[name] = numbers


def _tensor(file: BinaryIO, part: Field) -> tuple[str, _Tensor]:
    name, kind = "", 0
    shape: list[int] = []
    raw = None
    is_elsewhere = False
    for item in walk(file, part.start, part.length):
        if item.number == 1:
            shape += integers(file, item, _MAX_NUMBERS)
        elif item.number == 2:
            kind = item.value
        elif item.number == 8:
            name = _text(file, item)
        elif item.number == 9:
            raw = item
        elif item.number in (13, 14):
            is_elsewhere = True
    return name, _Tensor(tuple(shape), kind, None if is_elsewhere else raw)
