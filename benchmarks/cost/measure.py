"""What every network costs, as trained and as exported, beside what was published."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.context import Context
from benchmarks.cost.conventions import mult_adds_by_convention
from benchmarks.cost.count import Layer, count_layers, parameters
from benchmarks.cost.graph import Graph
from benchmarks.cost.published import FIXED, PUBLISHED, PublishedCost
from benchmarks.cost.totals import Count, count_graph
from benchmarks.cost.trained import learned, network_behind
from benchmarks.models import Models, build_network, model_as_trained
from benchmarks.targets import Target
from edsr_runtime.errors import DataError
from edsr_runtime.zoo import ShippedModel, shipped_models
from edsr_train.architectures.registry import ARCHITECTURES
from edsr_train.models.branch import SuperResolutionNetwork

GraphOf = Callable[[int], Graph]
"""Scale -> the graph of a network."""

_LAYERS_HW = (192, 256)


@dataclass(frozen=True)
class Beside:
    """What was published, and whether the count gives it."""

    source: str
    convention: str
    parameters: str
    """As printed."""
    parameters_counted: int
    """As the paper counts them."""
    weights_only: bool
    """Whether that is without biases and slopes."""
    parameters_agree: bool
    mult_adds: str
    mult_adds_agree: bool
    reading: str
    """Why they do not agree, where that is known."""


@dataclass(frozen=True)
class MultAddsBeside:
    """What others published of Mult-Adds alone."""

    source: str
    convention: str
    mult_adds: str
    """As printed."""
    mult_adds_agree: bool


@dataclass(frozen=True)
class CostRow:
    """One network at one scale."""

    network: str
    scale: int
    parameters: int
    """Before folding; of a network for several scales, of all of them together."""
    trained: Count | None
    """The graph as trained; None of shipped models at scales that are not counted so."""
    exported: Count | None
    """The graph that edsr-export writes."""
    published: Beside | None
    also: list[MultAddsBeside] = field(default_factory=list)


@dataclass(frozen=True)
class LayersOf:
    """Layer by layer."""

    graph: str
    lr_hw: tuple[int, int]
    layers: list[Layer]


@dataclass(frozen=True)
class CostResult:
    """Nothing here was timed."""

    rows: list[CostRow]
    layers: list[LayersOf]
    absent: dict[str, str]
    """Networks with published figures that were not counted, and why."""
    targets: list[Target]
    """None: whether a count agrees stands in its row, and a test insists on it."""


def measure(context: Context) -> CostResult:
    """Count every network of the published table that the project has, and the shipped models."""
    rows: list[CostRow] = []
    absent: dict[str, str] = {}
    known = {architecture.name for architecture in ARCHITECTURES}
    for each in () if context.settings.smoke else PUBLISHED:
        if each.architecture not in known:
            absent[each.name] = f"the project has no network {each.architecture} yet"
        elif not (each.is_small or context.settings.cost_all):
            absent[each.name] = "takes minutes to export: only with --full"
        else:
            rows += _published_rows(context, each)
    rows += [_shipped_row(context, shipped) for shipped in shipped_models()]
    return CostResult(rows, list(_layers(context)), absent, [])


def count_published(
    each: PublishedCost, network: SuperResolutionNetwork, scale: int, graph_of: GraphOf | None = None
) -> tuple[int, Count, Beside, list[MultAddsBeside]]:
    """One network at one scale, as trained: parameters, the count, and how it stands beside what was published.

    Args:
        each: what was published.
        network: built from it.
        scale: one of its scales.
        graph_of: gives the graph of a scale; default: made anew.
    """
    make = graph_of or (lambda s: Graph(model_as_trained(network, s), f"{each.name} x{s}"))
    graphs = {s: make(s) for s in network.scales}
    counted = parameters(list(graphs.values()), each.left_out)
    count = count_graph(graphs[scale], scale, each.left_out)
    own = mult_adds_by_convention(graphs[scale], scale, each.convention, each.left_out)
    as_paper = parameters(list(graphs.values()), each.left_out, weights_only=each.weights_only)
    figures = each.parameters[scale], each.mult_adds[scale]
    beside = Beside(
        each.source,
        each.convention.id,
        figures[0].text,
        as_paper,
        each.weights_only,
        figures[0].agrees(as_paper),
        figures[1].text,
        figures[1].agrees(own),
        each.reading,
    )
    also = [
        MultAddsBeside(
            other.source,
            other.convention.id,
            other.mult_adds[scale].text,
            other.mult_adds[scale].agrees(
                mult_adds_by_convention(graphs[scale], scale, other.convention, each.left_out)
            ),
        )
        for other in each.also
        if scale in other.mult_adds
    ]
    return counted, count, beside, also


def _published_rows(context: Context, each: PublishedCost) -> Iterator[CostRow]:
    for scale in each.mult_adds:
        if scale not in context.settings.cost_scales:
            continue
        context.say(f"cost: {each.name} x{scale}")
        models, network = context.models, build_network(each.architecture, each.config, scale)
        assert network is not None
        if each.architecture == "edsr" and each.config == models.config:  # what latency runs: there already, or soon
            graph_of, path = _unfolded(models), models.exported(scale)
        else:
            graph_of, path = None, models.exported_network(each.name, network, scale)
        counted, trained, beside, also = count_published(each, network, scale, graph_of)
        exported = count_graph(Graph.read(path), scale, FIXED)
        yield CostRow(each.name, scale, counted, trained, exported, beside, also)


def _shipped_row(context: Context, shipped: ShippedModel) -> CostRow:
    network = network_behind(shipped.path)
    if network is None:
        raise DataError(f"{shipped.path.name} was exported from no checkpoint in train/checkpoints: run make models")
    scale, trained = shipped.scale, None
    if scale in context.settings.cost_scales and not context.settings.smoke:
        context.say(f"cost: {shipped.path.stem}")
        trained = count_graph(Graph(model_as_trained(network, scale), shipped.path.stem), scale, FIXED)
    exported = count_graph(Graph.read(shipped.path), scale, FIXED)
    return CostRow(shipped.path.stem, scale, learned(network, scale), trained, exported, None)


def _unfolded(models: Models) -> GraphOf:
    return lambda scale: Graph.read(models.unfolded(scale))


def _layers(context: Context) -> Iterator[LayersOf]:
    scale = max(context.settings.scales)
    for name, path in (
        ("as trained", context.models.unfolded(scale)),
        ("as exported", context.models.exported(scale)),
    ):
        said = f"{context.models.description.partition(',')[0]} x{scale}, {name}"
        yield LayersOf(said, _LAYERS_HW, count_layers(Graph.read(path), _LAYERS_HW))
