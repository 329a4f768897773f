"""Tables of ``cost``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from benchmarks.cost.conventions import CONVENTIONS, LR_256
from benchmarks.cost.count import Layer
from benchmarks.cost.totals import Count
from benchmarks.reporting.table import Cell, Result, Row, Section, Table, number, optional, size

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "K"))


def cost(section: Result) -> Section:
    """Published beside counted, all networks under all conventions, and layers."""
    return Section("cost", [_networks(section), _published(section), *(_layers(each) for each in section["layers"])])


def layers_table(graph: str, layers: Sequence[Layer]) -> Table:
    """Of one graph, in its order."""
    rows = [
        (
            layer.name,
            layer.operator,
            "x".join(map(str, layer.weight_shape)),
            size(layer.output_hw),
            Cell(f"{layer.parameters:,}", layer.parameters),
            number(layer.mult_adds / 1e6, ",.1f"),
        )
        for layer in layers
    ]
    total = (
        "all",
        "",
        "",
        "",
        Cell(f"{sum(layer.parameters for layer in layers):,}"),
        Cell(f"{sum(layer.mult_adds for layer in layers) / 1e6:,.1f}"),
    )
    header = ("layer", "operator", "weights", "output", "parameters", "Mult-Adds, M")
    return Table(f"layers-{graph}", f"Layers: {graph}", header, "llllrr", [*rows, total])


def totals_table(graph: str, scale: float, counts: Mapping[str, Count]) -> Table:
    """Of one network in several forms, by what they are called."""
    rows: list[Row] = [(form, *_count_cells(asdict(count))) for form, count in counts.items()]
    return Table("totals", f"In all: {graph}, x{scale:g}", ("", *_COUNT_HEADER), "lrrrrrr", rows, _USED)


def network_name(row: Result) -> str:
    """With its scale, which names of shipped models have already."""
    name: str = row["network"]
    return name if name.endswith(f"_x{row['scale']}") else f"{name} x{row['scale']}"


def short(value: float) -> str:
    """Three or four digits and a unit, as papers print it."""
    for unit, letter in _UNITS:
        if value >= unit:
            scaled = value / unit
            return f"{scaled:,.{0 if scaled >= 1000 else 1 if scaled >= 100 else 2}f}{letter}"
    return f"{value:g}"


def _published(section: Result) -> Table:
    rows: list[Row] = []
    for row in section["rows"]:
        beside = row["published"]
        if beside is None:
            continue
        counted = row["trained"]["mult_adds"][beside["convention"]]
        rows.append(
            (
                row["network"],
                f"x{row['scale']}",
                beside["parameters"],
                Cell(
                    short(beside["parameters_counted"]) + (", weights only" if beside["weights_only"] else ""),
                    beside["parameters_counted"],
                ),
                beside["mult_adds"],
                Cell(short(counted), counted),
                beside["convention"],
                "yes" if beside["parameters_agree"] and beside["mult_adds_agree"] else "**no**",
            )
        )
        for other in row.get("also", ()):
            counted = row["trained"]["mult_adds"][other["convention"]]
            agrees = "yes" if other["mult_adds_agree"] else "**no**"
            cells = (other["mult_adds"], Cell(short(counted), counted), other["convention"], agrees)
            rows.append((row["network"], f"x{row['scale']}", "", "", *cells))
    readings = {row["network"]: row["published"]["reading"] for row in section["rows"] if row["published"]}
    notes = [f"{name}: {reading}" for name, reading in readings.items() if reading]
    header = ("network", "scale", "parameters, published", "counted", "Mult-Adds, published", "counted", "for", "agree")
    return Table(
        "cost-published",
        "What was published, and what is counted on the ONNX graph",
        header,
        "llrrrrll",
        rows,
        "Agree: within 0.5 %, or rounded to it. Weights only: where the paper leaves out biases and slopes.",
        [*notes, *(f"{name} was not counted: {reason}" for name, reason in section["absent"].items())],
    )


def _networks(section: Result) -> Table:
    rows = []
    for row in section["rows"]:
        for form in ("trained", "exported"):
            count = row[form]
            if count is None:
                continue
            rows.append((row["network"], f"x{row['scale']}", f"as {form}", *_count_cells(count)))
    header = ("network", "scale", "", *_COUNT_HEADER)
    return Table("cost-networks", "What networks cost, before and after folding", header, "lllrrrrrr", rows, _USED)


_COUNT_HEADER = (
    *(f"Mult-Adds, {each.id}" for each in CONVENTIONS),
    *("M per input pixel", "activations, MB", "receptive radius, px"),
)
_USED = (
    f"Mult-Adds under three conventions ({'; '.join(f'{each.id}: {each.used_by}' for each in CONVENTIONS)}). "
    "A transposed convolution counts at every pixel of its output, as was published of FSRCNN; exported, it is a "
    "convolution and a pixel shuffle, and counts what is computed. "
    f"Activations: predicted, in memory at once, {LR_256.id}."
)


def _count_cells(count: Result) -> tuple[Cell, ...]:
    counted = (count["mult_adds"][each.id] for each in CONVENTIONS)
    return (
        *(Cell(short(each), each) for each in counted),
        number(count["mega_per_lr_pixel"], ".3f"),
        number(count["activation_bytes"] / 1e6, ",.1f"),
        optional(count["receptive_radius_px"], "d"),
    )


def _layers(found: Result) -> Table:
    layers = [
        Layer(
            each["name"],
            each["operator"],
            tuple(each["weight_shape"]),
            (each["output_hw"][0], each["output_hw"][1]),
            each["parameters"],
            each["mult_adds"],
        )
        for each in found["layers"]
    ]
    table = layers_table(f"{found['graph']}, {size(found['lr_hw'])} LR", layers)
    return Table(_slug(table.id), table.title, table.header, table.alignment, table.rows)


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
