"""What one graph costs in all, under every convention."""

from dataclasses import dataclass

from benchmarks.cost.conventions import CONVENTIONS, LR_256, mult_adds_by_convention
from benchmarks.cost.graph import Graph
from benchmarks.cost.memory import activation_peak
from benchmarks.cost.reach import receptive_radius


@dataclass(frozen=True)
class Count:
    """Of one graph."""

    mult_adds: dict[str, float]
    """By the id of the convention."""
    mega_per_lr_pixel: float
    """10^6 multiply-adds for each pixel of the input."""
    activation_bytes: int
    """Predicted, in the types of the graph, LR 256x256, without weights."""
    receptive_radius_px: int | None
    """LR; None where it is not known."""


def count_graph(graph: Graph, scale: float, left_out: tuple[str, ...]) -> Count:
    """Count a graph.

    Args:
        graph: takes the LR picture, or one that was enlarged before.
        scale: of the network.
        left_out: see ``count_layers``.
    """
    counted = {each.id: mult_adds_by_convention(graph, scale, each, left_out) for each in CONVENTIONS}
    pixels = LR_256.hw[0] * LR_256.hw[1]
    peak = activation_peak(graph, LR_256.hw)
    return Count(counted, counted[LR_256.id] / pixels / 1e6, peak.bytes, receptive_radius(graph).radius_px)
