"""The command ``edsr-trt``."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edsr_runtime.command import EdsrGroup, version_option
from edsr_runtime.printable import printable_lines

if TYPE_CHECKING:
    from edsr_runtime.contract import Contract
    from edsr_runtime.trt.build_progress import BuildProgress
    from edsr_runtime.trt.profile import Profile

EXIT_INTERRUPTED = 130
_UNITS = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "": 2**20}  # trtexec counts in MiB


def byte_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """``4G``, ``512M``, or a number of MiB as for trtexec."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([BKMG]?)(?:i?B)?", value, flags=re.IGNORECASE | re.ASCII)
    if match is None or not float(match[1]):
        raise click.BadParameter(f"{value!r} is not a size such as 4G or 512M.", ctx, param)
    return int(float(match[1]) * _UNITS[match[2].upper()])


def target_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """``SM86,SM89``, each once, in order."""
    names = [part.strip().upper() for part in (value or "").split(",")]
    if value is not None and not all(re.fullmatch(r"SM\d{2,3}", name, flags=re.ASCII) for name in names):
        raise click.BadParameter(f"{value!r} is not a list such as SM86,SM89.", ctx, param)
    return tuple(sorted({name for name in names if name}, key=lambda name: int(name[2:])))


@click.group(cls=EdsrGroup)
@version_option
def main() -> None:
    """Build, inspect and keep TensorRT engines.

    Exit codes: 0 done, 2 wrong usage or input, 4 the machine lacks something, 5 a proof failed, 130 interrupted.
    """


@main.command()
@click.argument("model", type=click.Path(path_type=Path), required=False, metavar="[MODEL.onnx]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.engine",
    help="Default: our folder in the user's cache, where edsr-upscale finds it.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp16", "fp32"]),
    default="fp16",
    show_default=True,
    help="That of MODEL: an engine computes in the types of its file.",
)
@click.option("--io", type=click.Choice(["float", "uint8"]), help="That of MODEL.")
@click.option("--self-ensemble/--no-self-ensemble", default=None, help="Whether MODEL averages the eight views itself.")
@click.option(
    "--tile",
    type=click.IntRange(min=1),
    help="Side of the tiles, LR pixels. Default: 256, or four receptive radii of MODEL where that is more.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="How many tiles at once. Default: 8, or fewer where a tensor would become too large; 1 where MODEL averages "
    "the eight views itself.",
)
@click.option("--minShapes", "--min-shapes", "min_shapes", metavar="SHAPE", help="As for trtexec: input:1x3x64x64.")
@click.option(
    "--optShapes", "--opt-shapes", "opt_shapes", metavar="SHAPE", help="The size that kernels are chosen for."
)
@click.option("--maxShapes", "--max-shapes", "max_shapes", metavar="SHAPE", help="Instead of --tile and --batch.")
@click.option(
    "--flavour",
    type=click.Choice(["auto", "trt", "rtx"]),
    default="auto",
    show_default=True,
    help="trt: TensorRT, on the GPU that the engine is for. rtx: TensorRT-RTX, on any machine.",
)
@click.option(
    "--targets",
    callback=target_list,
    metavar="SM86,...",
    help="GPUs that the engine is for, by compute capability; TensorRT-RTX only. Default: the GPU of this machine.",
)
@click.option(
    "--opt-level",
    "--builderOptimizationLevel",
    "opt_level",
    type=click.IntRange(0, 5),
    help="How long TensorRT looks for kernels; TensorRT-RTX does not heed it.",
)
@click.option(
    "--timing-cache",
    "--timingCacheFile",
    "timing_cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of measured times, read and written; full TensorRT only.",
)
@click.option(
    "--workspace",
    callback=byte_size,
    metavar="SIZE",
    help="4G, 512M, or a number of MiB. In TensorRT-RTX all activations must fit in.",
)
@click.option("--force", is_flag=True, help="Build even if there is one, and replace FILE.engine.")
def build(
    model: Path | None,
    output: Path | None,
    precision: str,
    io: str | None,
    self_ensemble: bool | None,
    tile: int | None,
    batch: int | None,
    min_shapes: str | None,
    opt_shapes: str | None,
    max_shapes: str | None,
    flavour: str,
    targets: tuple[str, ...],
    opt_level: int | None,
    timing_cache: Path | None,
    workspace: int | None,
    force: bool,
) -> None:
    """Build an engine from an ONNX file of edsr-export; without MODEL from the shipped one for scale 4.

    Prints the engine's path; messages go to stderr.

    \b
    edsr-trt build my_x4_fp16.onnx --tile 256 --batch 8
    edsr-trt build my_x4_fp16.onnx --flavour rtx --targets SM86,SM89,SM120 -o my_x4.engine
    edsr-trt build my_x4_fp16.onnx --minShapes=input:1x3x64x64 --maxShapes=input:1x3x540x960
    """
    shapes = {name: text for name, text in (("min", min_shapes), ("opt", opt_shapes), ("max", max_shapes)) if text}
    if shapes and (tile or batch):
        raise click.UsageError("--tile and --batch, or --minShapes, --optShapes and --maxShapes, but not both.")
    with _interrupts_end_it():
        from edsr_runtime.trt.making import Order, make_engine
        from edsr_runtime.trt.summary import describe

        order = Order(
            precision=precision,  # type: ignore[arg-type]  # click has checked it
            io=io,  # type: ignore[arg-type]
            self_ensemble=self_ensemble,
            profile=_profile_maker(shapes, tile, batch),
            flavour=flavour,
            targets=targets,
            opt_level=opt_level,
            workspace=workspace,
            timing_cache=timing_cache,
        )
        with _told() as (note, watch):
            made = make_engine(model, order, output, force=force, note=note, watch=watch)
        for warning in made.warnings:
            _say(f"warning: {warning}")
        _say("\n".join(describe(made.description)) if made.fresh else "it is there already; --force builds it again")
        click.echo(os.fsencode(made.path))


@main.command()
@click.argument("engine", type=click.Path(path_type=Path), metavar="FILE.engine")
@click.option("--layers", is_flag=True, help="Precision of every layer.")
@click.option("--json", "as_json", is_flag=True, help="What lies beside the engine, as it is.")
def info(engine: Path, layers: bool, as_json: bool) -> None:
    """Show what an engine is; it is not loaded, so nobody has to trust it."""
    from edsr_runtime.trt.engine_file import read_description, read_engine
    from edsr_runtime.trt.memory import megabytes
    from edsr_runtime.trt.summary import describe

    description = read_description(engine)
    if as_json:
        click.echo(description.to_json(), nl=False)
    else:
        _print("\n".join(describe(description, layers)))
    size = len(read_engine(engine, description))  # an error if that is not what was described
    if not as_json:
        _print(f"  file: {megabytes(size)}, SHA-256 {description.engine_sha256[:12]}..., as described")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Show what this machine has for TensorRT, what would be used and why, and what is missing."""
    from edsr_runtime.trt.doctor import examine

    report = examine()
    click.echo(json.dumps(report.as_data(), indent=1) if as_json else printable_lines("\n".join(report.as_text())))


@main.command()
@click.argument("engine", type=click.Path(path_type=Path), metavar="FILE.engine")
@click.option(
    "--onnx", type=click.Path(path_type=Path), required=True, help="The same network as FP32 with float in and out."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="SET",
    help="Folder with HR/ and LR_bicubic/X<scale>/ to compute PSNR on. Default: the bundled photograph.",
)
@click.option("--trust-engine", is_flag=True, help="Run an engine from outside our folder: it is code.")
def verify(engine: Path, onnx: Path, data: Path | None, trust_engine: bool) -> None:
    """Compare an engine with onnxruntime in FP32; exit code 5 if it differs by more than it may."""
    from edsr_runtime.backends.trt import open_tensorrt
    from edsr_runtime.trt import limits
    from edsr_runtime.trt import verify as work
    from edsr_runtime.trt.engine_file import read_description

    description = read_description(engine)
    contract, profile = description.contract, description.profile
    with _interrupts_end_it():
        reference = work.open_reference(onnx, contract)
        with closing(open_tensorrt(engine, trust_engine, note=_say)) as backend:
            pictures = work.invented_pictures(profile)
            if contract.io == "uint8":
                agreement = work.compare_uint8(backend.run_uint8, reference, pictures)
            else:
                agreement = work.compare_float(backend.run_float, reference, pictures)
            scale = contract.scale
            pairs = work.demo_pair(profile, scale) if data is None else work.set_pairs(data, profile, scale)
            loss = work.lost_psnr(backend.run_uint8, reference, pairs, scale)
    beyond = " beyond its rounding" if agreement.rounded else ""
    click.echo(
        f"differs from onnxruntime FP32{beyond} by {agreement.largest:.3g} grey levels at most (allowed "
        f"{limits.LARGEST:g}), {agreement.rms:.3g} rms (allowed {limits.RMS:g}), over {agreement.samples:,} samples; "
        f"{agreement.changed:.2%} of them differ as 8 bits"
    )
    click.echo(
        f"loses {loss.mean_db:.4f} dB (allowed {limits.PSNR_LOSS_DB:g}), {loss.worst_db:.4f} at most, on "
        f"{loss.pictures} pictures ({loss.protocol})"
    )
    work.gate(agreement, loss)


@main.group(cls=EdsrGroup)
def cache() -> None:
    """The engines that were built here."""


@cache.command("ls")
def list_cache() -> None:
    """List them, the last used one first."""
    from edsr_runtime.trt.cache import entries
    from edsr_runtime.trt.folder import engine_folder
    from edsr_runtime.trt.memory import megabytes
    from edsr_runtime.trt.summary import list_entry

    found = entries()
    for entry in found:
        _print(list_entry(entry))
    _say(f"{len(found)} in {engine_folder()}, {megabytes(sum(entry.size for entry in found))}")


@cache.command("prune")
@click.option(
    "--unused-for", type=click.FloatRange(min=0), metavar="DAYS", help="Engines that were not used for longer."
)
@click.option("--max-size", callback=byte_size, metavar="SIZE", help="The least used, until the others are within.")
@click.option("--other-versions", is_flag=True, help="Engines of versions of TensorRT that are not installed.")
@click.option("--all", "everything", is_flag=True, help="All engines.")
@click.option("--dry-run", is_flag=True, help="Only say which.")
def prune_cache(
    unused_for: float | None, max_size: int | None, other_versions: bool, everything: bool, dry_run: bool
) -> None:
    """Remove engines, and always what is left of builds that were killed."""
    from edsr_runtime.trt.cache import Pruning, prune
    from edsr_runtime.trt.flavour import installed_versions

    versions = installed_versions() if other_versions else None
    gone = prune(Pruning(unused_for, max_size, versions, everything), dry_run)
    for path in gone:
        click.echo(os.fsencode(path))
    _say(f"{len(gone)} {'would be ' if dry_run else ''}removed")


@cache.command("verify")
def verify_cache() -> None:
    """Compare every engine with the SHA-256 in its description; exit code 5 if one is damaged or cannot be trusted."""
    from edsr_runtime.errors import GateError
    from edsr_runtime.trt.cache import damaged, entries

    bad = damaged()
    for entry in bad:
        _print(entry.problem)
    if bad:
        raise GateError(
            f"{len(bad)} of {len(entries())} engines are damaged or cannot be trusted; edsr-trt build makes them again"
        )
    _say(f"{len(entries())} engines, all intact")


def _profile_maker(shapes: dict[str, str], tile: int | None, batch: int | None) -> "Callable[[Contract], Profile]":
    def make(contract: "Contract") -> "Profile":
        from edsr_runtime.trt.default_profile import default_profile
        from edsr_runtime.trt.profile import shapes_profile

        return shapes_profile(shapes, contract) if shapes else default_profile(contract, tile, batch)

    return make


def _say(text: str) -> None:
    click.echo(printable_lines(text), err=True)


def _print(text: str) -> None:
    """File names, and what is in a description, may be from strangers."""
    click.echo(printable_lines(text))


@contextmanager
def _told() -> "Iterator[tuple[Callable[[str], None], Callable[[BuildProgress], None]]]":
    """What takes lines and what takes the progress of a build, which is a bar where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield _say, lambda progress: None
        return
    from edsr_runtime.trt.build_bar import BuildBar

    with BuildBar() as bar:
        yield bar.say, bar.watch


@contextmanager
def _interrupts_end_it() -> Iterator[None]:
    """Ctrl-C, ``kill`` and a closed terminal stop the builder; nothing is left behind."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signals = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, interrupt)) for number in signals]
    try:
        yield
    except KeyboardInterrupt:
        _say("interrupted; nothing was written")
        raise SystemExit(EXIT_INTERRUPTED) from None
    finally:
        for number, handler in before:
            signal.signal(number, handler)
