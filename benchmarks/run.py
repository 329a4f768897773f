"""Measure, print the tables and keep the numbers: ``python benchmarks/run.py``."""

import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click

from benchmarks import machine as machines
from benchmarks.report import render, warnings
from benchmarks.result_file import write_result
from benchmarks.settings import DEFAULT_MEASUREMENTS, MEASUREMENTS, Settings, smoke_settings
from edsr_runtime.command import EdsrCommand
from edsr_runtime.errors import EdsrError, MissingDependencyError

RESULTS = Path(__file__).resolve().parent / "results"
_NEED_DATA = {
    "psnr": "benchmark pictures and weights",
    "sets": "benchmark pictures",
    "claims": "photographs in train/ and benchmark pictures",
}


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Comma-separated measurements, in their own order."""
    if value is None:
        return DEFAULT_MEASUREMENTS
    wanted = {name.strip() for name in value.split(",")}
    if unknown := sorted(wanted - set(MEASUREMENTS)):
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(MEASUREMENTS)}.", ctx, param)
    return tuple(name for name in MEASUREMENTS if name in wanted)


@click.command(cls=EdsrCommand)
@click.option("--only", callback=_names, metavar="NAME,...", help=f"Default: {','.join(DEFAULT_MEASUREMENTS)}.")
@click.option("--rounds", type=click.IntRange(min=1), help="Of every timing. Default: 10, and 15 for ring.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="JSON file. Default: benchmarks/results/MACHINE-DATE.json."
)
@click.option("--overwrite", is_flag=True, help="Replace the JSON file if it exists.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="EDSR_DATA",
    help="Folder with benchmark/ and weights/, for claims also train/. Default: what EDSR_DATA names; without it, psnr "
    "is left out.",
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
@click.option("--smoke", is_flag=True, help="Tiny networks and pictures, to see it work; kept only with --output.")
def main(
    only: tuple[str, ...],
    rounds: int | None,
    output: Path | None,
    overwrite: bool,
    data: Path | None,
    memory_scales: tuple[int, ...],
    smoke: bool,
) -> None:
    """Measure speed, border ring, psnr, encode, memory, loader and claims.

    Give it a quiet machine: it says so when it does not have one. Tables go to stdout, progress to stderr.
    """
    settings = smoke_settings() if smoke else Settings()
    settings = dataclasses.replace(settings, memory_scales=memory_scales)
    if rounds is not None:
        settings = dataclasses.replace(settings, speed_rounds=rounds, ring_rounds=rounds, encode_rounds=rounds)
        settings = dataclasses.replace(settings, loader_rounds=rounds)
    chosen = click.get_current_context().get_parameter_source("only") is not click.core.ParameterSource.DEFAULT
    machine = machines.describe_machine()
    result = _circumstances(machine, settings, only, data)
    for warning in warnings(result):
        _say(f"warning: {warning}")
    if output is None and not smoke:
        output = RESULTS / ("-".join([machine.slug, result["date"][:10], *(only if chosen else ())]) + ".json")
    if output is not None and output.exists() and not overwrite:
        raise EdsrError(f"{output} exists: pass --overwrite to replace it, or another --output")
    if chosen and data is None and (needy := [name for name in only if name in _NEED_DATA]):
        raise EdsrError(f"{needy[0]} needs {_NEED_DATA[needy[0]]}: pass --data, or set EDSR_DATA")

    measure_all(only, settings, machine, data, result, output)
    click.echo(render(result))
    if output is not None:
        _say(f"written to {output}")


def measure_all(
    names: tuple[str, ...],
    settings: Settings,
    machine: machines.Machine,
    data: Path | None,
    result: dict[str, Any],
    output: Path | None,
) -> None:
    """Run measurements one after the other into ``result``, writing it after each, so that none is lost.

    Raises:
        EdsrError: one failed; what was measured before is in the file.
    """
    measurements = _measurements()
    from benchmarks.context import Context
    from benchmarks.models import Models

    with tempfile.TemporaryDirectory(prefix="edsr-benchmarks-") as name:
        folder = Path(name)
        context = Context(settings, machine, Models(folder, settings), folder, data, _say)
        for measurement in names:
            if measurement in _NEED_DATA and data is None:
                result["skipped"][measurement] = "no benchmark data, which --data or EDSR_DATA name"
                continue
            result["results"][measurement] = dataclasses.asdict(measurements[measurement](context))
            result["load_after"] = machines.load_average()
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
        "loaded": load[0] > machines.LOAD_LIMIT,
        "smoke": settings.smoke,
        "arguments": {"measurements": names, "with_data": data is not None, **dataclasses.asdict(settings)},
        "skipped": {},
        "results": {},
    }


def _measurements() -> dict[str, Callable[[Any], Any]]:
    """By name; loads PyTorch and the rest."""
    try:
        from benchmarks import claims, encode, loader, memory, psnr, ring, sets, speed
    except ModuleNotFoundError as err:
        package = (err.name or "").partition(".")[0]
        if package in ("", "benchmarks", "edsr_runtime", "edsr_train", "edsr_export"):
            raise  # a mistake of ours
        raise MissingDependencyError(package, extra="bench") from err
    return {
        "speed": speed.measure,
        "ring": ring.measure,
        "psnr": psnr.measure,
        "sets": sets.measure,
        "encode": encode.measure,
        "memory": memory.measure,
        "loader": loader.measure,
        "claims": claims.measure,
    }


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
