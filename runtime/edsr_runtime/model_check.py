"""Is this ONNX file one that we want to give to a backend? Looked at before any session is made, without its weights.

Refused are files with operators that no network of ours has (above all control flow, functions and the operators of
others, which may be code), with weights outside their folder, with weights that are not as long as their shapes say or
gigabytes large, with shapes that no picture needs, and with results so large that they could only be meant to fill the
memory. What a file that passes computes is not known; that is what the contract's parity and the seal are for.

Field numbers: onnx/onnx.proto3.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from edsr_runtime.errors import ModelFileError
from edsr_runtime.protobuf_walk import BYTES, VARINT, Field, MessageError, content, integers, walk
from edsr_runtime.seal import check_seal

OPERATORS = frozenset(
    {"Add", "Cast", "Clip", "Concat", "Constant", "Conv", "DepthToSpace", "Div", "Mul", "PRelu", "Relu"}
) | {"Round", "Slice", "Sub", "Tanh", "Transpose"}
"""All that edsr-export writes, and refuses to exceed."""

MAX_WEIGHT_BYTES = 1 << 30
"""Of all weights together. The largest network of the paper has 172 MB."""
_MAX_FILE_BYTES = 2 << 30
_MAX_FIELDS = 1_000_000
_MAX_NODES = 20_000
_MAX_RANK = 8
_MAX_SIDE = 1 << 16
"""Of a tensor of weights."""
_MAX_FACTOR = 64
_UPRIGHT = (0, 1, 2, 3)
_TURNS = ((0, 1, 3, 2), (0, 2, 3, 1), (0, 3, 1, 2))
"""What Transpose does here: height and width exchanged, channels last, channels first."""
_MAX_GROWTH = 1 << 20
"""Numbers per LR pixel in one result: the widest network, enlarged four times before its last layer, has 2^12."""
_SMALL_BYTES = 1 << 16
_MAX_NAME = 4096
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""By TensorProto.DataType: those of numbers of whole bytes."""
_MOST_ITEM_BYTES = max(_ITEM_BYTES.values())
_INT64 = 7
_OUR_DOMAINS = (b"", b"ai.onnx")


@dataclass(frozen=True)
class _Tensor:
    name: bytes
    shape: tuple[int, ...]
    values: tuple[int, ...] | None
    """Of a small one of 64-bit integers."""


@dataclass
class _Node:
    operator: str = ""
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    numbers: dict[bytes, list[int]] = field(default_factory=dict)
    tensor: _Tensor | None = None


class _RefusedError(Exception):
    pass


def check_model(path: Path, alone: bool = False) -> None:
    """Look at an ONNX file.

    Args:
        path: where it is.
        alone: it must hold all of its weights, because nothing else of it is read.

    Raises:
        ModelFileError: it is damaged, or none that we run; one sentence.
    """
    try:
        with path.open("rb") as file:
            _Check(path, file, path.stat().st_size, alone).run()
            check_seal(path, file)
    except OSError as err:
        raise ModelFileError(f"{path}: cannot be read ({err.strerror})") from err
    except MessageError as err:
        raise ModelFileError(f"{path}: damaged ONNX file ({err}). Copy it, or export it again.") from err
    except _RefusedError as err:
        raise ModelFileError(f"{path}: {err}, so it was not opened. Export its checkpoint with edsr-export.") from err


class _Check:
    def __init__(self, path: Path, file: BinaryIO, size: int, alone: bool) -> None:
        self._path = path
        self._alone = alone
        self._file = file
        self._size = size
        self._weight_bytes = 0
        self._fields_left = _MAX_FIELDS
        self._tensors: dict[bytes, _Tensor] = {}

    def run(self) -> None:
        if self._size > _MAX_FILE_BYTES:
            raise _RefusedError(f"it has {self._size >> 20} MiB, more than ONNX files can have")
        graphs = []
        for part in self._walk(0, self._size):
            if part.number == 7:
                graphs.append(part)
            elif part.number == 25:
                raise _RefusedError("it defines functions of its own")
        if len(graphs) != 1 or graphs[0].wire != BYTES:
            raise MessageError(f"it has {len(graphs)} graphs")
        self._graph(graphs[0])

    def _walk(self, start: int, length: int) -> Iterator[Field]:
        """As ``walk``, with a bound on what is looked at in the whole file: a made one must not keep us for minutes."""
        for part in walk(self._file, start, length):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise MessageError("it has too many fields")
            yield part

    def _graph(self, graph: Field) -> None:
        nodes: list[_Node] = []
        inputs, outputs = [], []
        for part in self._walk(graph.start, graph.length):
            if part.number in (1, 5, 11, 12, 15) and part.wire != BYTES:
                raise MessageError("its graph is none")
            if part.number == 1:
                nodes.append(self._node(part))
                if len(nodes) > _MAX_NODES:
                    raise _RefusedError(f"it has more than {_MAX_NODES} operators")
            elif part.number == 5:
                tensor = self._tensor(part)
                self._tensors[tensor.name] = tensor
            elif part.number == 11:
                inputs.append(self._value(part))
            elif part.number == 12:
                outputs.append(self._value(part))
            elif part.number == 15:
                raise _RefusedError("it has sparse weights")
        fed = [name for name in inputs if name not in self._tensors]
        if fed != [b"input"] or outputs != [b"output"]:
            raise _RefusedError(f"it takes {_names(fed)} and gives {_names(outputs)}, expected input and output")
        self._growth(nodes)

    def _node(self, part: Field) -> _Node:
        node = _Node()
        for item in self._walk(part.start, part.length):
            if item.number == 1:
                node.inputs.append(self._text(item))
            elif item.number == 2:
                node.outputs.append(self._text(item))
            elif item.number == 4:
                node.operator = self._text(item).decode("utf-8", "replace")
            elif item.number == 7 and (domain := self._text(item)) not in _OUR_DOMAINS:
                raise _RefusedError(f"it has an operator of the domain {_name(domain)}")
            elif item.number == 5:
                self._attribute(item, node)
        if node.operator not in OPERATORS:
            raise _RefusedError(f"it has the operator {_name(node.operator.encode())}, which no network of ours has")
        return node

    def _attribute(self, part: Field, node: _Node) -> None:
        name, numbers = b"", []
        for item in self._walk(part.start, part.length):
            if item.number == 1:
                name = self._text(item)
            elif item.number == 3:
                numbers += integers(self._file, item, 1)
            elif item.number == 8:
                numbers += integers(self._file, item, _SMALL_BYTES)
            elif item.number == 5:
                node.tensor = self._tensor(item)
            elif item.number in (6, 11):
                raise _RefusedError(f"its operator {_name(node.operator.encode())} has a graph inside")
            elif item.number in (10, 22, 23):
                raise _RefusedError(f"its operator {_name(node.operator.encode())} has a list of tensors")
        node.numbers[name] = numbers

    def _tensor(self, part: Field) -> _Tensor:
        name, kind, stored = b"", 0, 0
        shape: list[int] = []
        raw: Field | None = None
        numbers: list[int] = []
        external: dict[bytes, bytes] = {}
        is_external = False
        for item in self._walk(part.start, part.length):
            if item.number == 1:
                shape += integers(self._file, item, _MAX_RANK)
            elif item.number == 2 and item.wire == VARINT:
                kind = item.value
            elif item.number == 8:
                name = self._text(item)
            elif item.number == 9:
                raw, stored = item, stored + item.length
            elif item.number in (4, 5, 6, 7, 10, 11):  # lists of numbers, in place of raw_data
                stored += item.length or 1
                if item.number == 7 and item.length <= _SMALL_BYTES:
                    numbers += integers(self._file, item, _SMALL_BYTES)
            elif item.number == 13:
                pair = {entry.number: self._text(entry) for entry in self._walk(item.start, item.length)}
                external[pair.get(1, b"")] = pair.get(2, b"")
            elif item.number == 14:
                is_external = item.value == 1
        if kind not in _ITEM_BYTES:
            raise _RefusedError(f"its weights {_name(name)} are of a kind that no network of ours has")
        if len(shape) > _MAX_RANK or any(not 0 <= side <= _MAX_SIDE for side in shape):
            raise _RefusedError(f"its weights {_name(name)} have the shape {_shape(shape)}")
        size = _product(shape) * _ITEM_BYTES[kind]
        self._count(size)
        if is_external or external:
            self._check_external(name, external, size)
        elif raw is not None and (raw.length != size or stored != size):
            raise MessageError(
                f"the weights {_name(name)} of shape {_shape(shape)} have {raw.length} bytes, not {size}"
            )
        elif raw is None and _product(shape) and not stored:
            raise MessageError(f"the weights {_name(name)} of shape {_shape(shape)} are missing")
        if raw is not None and kind == _INT64 and raw.length <= _SMALL_BYTES and not is_external:
            data = content(self._file, raw, _SMALL_BYTES)
            numbers = [int.from_bytes(data[at : at + 8], "little", signed=True) for at in range(0, len(data), 8)]
        return _Tensor(name, tuple(shape), tuple(numbers) if kind == _INT64 else None)

    def _count(self, weight_bytes: int) -> None:
        self._weight_bytes += weight_bytes
        if self._weight_bytes > MAX_WEIGHT_BYTES:
            raise _RefusedError(f"its weights take more than {MAX_WEIGHT_BYTES >> 20} MiB")

    def _check_external(self, name: bytes, external: dict[bytes, bytes], size: int) -> None:
        location = external.get(b"location", b"").decode("utf-8", "surrogateescape")
        shown = _name(external.get(b"location", b""))
        if self._alone:
            raise _RefusedError(
                f"its weights {_name(name)} lie in another file, {shown}, expected all of them in this one"
            )
        folder = self._path.resolve().parent
        target = (folder / location).resolve() if location and "\0" not in location else folder
        if not location or Path(location).is_absolute() or not target.is_relative_to(folder) or target == folder:
            raise _RefusedError(
                f"its weights {_name(name)} lie outside its folder, in {_name(location.encode('utf-8', 'replace'))}"
            )
        try:
            offset, length = (int(external.get(key, b"0") or 0) for key in (b"offset", b"length"))
        except ValueError as err:
            raise MessageError(f"where the weights {_name(name)} lie is not told in numbers") from err
        found = target.stat().st_size if target.is_file() else -1
        if offset < 0 or length not in (0, size) or offset + size > found:
            raise MessageError(f"the weights {_name(name)} are not in {shown}")

    def _value(self, part: Field) -> bytes:
        """The name of an input or output."""
        names = [self._text(item) for item in self._walk(part.start, part.length) if item.number == 1]
        return names[0] if names else b""

    def _text(self, part: Field) -> bytes:
        return content(self._file, part, _MAX_NAME)

    def _growth(self, nodes: Sequence[_Node]) -> None:
        """How many numbers every result has for one pixel of the picture, at most."""
        known: dict[bytes, float] = {b"input": 3.0}
        layouts: dict[bytes, tuple[int, ...]] = {b"input": _UPRIGHT}
        defined = {b"", b"input", *self._tensors}
        for node in nodes:
            if not defined.issuperset(node.inputs):
                raise MessageError(f"its operator {node.operator} takes what no operator before it gives")
            defined.update(node.outputs)
            if node.operator == "Constant":
                if node.tensor is not None:
                    self._tensors |= {name: node.tensor for name in node.outputs}
                continue
            weights = self._tensors.get(node.inputs[0]) if node.operator == "Cast" and node.inputs else None
            if weights is not None:
                # stored in fewer bytes than they are used in, and computed when the file is loaded
                self._count(_product(weights.shape) * _MOST_ITEM_BYTES)
                self._tensors |= {name: replace(weights, name=name, values=None) for name in node.outputs}
                continue
            sizes = [known[name] for name in node.inputs if name in known]
            if not sizes or node.inputs[0] not in known:
                raise _RefusedError(f"its operator {node.operator} computes with weights alone")
            found = {layouts[name] for name in node.inputs if name in known}
            if len(found) > 1:
                raise _RefusedError(f"its operator {node.operator} mixes height, width and channels")
            grown = self._grown(node, sizes)
            if grown > _MAX_GROWTH:
                raise _RefusedError(
                    f"its operator {node.operator} would give {grown:,.0f} numbers for every pixel of a picture"
                )
            known |= dict.fromkeys(node.outputs, grown)
            layouts |= dict.fromkeys(node.outputs, self._turned(node, found.pop()))

    def _turned(self, node: _Node, layout: tuple[int, ...]) -> tuple[int, ...]:
        if node.operator != "Transpose":
            return layout
        turn = tuple(node.numbers.get(b"perm", []))
        if turn not in _TURNS:
            raise _RefusedError(f"its operator Transpose exchanges other axes ({_shape(turn)})")
        return tuple(layout[axis] for axis in turn)

    def _grown(self, node: _Node, sizes: Sequence[float]) -> float:
        match node.operator:
            case "Conv":
                return sizes[0] * self._widened(node)
            case "Concat":
                return sum(sizes)
            case "DepthToSpace":
                self._bounded(node, b"blocksize", _MAX_FACTOR)
                return sizes[0]
            case "Add" | "Sub" | "Mul" | "Div" | "PRelu" | "Clip":
                shapes = [self._tensors[name].shape for name in node.inputs if name in self._tensors]
                for shape in shapes:
                    if len(shape) > 4 or any(side != 1 for side in (*shape[-4:-3], *shape[-2:])):
                        raise _RefusedError(
                            f"its operator {node.operator} takes weights of the shape {_shape(shape)}, "
                            "expected one for each channel"
                        )
                return max([*sizes, *(float(_product(shape)) for shape in shapes)])
            case _:
                return sizes[0]

    def _widened(self, node: _Node) -> float:
        """Channels out of a convolution for each that goes in; height and width do not grow."""
        weights = self._tensors.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if weights is None or len(weights.shape) != 4:
            raise _RefusedError("its operator Conv has no weights of its own")
        out, into, *kernel = weights.shape
        pads = node.numbers.get(b"pads") or [0, 0, 0, 0]
        if len(pads) != 4 or any(
            before + after >= max(1, side) for before, after, side in zip(pads[:2], pads[2:], kernel, strict=True)
        ):
            raise _RefusedError(f"its operator Conv of {_shape(kernel)} has pads of {_shape(pads)}")
        groups = max(1, (node.numbers.get(b"group") or [1])[0])
        return out / max(1, into * groups)

    def _bounded(self, node: _Node, name: bytes, limit: int) -> None:
        values = node.numbers.get(name, [])
        if any(abs(value) > limit for value in values) or len(values) > 2 * _MAX_RANK:
            raise _RefusedError(f"its operator {node.operator} has {name.decode()} beyond {limit}")


def _product(sides: Iterable[int]) -> int:
    product = 1
    for side in sides:
        product *= side
    return product


def _name(name: bytes) -> str:
    shown = name.decode("utf-8", "backslashreplace")
    return repr(shown if len(shown) <= 80 else shown[:77] + "...")


def _names(names: Sequence[bytes]) -> str:
    return ", ".join(map(_name, names[:3])) + (", ..." if len(names) > 3 else "") or "nothing"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape[:_MAX_RANK])) + ("x..." if len(shape) > _MAX_RANK else "") or "()"
