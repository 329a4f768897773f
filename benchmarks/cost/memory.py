"""Memory that activations need, predicted: the most that is alive at once when nodes run in the graph's order.

A tensor lives from the node that computes it to the last one that reads it. Operators that go element by element write
over an input that nobody reads after them, and those that only rename or reshape cost nothing. Engines do not all do
this; OpenVINO, for one, fuses ReLU and sums into convolutions, which comes to the same.
"""

from dataclasses import dataclass

from benchmarks.cost.graph import Graph

_IN_PLACE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Relu", "PRelu", "LeakyRelu", "Clip", "Round", "Tanh", "Sigmoid", "Neg"}
) | {"BatchNormalization", "Min", "Max"}
_SAME_MEMORY = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})


@dataclass(frozen=True)
class ActivationPeak:
    """Where most is alive."""

    bytes: int
    """Of all tensors alive while ``node`` runs, its input and its output among them; no weights."""
    node: str


def activation_peak(graph: Graph, hw: tuple[int, int]) -> ActivationPeak:
    """For one picture of this size, LR pixels."""
    tensors = graph.tensors(hw)
    last_use = {name: index for index, node in enumerate(graph.nodes) for name in node.input}
    last_use[graph.output] = len(graph.nodes)
    alive = {graph.input: tensors[graph.input].bytes}
    peak = ActivationPeak(0, "")
    for index, node in enumerate(graph.nodes):
        inputs = [name for name in dict.fromkeys(node.input) if name in alive]
        ending = [name for name in inputs if last_use[name] == index]
        outputs = {name: tensors[name].bytes for name in node.output if name in last_use}
        if all(graph.weight(name) is not None for name in node.input if name) and not inputs:
            continue  # computed from weights alone: once, when the model is loaded
        reuses = node.op_type in _SAME_MEMORY or node.op_type in _IN_PLACE
        for name in outputs:
            if reuses and (old := next((x for x in ending if alive[x] == outputs[name]), None)):
                del alive[old]
                ending.remove(old)
            alive[name] = outputs[name]
        total = sum(alive.values())
        if total > peak.bytes:
            peak = ActivationPeak(total, node.name or node.output[0])
        for name in ending:
            del alive[name]
    return peak
