"""The command ``edsr-upscale``."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from edsr_runtime.command import EdsrCommand
from edsr_runtime.errors import EdsrError
from edsr_runtime.pictures.formats import FORMAT_CHOICES

if TYPE_CHECKING:
    from edsr_runtime.jobs import Job, Work
    from edsr_runtime.pipeline import Options, Seconds, Watcher
    from edsr_runtime.progress import Display, Meter
    from edsr_runtime.upscaler import Upscaler

EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130


def tile_side(ctx: click.Context, param: click.Parameter, value: str) -> int | Literal["auto"]:
    """LR pixels, or ``auto``."""
    if value == "auto":
        return "auto"
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither a number of LR pixels nor auto.", ctx, param)
    return int(value)


def gpu_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """``0,1``: indices, each once."""
    if value is None:
        return ()
    names = [part.strip() for part in value.split(",")]
    if not all(name.isascii() and name.isdecimal() for name in names) or len(set(names)) < len(names):
        raise click.BadParameter(f"{value!r} is not a list of different GPUs such as 0,1.", ctx, param)
    return tuple(map(int, names))


@dataclass(frozen=True)
class ModelOptions:
    """What the command line says about the model and how to run it."""

    name: str | None
    path: Path | None
    scale: int | None
    arguments: dict[str, Any]
    """For ``Upscaler``."""
    gpus: tuple[int, ...] = ()
    """Empty: the first one, if one is used at all."""


@click.command(cls=EdsrCommand)
@click.option(
    "-i",
    "--input",
    "inputs",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="IN",
    help="A picture or a folder; may be repeated.",
)
@click.option(
    "-o", "--output", metavar="OUT", help="A file, for a single picture (its suffix decides the format), or a folder."
)
@click.option("-s", "--scale", type=click.IntRange(min=1), help="Enlargement: 2, 3 or 4. With -m: that of the model.")
@click.option("-n", "--name", help="Shipped model, see --list-models. Default: edsr-small.")
@click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Model written by edsr-export, or engine written by edsr-trt.",
)
@click.option(
    "-x",
    "--self-ensemble",
    is_flag=True,
    help="Average over the eight flips and rotations: eight times the work, about 0.1 dB better.",
)
@click.option(
    "-t",
    "--tile",
    callback=tile_side,
    metavar="N|auto",
    default="auto",
    show_default=True,
    help="Largest side of a tile, LR pixels: smaller ones need less memory and more time.",
)
@click.option(
    "--halo",
    type=click.IntRange(min=0),
    help="LR pixels around a tile that are computed and thrown away. "
    "Default: what the network sees, which leaves no seams.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "openvino", "onnxruntime", "tensorrt"]),
    default="auto",
    show_default=True,
    help="What computes. auto: TensorRT if there is an engine for this GPU, else the fastest that is installed.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp32"]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the CPU is fast at it, else fp32.",
)
@click.option(
    "-f",
    "--format",
    "fmt",
    type=click.Choice(FORMAT_CHOICES),
    help="Format to write; keep: that of each input. Default: the suffix of OUT, png in a folder. "
    "png and tiff need memory for a band of the result, jpg and webp for all of it.",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of jpg and webp.")
@click.option(
    "--suffix", default="", metavar="TEXT", help="Added to the names in an output folder: _x4 makes a_x4.png."
)
@click.option("--recursive", is_flag=True, help="Look into folders inside IN, keep their structure in OUT.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist; without it their pictures are skipped.")
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=500_000_000,
    show_default=True,
    help="Refuse inputs of more pixels than this before decoding them.",
)
@click.option("--build", is_flag=True, help="Build a TensorRT engine of the model if there is none for this GPU.")
@click.option(
    "--gpus", callback=gpu_list, metavar="N,N,...", help="GPUs to use, a process for each. Default: the first."
)
@click.option(
    "--trust-engine",
    is_flag=True,
    help="Run an engine that was not built here. Engines are code: only if you know who built it.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the network. Default: one per core.")
@click.option("--dry-run", is_flag=True, help="Print sizes, tiles and output files; write nothing.")
@click.option("--list-models", is_flag=True, help="List the shipped models.")
@click.option("-v", "--verbose", is_flag=True, help="A line per picture, and where the time went.")
def main(
    inputs: tuple[Path, ...],
    output: str | None,
    scale: int | None,
    name: str | None,
    model: Path | None,
    self_ensemble: bool,
    tile: int | Literal["auto"],
    halo: int | None,
    backend: str,
    precision: str,
    fmt: str | None,
    quality: int,
    suffix: str,
    recursive: bool,
    overwrite: bool,
    max_pixels: int,
    build: bool,
    gpus: tuple[int, ...],
    trust_engine: bool,
    threads: int | None,
    dry_run: bool,
    list_models: bool,
    verbose: bool,
) -> None:
    """Upscale pictures.

    IN and OUT may be folders. Files that exist are skipped, a picture that fails stops no other one. Messages go to
    stderr. Exit codes: 0 done, 2 wrong usage or input, 3 some pictures failed, 4 the machine lacks something,
    130 interrupted.

    \b
    edsr-upscale -i photo.jpg -o photo_x4.png -s 4
    edsr-upscale -i photos -o large -s 2 --recursive -f keep
    edsr-upscale -i photo.png -o large/ -m my_x3.onnx
    edsr-upscale -i photos -o large -s 4 --backend tensorrt --build --gpus 0,1
    """
    if list_models:
        _list_models()
        return
    if not inputs or not output:
        raise click.UsageError("Missing option '-i'." if not inputs else "Missing option '-o'.")
    if name is not None and model is not None:
        raise click.UsageError("-n and -m both name a model: use one of them.")
    if scale is None and model is None:
        raise click.UsageError("Missing option '-s': how many times are the pictures to be enlarged?")
    if gpus and backend == "openvino":
        raise click.UsageError("--gpus: OpenVINO runs on the CPU here; leave one of the two out.")
    arguments = {
        "backend": backend,
        "precision": precision,
        "tile": tile,
        "halo": halo,
        "self_ensemble": self_ensemble,
        "threads": threads,
        "build": build,
        "trust_engine": trust_engine,
    }
    with _interrupts_end_it():
        from edsr_runtime.jobs import plan_work
        from edsr_runtime.pipeline import Options

        work = plan_work(inputs, output, fmt=fmt, suffix=suffix, recursive=recursive, overwrite=overwrite)
        run = _describe if dry_run else _upscale
        run(work, ModelOptions(name, model, scale, arguments, gpus), Options(quality, max_pixels), verbose)


def _list_models() -> None:
    from edsr_runtime.zoo import DEFAULT_NAME, shipped_models

    models = shipped_models()
    if not models:
        _say("no models come with this installation; pass a file with -m")
    for shipped in models:
        default = "  (default)" if shipped.name == DEFAULT_NAME else ""
        click.echo(f"{shipped.name}  x{shipped.scale}{default}")


def _upscale(work: "Work", model: ModelOptions, options: "Options", verbose: bool) -> None:
    from edsr_runtime.progress import Reporter, list_failures, say_skipped, show_stages

    _say_untouched(work, verbose)
    skipped = len(work.existing)
    if not work.jobs:
        _say(f"nothing to do: {say_skipped(skipped)}")
        return
    with _ready(model) as (scale, run):
        start = time.perf_counter()
        with _display() as display:
            reporter = Reporter(work.jobs, scale, display, verbose=verbose)
            try:
                seconds = run(work.jobs, options, reporter)
            except KeyboardInterrupt:
                display.say(reporter.summary(time.perf_counter() - start, skipped))
                raise
    failures = [(result.job, result.error) for result in reporter.results if result.error is not None]
    if reporter.done or len(work.jobs) > 1 or skipped:
        _say(reporter.summary(seconds.total, skipped))
    if verbose:
        _say(show_stages(seconds))
    if failures:
        _say(list_failures(failures, len(work.jobs)))
        raise SystemExit(EXIT_SOME_FAILED)


def _describe(work: "Work", model: ModelOptions, options: "Options", verbose: bool) -> None:
    from edsr_runtime.dry_run import describe_job
    from edsr_runtime.pipeline import PICTURE_ERRORS
    from edsr_runtime.progress import list_failures

    _say_untouched(work, verbose)
    for job in work.existing:
        click.echo(f"{job.source}: skipped, {job.target} exists")
    if not work.jobs:
        return
    failures = []
    with _open(model) as upscaler:
        _say(upscaler.description)
        for job in work.jobs:
            try:
                click.echo(describe_job(job, upscaler, options))
            except PICTURE_ERRORS as err:
                failures.append((job, str(err)))
    if failures:
        _say(list_failures(failures, len(work.jobs)))
        raise SystemExit(EXIT_SOME_FAILED)


@contextmanager
def _ready(model: ModelOptions) -> "Iterator[tuple[int, Callable[[Sequence[Job], Options, Watcher], Seconds]]]":
    """The model's scale, and what does the jobs: this process, or one for each of several GPUs."""
    if len(model.gpus) > 1:
        from edsr_runtime.cuda.processes import upscale_on_gpus
        from edsr_runtime.upscaler import Upscaler

        path, scale = _find(model)
        opening = partial(Upscaler, path, **model.arguments)
        yield scale, lambda jobs, options, watcher: upscale_on_gpus(jobs, model.gpus, opening, options, watcher, _say)
        return
    from edsr_runtime.pipeline import upscale_files

    with _open(model) as upscaler:
        _say(upscaler.description)
        yield upscaler.scale, lambda jobs, options, watcher: upscale_files(jobs, upscaler, options, watcher)


def _open(model: ModelOptions) -> "Upscaler":
    from edsr_runtime.cuda.processes import VISIBLE, visible_device
    from edsr_runtime.upscaler import Upscaler

    path, _ = _find(model)
    if model.gpus:
        os.environ[VISIBLE] = visible_device(model.gpus[0], os.environ.get(VISIBLE))
    return Upscaler(path, note=_say, **model.arguments)


def _find(model: ModelOptions) -> tuple[Path, int]:
    """The model's file, and its scale."""
    from edsr_runtime.backends.engines import contract_of
    from edsr_runtime.zoo import DEFAULT_NAME, model_path

    path = model.path
    if path is None:
        assert model.scale is not None
        path = model_path(model.name or DEFAULT_NAME, model.scale)
    scale = contract_of(path).scale
    if model.scale not in (None, scale):
        raise EdsrError(f"{path} enlarges {scale} times, but -s says {model.scale}: leave -s out, or use another model")
    return path, scale


def _say_untouched(work: "Work", verbose: bool) -> None:
    if work.left_out:
        some = ", ".join(map(str, work.left_out[:3])) + (", ..." if len(work.left_out) > 3 else "")
        _say(f"left out, since they are results of an earlier run: {some}")
    if verbose:
        for job in work.existing:
            _say(f"{job.source}: skipped, {job.target} exists")


def _say(line: str) -> None:
    click.echo(line, err=True)


class _Lines:
    """The display where stderr is no terminal: nothing but the lines."""

    def say(self, line: str) -> None:
        _say(line)

    def show(self, meter: "Meter") -> None:
        pass


@contextmanager
def _display() -> "Iterator[Display]":
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from edsr_runtime.progress_bar import ProgressBar

    with ProgressBar() as bar:
        yield bar


@contextmanager
def _interrupts_end_it() -> Iterator[None]:
    """Ctrl-C, ``kill`` and a closed terminal end the command alike: cleaned up, with one exit code."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signals = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, interrupt)) for number in signals]
    try:
        yield
    except KeyboardInterrupt:
        _say("interrupted; no unfinished file is left behind")
        raise SystemExit(EXIT_INTERRUPTED) from None
    finally:
        for number, handler in before:
            signal.signal(number, handler)
