"""The command ``edsr-train``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edsr_runtime.command import EdsrGroup
from edsr_runtime.errors import EdsrError, MissingDependencyError
from edsr_train.config import TrainConfig
from edsr_train.presets import PRESETS

if TYPE_CHECKING:
    from edsr_train.fit import Asked

_DEFAULTS = TrainConfig()
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_COUNT = click.IntRange(min=1)
_SCALE = click.Choice([2, 3, 4])
_THREADS = click.option("--threads", type=_COUNT, metavar="N", help="CPU threads.  [default: all cores]")


@click.group(cls=EdsrGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edsr-toolkit")
def main() -> None:
    """Train EDSR, and evaluate EDSR and MDSR, on the CPU."""


@main.command()
@click.option(
    "--data",
    type=_FOLDER,
    metavar="DIR",
    multiple=True,
    required=True,
    help="Photographs, also in folders below; repeatable.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Checkpoint, .pt.")
@click.option(
    "--val", type=_FOLDER, metavar="DIR", help="Benchmark folder to validate on: pictures, or HR/ and LR_bicubic/."
)
@click.option("--resume", is_flag=True, help="Go on exactly where the run that wrote OUTPUT was.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT by a new run.")
@click.option(
    "--init", type=_FILE, metavar="FILE", help="Begin with this checkpoint's weights; its tail only at the same scale."
)
@click.option("--scale", type=_SCALE, help="Upscaling factor; needed for a new run.")
@click.option("--network", type=click.Choice(list(PRESETS)), help="Named sizes.  [default: edsr-baseline]")
@click.option("--blocks", "n_resblocks", type=_COUNT, metavar="N", help="Residual blocks.  [default: of --network]")
@click.option("--feats", "n_feats", type=_COUNT, metavar="N", help="Feature maps.  [default: of --network]")
@click.option(
    "--res-scale",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Residual scaling.  [default: of --network]",
)
@click.option(
    "--tail",
    type=click.Choice(["paper", "direct"]),
    help="direct: one 5x5 convolution at LR resolution; trains faster, not the paper's.  [default: of --network]",
)
@click.option(
    "--patch", type=int, metavar="N", default=_DEFAULTS.patch, show_default=True, help="Side of a patch, LR pixels."
)
@click.option("--batch", type=int, metavar="N", default=_DEFAULTS.batch, show_default=True, help="Patches per update.")
@click.option(
    "--updates", type=int, metavar="N", default=_DEFAULTS.updates, show_default=True, help="Length of the run."
)
@click.option(
    "--lr", type=float, metavar="X", default=_DEFAULTS.lr, show_default=True, help="Adam's learning rate at its peak."
)
@click.option(
    "--schedule",
    type=click.Choice(["halving", "cosine"]),
    default=_DEFAULTS.schedule,
    show_default=True,
    help="Of the learning rate.",
)
@click.option(
    "--halve-every",
    type=int,
    metavar="N",
    default=_DEFAULTS.halve_every,
    show_default=True,
    help="Updates per halving.",
)
@click.option(
    "--warmup", type=int, metavar="N", default=_DEFAULTS.warmup, show_default=True, help="Updates of linear warm-up."
)
@click.option("--loss", type=click.Choice(["l1", "mse"]), default=_DEFAULTS.loss, show_default=True)
@click.option(
    "--ema",
    type=float,
    metavar="X",
    default=_DEFAULTS.ema,
    show_default=True,
    help="Decay of averaged weights; 0: off.",
)
@click.option("--bf16/--no-bf16", default=_DEFAULTS.bf16, show_default=True, help="bfloat16 autocast.")
@click.option("--compile/--no-compile", default=_DEFAULTS.compile, show_default=True, help="torch.compile.")
@click.option(
    "--seed", type=int, metavar="N", default=_DEFAULTS.seed, show_default=True, help="Of weights and patches."
)
@click.option(
    "--validate-every",
    type=int,
    metavar="N",
    default=_DEFAULTS.validate_every,
    show_default=True,
    help="Updates between two validations and checkpoints.",
)
@_THREADS
@click.pass_context
def fit(
    ctx: click.Context,
    /,
    data: tuple[Path, ...],
    output: Path,
    val: Path | None,
    resume: bool,
    overwrite: bool,
    init: Path | None,
    threads: int | None,
    **_: Any,
) -> None:
    """Train one EDSR on folders of photographs.

    The defaults are the paper's: 48x48 LR patches, batch 16, Adam, learning rate 1e-4 halved every 200,000 updates,
    L1 loss; LR pictures are made by MATLAB's bicubic. x3 and x4 begin with a trained x2: --init edsr_x2.pt.

    Ctrl-C saves before it ends, and prints the command that goes on from there.
    """
    _use_torch(threads)
    from edsr_runtime.metrics import PROTOCOLS
    from edsr_train.data import load_pairs, picture_files
    from edsr_train.evaluate import benchmark_pairs, evaluate_bicubic, mean_psnr
    from edsr_train.fit import check_output, describe, new_run, resumed_run
    from edsr_train.interrupt import stop_requests
    from edsr_train.loop import train
    from edsr_train.progress import show_progress

    check_output(output, resume=resume, overwrite=overwrite)
    if resume and init is not None:
        raise EdsrError("--init begins a new run and --resume goes on with one: give one of them")
    asked = _asked(ctx)
    run = resumed_run(output, asked) if resume else new_run(asked, init)
    click.echo(f"network: {describe(run.network)}")
    for note in run.notes:
        click.echo(note)
    if run.done >= run.config.updates:
        click.echo(f"{output}: all {run.done} updates are done already")
        return

    scale = run.network.config.scale
    validation = [] if val is None else benchmark_pairs(val, scale)
    if validation:
        # A picture that cannot be scored is found here, and not at the first validation, hours later.
        bicubic = mean_psnr(list(evaluate_bicubic(validation, scale, PROTOCOLS["paper-y"])))
        click.echo(f"validation: {len(validation)} pictures of {val}, bicubic: paper-y {bicubic:.3f} dB")
    pairs = load_pairs(data, scale, run.config.patch)
    side = run.config.patch * scale
    click.echo(f"data: {len(pairs)} of {len(picture_files(data))} pictures have both sides of at least {side} pixels")
    with stop_requests() as stop, show_progress(run.config.updates, run.done) as display:
        done = train(
            run.network, run.config, pairs, validation, output,
            resume=run.resume, report=display.line, on_update=display.update, should_stop=lambda: bool(stop),
        )  # fmt: skip
    if done < run.config.updates:
        again = [*(f"--data={folder}" for folder in data), *([f"--val={val}"] if val else [])]
        again += [f"--threads={threads}"] if threads else []
        click.echo(f"stopped after update {done} of {run.config.updates}, and saved. Go on with:")
        click.echo(shlex.join(["edsr-train", "fit", *again, "-o", str(output), "--resume"]))
        raise SystemExit(stop.exit_code)
    click.echo(f"wrote {output}")


@main.command("eval")
@click.option(
    "--ckpt", type=_FILE, metavar="FILE", required=True, help="A checkpoint of EDSR or MDSR, ours or another project's."
)
@click.option(
    "--data", type=_FOLDER, metavar="DIR", required=True, help="Benchmark folder: pictures, or HR/ and LR_bicubic/."
)
@click.option("--scale", type=_SCALE, help="Needed if the network has several.")
@click.option("--res-scale", type=float, metavar="X", help="Residual scaling, where the checkpoint does not store it.")
@click.option(
    "--protocol",
    "protocol_id",
    type=click.Choice(["paper-y", "paper-div2k"]),
    default="paper-y",
    show_default=True,
    help="paper-y: luma, SCALE border pixels shaved. paper-div2k: RGB, SCALE + 6 shaved.",
)
@click.option("-x", "--self-ensemble", is_flag=True, help="Average over the eight flips and rotations (EDSR+).")
@_THREADS
def evaluate_checkpoint(
    ckpt: Path,
    data: Path,
    scale: int | None,
    res_scale: float | None,
    protocol_id: str,
    self_ensemble: bool,
    threads: int | None,
) -> None:
    """PSNR and SSIM of a checkpoint on a benchmark set, picture by picture."""
    _use_torch(threads)
    from edsr_runtime.metrics import PROTOCOLS
    from edsr_train.checkpoint import load_network
    from edsr_train.evaluate import benchmark_pairs, evaluate, lr_folder, mean_psnr, mean_ssim

    loaded = load_network(ckpt, res_scale=res_scale)
    for note in loaded.notes:
        click.echo(note)
    scale = _scale_of(loaded.network.scales, scale, ckpt)
    pairs = benchmark_pairs(data, scale)
    origin = lr_folder(data, scale) or "made by MATLAB's bicubic"
    ensemble = ", self-ensemble x8" if self_ensemble else ""
    click.echo(f"{ckpt.name} on {data.resolve().name}, x{scale}, protocol {protocol_id}{ensemble}; LR: {origin}")

    mean_row = f"mean of {len(pairs)}"
    width = max(len(name) for name in (mean_row, *(pair.name for pair in pairs)))
    click.echo(f"{'picture':{width}}  PSNR dB    SSIM")
    scores = []
    for score in evaluate(loaded.network, pairs, scale, PROTOCOLS[protocol_id], self_ensemble):
        scores.append(score)
        click.echo(f"{score.name:{width}}  {score.psnr:7.3f}  {score.ssim:.4f}")
    click.echo(f"{mean_row:{width}}  {mean_psnr(scores):7.3f}  {mean_ssim(scores):.4f}")


def _use_torch(threads: int | None) -> None:
    try:
        import safetensors  # noqa: F401  # named here, so that its absence gets its sentence too
        import torch
    except ImportError as err:
        raise MissingDependencyError((err.name or "torch").partition(".")[0], extra="train") from err
    if threads is not None:
        torch.set_num_threads(threads)


def _asked(ctx: click.Context) -> "dict[str, Asked]":
    """What was given on the command line, by field of the configurations."""
    from edsr_train.fit import Asked

    asked = {}
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            value = ctx.params[name]
            option = parameter.secondary_opts[0] if value is False else parameter.opts[-1]
            asked[name] = Asked(option if isinstance(value, bool) else f"{option} {value}", value)
    return asked


def _scale_of(scales: tuple[int, ...], asked: int | None, ckpt: Path) -> int:
    offered = ", ".join(map(str, scales))
    if asked is None:
        if len(scales) != 1:
            raise EdsrError(f"{ckpt}: holds the scales {offered}. Choose one with --scale")
        (only,) = scales
        return only
    if asked not in scales:
        raise EdsrError(f"{ckpt}: holds scale {offered}, and --scale {asked} was asked for")
    return asked
