"""Parameters and Mult-Adds, layer by layer; ``python benchmarks/cost/count.py FILE.onnx`` prints them of any file.

Mult-Adds as super-resolution papers count them: every multiply-add of every convolution and matrix product once; bias,
sums, activations and movements of data not at all. A transposed convolution counts its weights once for every pixel of
its *output*: that is how 6.0G were published for FSRCNN.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import click
from onnx import NodeProto, TensorProto

from benchmarks.cost.graph import Graph, Tensor, count
from edsr_runtime.command import EdsrCommand, needs_extra
from edsr_runtime.contract import METADATA_KEY
from edsr_runtime.errors import ModelFileError
from edsr_runtime.protobuf import read_metadata

_MATRICES = frozenset({"MatMul", "MatMulInteger", "QLinearMatMul"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv"})
_PRODUCTS = _CONVOLUTIONS | _MATRICES | {"Gemm"}
_LEARNED = {
    **dict.fromkeys(_PRODUCTS, (1, 2)),
    **{"ConvInteger": (1,), "MatMulInteger": (1,), "QLinearConv": (3, 8), "QLinearMatMul": (3,)},
    "BatchNormalization": (1, 2),
    "PRelu": (1,),
}
"""Operator -> which of its inputs are learned."""
_UNCOUNTED = frozenset({"Attention", "DeformConv", "DFT", "Einsum", "GRU", "LSTM", "RNN"})
"""They multiply too, and nobody has counted them here."""


@dataclass(frozen=True)
class Layer:
    """An operator with weights, or one that multiplies."""

    name: str
    """Of its first weight, without ``.weight``; of the node where it has none."""
    operator: str
    weight_shape: tuple[int, ...]
    """As stored: (out, in / groups, height, width) of a convolution."""
    output_hw: tuple[int, int]
    parameters: int
    """Of weights that no layer before has."""
    mult_adds: int


def count_layers(graph: Graph, hw: tuple[int, int], left_out: tuple[str, ...] = ()) -> list[Layer]:
    """Walk a graph in order.

    Args:
        graph: any.
        hw: of the picture, LR pixels.
        left_out: layers whose names start so do not count.

    Raises:
        ModelFileError: an operator multiplies and is none of those that are counted, or see ``Graph.tensors``.
    """
    for node in graph.nodes:
        if node.op_type in _UNCOUNTED:
            raise ModelFileError(
                f"{graph.name}: {node.op_type} cannot be counted, expected products by {', '.join(sorted(_PRODUCTS))}"
            )
    tensors = graph.tensors(hw)
    seen: set[str] = set()
    layers = []
    for node in graph.nodes:
        weights = [graph.weight(node.input[i]) for i in _LEARNED.get(node.op_type, ()) if i < len(node.input)]
        known = [weight for weight in weights if weight is not None]
        if node.op_type not in _PRODUCTS and not known:
            continue
        name = known[0].name.removesuffix(".weight") if known and known[0].name else node.name or node.output[0]
        if name.startswith(left_out):
            continue
        new = [weight for weight in known if weight.name not in seen or not weight.name]
        seen.update(weight.name for weight in known)
        output = tensors[node.output[0]]
        layers.append(
            Layer(
                name,
                node.op_type,
                tuple(known[0].dims) if known else (),
                graph.spatial(output.shape) if len(output.shape) == 4 else (1, 1),
                sum(count(weight) for weight in new),
                _mult_adds(node, output, tensors, known),
            )
        )
    return layers


def mult_adds(graph: Graph, hw: tuple[int, int], left_out: tuple[str, ...] = ()) -> int:
    """Of one picture of this size, LR pixels."""
    return sum(layer.mult_adds for layer in count_layers(graph, hw, left_out))


def parameters(graphs: list[Graph], left_out: tuple[str, ...] = (), *, weights_only: bool = False) -> int:
    """Learned numbers of several graphs of one network, one for each scale: what they share counts once.

    Args:
        graphs: of the network.
        left_out: see ``count_layers``.
        weights_only: count neither biases nor slopes nor batch norm, as some papers do.
    """
    found: dict[str, int] = {}
    for graph in graphs:
        for node in graph.nodes:
            learned = _LEARNED.get(node.op_type, ())
            if weights_only:
                learned = learned[:1] if node.op_type in _PRODUCTS else ()
            for index in learned:
                weight = graph.weight(node.input[index]) if index < len(node.input) else None
                if weight is not None and not weight.name.startswith(left_out):
                    found[graph.digest(weight)] = count(weight)
    return sum(found.values())


def _mult_adds(node: NodeProto, output: Tensor, tensors: dict[str, Tensor], weights: list[TensorProto]) -> int:
    if node.op_type not in _PRODUCTS:
        return 0
    if node.op_type in _MATRICES or (node.op_type == "Gemm" and not weights):
        left = tensors.get(node.input[0])
        inner = left.shape[-1] if left is not None else int(weights[0].dims[-1])
        return math.prod(output.shape) * inner
    if node.op_type == "Gemm":
        return count(weights[0]) * output.shape[0]
    if weights:
        return count(weights[0]) * math.prod(output.shape[2:]) * output.shape[0]
    kernel = tensors[node.input[_LEARNED[node.op_type][0]]].shape  # of weights that are computed
    return math.prod(kernel) * math.prod(output.shape[2:]) * output.shape[0]


_SIDE = click.IntRange(min=1)


@click.command(cls=EdsrCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--lr", "side", type=(_SIDE, _SIDE), default=(256, 256), show_default=True, help="Of the layers; H, W.")
@click.option(
    "--scale",
    type=click.FloatRange(min=1),
    help="Of a network that takes the picture enlarged already. Default: the output's size beside the input's.",
)
def main(file: Path, side: tuple[int, int], scale: float | None) -> None:
    """Print the layers of an ONNX FILE, what they cost under every convention, and how far the network sees.

    A file that edsr-export made of a checkpoint in train/checkpoints is counted before folding too.
    """
    from benchmarks.cost.memory import activation_peak
    from benchmarks.cost.published import FIXED
    from benchmarks.cost.reach import receptive_radius
    from benchmarks.cost.totals import count_graph
    from benchmarks.reporting.cost_tables import layers_table, totals_table

    graph = Graph.read(file)
    is_ours = METADATA_KEY in read_metadata(file)
    scale = scale or graph.scale()
    click.echo(layers_table(graph.name, count_layers(graph, side)).markdown())
    left_out = FIXED if is_ours else ()
    counts = {"as exported" if is_ours else "the file": count_graph(graph, scale, left_out)}
    if is_ours and (before := _before_folding(file)) is not None:
        counts = {"as trained": count_graph(before, scale, left_out), **counts}
    click.echo("\n" + totals_table(graph.name, scale, counts).document(3))
    if is_ours:
        click.echo("\nin all: without maps of colours and bicubic enlargement, which are not learned")
    peak = activation_peak(graph, side)
    click.echo(f"\nactivations: {peak.bytes / 1e6:.1f} MB at the most, in {peak.node}")
    reach = receptive_radius(graph)
    click.echo(f"receptive radius: {reach.radius_px} LR pixels" if reach.radius_px is not None else reach.unknown)


def _before_folding(file: Path) -> Graph | None:
    """None where the checkpoint is not there."""
    with needs_extra("bench"):
        from benchmarks.cost.trained import graph_behind

        return graph_behind(file)


if __name__ == "__main__":
    main()
