"""An ONNX graph as ncnn's two files, written here: ncnn's own converter is not in its package.

Only what super-resolution networks are made of: convolution, ReLU, PReLU, sums and differences, products with a number,
and the pixel shuffle of PyTorch. ncnn's format: a text of layers, and their numbers as raw little-endian FP32.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from benchmarks.cost.graph import attributes, ints
from benchmarks.peers.peer import PeerFailedError

_MAGIC = 7767517
_RAW_FP32 = np.zeros(1, "<u4")  # stands before every weight that is not quantised
_SUMS = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3}  # ncnn's numbers of BinaryOp


def write_ncnn_files(source: Path, folder: Path) -> tuple[Path, Path, str]:
    """Translate a graph.

    Returns:
        The text, the numbers, and the name of the output.

    Raises:
        PeerFailedError: the graph has something that this translation does not know.
    """
    graph = onnx.load(source).graph
    translation = _Translation({t.name: numpy_helper.to_array(t) for t in graph.initializer})
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    translation.add("Input", graph.input[0].name, [], [graph.input[0].name])
    translation.split(graph.input[0].name, readers)
    for node in graph.node:
        translation.translate(node)
        translation.split(node.output[0], readers)
    text, numbers = folder / f"{source.stem}.param", folder / f"{source.stem}.bin"
    header = f"{_MAGIC}\n{len(translation.layers)} {len(translation.blobs)}\n"
    text.write_text(header + "\n".join(translation.layers) + "\n")
    numbers.write_bytes(b"".join(part.tobytes() for part in translation.numbers))
    return text, numbers, graph.output[0].name


class _Translation:
    """Of one graph, node by node."""

    def __init__(self, weights: dict[str, NDArray[np.generic]]) -> None:
        self.layers: list[str] = []
        self.numbers: list[NDArray[np.generic]] = []
        self.blobs: set[str] = set()
        self._weights = weights
        self._copies: dict[str, list[str]] = {}

    def add(self, kind: str, name: str, inputs: list[str], outputs: list[str], options: str = "") -> None:
        """One line of the text."""
        self.blobs.update(outputs)
        counts = f"{len(inputs)} {len(outputs)}"
        self.layers.append(" ".join(filter(None, [f"{kind:<16} {name}", counts, *inputs, *outputs, options])))

    def split(self, name: str, readers: dict[str, int]) -> None:
        """ncnn lets nobody read twice: every reader gets a copy."""
        count = readers.get(name, 0)
        if count > 1:
            copies = [f"{name}_copy{index}" for index in range(count)]
            self.add("Split", f"split_{name}", [name], copies)
            self._copies[name] = copies

    def translate(self, node: NodeProto) -> None:
        """Add what does the same."""
        options = attributes(node)
        if node.op_type == "Conv":
            self._convolution(node)
        elif node.op_type == "Relu":
            self._add(node, "ReLU")
        elif node.op_type == "PRelu":
            slopes = np.asarray(self._weights[node.input[1]], "<f4").reshape(-1)
            self.numbers.append(slopes)
            self._add(node, "PReLU", f"0={len(slopes)}")
        elif node.op_type in _SUMS:
            self._sum(node)
        elif node.op_type == "DepthToSpace" and options.get("mode") == b"CRD":
            self._add(node, "PixelShuffle", f"0={options['blocksize']}")
        else:
            raise PeerFailedError(f"ncnn: nobody has translated the operator {node.op_type}")

    def _add(self, node: NodeProto, kind: str, options: str = "") -> None:
        inputs = [self._read(name) for name in node.input if name not in self._weights]
        self.add(kind, node.name or node.output[0], inputs, [node.output[0]], options)

    def _read(self, name: str) -> str:
        return self._copies[name].pop() if name in self._copies else name

    def _convolution(self, node: NodeProto) -> None:
        options = attributes(node)
        weight = np.asarray(self._weights[node.input[1]], "<f4")
        channels, _, height, width = weight.shape
        pads = ints(options.get("pads", [0, 0, 0, 0]))
        if pads[:2] != pads[2:] or set(ints(options.get("strides", [1, 1]))) != {1}:
            raise PeerFailedError("ncnn: nobody has translated convolutions with strides or uneven padding")
        has_bias = len(node.input) > 2
        groups = int(str(options.get("group", 1)))
        dilation = ints(options.get("dilations", [1, 1]))
        said = {0: channels, 1: width, 11: height, 2: dilation[1], 12: dilation[0], 4: pads[1], 14: pads[0]}
        said |= {5: int(has_bias), 6: weight.size}
        if groups > 1:
            said[7] = groups
        self.numbers += [_RAW_FP32, weight]
        if has_bias:
            self.numbers.append(np.asarray(self._weights[node.input[2]], "<f4"))
        kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
        self._add(node, kind, " ".join(f"{key}={value}" for key, value in said.items()))

    def _sum(self, node: NodeProto) -> None:
        options = f"0={_SUMS[node.op_type]}"
        constant = next((self._weights[name] for name in node.input if name in self._weights), None)
        if constant is None:
            self._add(node, "BinaryOp", options)
        elif constant.size == 1 and node.input[1] in self._weights:
            self._add(node, "BinaryOp", f"{options} 1=1 2={float(constant.reshape(-1)[0])!r}")
        else:
            raise PeerFailedError("ncnn: nobody has translated sums with a constant of several numbers")
