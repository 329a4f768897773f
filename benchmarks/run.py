"""Measure, print the tables and keep the numbers: ``python benchmarks/run.py``."""

import dataclasses
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click

from benchmarks import machine as machines
from benchmarks.keeping import check_targets
from benchmarks.peers.registry import PEERS, TORCH_EAGER
from benchmarks.report import show_comparison, write_report
from benchmarks.reporting.compare import DEFAULT_THRESHOLD, require_something_to_show
from benchmarks.reporting.document import render, warnings
from benchmarks.result_file import read_result, write_result
from benchmarks.settings import (
    MEASUREMENTS,
    QUICK_MEASUREMENTS,
    Settings,
    quick_settings,
    smoke_settings,
    with_rounds,
)
from edsr_runtime.command import EdsrCommand, needs_extra
from edsr_runtime.errors import EdsrError

PEER_NAMES = tuple(peer.name for peer in PEERS if peer is not TORCH_EAGER)
RESULTS = Path(__file__).resolve().parent / "results"
_NEED_DATA = {
    "quality": "benchmark pictures",
    "claims": "photographs in train/ and benchmark pictures",
    "field": "photographs in train/ and benchmark pictures",
}


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Comma-separated measurements, in their own order."""
    if value is None:
        return None
    wanted = {name.strip() for name in value.split(",")}
    if unknown := sorted(wanted - set(MEASUREMENTS)):
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(MEASUREMENTS)}.", ctx, param)
    return tuple(name for name in MEASUREMENTS if name in wanted)


def _peers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Comma-separated peers, or none of them."""
    if value is None:
        return None
    wanted = () if value == "none" else tuple(name.strip() for name in value.split(","))
    if unknown := sorted(set(wanted) - set(PEER_NAMES)):
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(PEER_NAMES)}.", ctx, param)
    return wanted


@click.command(cls=EdsrCommand)
@click.option("--quick", "extent", flag_value="quick", default=True, help="Small pictures, fewer rounds. The default.")
@click.option("--full", "extent", flag_value="full", help="Everything, with more rounds and larger pictures.")
@click.option(
    "--smoke",
    "extent",
    flag_value="smoke",
    help="Tiny networks and pictures, to see it work; kept only with --output.",
)
@click.option(
    "--only",
    callback=_names,
    metavar="NAME,...",
    help=f"Of {', '.join(MEASUREMENTS)}. Default: {', '.join(QUICK_MEASUREMENTS)}; with --full, all.",
)
@click.option(
    "--scale",
    "scales",
    type=click.Choice(["2", "3", "4"]),
    multiple=True,
    help="Of cost, latency, ring and quality; may be repeated. Default: 4, with --full all.",
)
@click.option(
    "--peers",
    callback=_peers,
    metavar="NAME,...|none",
    help=f"What latency, offline and quality measure beside PyTorch eager FP32 and ours: of {', '.join(PEER_NAMES)}. "
    "Default: all.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Of every timing.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="JSON file. Default: benchmarks/results/MACHINE-DATE.json, with -quick and what was chosen in its name, and a "
    "number if there is one already.",
)
@click.option("--overwrite", is_flag=True, help="Replace the JSON file if it exists.")
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for Markdown, CSV, plots and the page. Default: beside the JSON file, named as it is.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="EDSR_DATA",
    help="Benchmark sets, in benchmark/ or in the folder itself, or one set; for some measurements also weights/ and "
    "train/. Default: what EDSR_DATA names; without it, quality is left out.",
)
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Takes the training runs of claims and field, which then go on where they were stopped. Default: not kept.",
)
@click.option(
    "--compare",
    "old",
    type=click.Path(path_type=Path),
    help="Older result: exit code 5 if it was better, 2 if nothing could be judged.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(min=0),
    default=DEFAULT_THRESHOLD,
    show_default=True,
    help="By which share a time or memory may be worse than in --compare.",
)
@click.option(
    "--memory-scale",
    "memory_scales",
    type=click.IntRange(2, 4),
    multiple=True,
    default=(2,),
    show_default=True,
    help="Of the 100-megapixel picture; may be repeated.",
)
def main(
    extent: str,
    only: tuple[str, ...] | None,
    scales: tuple[str, ...],
    peers: tuple[str, ...] | None,
    rounds: int | None,
    output: Path | None,
    overwrite: bool,
    folder: Path | None,
    data: Path | None,
    runs: Path | None,
    old: Path | None,
    threshold: float,
    memory_scales: tuple[int, ...],
) -> None:
    """Measure cost, latency, quality and scaling, beside what people use today.

    Give it a quiet machine: it says so when it does not have one. Tables go to stdout, progress to stderr.
    """
    settings = {"quick": quick_settings, "full": Settings, "smoke": smoke_settings}[extent]()
    settings = dataclasses.replace(settings, memory_scales=tuple(sorted(set(memory_scales))))
    if scales:
        some = tuple(sorted(set(map(int, scales))))
        settings = dataclasses.replace(settings, scales=some, cost_scales=some, quality_scales=some)
    settings = dataclasses.replace(settings, peers=peers)
    if rounds is not None:
        settings = with_rounds(settings, rounds)
    names = only or (MEASUREMENTS if extent == "full" else QUICK_MEASUREMENTS)
    before = None if old is None else read_result(old)  # refuses here, not after an hour
    machine = machines.describe_machine()
    result = _circumstances(machine, settings, names, data)
    if before is not None:
        require_something_to_show(before, _as_read(result))
    for warning in warnings(result):
        _say(f"warning: {warning}")
    if output is None and not settings.smoke:
        parts = [machine.slug, result["date"][:10], *(["quick"] if settings.quick else []), *(only or ())]
        output = RESULTS / f"{'-'.join(parts)}.json"
        if not overwrite:
            output = _unused(output)
    if folder is None and output is not None and not settings.smoke:
        folder = output.with_suffix("")
    check_targets(output, folder)
    if output is not None and output.exists() and not overwrite:
        raise EdsrError(f"{output} exists: pass --overwrite to replace it, or another --output")
    if only and data is None and (needy := [name for name in only if name in _NEED_DATA]):
        raise EdsrError(f"{needy[0]} needs {_NEED_DATA[needy[0]]}: pass --data, or set EDSR_DATA")

    measure_all(names, settings, machine, data, result, output, runs)
    click.echo(render(result))
    if output is not None:
        _say(f"written to {output}")
    if folder is not None:
        _say(f"written to {write_report(_as_read(result), folder)}")
    if before is not None:
        show_comparison(before, _as_read(result), threshold)


def measure_all(
    names: tuple[str, ...],
    settings: Settings,
    machine: machines.Machine,
    data: Path | None,
    result: dict[str, Any],
    output: Path | None,
    runs: Path | None = None,
) -> None:
    """Run measurements one after the other into ``result``, writing it after each, so that none is lost.

    Raises:
        EdsrError: one failed; what was measured before is in the file.
    """
    others = machines.OthersMeter()
    measurements = _measurements()
    from benchmarks.context import Context
    from benchmarks.models import Models

    with tempfile.TemporaryDirectory(prefix="edsr-benchmarks-") as name:
        folder = Path(name)
        context = Context(settings, machine, Models(folder, settings), folder, data, _say, runs)
        for measurement in names:
            if measurement in _NEED_DATA and data is None:
                result["skipped"][measurement] = "no benchmark data, which --data or EDSR_DATA name"
                continue
            start = time.monotonic()
            result["results"][measurement] = dataclasses.asdict(measurements[measurement](context))
            result["seconds"][measurement] = round(time.monotonic() - start, 1)
            result["load_after"] = machines.load_average()
            result["others_share"] = others.share()
            result["loaded"] = machines.why_loaded(result["load_before"], result["others_share"])
            if output is not None:
                write_result(output, result)


def _circumstances(
    machine: machines.Machine, settings: Settings, names: tuple[str, ...], data: Path | None
) -> dict[str, Any]:
    """Everything but the results. No path of this machine is in it."""
    load = machines.load_average()
    commit = machines.current_commit()
    return {
        "date": machines.now(),
        "commit": None if commit is None else dataclasses.asdict(commit),
        "machine": dataclasses.asdict(machine),
        "versions": machines.package_versions(),
        "load_before": load,
        "load_after": None,
        "others_share": None,
        "loaded": machines.why_loaded(load, None),
        "quick": settings.quick,
        "smoke": settings.smoke,
        "arguments": {"measurements": names, "with_data": data is not None, **dataclasses.asdict(settings)},
        "seconds": {},
        "skipped": {},
        "results": {},
    }


def _unused(path: Path) -> Path:
    """The same, or with the first number behind its name for which there is no file."""
    others = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], others) if not one.exists())


def _as_read(result: dict[str, Any]) -> dict[str, Any]:
    """As it would come out of its file."""
    import json

    read: dict[str, Any] = json.loads(json.dumps(result))
    return read


def _measurements() -> dict[str, Callable[[Any], Any]]:
    """By name; loads PyTorch and the rest."""
    with needs_extra("bench"):
        from benchmarks import claims, encode, loader, memory, ring
        from benchmarks.cost import measure as cost
        from benchmarks.field import run_time, training
        from benchmarks.latency import offline, single_stream
        from benchmarks.quality import measure as quality
        from benchmarks.quality import models, seams
        from benchmarks.scaling import measure as scaling
        from benchmarks.scaling import startup
    return {
        "cost": cost.measure,
        "latency": single_stream.measure,
        "models": models.measure,
        "offline": offline.measure,
        "ring": ring.measure,
        "quality": quality.measure,
        "seams": seams.measure,
        "encode": encode.measure,
        "scaling": scaling.measure,
        "startup": startup.measure,
        "loader": loader.measure,
        "memory": memory.measure,
        "claims": claims.measure,
        "field": training.measure,
        "field-latency": run_time.measure,
    }


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
