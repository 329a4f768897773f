"""What of a network the kernels compute, in their own terms: read off an ONNX file that edsr-export wrote."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.errors import EnvironmentUnfitError
from edsr_runtime.onnx_graph import Graph, Node, StorageError

DEPTH = 32
"""Values of a pixel that the matrix units take at once; feature maps are a multiple of that."""
_COLOURS = 3
_SCALES = (2, 3, 4)
_SIDES = ("first", "inner", "last")
_SEEN = {"first": 3, "inner": 5, "last": 3}
"""Rows or columns that a collapsed tail sees from there; see edsr_export/tail.py."""
_KERNEL = 5
_INPUTS = {"Add": (2, 2), "Concat": (3, 3), "Conv": (2, 3), "DepthToSpace": (1, 1), "Relu": (1, 1)} | {
    "Slice": (5, 5),
    "Sub": (2, 2),
}
"""How many an operator has, at least and at most."""
_FAR = 1 << 31
"""Where a Slice ends that goes to the end: there or beyond."""


class UnsuitedError(EnvironmentUnfitError):
    """The kernels do not compute this network; the message is a sentence that says why, without its subject."""


@dataclass(frozen=True)
class Convolution:
    """From one plane to another or to the picture, padded with zeros to keep the size."""

    kernel: NDArray[np.float32]
    """(out, F, k, k), k odd. To the picture, out is (row, column, colour) of the scale x scale pixels."""
    bias: NDArray[np.float32]
    """(out,)"""
    source: int
    target: int | None
    """A plane; None: the picture."""
    skip: int | None = None
    """A plane that is added."""
    is_rectified: bool = False
    is_paired: bool = False
    """Whether only the next convolution reads the result, so that it need not be kept in a plane."""
    vertical: str | None = None
    """Which rows are wanted: the ``first``, the ``last``, or those between (``inner``); None: all."""
    horizontal: str | None = None
    """The same for columns."""


@dataclass(frozen=True)
class Program:
    """A network: the first convolution from the picture to plane 0, then the others in order."""

    mean: NDArray[np.float32]
    """(3,), subtracted from the picture."""
    first_kernel: NDArray[np.float32]
    """(F, 3, k, k), k odd."""
    first_bias: NDArray[np.float32]
    """(F,)"""
    convolutions: tuple[Convolution, ...]
    scale: int
    planes: int
    """How many are needed."""

    @property
    def features(self) -> int:
        """F, of every plane."""
        return len(self.first_kernel)

    def planes_used(self, in_pairs: bool) -> set[int]:
        """Those that are needed, with or without the results between the two of a pair."""
        kept = [c for c in self.convolutions if not (in_pairs and c.is_paired)]
        used = {plane for c in self.convolutions for plane in (c.skip,) if plane is not None}
        used |= {c.target for c in kept if c.target is not None}
        return used | {0}

    @property
    def border(self) -> int:
        """Zeros around a plane, pixels."""
        return max(int(convolution.kernel.shape[-1]) // 2 for convolution in self.convolutions)


def read_program(path: Path) -> Program:
    """Of an ONNX file that ``check_model`` has let through.

    Raises:
        UnsuitedError: it is a network that the kernels do not compute.
        ModelFileError: it cannot be read.
    """
    return _Reader(Graph(path)).program()


@dataclass(frozen=True)
class _Step:
    """A convolution between planes, by the names of values."""

    node: Node
    source: str
    result: str
    skip: str | None
    is_rectified: bool
    is_paired: bool = False


class _Reader:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {name: node for node in graph.nodes for name in node.outputs}
        self._readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)
        self._understood: list[Node] = []

    def program(self) -> Program:
        shuffle = self._made("output", "DepthToSpace")
        scales = [scale for scale in _SCALES if shuffle.numbers.get("blocksize") == [scale]]
        if shuffle.texts.get("mode") != "CRD" or not scales:
            raise UnsuitedError("does not end with a pixel shuffle to x2, x3 or x4")
        (scale,) = scales
        tail, features = self._tail(shuffle.inputs[0])
        mean, first = self._beginning()
        count = (*self._shape(first.inputs[1]), 0)[0]
        if count < DEPTH or count % DEPTH:
            raise UnsuitedError(f"has {count} feature maps, and these kernels take multiples of {DEPTH}")
        steps = self._steps(first.outputs[0], features)
        strange = [node.operator for node in self._graph.nodes if not any(node is known for known in self._understood)]
        if strange:
            raise UnsuitedError(f"has the operator {strange[0]} where these kernels expect none")
        if features not in {first.outputs[0], *(step.result for step in steps)}:
            raise UnsuitedError("has a tail that sees what no convolution before it gives")
        steps = _in_pairs(steps, features)
        planes = _planes(steps, first.outputs[0], features)
        body = [
            Convolution(
                *self._same_size(step.node, count, count),
                source=planes[step.source],
                target=planes[step.result],
                skip=None if step.skip is None else planes[step.skip],
                is_rectified=step.is_rectified,
                is_paired=step.is_paired,
            )
            for step in steps
        ]
        ends = [
            Convolution(
                *_by_pixel(*self._of_region(node, count, scale, *region), scale),
                source=planes[features],
                target=None,
                vertical=region[0],
                horizontal=region[1],
            )
            for region, node in tail.items()
        ]
        kernel, bias = self._same_size(first, _COLOURS, count)
        return Program(mean, kernel, bias, (*body, *ends), scale, 1 + max(planes.values()))

    def _made(self, name: str, operator: str) -> Node:
        node = self._makers.get(name)
        if node is None or node.operator != operator:
            found = "nothing" if node is None else node.operator
            raise UnsuitedError(f"has {found} where these kernels expect {operator}")
        return self._understand(node)

    def _understand(self, node: Node) -> Node:
        """Count it as part of the program, if it takes as much and gives as much as ours do."""
        least, most = _INPUTS[node.operator]
        if not least <= len(node.inputs) <= most or not all(node.inputs) or len(node.outputs) != 1:
            raise UnsuitedError(
                f"has {node.operator} with {len(node.inputs)} inputs, and edsr-export writes another form"
            )
        self._understood.append(node)
        return node

    def _only_reader(self, name: str) -> Node | None:
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 else None

    def _beginning(self) -> tuple[NDArray[np.float32], Node]:
        """The mean, and the first convolution."""
        mean = np.zeros(_COLOURS, np.float32)
        reader = self._only_reader("input")
        if reader is not None and reader.operator == "Sub" and reader.inputs[0] == "input":
            self._understand(reader)
            mean = self._array(reader.inputs[1], (1, _COLOURS, 1, 1)).ravel()
            reader = self._only_reader(reader.outputs[0])
        if reader is None or reader.operator != "Conv":
            raise UnsuitedError("does not begin with one convolution of the picture")
        return mean, self._understand(reader)

    def _steps(self, first: str, features: str) -> list[_Step]:
        """All convolutions between the first one and the tail, with what is fused into them."""
        steps: list[_Step] = []
        known = {first}
        for node in self._graph.nodes:
            if features in known:
                break
            if node.operator != "Conv" or known.isdisjoint(node.inputs[:1]):
                continue
            self._understand(node)
            result, skip, is_rectified = node.outputs[0], None, False
            reader = self._only_reader(result)
            if reader is not None and reader.operator == "Relu":
                is_rectified = True
            elif reader is not None and reader.operator == "Add":
                skip = next((name for name in reader.inputs if name in known), None)
                if skip is None:
                    raise UnsuitedError("adds what is no value before the convolution")
            else:
                reader = None
            if reader is not None:
                result = self._understand(reader).outputs[0]
            known.add(result)
            steps.append(_Step(node, node.inputs[0], result, skip, is_rectified))
        return steps

    def _tail(self, name: str) -> tuple[dict[tuple[str | None, str | None], Node], str]:
        """Its convolutions by region, and the value that they all see."""
        if name in self._makers and self._makers[name].operator == "Conv":
            node = self._made(name, "Conv")
            return {(None, None): node}, node.inputs[0]
        regions: dict[tuple[str | None, str | None], Node] = {}
        seen: set[str] = set()
        for vertical, row in zip(_SIDES, self._parts(name, axis=2), strict=True):
            for horizontal, part in zip(_SIDES, self._parts(row, axis=3), strict=True):
                node = self._made(part, "Conv")
                seen.add(self._uncut(node.inputs[0], vertical, horizontal))
                regions[vertical, horizontal] = node
        if len(seen) != 1:
            raise UnsuitedError("has a tail that sees several values")
        return regions, seen.pop()

    def _parts(self, name: str, axis: int) -> list[str]:
        node = self._made(name, "Concat")
        if node.numbers.get("axis") != [axis] or len(node.inputs) != len(_SIDES):
            raise UnsuitedError("has a tail in other parts than the picture's inside, sides and corners")
        return node.inputs

    def _uncut(self, name: str, vertical: str, horizontal: str) -> str:
        """What a strip, or a corner, was cut from, if that was done where the region says."""
        expected = {axis: side for axis, side in ((2, vertical), (3, horizontal)) if side != "inner"}
        while expected:
            node = self._made(name, "Slice")
            start, end, axis, step = (int(self._array(number, (1,))[0]) for number in node.inputs[1:])
            side, width = expected.pop(axis, None), _SEEN["first"]
            is_first = side == "first" and start == 0 and end == width
            is_last = side == "last" and start == -width and end >= _FAR - 1
            if step != 1 or not (is_first or is_last):
                raise UnsuitedError("has a tail that cuts elsewhere than along the picture's sides")
            name = node.inputs[0]
        return name

    def _weights(
        self, node: Node, shape: Sequence[int], pads: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel and bias of a plain convolution, if they have this shape."""
        kernel = self._array(node.inputs[1], tuple(shape))
        bias = self._array(node.inputs[2], (shape[0],)) if len(node.inputs) > 2 else np.zeros(shape[0], np.float32)
        numbers = node.numbers
        is_plain = all(value == 1 for name in ("strides", "dilations", "group") for value in numbers.get(name, [1]))
        is_plain = is_plain and node.texts.get("auto_pad", "NOTSET") == "NOTSET"
        if numbers.get("pads", [0, 0, 0, 0]) != list(pads) or not is_plain:
            raise UnsuitedError(
                f"has a convolution of {_shape_text(shape)} with other strides, groups or pads than ours"
            )
        return kernel, bias

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self._graph.shapes:
            raise UnsuitedError("takes weights from where edsr-export puts none")
        return self._graph.shapes[name]

    def _array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Weights of this shape; small integers are exact as floats."""
        if self._shape(name) != shape:
            found = _shape_text(self._shape(name))
            raise UnsuitedError(f"has weights of {found} where these kernels expect {_shape_text(shape)}")
        try:
            values = self._graph.array(name).astype(np.float32)
        except StorageError as err:
            raise UnsuitedError("has weights that are not stored as edsr-export stores them") from err
        if not np.isfinite(values).all():
            raise UnsuitedError("has weights that are not finite")
        return values

    def _same_size(self, node: Node, into: int, out: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of a convolution with a square kernel of odd side that keeps the size."""
        side = (0, *self._shape(node.inputs[1]))[-1]
        if side % 2 == 0:
            raise UnsuitedError(f"has a convolution with a kernel of side {side}, expected an odd one")
        return self._weights(node, (out, into, side, side), (side // 2,) * 4)

    def _of_region(
        self, node: Node, into: int, scale: int, vertical: str | None, horizontal: str | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of a part of the tail, with zeros where its kernel does not reach."""
        out = _COLOURS * scale**2
        if vertical is None or horizontal is None:
            return self._same_size(node, into, out)
        seen = _SEEN[vertical], _SEEN[horizontal]
        pads = [int(side == "inner") for side in (vertical, horizontal)]
        part, bias = self._weights(node, (out, into, *seen), pads * 2)
        kernel = np.zeros((out, into, _KERNEL, _KERNEL), np.float32)
        top, left = (_KERNEL - _SEEN[side] if side == "first" else 0 for side in (vertical, horizontal))
        kernel[:, :, top : top + seen[0], left : left + seen[1]] = part
        return kernel, bias


def _shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _by_pixel(
    kernel: NDArray[np.float32], bias: NDArray[np.float32], scale: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """From the order of a pixel shuffle, (colour, row, column), to (row, column, colour)."""
    order = np.arange(len(bias)).reshape(_COLOURS, scale, scale).transpose(1, 2, 0).ravel()
    return kernel[order], bias[order]


def _in_pairs(steps: Sequence[_Step], features: str) -> list[_Step]:
    """With a mark at each whose result only the next one reads, as its source; no step is in two pairs."""
    read = Counter(name for step in steps for name in (step.source, step.skip))
    read[features] += 1
    marked: list[_Step] = []
    for step, following in zip_longest(steps, steps[1:]):
        is_second = bool(marked) and marked[-1].is_paired
        is_first = following is not None and following.source == step.result and read[step.result] == 1
        marked.append(replace(step, is_paired=is_first and not is_second))
    return marked


def _planes(steps: Sequence[_Step], first: str, features: str) -> dict[str, int]:
    """Which plane holds each value: one that nobody reads any more, if there is one."""
    last_read = {name: at for at, step in enumerate(steps) for name in (step.source, step.skip) if name is not None}
    last_read[features] = len(steps)
    planes = {first: 0}
    for at, step in enumerate(steps):
        # What is added is read just before the result is written in its place. Sources are read around it; and what the
        # first of a pair reads, other threads read in rows of this one.
        taken = {planes[name] for name in planes if last_read.get(name, -1) > at} | {planes[step.source]}
        if at and steps[at - 1].is_paired:
            before = steps[at - 1]
            taken |= {planes[name] for name in (before.source, before.skip) if name is not None}
        planes[step.result] = next(plane for plane in range(len(steps) + 2) if plane not in taken)
    return planes
