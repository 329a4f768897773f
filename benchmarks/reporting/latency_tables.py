"""Tables of ``latency``, ``offline``, ``ring``, ``encode`` and ``startup``."""

from benchmarks.reporting.names import missing, shown
from benchmarks.reporting.table import Cell, Result, Row, Section, Table, joined, number, optional, size, spread


def latency(section: Result) -> Section:
    """One table for each scale, and the ceilings."""
    return Section("latency", [*(_case(section, case) for case in section["cases"]), _ceilings(section)])


def _case(section: Result, case: Result) -> Table:
    rows = []
    for row in case["rows"]:
        found = row["latency_ms"]
        share = row["share_of_ceiling"]
        rows.append(
            (
                shown(row["name"]),
                row["form"],
                _short(row["copies"]),
                number(found["p50"], ".2f"),
                number(found["p90"], ".2f"),
                optional(found["p99"], ".2f"),
                spread(row["times_torch"], 2),
                optional(row["gflops"], ",.0f"),
                (Cell("") if share is None else number(share, ".0%")) if row["is_valid"] else "**invalid: above it**",
                optional(row["max_difference"], "d"),
                optional(row["changed_share"], ".1%"),
                str(found["count"]),
            )
        )
    header = (
        *("", "graph", "copies", "ms, 50 %", "90 %", "99 %", "times PyTorch", "GFLOP/s", "of the ceiling"),
        *("largest difference", "changed samples", "runs"),
    )
    auto = next(row for row in case["rows"] if row["name"] == "auto")
    copies = joined_words({row["copies"] for row in case["rows"]})
    gain = spread(case["times_no_collapse"], 2).text
    notes = [
        f"auto is {auto['description'].partition(': ')[2]}",
        f"{shown(case.get('collapsed', 'auto'))} is {gain} times as fast as without tail collapse",
        f"copies to a device: {copies}",
    ]
    rounds = section["effort"]["rounds"]
    return Table(
        f"latency-x{case['scale']}",
        f"One picture at a time, x{case['scale']}: {section['network']}, {size(section['lr_hw'])} LR, array to array",
        header,
        "lllrrrrrrrrr",
        [*rows, *_missing_rows(case["missing"], len(header))],
        f"From uint8 to uint8. Percentiles of all runs, in {rounds} rounds in random order; ratios within rounds "
        "(10th to 90th percentile).",
        notes,
    )


def _ceilings(section: Result) -> Table:
    rows = [
        (
            each["name"],
            each["device"],
            each["precision"],
            number(each["rate"], ",.1f"),
            number(each["median"], ",.1f"),
            each["unit"],
        )
        for each in section["ceilings"]
    ]
    intro = "In the same run. A network's ceiling is the highest rate of its device in its precision, of any engine."
    header = ("", "device", "precision", "fastest", "median", "unit")
    return Table("ceilings", "What the machine can do", header, "lllrrl", rows, intro)


def models(section: Result) -> Section:
    """One table."""
    rows = [(row["model"], spread(row["latency_ms"], 1)) for row in section["rows"]]
    title = f"Shipped models: {size(section['lr_hw'])} LR, auto"
    return Section("models", [Table("models", title, ("model", "ms"), "lr", rows)])


def offline(section: Result) -> Section:
    """One table."""
    rows: list[Row] = [
        (
            shown(row["name"]),
            row["scenario"],
            _short(row["copies"]),
            spread(row["hr_megapixels_per_s"], 2),
            spread(row["times_torch"], 2),
        )
        for row in section["rows"]
    ]
    title = (
        f"Many pictures: {section['network']} x{section['scale']}, {section['pictures']} of {size(section['lr_hw'])} LR"
    )
    intro = (
        "Megapixels of the result per second. Folder to folder: PNG to PNG, decoding and encoding included; ours "
        f"overlaps them with inference. {section['effort']['rounds']} rounds."
    )
    header = ("", "scenario", "copies", "megapixels/s", "times PyTorch")
    rows += _missing_rows(section["missing"], len(header))
    return Section("offline", [Table("offline", title, header, "lllrr", rows, intro)])


def ring(section: Result) -> Section:
    """One table."""
    rows = [
        (
            f"x{row['scale']}",
            shown(row["name"]),
            spread(row["latency_ms"], 1),
            spread(row["overhead_percent"], 1),
            spread(row["noise_percent"], 1),
        )
        for row in section["rows"]
    ]
    counts = joined(row["latency_ms"]["count"] for row in section["rows"])
    title = f"What the exact border ring costs: {section['network']}, {size(section['lr_hw'])} LR"
    intro = (
        f"Against one plain 5x5 convolution, which is wrong in the ring; {counts} rounds. "
        "No difference: the same for two copies of the plain graph."
    )
    header = ("scale", "", "ms", "more time, %", "no difference, %")
    return Section("ring", [Table("ring", title, header, "llrrr", rows, intro, missing(section["missing"]))])


def encode(section: Result) -> Section:
    """One table."""
    rows = [
        (
            row["name"],
            spread(row["seconds"], 3),
            spread(row["share_percent"], 1),
            number(row["size_bytes"] / 1e6, ".2f"),
        )
        for row in section["rows"]
    ]
    intro = (
        f"Inference, {section['network']} x4 on {size(section['lr_hw'])} LR, "
        f"{section['description'].partition(': ')[2]}: {spread(section['infer_seconds'], 3).text} s, "
        f"{section['infer_seconds']['count']} rounds. One after the other here; edsr-upscale overlaps them."
    )
    title = f"PNG encoding: {size(section['hr_hw'])}, {section['picture']}"
    return Section("encode", [Table("encode", title, ("encoder", "s", "share of both, %", "MB"), "lrrr", rows, intro)])


def startup(section: Result) -> Section:
    """One table."""
    rows = [
        (row["step"], "a process" if row["process"] else "inside one", spread(row["seconds"], 3))
        for row in section["rows"]
    ]
    counts = joined(row["seconds"]["count"] for row in section["rows"])
    title = f"From the start to the first picture: {section['model']}, {size(section['lr_hw'])} LR"
    intro = f"New processes, whose files are in the system's cache; {counts} rounds."
    return Section("startup", [Table("startup", title, ("", "", "s"), "llr", rows, intro)])


def memory(section: Result) -> Section:
    """One table."""
    rows = [
        (
            f"x{row['scale']}",
            size(row["lr_hw"]),
            size(row["hr_hw"]),
            number(row["peak_bytes"] / 1e9, ".2f"),
            number(row["seconds"], ".0f"),
            f"{row['input_bytes'] / 1e6:,.0f} -> {row['output_bytes'] / 1e6:,.0f}",
        )
        for row in section["rows"]
    ]
    header = ("scale", "LR", "HR", "peak, GB", "s", "files, MB")
    title = f"Memory: edsr-upscale -n {section['model']}, PNG to PNG"
    return Section("memory", [Table("memory", title, header, "lllrrr", rows)])


def _missing_rows(found: dict[str, str], columns: int) -> list[Row]:
    """A row for each candidate that was not there, with the reason where others say what was run."""
    return [(shown(name), f"missing: {reason}", *[""] * (columns - 2)) for name, reason in found.items()]


def _short(copies: str) -> str:
    return copies.partition(":")[0]


def joined_words(words: set[str]) -> str:
    """In one order."""
    return "; ".join(sorted(words))
