"""Tables in documents, made from result files: ``python benchmarks/reporting/readme.py`` writes them anew.

A line ``<!-- table: NAME, from: benchmarks/results/FILE.json -->`` stands above each of them. What is in the documents
and what the file gives are compared by a test, to the letter.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import click

from benchmarks.reporting.field_tables import networks, run_times
from benchmarks.reporting.latency_tables import encode, offline, startup
from benchmarks.reporting.names import shown
from benchmarks.reporting.quality_tables import ENSEMBLE, bicubic_of, score, seams
from benchmarks.reporting.scaling_tables import scaling
from benchmarks.reporting.table import Cell, Result, Section, Table, number, optional, signed, spread
from benchmarks.reporting.training_tables import claims, loader
from benchmarks.result_file import read_result
from edsr_runtime.command import EdsrCommand
from edsr_runtime.errors import DataError
from edsr_runtime.metrics import PROTOCOLS

ROOT = Path(__file__).resolve().parent.parent.parent
_MODELS = "runtime/edsr_runtime/models"
DOCUMENTS = (
    "README.md",
    "benchmarks/README.md",
    f"{_MODELS}/edsr-small.md",
    f"{_MODELS}/edsr-baseline.md",
    "train/checkpoints/mdsr-baseline.md",
)
MARK = re.compile(r"<!-- table: (?P<table>[\w-]+), from: (?P<file>\S+) -->\n(?P<rows>(?:\n?(?:\|.*\n)+)?)")

_SPEED = ("torch-eager-fp32", "auto", "openvino-bf16", "openvino-fp32", "onnxruntime", "auto-no-collapse")
"""At every scale but the largest, where all candidates are shown."""
_QUALITY = ("amx", "openvino-bf16", "openvino-fp32", "onnxruntime")
"""The candidates that documents show; all are in the result."""
_SCALES = (2, 3, 4)
_CARDS = ("edsr-small", "edsr-baseline", "mdsr-baseline")
"""Models with a card."""
_CARD_PUBLISHED = ("EDSR-baseline", "EDSR", "MDSR")
_AS_REPORTED: dict[str, tuple[str, Callable[[Result], Section]]] = {
    "offline": ("offline", offline),
    "encode": ("encode", encode),
    "startup": ("startup", startup),
    "seams": ("seams", seams),
    "loader": ("loader", loader),
    **{name: ("claims", claims) for name in ("claims", "claims-memory")},
    **{f"scaling-{what}": ("scaling", scaling) for what in ("picture", "tile", "batch", "threads", "in-flight")},
}
"""Tables of the report that documents show as they are: of which measurement, and who makes them."""


@click.command(cls=EdsrCommand)
@click.option(
    "--from", "source", type=click.Path(path_type=Path), help="Result file for all tables. Default: as marked."
)
def main(source: Path | None) -> None:
    """Write the tables in the documents anew, from the files that they name or from another one.

    Tables that the other one has no measurement for stay as they are. Nothing is written before all are made.
    """
    file = None if source is None else _in_project(source)
    before = {document: (ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS}
    after = {document: with_tables(text, file) for document, text in before.items()}
    if file is not None:
        has = read_result(ROOT / file)["results"]
        marked = {match["table"] for text in before.values() for match in MARK.finditer(text)}
        needed = {name: _NEEDS[name] for name in sorted(marked)}
        if not any(section in has for section in needed.values()):
            raise DataError(
                f"{file}: has no measurement of any table in the documents: found {', '.join(has) or 'none'}, expected "
                f"one of {', '.join(sorted(set(needed.values())))}"
            )
        for name in (name for name, section in needed.items() if section not in has):
            click.echo(f"the table {name} stays as it is: {file} does not have {needed[name]}")
    for document, text in after.items():
        if text != before[document]:
            (ROOT / document).write_text(text, encoding="utf-8")
            click.echo(f"{document}: written anew")


def with_tables(text: str, source: Path | None = None) -> str:
    """A document whose tables say what the result files say.

    Args:
        text: of the document.
        source: file for all tables whose measurement it has; the others stay as they are. Default: as marked.

    Raises:
        DataError: a file is missing, a marked one does not have what its table needs, or there is no such table.
    """

    def replace(match: re.Match[str]) -> str:
        name, file = match["table"], match["file"] if source is None else source.as_posix()
        result = read_result(ROOT / file)
        if source is not None and _needed(name) not in result["results"]:
            return match[0]
        return f"<!-- table: {name}, from: {file} -->\n{make_table(name, result).markdown()}\n"

    return MARK.sub(replace, text)


def make_table(name: str, result: Result) -> Table:
    """One of the tables that documents have.

    Raises:
        DataError: there is no such table, or the result does not have what it needs.
    """
    section = _needed(name)
    if section not in result["results"]:
        raise DataError(f"the table {name!r} needs the measurement {section}, which the file does not have")
    table = TABLES[name](result["results"][section])
    if not table.rows:
        raise DataError(f"the table {name!r} would be empty: the file's {section} has nothing for it")
    return table


def _needed(name: str) -> str:
    """The measurement of a table."""
    if name not in TABLES:
        raise DataError(f"there is no table {name!r} for documents: expected {', '.join(TABLES)}")
    return _NEEDS[name]


def _in_project(source: Path) -> Path:
    """As documents name it."""
    try:
        return source.resolve().relative_to(ROOT)
    except ValueError:
        raise DataError(
            f"{source}: is outside the project, so no document could name it: expected a file below {ROOT}"
        ) from None


def _speed(section: Result, scale: int | None = None) -> Table:
    """Of all scales, or of one."""
    rows = []
    largest = max(case["scale"] for case in section["cases"])
    for case in (case for case in section["cases"] if scale in (None, case["scale"])):
        everything = [row for row in case["rows"] if row["kind"] != "null"]
        few = [row for wanted in _SPEED for row in everything if row["name"] == wanted]
        for row in everything if case["scale"] == largest else few:
            share = row.get("share_of_ceiling")
            rows.append(
                (
                    f"x{case['scale']}",
                    shown(row["name"]),
                    number(row["latency_ms"]["p50"], ".1f"),
                    number(row["latency_ms"]["p90"], ".1f"),
                    optional(row["latency_ms"].get("p99"), ".1f"),
                    spread(row["times_torch"], 2),
                    optional(row["gflops"], ",.0f"),
                    optional(share, ".0%") if row.get("is_valid", True) else "**invalid: above it**",
                    optional(row["max_difference"], "d"),
                    optional(row["changed_share"], ".1%"),
                )
            )
    header = (
        *("scale", "", "ms, 50 %", "90 %", "99 %", "times PyTorch", "GFLOP/s", "of the ceiling"),
        *("largest difference", "changed samples"),
    )
    return Table("speed", "Speed", header, "llrrrrrrrr", rows)


def _quality(section: Result) -> Table:
    """A line for each of our models, on Set5."""
    rows = []
    for case in (case for case in section["cases"] if case["is_shipped"] and case["set"] == "Set5"):
        by_name = {row["name"]: row for row in case["rows"]}
        losses = [signed(by_name[name]["loss_db"], 4) if name in by_name else Cell("") for name in _QUALITY]
        in_bf16, gained = by_name.get("openvino-bf16"), by_name.get(ENSEMBLE)
        rows.append(
            (
                case["model"],
                score(by_name[case["reference"]], 3),
                *losses,
                Cell("") if in_bf16 is None else number(in_bf16["changed_share"], ".2%"),
                Cell("") if gained is None else signed(-gained["loss_db"], 3),
            )
        )
    header = (
        *("model", "PSNR, dB / SSIM", "loss with AMX, dB", "in BF16, OpenVINO", "in FP32", "with onnxruntime"),
        *("samples that BF16 changes", "gain of the self-ensemble, dB"),
    )
    return Table("quality", "Quality", header, "l" + "r" * (len(header) - 1), rows)


def _card(model: str, section: Result) -> Table:
    """Everything that was measured of one model under the protocol of tables 2 and 3 of the EDSR paper."""
    rows = []
    for case in (case for case in section["cases"] if case["protocol"] == "paper-y"):
        if case["model"].rpartition("_x")[0] != model:
            continue
        by_name = {row["name"]: row for row in case["rows"]}
        published = {row["method"]: row for row in case["published"]}
        cells = (bicubic_of(case), by_name[case["reference"]], by_name.get(ENSEMBLE))
        rows.append(
            (
                f"x{case['scale']}",
                case["set"],
                *(score(each, 3) for each in cells),
                *(score(published.get(method), 2) for method in _CARD_PUBLISHED),
            )
        )
    header = ("scale", "set", "bicubic", "this model", "with self-ensemble", *_CARD_PUBLISHED)
    return Table(f"scores-{model}", f"Scores of {model}", header, "ll" + "r" * (len(header) - 2), rows)


def _sets(protocol: str, section: Result) -> Table:
    rows = []
    for case in (case for case in section["cases"] if case["is_shipped"] and case["protocol"] == protocol):
        ours = next(row for row in case["rows"] if row["name"] == case["reference"])
        rows.append(
            (
                case["model"],
                case["set"],
                Cell(f"{ours['psnr_db']:.2f} / {ours['ssim']:.4f}"),
                Cell(f"{case['bicubic_psnr_db']:.2f} / {case['bicubic_ssim']:.4f}"),
            )
        )
    header = ("model", "set", f"PSNR, dB / SSIM, `{protocol}`", "bicubic")
    return Table(f"sets-{protocol}", f"Sets, `{protocol}`", header, "llrr", rows)


def _as_reported(make: Callable[[Result], Section], name: str, section: Result) -> Table:
    return next(table for table in make(section).tables if table.id == name)


TABLES: dict[str, Callable[[Result], Table]] = {
    "speed": _speed,
    **{f"speed-x{scale}": partial(_speed, scale=scale) for scale in _SCALES},
    "quality": _quality,
    **{f"scores-{model}": partial(_card, model) for model in _CARDS},
    **{f"sets-{protocol}": partial(_sets, protocol) for protocol in PROTOCOLS},
    "field": networks,
    "field-latency": run_times,
    **{name: partial(_as_reported, make, name) for name, (_, make) in _AS_REPORTED.items()},
}
_NEEDS = {
    **dict.fromkeys(("speed", *(f"speed-x{scale}" for scale in _SCALES)), "latency"),
    "quality": "quality",
    **dict.fromkeys((f"scores-{model}" for model in _CARDS), "quality"),
    **dict.fromkeys((f"sets-{protocol}" for protocol in PROTOCOLS), "quality"),
    "field": "field",
    "field-latency": "field-latency",
    **{name: section for name, (section, _) in _AS_REPORTED.items()},
}

if __name__ == "__main__":
    main()
