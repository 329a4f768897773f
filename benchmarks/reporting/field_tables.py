"""Tables of ``field`` and ``field-latency``."""

from collections.abc import Iterator

from benchmarks.reporting.cost_tables import short
from benchmarks.reporting.names import shown
from benchmarks.reporting.table import Cell, Result, Row, Section, Table, joined, number, signed, size, spread


def field(section: Result) -> Section:
    """What each network came to, and its curve."""
    return Section("field", [networks(section), _curves(section)])


def networks(section: Result) -> Table:
    """The best first, with bicubic among them, and what is to be said of the order."""
    rows = {row["network"]: _network(row) for row in section["rows"]}
    rows["bicubic"] = ("bicubic", "", "", "", "", number(section["bicubic_db"], ".3f"), signed(0.0, 3))
    title = f"The field after equal training: x{section['scale']}, {section['updates']} updates each"
    intro = (
        f"{section['batch']} patches of {section['patch']}x{section['patch']} (LR) of {section['photographs']} "
        f"photographs, the same for all, with the options of {section['recipe']}: a small part of any paper's "
        f"training. {section['set']}, `{section['protocol']}`, one seed, {section['threads']} threads. Seconds: of the "
        "updates alone."
    )
    header = (
        *("network", "parameters", f"Mult-Adds, {section['convention']}", "updates", "s", "PSNR, dB"),
        "above bicubic, dB",
    )
    ranked = [rows[name] for name in section["order"]]
    return Table("field", title, header, "lrrrrrr", ranked, intro, list(_said_of_order(section)))


def _network(row: Result) -> Row:
    return (
        row["network"],
        Cell(short(row["parameters"]), row["parameters"]),
        Cell(short(row["mult_adds"]), row["mult_adds"]),
        number(row["updates"], "d"),
        number(row["seconds"], ".0f"),
        number(row["psnr_db"], ".3f"),
        signed(row["gain_db"], 3),
    )


def _said_of_order(section: Result) -> Iterator[str]:
    yield f"found, the best first: {', '.join(section['order'])}"
    expected = "EDSR-type above SRResNet above VDSR above SRCNN above bicubic"
    if section["is_field_order"]:
        yield f"this is the order of the field: {expected}"
    elif not section["reversals"]:
        yield f"so far this is the order of the field, {expected}, but not all of them are there"
    else:
        yield f"**this is not the order of the field**, which is {expected}"
    for each in section["reversals"]:
        by = f"{each['by_db']:.2f}"
        how = "is level with" if float(by) == 0 else f"ends {by} dB below"
        yield f"{each['above']} {how} {each['below']}"
    for name in section["diverged"]:
        yield f"{name} diverged with these options, and has no place in it"
    for row in section["rows"]:
        if row["skipped"]:
            yield f"{row['network']}: {row['skipped']} updates were skipped"


def _curves(section: Result) -> Table:
    """PSNR at every validation; all networks have the same."""
    rows = {row["network"]: row for row in section["rows"]}
    updates = [point["update"] for point in section["rows"][0]["points"]] if rows else []
    curves = [
        (name, *(number(point["psnr_db"], ".3f") for point in rows[name]["points"]))
        for name in section["order"]
        if name in rows
    ]
    header = ("PSNR, dB, at update", *map(str, updates))
    return Table("field-curves", "On the way there", header, "l" + "r" * len(updates), curves)


def field_latency(section: Result) -> Section:
    """One table."""
    return Section("field-latency", [run_times(section)])


def run_times(section: Result) -> Table:
    """By size of the result and engine."""
    rows = [
        (
            size(case["hr_hw"]),
            shown(row["engine"]),
            row["network"],
            number(row["latency_ms"]["p50"], ",.1f"),
            spread(row["times_reference"], 2),
            number(row["max_difference"], "d"),
            str(row["latency_ms"]["count"]),
        )
        for case in section["cases"]
        for row in case["rows"]
    ]
    counts = joined(row["times_reference"]["count"] for case in section["cases"] for row in case["rows"])
    title = f"Run time of the field, x{section['scale']}, by size of the result, array to array"
    intro = (
        f"Random weights. Ratios to {section['reference']} in the same engine, within {counts} rounds in random order "
        "(10th to 90th percentile)."
    )
    engines = {row["engine"]: row["description"] for case in section["cases"] for row in case["rows"]}
    notes = [f"{shown(engine)}: {text.partition(': ')[2] or text}" for engine, text in engines.items()]
    header = ("result", "", "network", "ms, 50 %", f"times {section['reference']}", "largest difference", "runs")
    return Table("field-latency", title, header, "lllrrrr", rows, intro, notes)
