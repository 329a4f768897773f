"""The command ``edsr-upscale``."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from edsr_runtime.backends.quick_openvino import leave_converters_out
from edsr_runtime.command import EdsrCommand, toolkit_version, version_option
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_runtime.pictures.formats import FORMAT_CHOICES
from edsr_runtime.printable import printable, printable_lines

if TYPE_CHECKING:
    from edsr_runtime.job.kept import JobOptions, KeptJob
    from edsr_runtime.job.selection import Selection
    from edsr_runtime.job.settings import Settings
    from edsr_runtime.job.shard import Shard
    from edsr_runtime.jobs import Job, Work
    from edsr_runtime.pipeline import Options, Seconds, Watcher
    from edsr_runtime.progress import Display, Meter
    from edsr_runtime.upscaler import Upscaler

EXIT_SOME_FAILED = 3


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


def shard_of(ctx: click.Context, param: click.Parameter, value: str | None) -> "Shard | None":
    """``2/8``."""
    from edsr_runtime.job.shard import Shard

    if value is None:
        return None
    try:
        return Shard.parse(value)
    except EdsrError as err:
        raise click.BadParameter(str(err), ctx, param) from err


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
    on_ray: bool = False
    """Whether it is run by the actors of a Ray cluster; ``gpus`` then says that each is to have one."""
    address: str | None = None
    """Of that cluster; None: one on this machine."""

    def with_tile(self, chosen: int | None) -> "ModelOptions":
        """The same, where ``auto`` is this tile."""
        return self if chosen is None else replace(self, arguments=self.arguments | {"chosen_tile": chosen})


@click.command(cls=EdsrCommand)
@click.argument("more_inputs", nargs=-1, type=click.Path(path_type=Path), metavar="[IN]...")
@click.option(
    "-i",
    "--input",
    "inputs",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="IN",
    help="A picture or a folder; may be repeated, and left out before names that stand alone (*.jpg).",
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
    type=click.Choice(["auto", "amx", "openvino", "onnxruntime", "tensorrt"]),
    default="auto",
    show_default=True,
    help="What computes. auto: TensorRT if there is an engine for this GPU, else amx, kernels of our own for EDSR and "
    "MDSR on CPUs with AMX, else the fastest that is installed.",
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
@click.option(
    "--sandbox",
    is_flag=True,
    help="Decode pictures in another process, with limits on its memory and time: for pictures of strangers.",
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
@click.option("--resume", is_flag=True, help="Go on where an earlier run of the same job has ended, however it ended.")
@click.option("--retry-failed", is_flag=True, help="--resume, and try again what failed.")
@click.option(
    "--job",
    "journal",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Journal of the job. Default: a hidden file in the output folder.",
)
@click.option("--jsonl", metavar="FILE|-", help="Append what happens to FILE, as JSON lines; - is stdout.")
@click.option(
    "--shard",
    callback=shard_of,
    metavar="I/N",
    help="Do only the I-th of N shares; the others are for other machines, which need not know of this one.",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the work is done: in this process, or by the actors of a Ray cluster.",
)
@click.option("--address", metavar="ADDRESS", help="Of the Ray cluster. Default: one on this machine, for this job.")
@click.option("--dry-run", is_flag=True, help="Print sizes, tiles and output files; write nothing.")
@click.option("--list-models", is_flag=True, help="List the shipped models.")
@click.option("-v", "--verbose", is_flag=True, help="A line per picture, and where the time went.")
@version_option
def main(
    more_inputs: tuple[Path, ...],
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
    sandbox: bool,
    build: bool,
    gpus: tuple[int, ...],
    trust_engine: bool,
    threads: int | None,
    resume: bool,
    retry_failed: bool,
    journal: Path | None,
    jsonl: str | None,
    shard: "Shard | None",
    executor: str,
    address: str | None,
    dry_run: bool,
    list_models: bool,
    verbose: bool,
) -> None:
    """Upscale pictures.

    IN and OUT may be folders. Files that exist are skipped, a picture that fails stops no other one, and what has
    become of each is kept in a journal, with which --resume goes on after a kill or a power cut. Messages go to
    stderr. Exit codes: 0 done, 2 wrong usage or input, 3 some pictures failed, 4 the machine lacks something,
    130 interrupted.

    \b
    edsr-upscale -i photo.jpg -o photo_x4.png -s 4
    edsr-upscale -i photos -o large -s 2 --recursive -f keep
    edsr-upscale -o large/ -s 4 *.jpg
    edsr-upscale -i photo.png -o large/ -m my_x3.onnx
    edsr-upscale -i photos -o large -s 4 --backend tensorrt --build --gpus 0,1
    edsr-upscale -i photos -o large -s 4 --resume
    """
    if list_models:
        _list_models()
        return
    inputs += more_inputs
    if not inputs or not output:
        raise click.UsageError("Missing option '-i'." if not inputs else "Missing option '-o'.")
    if name is not None and model is not None:
        raise click.UsageError("-n and -m both name a model: use one of them.")
    if scale is None and model is None:
        raise click.UsageError("Missing option '-s': how many times are the pictures to be enlarged?")
    if address is not None and executor != "ray":
        raise click.UsageError("--address is that of a Ray cluster: add --executor ray.")
    if gpus and backend in ("amx", "openvino"):
        raise click.UsageError(f"--gpus: --backend {backend} runs on the CPU; leave one of the two out.")
    arguments = {
        "backend": backend,
        "precision": precision,
        "tile": tile,
        "halo": halo,
        "self_ensemble": self_ensemble,
        "threads": threads,
        "build": build,
        "trust_engine": trust_engine,
        "needs_gpu": bool(gpus),
    }
    # what libraries find odd in a stranger's file is not for users; what is wrong is told in a sentence
    warnings.filterwarnings("ignore", module=r"PIL\.|tifffile|imagecodecs")
    leave_converters_out()
    at_end = _AtEnd()
    with _interrupts_end_it(at_end):
        from edsr_runtime.job.kept import JobOptions
        from edsr_runtime.jobs import plan_work
        from edsr_runtime.pipeline import Options

        work = plan_work(inputs, output, fmt=fmt, suffix=suffix, recursive=recursive, overwrite=overwrite, shard=shard)
        how = JobOptions(journal, resume, retry_failed, shard, jsonl)
        model_options = ModelOptions(name, model, scale, arguments, gpus, executor == "ray", address)
        options = Options(quality, max_pixels, sandbox=sandbox)
        if dry_run:
            _describe(work, how, model_options, options, verbose)
        else:
            _upscale(work, how, model_options, options, verbose, at_end)


def _list_models() -> None:
    from edsr_runtime.zoo import DEFAULT_NAME, shipped_models

    models = shipped_models()
    if not models:
        _say("no models come with this installation; pass a file with -m")
    for shipped in models:
        default = "  (default)" if shipped.name == DEFAULT_NAME else ""
        click.echo(f"{shipped.name}  x{shipped.scale}{default}")


def _upscale(
    work: "Work", how: "JobOptions", model: ModelOptions, options: "Options", verbose: bool, at_end: "_AtEnd"
) -> None:
    from edsr_runtime.job.kept import kept

    _say_planned(work)
    settings = partial(_settings, model, options)
    with kept(work, how, options, settings, partial(_choose_tile, model), toolkit_version(), _say) as job:
        at_end.leave = job.leave
        _do(job, model.with_tile(job.tile), verbose)


def _do(job: "KeptJob", model: ModelOptions, verbose: bool) -> None:
    from edsr_runtime.job.kept import told_to_all
    from edsr_runtime.progress import Reporter, list_failures, say_skipped, say_verified, show_stages

    selection = job.selection
    _say_left_alone(selection, verbose)
    skipped, verified = len(selection.existing), len(selection.verified)
    total = len(selection.todo) + len(selection.failed)
    failures = list(selection.failed)
    if not selection.todo:
        said = [say_verified(verified)] if verified else []
        said += [say_skipped(skipped)] if skipped else []
        _say(f"nothing to do: {', '.join(said) or 'no pictures'}")
    else:
        with _ready(model) as (scale, run):
            start = time.perf_counter()
            with _display() as display:
                reporter = Reporter(selection.todo, scale, display, verbose=verbose)
                try:
                    seconds = run(selection.todo, job.options, told_to_all([*job.watchers, reporter]))
                except (KeyboardInterrupt, EdsrError):
                    display.say(reporter.summary(time.perf_counter() - start, skipped, verified))
                    raise
        failures += [(result.job, result.error) for result in reporter.results if result.error is not None]
        if reporter.done or len(selection.todo) > 1 or skipped or verified:
            _say(reporter.summary(seconds.total, skipped, verified))
        if verbose:
            _say(show_stages(seconds))
    if failures:
        _say_lines(list_failures(failures, total))
        if selection.failed:
            _say(f"{len(selection.failed)} of them failed in an earlier run; --retry-failed tries them again")
        raise SystemExit(EXIT_SOME_FAILED)


def _settings(model: ModelOptions, options: "Options") -> "Settings":
    from edsr_runtime.job.settings import Settings, model_sha256

    path, _ = _find(model)
    names = ("backend", "precision", "tile", "halo", "self_ensemble")
    return Settings(model_sha256(path), **{name: model.arguments[name] for name in names}, quality=options.quality)


def _choose_tile(model: ModelOptions) -> int:
    from edsr_runtime.automatic_tile import automatic_tile
    from edsr_runtime.backends.engines import contract_of
    from edsr_runtime.cpu import available_memory

    path, _ = _find(model)
    contract, halo = contract_of(path), model.arguments["halo"]
    return automatic_tile(contract, contract.receptive_radius if halo is None else halo, available_memory())


def _describe(work: "Work", how: "JobOptions", model: ModelOptions, options: "Options", verbose: bool) -> None:
    from edsr_runtime.dry_run import describe_job
    from edsr_runtime.job.kept import look_up
    from edsr_runtime.pipeline import PICTURE_ERRORS, reading
    from edsr_runtime.progress import list_failures

    _say_planned(work)
    selection, tile = look_up(work, how, partial(_settings, model, options))
    _say_left_alone(selection, verbose)
    for job in selection.existing:
        _echo(f"{job.source}: skipped, {job.target} exists")
    for job in selection.verified:
        _echo(f"{job.source}: skipped, {job.target} was made earlier")
    if not selection.todo:
        return
    failures = list(selection.failed)
    with _open(model.with_tile(tile)) as upscaler, reading(options) as read:
        _say(upscaler.description)
        for job in selection.todo:
            try:
                _echo(describe_job(job, upscaler, options, read))
            except PICTURE_ERRORS as err:
                failures.append((job, str(err)))
    if failures:
        _say_lines(list_failures(failures, len(selection.todo) + len(selection.failed)))
        raise SystemExit(EXIT_SOME_FAILED)


@contextmanager
def _ready(model: ModelOptions) -> "Iterator[tuple[int, Callable[[Sequence[Job], Options, Watcher], Seconds]]]":
    """The model's scale, and what does the jobs: this process, or one for each of several GPUs."""
    if model.on_ray:
        from edsr_runtime.cluster.ray_executor import Slots, remember, upscale_on_ray
        from edsr_runtime.upscaler import Upscaler

        path, scale = _find(model)
        threads = model.arguments["threads"] or 1
        opening = partial(Upscaler, path.absolute(), note=remember, **(model.arguments | {"threads": threads}))
        slots = Slots(threads, gpus=int(bool(model.gpus)))
        yield (
            scale,
            lambda jobs, options, watcher: upscale_on_ray(
                jobs, opening, options, watcher, address=model.address, slots=slots, say=_say
            ),
        )
        return
    if len(model.gpus) > 1:
        from edsr_runtime.cuda.processes import upscale_on_gpus
        from edsr_runtime.trt.driver import cuda_driver
        from edsr_runtime.upscaler import Upscaler

        path, scale = _find(model)
        driver = cuda_driver()
        for index in model.gpus:
            driver.gpu(index)  # refused here, in one sentence, and not after the others have begun
        opening = partial(Upscaler, path, **model.arguments)
        yield scale, lambda jobs, options, watcher: upscale_on_gpus(jobs, model.gpus, opening, options, watcher, _say)
        return
    from edsr_runtime.pipeline import upscale_files

    with _open(model) as upscaler:
        _say(upscaler.description)
        yield upscaler.scale, lambda jobs, options, watcher: upscale_files(jobs, upscaler, options, watcher)


def _open(model: ModelOptions) -> "Upscaler":
    from edsr_runtime.upscaler import Upscaler

    path, _ = _find(model)
    if model.gpus:
        from edsr_runtime.cuda.processes import VISIBLE, visible_device
        from edsr_runtime.trt.driver import cuda_driver

        os.environ[VISIBLE] = visible_device(model.gpus[0], os.environ.get(VISIBLE))
        try:
            cuda_driver()
        except EnvironmentUnfitError as err:
            raise EnvironmentUnfitError(f"--gpus {model.gpus[0]}: {err}") from err
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


def _say_planned(work: "Work") -> None:
    if work.left_out:
        _say(f"left out, since they are results of an earlier run: {_some(work.left_out)}")
    if work.renamed:
        targets = [job.target for job in work.renamed]
        _say(f"named after their suffix too, since they differ in nothing else: {_some(targets)}")


def _say_left_alone(selection: "Selection", verbose: bool) -> None:
    reasons: dict[str, list[Path]] = {}
    for job, reason in selection.redone:
        reasons.setdefault(reason, []).append(job.source)
    for reason, sources in reasons.items():
        _say(f"made again, since {reason}: {_some(sources)}")
    if verbose:
        for job in selection.existing:
            _say(f"{job.source}: skipped, {job.target} exists")


def _some(paths: "Sequence[Path]") -> str:
    more = f", and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(map(str, paths[:3])) + more


def _say(text: str) -> None:
    """One line; what comes from file names cannot make it two."""
    click.echo(printable(text), err=True)


def _say_lines(text: str) -> None:
    """Several, of names that were made printable already."""
    click.echo(printable_lines(text), err=True)


def _echo(text: str) -> None:
    click.echo(printable(text))


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


@dataclass
class _AtEnd:
    """What is to be saved where the command cannot end by itself soon enough after a signal."""

    leave: Callable[[], None] = lambda: None


@contextmanager
def _interrupts_end_it(at_end: _AtEnd) -> Iterator[None]:
    """Ctrl-C, ``kill`` and a closed terminal end the command alike: cleaned up, with one exit code."""
    from edsr_runtime.interrupts import EXIT_INTERRUPTED, interrupts

    said = "interrupted; no unfinished file is left behind"

    def last_words() -> None:
        from edsr_runtime.pictures.row_writer import remove_unfinished
        from edsr_runtime.pipeline import tell_what_is_finished

        if "multiprocessing" in sys.modules:  # processes for several GPUs, which would go on
            for process in sys.modules["multiprocessing"].active_children():
                process.terminate()
        tell_what_is_finished()
        at_end.leave()
        remove_unfinished()
        _say(said)

    try:
        with interrupts(last_words):
            try:
                yield
            except KeyboardInterrupt:
                _say(said)
                raise SystemExit(EXIT_INTERRUPTED) from None
    except KeyboardInterrupt:  # in between
        raise SystemExit(EXIT_INTERRUPTED) from None
