"""Tables of ``scaling``."""

from benchmarks.reporting.table import Result, Section, Table, number, optional


def scaling(section: Result) -> Section:
    """One table for each curve."""
    return Section("scaling", [_curve(section, curve) for curve in section["curves"]])


def _curve(section: Result, curve: Result) -> Table:
    rows = [
        (
            number(point["x"], "g"),
            number(point["seconds"], ".3f"),
            optional(point.get("kernel_seconds"), ".3f"),
            optional(point.get("again_seconds"), ".3f"),
            number(point["megapixels_per_s"], ".3f"),
            number(point["peak_bytes"] / 1e6, ",.0f"),
            number(point["grown_bytes"] / 1e6, ",.0f"),
            number(point["predicted_bytes"] / 1e6, ",.0f"),
            str(point["tiles"]),
        )
        for point in curve["points"]
    ]
    slopes = [
        f"{what} grows as {curve['unit']} to the power of {slope:.2f}"
        for what, slope in (("time", curve["time_slope"]), ("memory", curve["memory_slope"]))
        if slope is not None
    ]
    notes = [*slopes, *(["**worse than linear**"] if curve["worse_than_linear"] else [])]
    if points := curve.get("worse_points"):
        notes.append(f"**more than what comes before promises, at {', '.join(format(x, 'g') for x in points)}**")
    header = (
        *(curve["unit"], "s", "of it in the kernel, CPU s", "a second time, s", "LR megapixels/s"),
        *("peak, MB", "above the loaded model, MB", "activations of a tile predicted, MB", "tiles"),
    )
    side = section["side"]
    where = "" if curve["name"] in ("picture", "tile") else f", pictures of {side}x{side}"
    return Table(
        f"scaling-{curve['name'].replace(' ', '-')}",
        f"How cost grows: {curve['name']}; {section['model']}{where}",
        header,
        "rrrrrrrrr",
        rows,
        "",
        notes,
    )
