"""How far a network sees, from its graph alone: which LR rows and columns can reach each row and column of a tensor.

Nothing is run. For every tensor and each of its two axes, the interval of LR indices that each position depends on is
handed on from operator to operator. An operator that is not known ends it, with its name, rather than with a guess.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from benchmarks.cost.graph import Graph, Tensor, attributes, ints

_FIRST_SIDE = 128
_LONGEST_SIDE = 8192
_NOTHING = np.iinfo(np.int32).max  # below and above of an interval that is empty

Ends = NDArray[np.int64]


@dataclass(frozen=True)
class Intervals:
    """Along one axis of a tensor: the LR positions ``low`` to ``high`` that each of its positions depends on."""

    low: Ends
    high: Ends
    axis: int
    """Of the picture: 0 rows, 1 columns."""

    def take(self, indices: NDArray[np.intp] | slice) -> "Intervals":
        return replace(self, low=self.low[indices], high=self.high[indices])

    def __len__(self) -> int:
        return len(self.low)


Axes = tuple[Intervals | None, ...]
"""By dimension; None where the picture does not extend."""


@dataclass(frozen=True)
class Reach:
    """The answer, or why there is none."""

    radius_px: int | None
    """LR pixels around a pixel that can change its SR cell; None: unknown, or the whole picture."""
    unknown: str = ""


class _UnknownOperatorError(Exception):
    """An operator that nothing is known of, or a use of one."""


def receptive_radius(graph: Graph) -> Reach:
    """Of a network that keeps or enlarges the picture."""
    side = _FIRST_SIDE
    while side <= _LONGEST_SIDE:
        try:
            radius = _radius(graph, side)
        except _UnknownOperatorError as err:
            return Reach(None, f"the receptive radius is unknown: {err}")
        if radius < side // 2:  # half of the picture is then free of its borders
            return Reach(radius)
        side *= 2
    return Reach(None, f"sees further than {_LONGEST_SIDE // 2} pixels")


def _radius(graph: Graph, side: int) -> int:
    tensors = graph.tensors((side, side))
    everywhere = np.arange(side)
    axes: list[Intervals | None] = [None] * 4
    rows, columns = (1, 2) if graph.spatial(tensors[graph.input].shape) == tensors[graph.input].shape[1:3] else (2, 3)
    for picture_axis, dim in enumerate((rows, columns)):
        axes[dim] = Intervals(everywhere, everywhere, picture_axis)
    known: dict[str, Axes] = {graph.input: tuple(axes)}
    masks: set[str] = set()  # further outputs, as of Dropout and MaxPool
    for node in graph.nodes:
        if masks.intersection(node.input):  # which would pass for something made of weights
            raise _UnknownOperatorError(f"the operator {node.op_type} on a mask or indices")
        inputs = [known[name] for name in node.input if name in known]
        if not inputs:
            continue  # made of weights
        rule = _RULES.get(node.op_type, _pointwise if node.op_type in _POINTWISE else None)
        if rule is None:
            raise _UnknownOperatorError(f"the operator {node.op_type}")
        results = rule(_Step(graph, node, inputs, tensors))
        known.update(zip(node.output, results, strict=False))
        masks.update(filter(None, node.output[len(results) :]))
    found = [each for each in known[graph.output] if each is not None]
    return max(_distance(each, side) for each in found)


def _distance(found: Intervals, side: int) -> int:
    own = np.arange(len(found)) * side // len(found)
    empty = found.low == _NOTHING
    return int(np.maximum(own - found.low, found.high - own)[~empty].max(initial=0))


@dataclass(frozen=True)
class _Step:
    graph: Graph
    node: NodeProto
    inputs: list[Axes]
    tensors: dict[str, Tensor]

    def constant(self, index: int, name: str) -> list[int] | None:
        """An input that is a constant, or the attribute that older graphs have in its place."""
        if len(self.node.input) > index and self.node.input[index]:
            found = self.graph.constant(self.node.input[index])
            if found is None:
                raise _UnknownOperatorError(f"{self.node.op_type} with computed {name}")
            return found
        value = attributes(self.node).get(name)
        return None if value is None else ints(value)

    def length(self, dim: int, output: int = 0) -> int:
        return self.tensors[self.node.output[output]].shape[dim]

    def refuse(self, why: str) -> _UnknownOperatorError:
        return _UnknownOperatorError(f"{self.node.op_type} {why}")


def _empty(count: int, axis: int) -> Intervals:
    return Intervals(np.full(count, _NOTHING), np.full(count, -_NOTHING), axis)


def _join(a: Intervals, b: Intervals) -> Intervals:
    return replace(a, low=np.minimum(a.low, b.low), high=np.maximum(a.high, b.high))


def _pointwise(step: _Step) -> list[Axes]:
    rank = max(len(axes) for axes in step.inputs)
    result: list[Intervals | None] = []
    for dim in range(-rank, 0):
        parts = [part for axes in step.inputs if -dim <= len(axes) and (part := axes[dim]) is not None]
        joined: Intervals | None = None
        for part in parts:
            if joined is None:
                joined = part
            elif len(joined) != len(part) or joined.axis != part.axis:
                raise step.refuse("of tensors whose pixels do not belong together")
            else:
                joined = _join(joined, part)
        result.append(joined)
    return [tuple(result)]


def _window(step: _Step) -> list[Axes]:
    """Convolution and pooling."""
    options = attributes(step.node)
    axes = step.inputs[0]
    kernel_shape = options.get("kernel_shape")
    if kernel_shape is None:
        weight = step.graph.weight(step.node.input[1])
        if weight is None:
            raise step.refuse("with computed weights")
        kernel_shape = list(weight.dims[2:])
    result: list[Intervals | None] = [None, None]
    for index, taps in enumerate(ints(kernel_shape)):
        part = axes[2 + index]
        count = step.length(2 + index)
        stride = ints(options.get("strides", [1, 1]))[index]
        dilation = ints(options.get("dilations", [1, 1]))[index]
        if part is None:
            result.append(None)
            continue
        before = _padding(options, index, len(part), count, (taps - 1) * dilation + 1, stride)
        found = _empty(count, part.axis)
        for tap in range(taps):
            source = np.arange(count) * stride - before + tap * dilation
            inside = (source >= 0) & (source < len(part))
            found.low[inside] = np.minimum(found.low[inside], part.low[source[inside]])
            found.high[inside] = np.maximum(found.high[inside], part.high[source[inside]])
        result.append(found)
    return [tuple(result)]


def _padding(options: object, index: int, length: int, count: int, extent: int, stride: int) -> int:
    assert isinstance(options, dict)
    auto = options.get("auto_pad", b"NOTSET")
    if auto in (b"NOTSET", b"VALID"):
        return ints(options.get("pads", [0, 0, 0, 0]))[index] if auto == b"NOTSET" else 0
    total = max(0, (count - 1) * stride + extent - length)
    return total // 2 if auto == b"SAME_UPPER" else total - total // 2


def _transposed_window(step: _Step) -> list[Axes]:
    options = attributes(step.node)
    weight = step.graph.weight(step.node.input[1])
    if weight is None or "output_shape" in options or options.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise step.refuse("with computed weights or sizes")
    result: list[Intervals | None] = [None, None]
    for index, taps in enumerate(weight.dims[2:]):
        part = step.inputs[0][2 + index]
        if part is None:
            result.append(None)
            continue
        stride = ints(options.get("strides", [1, 1]))[index]
        dilation = ints(options.get("dilations", [1, 1]))[index]
        before = ints(options.get("pads", [0, 0, 0, 0]))[index]
        found = _empty(step.length(2 + index), part.axis)
        for tap in range(taps):
            target = np.arange(len(part)) * stride - before + tap * dilation
            inside = (target >= 0) & (target < len(found))
            at = target[inside]
            found.low[at] = np.minimum(found.low[at], part.low[inside])
            found.high[at] = np.maximum(found.high[at], part.high[inside])
        result.append(found)
    return [tuple(result)]


def _depth_to_space(step: _Step) -> list[Axes]:
    block = int(str(attributes(step.node)["blocksize"]))
    axes = step.inputs[0]
    repeated = (
        None if part is None else part.take(np.repeat(np.arange(len(part)), block)) for part in (axes[2], axes[3])
    )
    return [(None, None, *repeated)]


def _space_to_depth(step: _Step) -> list[Axes]:
    block = int(str(attributes(step.node)["blocksize"]))
    result: list[Intervals | None] = [None, None]
    for part in step.inputs[0][2:]:
        if part is None:
            result.append(None)
        else:
            low, high = part.low.reshape(-1, block).min(axis=1), part.high.reshape(-1, block).max(axis=1)
            result.append(replace(part, low=low, high=high))
    return [tuple(result)]


def _concat(step: _Step) -> list[Axes]:
    rank = len(step.inputs[0])
    axis = int(str(attributes(step.node)["axis"])) % rank
    result: list[Intervals | None] = []
    for dim in range(rank):
        parts = [part for axes in step.inputs if (part := axes[dim]) is not None]
        if not parts:
            result.append(None)
        elif dim == axis:
            low, high = (np.concatenate([getattr(part, end) for part in parts]) for end in ("low", "high"))
            result.append(replace(parts[0], low=low, high=high))
        else:
            joined = parts[0]
            for part in parts[1:]:
                joined = _join(joined, part)
            result.append(joined)
    return [tuple(result)]


def _slice(step: _Step) -> list[Axes]:
    axes = list(step.inputs[0])
    starts, ends = step.constant(1, "starts"), step.constant(2, "ends")
    assert starts is not None and ends is not None
    dims = step.constant(3, "axes") or list(range(len(starts)))
    steps = step.constant(4, "steps") or [1] * len(starts)
    for start, end, dim, stride in zip(starts, ends, dims, steps, strict=True):
        part = axes[dim]
        if part is None:
            continue
        stop = None if stride < 0 and end < -len(part) else end  # past the first one, backwards
        axes[dim] = part.take(slice(start, stop, stride))
    return [tuple(axes)]


def _split(step: _Step) -> list[Axes]:
    axes = step.inputs[0]
    dim = int(str(attributes(step.node).get("axis", 0))) % len(axes)
    part = axes[dim]
    if part is None:
        return [axes] * len(step.node.output)
    results, start = [], 0
    for index in range(len(step.node.output)):
        stop = start + step.length(dim, index)
        results.append((*axes[:dim], part.take(slice(start, stop)), *axes[dim + 1 :]))
        start = stop
    return results


def _pad(step: _Step) -> list[Axes]:
    axes = list(step.inputs[0])
    pads = step.constant(1, "pads")
    assert pads is not None
    mode = attributes(step.node).get("mode", b"constant")
    dims = step.constant(3, "axes") or list(range(len(axes)))
    for index, dim in enumerate(dims):
        part, around = axes[dim], (pads[index], pads[index + len(dims)])
        if part is None or around == (0, 0):
            continue
        if min(around) < 0:
            raise step.refuse("that cuts off")
        if mode == b"constant":
            ends = [_empty(count, part.axis) for count in around]
            low, high = (
                np.concatenate([getattr(each, end) for each in (ends[0], part, ends[1])]) for end in ("low", "high")
            )
            axes[dim] = replace(part, low=low, high=high)
        else:
            assert isinstance(mode, bytes)
            indices = np.arange(len(part))
            kind = mode.decode()
            padded = np.pad(indices, around, "reflect") if kind == "reflect" else np.pad(indices, around, "edge")
            if kind not in ("reflect", "edge"):
                raise step.refuse(f"of mode {kind}")
            axes[dim] = part.take(padded)
    return [tuple(axes)]


def _transpose(step: _Step) -> list[Axes]:
    axes = step.inputs[0]
    order = ints(attributes(step.node).get("perm", list(reversed(range(len(axes))))))
    return [tuple(axes[dim] for dim in order)]


def _resize(step: _Step) -> list[Axes]:
    options = attributes(step.node)
    support = {b"nearest": 1, b"linear": 1, b"cubic": 2}.get(_bytes(options.get("mode", b"nearest")))
    if support is None:
        raise step.refuse("of an unknown mode")
    result: list[Intervals | None] = []
    for dim, part in enumerate(step.inputs[0]):
        count = step.length(dim)
        if part is None or count == len(part):
            result.append(part)
            continue
        ratio = len(part) / count
        reach = int(np.ceil(support * max(1.0, ratio if options.get("antialias") else 1.0)))
        centre = np.floor((np.arange(count) + 0.5) * ratio - 0.5).astype(int)
        found = _empty(count, part.axis)
        for offset in range(1 - reach, reach + 1):
            source = (centre + offset).clip(0, len(part) - 1)
            found = _join(found, part.take(source))
        result.append(found)
    return [tuple(result)]


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def _everything(step: _Step) -> list[Axes]:
    """An average over the picture."""
    result: list[Intervals | None] = []
    for dim, part in enumerate(step.inputs[0]):
        if part is not None and step.length(dim) == 1:
            raise step.refuse("over the whole picture")
        result.append(part)
    return [tuple(result)]


_POINTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Abs", "Neg", "Min", "Max", "Relu", "PRelu", "LeakyRelu", "Elu", "Selu"}
) | {"Gelu", "Tanh", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Clip", "Round", "Floor", "Cast", "Identity"}
_POINTWISE |= {"BatchNormalization", "Dropout", "Where", "QuantizeLinear", "DequantizeLinear", "CastLike"}

_RULES: dict[str, Callable[[_Step], list[Axes]]] = {
    "Conv": _window,
    "MaxPool": _window,
    "AveragePool": _window,
    "ConvTranspose": _transposed_window,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Pad": _pad,
    "Transpose": _transpose,
    "Resize": _resize,
    "GlobalAveragePool": _everything,
    "ReduceMean": _everything,
}
