"""Everything that only a GPU can show, by one command: ``python benchmarks/gpu.py``.

Each section runs in a process of its own, so that a crash or a hang costs no other one its result, and the JSON is
written after each of them. PyTorch is all that is needed besides the project, which need not be installed; what else a
section needs and does not find is in the JSON as the reason why it was skipped.
"""

import dataclasses
import json
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started as a file, from a checkout: the packages are beside the folder of this file
    _ROOT = Path(__file__).resolve().parent.parent
    sys.path[:1] = [str(_ROOT), *(str(_ROOT / part) for part in ("train", "export", "runtime"))]

import click

from benchmarks import machine as machines
from benchmarks.gpu_report import broken, render_gpu
from benchmarks.gpu_sections import SECTIONS, command_of, isolated, measured, section_of
from benchmarks.result_file import read_stored, write_result
from edsr_runtime.command import EdsrCommand
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, GateError
from edsr_runtime.trt.driver import cuda_driver

RESULTS = Path(__file__).resolve().parent / "results"
BUDGET_S = 470.0
"""For all sections together: less than eight minutes."""
_QUERY = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu,memory.used"
_PACKAGES = ("cuda-bindings", "cupy-cuda13x", "onnxruntime-gpu", "pycuda", "tensorrt", "tensorrt-rtx", "triton")


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    everything = tuple(section.name for section in SECTIONS)
    if value is None:
        return everything
    wanted = {name.strip() for name in value.split(",")}
    if unknown := sorted(wanted - set(everything)):
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(everything)}.", ctx, param)
    return tuple(name for name in everything if name in wanted)


@click.command(cls=EdsrCommand)
@click.option("--only", callback=_names, metavar="NAME,...", help="Default: all of them.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file. Default: benchmarks/results/GPU-DATE.json.")
@click.option("--overwrite", is_flag=True, help="Replace the JSON file if it exists.")
@click.option(
    "--budget", type=click.FloatRange(min=1), default=BUDGET_S, show_default=True, help="Seconds for all sections."
)
@click.option(
    "--smoke",
    is_flag=True,
    help="With tiny networks, without a GPU on the CPU, to see it work; kept only with --output.",
)
@click.option(
    "--show",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only print the tables of an earlier run.",
)
@click.option("--section", hidden=True, help="For the processes of the sections.")
@click.option("--answer", hidden=True, type=click.Path(path_type=Path))
def main(
    only: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    budget: float,
    smoke: bool,
    show: Path | None,
    section: str | None,
    answer: Path | None,
) -> None:
    """Check the device layer and the runner on the first GPU, and measure folding, FP16 and overlap.

    Tables go to stdout, progress to stderr. Exit codes: 0 done, 4 there is no GPU, 5 a section failed.
    """
    if section is not None and answer is not None:
        answer.write_text(json.dumps(measured(section_of(section), smoke)))
        return
    if show is not None:
        click.echo(render_gpu(read_stored(show)))
        return
    result = circumstances(only, smoke)
    if output is None and not smoke:
        slug = "-".join(str(result["gpu"]["name"]).lower().split())
        output = RESULTS / f"{slug}-{str(result['date'])[:10]}.json"
    if output is not None and output.exists() and not overwrite:
        raise EdsrError(f"{output} exists: pass --overwrite to replace it, or another --output")
    end = time.monotonic() + budget
    for name in only:
        _say(f"{name} ...")
        start = time.monotonic()
        done = isolated(command_of(section_of(name), smoke), min(section_of(name).limit_s, end - start))
        for kind, content in done.items():
            result[kind][name] = content
        result["seconds"][name] = round(time.monotonic() - start, 1)
        _say(f"{name}: {', '.join(done)} after {result['seconds'][name]:.1f} s")
        result["load_after"] = machines.load_average()
        result["clocks_after"] = _clocks()
        if output is not None:
            write_result(output, result)
    click.echo(render_gpu(result))
    if output is not None:
        _say(f"written to {output}")
    if broken(result):
        raise SystemExit(GateError.exit_code)


def circumstances(names: tuple[str, ...], smoke: bool) -> dict[str, Any]:
    """Everything but the results. No path of this machine is in it.

    Raises:
        EnvironmentUnfitError: there is no GPU; for a smoke run none is needed.
    """
    commit, load = machines.current_commit(), machines.load_average()
    return {
        "date": machines.now(),
        "commit": None if commit is None else dataclasses.asdict(commit),
        "machine": dataclasses.asdict(machines.describe_machine()),
        "gpu": _gpu(smoke),
        "versions": machines.package_versions() | _versions(),
        "load_before": load,
        "load_after": None,
        "loaded": False,  # the host is not what is measured
        "clocks_before": _clocks(),
        "clocks_after": None,
        "smoke": smoke,
        "arguments": {"measurements": names},
        "seconds": {},
        "skipped": {},
        "failed": {},
        "results": {},
    }


def _gpu(smoke: bool) -> dict[str, Any]:
    try:
        driver = cuda_driver()
    except EnvironmentUnfitError as err:
        if not smoke:
            raise
        return {"name": "none", "reason": str(err)}
    gpu = driver.gpus[0]
    return {**dataclasses.asdict(gpu), "driver": driver.release, "cuda": driver.cuda}


def _versions() -> dict[str, str]:
    """Of what only a GPU needs."""
    return {package: found for package in _PACKAGES if (found := _version(package))}


def _version(package: str) -> str | None:
    try:
        return installed_version(package)
    except PackageNotFoundError:
        return None


def _clocks() -> dict[str, str] | None:
    """What nvidia-smi says; None without one."""
    command = ["nvidia-smi", "--id=0", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    asked, told = _QUERY.split(","), [part.strip() for part in done.stdout.strip().split(",")]
    if len(told) != len(asked):  # kept as it came, rather than under wrong names
        return {"unexpected": done.stdout.strip()}
    return dict(zip(asked, told, strict=True))


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
