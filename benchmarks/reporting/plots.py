"""Plots of a result file, as PNG and SVG."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.reporting.cost_tables import network_name
from benchmarks.reporting.labels import label_points
from benchmarks.reporting.names import shown
from benchmarks.reporting.table import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GRID = "#24292f", "#d0d7de"
_OURS, _PEER, _BEFORE = "#0969da", "#8c959f", "#bf8700"
_DPI = 144
_LARGEST_BUBBLE = 1400.0  # points squared
_FIRST_MEGA, _FIRST_GIGA = 0.01, 1.0
"""Where logarithmic bars begin, the same in every plot, so that lengths can be compared."""
_ROOM_FOR_LABELS = 1.15

Plot = Callable[[Result], "Figure | None"]
"""None where the result has nothing to plot."""


def write_plots(result: Result, folder: Path) -> dict[str, Path]:
    """Write every plot that the result has something for.

    Returns:
        The SVG file of each plot, by name; a PNG lies beside it.
    """
    import matplotlib

    matplotlib.use("Agg")
    # svg.hashsalt, and no date: the same result gives the same file
    matplotlib.rcParams.update({"svg.hashsalt": "edsr-toolkit", "svg.fonttype": "none", "font.family": "sans-serif"})
    import matplotlib.pyplot as plt

    written = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in PLOTS.items():
        figure = plot(result)
        if figure is None:
            continue
        written[name] = folder / f"{name}.svg"
        figure.savefig(written[name], metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=_DPI)
        plt.close(figure)
    return written


def mega_per_pixel(result: Result) -> "Figure | None":
    """The article's bars: mega-multiplications for each input pixel, at x2 or the smallest scale that was counted."""
    section = result["results"].get("cost")
    rows = [row for row in section["rows"] if row["trained"] is not None] if section else []
    if not rows:
        return None
    scale = min(row["scale"] for row in rows)
    bars = {
        row["network"].removesuffix(f"_x{scale}"): row["trained"]["mega_per_lr_pixel"]
        for row in rows
        if row["scale"] == scale
    }
    bars = dict(sorted(bars.items(), key=lambda item: item[1]))
    figure, axes = _figure(f"Multiplications per input pixel, x{scale}", height=1.4 + 0.42 * len(bars))
    drawn = axes.barh(list(bars), list(bars.values()), color=_OURS)
    axes.bar_label(drawn, [f" {value:,.2f} M" for value in bars.values()], color=_INK)
    left = _logarithmic_bars(axes, list(bars.values()), _FIRST_MEGA)
    axes.set_xlabel(f"millions, logarithmic from {left:g}")
    return figure


def mult_adds(result: Result) -> "Figure | None":
    """Bars before and after folding, HR 1280x720."""
    section = result["results"].get("cost")
    rows = [row for row in section["rows"] if row["trained"] is not None] if section else []
    if not rows:
        return None
    labels = [network_name(row) for row in rows]
    drawn_values = []
    figure, axes = _figure("Mult-Adds, HR 1280x720, before and after folding", height=1.4 + 0.55 * len(rows))
    for offset, form, colour in ((-0.2, "trained", _BEFORE), (0.2, "exported", _OURS)):
        values = [row[form]["mult_adds"]["HR 1280x720"] / 1e9 for row in rows]
        drawn_values += values
        places = [index + offset for index in range(len(rows))]
        drawn = axes.barh(places, values, height=0.38, color=colour, label=f"as {form}")
        axes.bar_label(drawn, [f" {value:,.1f} G" for value in values], color=_INK, fontsize=8)
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    left = _logarithmic_bars(axes, drawn_values, _FIRST_GIGA)
    axes.set_xlabel(f"10^9 multiply-adds, logarithmic from {left:g}")
    axes.legend(frameon=False)
    return figure


def quality_against_latency(result: Result) -> "Figure | None":
    """PSNR above bicubic of the shipped models against their time, with the size of the model as area."""
    points = _models(result)
    if not points:
        return None
    figure, axes = _figure("Quality against latency; area: size of the model")
    largest = max(parameters for _, _, _, parameters in points)
    for name, milliseconds, gain_db, parameters in points:
        axes.scatter([milliseconds], [gain_db], s=_LARGEST_BUBBLE * parameters / largest, color=_OURS, alpha=0.45)
        axes.annotate(
            f"{name}, {parameters / 1e3:,.0f}K", (milliseconds, gain_db), ha="center", va="center", fontsize=8
        )
    height, width = result["results"]["models"]["lr_hw"]
    axes.set_xlabel(f"ms, {height}x{width} LR, auto")
    axes.set_ylabel("PSNR above bicubic, dB, Set5")
    axes.margins(0.3)
    return figure


def _models(result: Result) -> list[tuple[str, float, float, int]]:
    """Name, milliseconds, PSNR above bicubic and parameters of models that have all of them."""
    results = result["results"]
    if not {"cost", "quality", "models"} <= set(results):
        return []
    sizes = {row["network"]: row["parameters"] for row in results["cost"]["rows"]}
    scores = {
        case["model"]: case["rows"][0]["psnr_db"] - case["bicubic_psnr_db"]
        for case in results["quality"]["cases"]
        if case["set"] == "Set5" and case["rows"]
    }
    times = {row["model"]: row["latency_ms"]["median"] for row in results["models"]["rows"]}
    return [(name, times[name], scores[name], sizes[name]) for name in times if name in scores and name in sizes]


def gain_against_cost(result: Result) -> "Figure | None":
    """The introduction's figure: what each network of the field gains over bicubic, against its Mult-Adds."""
    section = result["results"].get("field")
    if not section or not section["rows"]:
        return None
    figure, axes = _figure(f"Gain over bicubic against cost, x{section['scale']}, {section['updates']:,} updates each")
    names = [row["network"] for row in section["rows"]]
    places = [(row["mult_adds"] / 1e9, row["gain_db"]) for row in section["rows"]]
    for name, place in zip(names, places, strict=True):
        axes.scatter(*place, color=_OURS if name.startswith("edsr") else _PEER)
    axes.axhline(0, color=_BEFORE, linewidth=1)
    axes.annotate("bicubic", (0.01, 0), xycoords=("axes fraction", "data"), va="bottom", fontsize=8, color=_BEFORE)
    axes.set_xscale("log")
    axes.set_xlabel(f"10^9 multiply-adds, {section['convention']}, logarithmic; blue: of the EDSR type")
    axes.set_ylabel(f"PSNR above bicubic, dB, {section['set']}")
    axes.margins(0.12)
    label_points(axes, names, places)
    return figure


def latency(result: Result) -> "Figure | None":
    """Median time of every candidate at the largest scale."""
    section = result["results"].get("latency")
    if not section:
        return None
    case = section["cases"][-1]
    rows = sorted((r for r in case["rows"] if r["kind"] != "null"), key=lambda row: row["latency_ms"]["p50"])
    figure, axes = _figure(f"One picture, x{case['scale']}: {section['network']}", height=1.4 + 0.36 * len(rows))
    values = [row["latency_ms"]["p50"] for row in rows]
    colours = [_OURS if row["kind"] == "ours" else _PEER for row in rows]
    drawn = axes.barh([shown(row["name"]) for row in rows], values, color=colours)
    axes.bar_label(drawn, [f" {value:,.1f}" for value in values], color=_INK, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("ms, median; blue: edsr-toolkit, gray: what people use today")
    axes.margins(x=0.12)
    return figure


def scaling_picture(result: Result) -> "Figure | None":
    """Time and memory with the size of the picture."""
    return _scaling(result, "picture", "Growth with the picture")


def scaling_tile(result: Result) -> "Figure | None":
    """Time and memory with the side of the tiles."""
    return _scaling(result, "tile", "Growth with the tiles")


def _scaling(result: Result, name: str, title: str) -> "Figure | None":
    section = result["results"].get("scaling")
    curve = next((each for each in section["curves"] if each["name"] == name), None) if section else None
    if curve is None:
        return None
    figure, axes = _figure(f"{title}: {section['model']}" if section else title)
    points = curve["points"]
    xs = [point["x"] for point in points]
    lines = axes.loglog(xs, [point["seconds"] for point in points], "o-", color=_OURS, label="time")
    memory = axes.twinx()
    memory.set_yscale("log")
    for field, mark, label in (
        ("grown_bytes", "s-", "memory above the loaded model"),
        ("predicted_bytes", ":", "memory predicted, activations of a tile"),
    ):
        lines += memory.plot(xs, [point[field] / 1e6 for point in points], mark, color=_BEFORE, label=label)
    axes.set_xlabel(f"{curve['unit']}, logarithmic")
    axes.set_ylabel("s, logarithmic", color=_OURS)
    memory.set_ylabel("MB, logarithmic", color=_BEFORE)
    memory.spines["top"].set_visible(False)
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False)  # points are everywhere
    return figure


def _logarithmic_bars(axes: "Axes", values: Sequence[float], first: float) -> float:
    """Let bars begin at a power of ten that does not depend on them, or below the smallest; where comes back."""
    left = min(first, 10.0 ** (math.ceil(math.log10(min(values))) - 1))
    right = left * (max(values) / left) ** _ROOM_FOR_LABELS
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    return left


def _figure(title: str, height: float = 4.2) -> "tuple[Figure, Axes]":
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, height), layout="constrained")
    axes.set_title(title, color=_INK, loc="left")
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


PLOTS: dict[str, Plot] = {
    "quality-against-latency": quality_against_latency,
    "gain-against-cost": gain_against_cost,
    "latency": latency,
    "mult-adds": mult_adds,
    "mega-per-pixel": mega_per_pixel,
    "scaling-picture": scaling_picture,
    "scaling-tile": scaling_tile,
}
