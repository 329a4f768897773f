"""The command ``edsr-train``."""

import importlib.util
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edsr_runtime.command import EdsrGroup, needs_extra, version_option
from edsr_runtime.errors import EdsrError
from edsr_train.config import DataConfig, TrainConfig, path_of
from edsr_train.options import options_of
from edsr_train.recipes import DEFAULT_RECIPE, RECIPES

if TYPE_CHECKING:
    from edsr_train.fit import Stopped
    from edsr_train.run_config import Asked
    from edsr_train.run_folder import Mode

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_COUNT = click.IntRange(min=1)
_SCALE = click.Choice([2, 3, 4])
_DEVICE = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
_THREADS = click.option(
    "--threads", type=_COUNT, metavar="N", help="CPU threads of each process.  [all cores; with torchrun: 1]"
)
_RES_SCALE = click.option(
    "--res-scale", type=float, metavar="X", help="Residual scaling, where the checkpoint does not store it."
)
_OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The checkpoint to write."
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace it if it exists.")


@click.group(cls=EdsrGroup, context_settings={"help_option_names": ["-h", "--help"]})
@version_option
def main() -> None:
    """Train EDSR and MDSR, and score checkpoints on benchmark sets."""


@main.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run.")
@click.option(
    "--config",
    metavar="NAME|FILE",
    help=f"Network and recipe: {', '.join(RECIPES)}, or a YAML file.  [{DEFAULT_RECIPE}, or the network of --init]",
)
@click.option("--scale", type=_SCALE, help="Upscaling factor; needed but for networks that have several.")
@click.option(
    "--net", metavar="FIELD=VALUE", multiple=True, help="A field of the network, such as n_feats=32; repeatable."
)
@click.option(
    "--init",
    type=_FILE,
    metavar="FILE",
    help="Begin with the weights of a checkpoint: with each part (head, body, ...) that has the same tensors here.",
)
@click.option("--init-res-scale", type=float, metavar="X", help="Of --init, where the file does not store it.")
@click.option("--resume", is_flag=True, help="Go on exactly where the run in the output folder was.")
@click.option(
    "--resume-or-begin",
    is_flag=True,
    help="The same, or begin if there is no checkpoint yet: one command for jobs that are started again and again.",
)
@click.option("--overwrite", is_flag=True, help="Replace the run in the output folder.")
@click.option("--print-config", is_flag=True, help="Print the whole configuration as YAML, for --config, and end.")
@options_of(DataConfig)
@options_of(TrainConfig)
@_DEVICE
@_THREADS
@click.pass_context
def fit(
    ctx: click.Context,
    /,
    output: Path | None,
    config: str | None,
    init: Path | None,
    init_res_scale: float | None,
    resume: bool,
    resume_or_begin: bool,
    overwrite: bool,
    print_config: bool,
    device: str,
    threads: int | None,
    **_: Any,
) -> None:
    """Train a network on photographs.

    The recipe is the paper's: 48x48 LR patches, batch 16, Adam, learning rate 1e-4 halved every 200,000 updates, L1
    loss. x3 and x4 begin with a trained x2: --init runs/x2/best.safetensors.

    Ctrl-C writes a checkpoint before it ends, and prints the command that goes on from there. For several GPUs or
    machines: torchrun --nproc-per-node 2 --no-python edsr-train fit ...
    """
    with _said_once():
        _use_torch(threads, "matplotlib", "ruamel.yaml", "tensorboard")
        mode = _mode(resume, resume_or_begin, overwrite)
        if mode == "resume" and (config or init):
            raise EdsrError("--resume takes everything from the folder: leave --config and --init away")
        if output is None and (mode != "new" or not print_config):
            raise EdsrError("-o is missing: give the folder that takes the run")
        asked = _asked(ctx)
    from edsr_train.fit import fit_in_folder
    from edsr_train.run_folder import RunFolder
    from edsr_train.start import Order, new_run, resumed_run
    from edsr_train.voice import Voice

    folder = None if output is None else RunFolder(path_of(str(output)))
    if print_config:
        goes_on = folder is not None and mode.startswith("resume") and folder.check(mode)
        run = resumed_run(folder, asked, config) if folder and goes_on else new_run(asked, config, init, init_res_scale)
        click.echo(run.config.to_yaml(), nl=False)
        return
    assert folder is not None
    voice = Voice()
    with _signals_end_it(), _said_elsewhere():
        stopped = fit_in_folder(Order(asked, config, init, init_res_scale), folder, mode, device, voice)
    if stopped is not None:
        if _is_first():
            for line in _advice(stopped, folder.path, device, threads):
                voice(line)
        raise SystemExit(stopped.exit_code)


@main.command("eval")
@click.option("--ckpt", type=_FILE, metavar="FILE", required=True, help="A checkpoint, ours or another project's.")
@click.option(
    "--data", type=_FOLDER, metavar="DIR", required=True, help="Benchmark folder: pictures, or HR/ and LR_bicubic/."
)
@click.option("--scale", type=_SCALE, help="Needed if the network has several, or its weights do not show it.")
@_RES_SCALE
@click.option(
    "--protocol",
    "protocol_ids",
    type=click.Choice(["paper-y", "paper-div2k"]),
    multiple=True,
    default=["paper-y", "paper-div2k"],
    show_default=True,
    help="paper-y: luma, SCALE border pixels shaved. paper-div2k: RGB, SCALE + 6 shaved. Repeatable.",
)
@click.option("-x", "--self-ensemble", is_flag=True, help="Average over the eight flips and rotations (EDSR+).")
@_DEVICE
@_THREADS
def evaluate_checkpoint(
    ckpt: Path,
    data: Path,
    scale: int | None,
    res_scale: float | None,
    protocol_ids: tuple[str, ...],
    self_ensemble: bool,
    device: str,
    threads: int | None,
) -> None:
    """PSNR and SSIM of a checkpoint on a benchmark set, picture by picture."""
    with _signals_end_it():
        _evaluate(ckpt, data, scale, res_scale, protocol_ids, self_ensemble, device, threads)


@main.command()
@click.option("--ckpt", type=_FILE, required=True, metavar="FILE", help="A checkpoint, ours or another project's.")
@_RES_SCALE
@_OUTPUT
@_OVERWRITE
def half(ckpt: Path, res_scale: float | None, output: Path, overwrite: bool) -> None:
    """Round the kernels of a checkpoint to FP16, for files of half the size.

    What edsr-export writes of it is half the size too, and computes in FP32 all the same. Mean shift and biases stay
    FP32. To be done when training is over: what one update adds may be lost in rounding.
    """
    _refuse_existing(output, overwrite)
    _use_torch(None)
    from edsr_train.checkpoint import load_network, save_checkpoint

    loaded = load_network(ckpt, res_scale=res_scale)
    said = {name: value for name, value in loaded.extra.items() if name != "training"}  # which has other weights
    with _told_of(output):
        save_checkpoint(output, loaded.network, said, half=True)
    click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB, of {ckpt.stat().st_size / 1e6:.1f} MB")


@main.command("average")
@click.option(
    "--ckpt", "ckpts", type=_FILE, required=True, multiple=True, metavar="FILE", help="A checkpoint; twice or more."
)
@_RES_SCALE
@_OUTPUT
@_OVERWRITE
def average_checkpoints(ckpts: tuple[Path, ...], res_scale: float | None, output: Path, overwrite: bool) -> None:
    """Average the weights of runs of one network, which is often better than each of them.

    They must have begun with the same weights, or one of them with those of another.
    """
    if len(set(ckpts)) < len(ckpts) or len(ckpts) == 1:
        raise EdsrError("average takes two different checkpoints or more: pass --ckpt for each")
    _refuse_existing(output, overwrite)
    _use_torch(None)
    from edsr_train.average import average
    from edsr_train.checkpoint import save_checkpoint

    network, sources = average(ckpts, res_scale)
    of = [{"file": path.name, "sha256": each.sha256} for path, each in zip(ckpts, sources, strict=True)]
    with _told_of(output):
        save_checkpoint(output, network, {"average": of})
    click.echo(f"{output}: the average of {len(ckpts)} checkpoints")


def _refuse_existing(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise EdsrError(f"{output} exists: pass --overwrite to replace it, or another -o")


@contextmanager
def _told_of(output: Path) -> Iterator[None]:
    """One sentence where a file cannot be written."""
    try:
        yield
    except OSError as err:
        raise EdsrError(f"{output}: cannot be written ({err.strerror})") from err


def _evaluate(
    ckpt: Path,
    data: Path,
    scale: int | None,
    res_scale: float | None,
    protocol_ids: tuple[str, ...],
    self_ensemble: bool,
    device: str,
    threads: int | None,
) -> None:
    _use_torch(threads)
    from edsr_runtime.metrics import PROTOCOLS
    from edsr_train.checkpoint import load_network
    from edsr_train.data.sets import benchmark_sources, lr_origin, pairs_of
    from edsr_train.evaluate import mean_psnr, mean_ssim, score, super_resolve
    from edsr_train.memory import memory_for
    from edsr_train.processes import choose_device

    loaded = load_network(ckpt, res_scale=res_scale, scale=scale)
    for note in loaded.notes:
        click.echo(note)
    scale = _scale_of(loaded.network.scales, scale, ckpt)
    branch = loaded.network.branch(scale).to(choose_device(device))
    sources = benchmark_sources(data, scale)
    pairs = pairs_of(sources, scale)
    ensemble = ", self-ensemble x8" if self_ensemble else ""
    click.echo(f"{ckpt.name} on {data.resolve().name}, x{scale}{ensemble}; LR: {lr_origin(sources)}")

    protocols = [PROTOCOLS[name] for name in dict.fromkeys(protocol_ids)]
    mean_row = f"mean of {len(pairs)}"
    width = max(len(name) for name in (mean_row, *(pair.name for pair in pairs)))
    click.echo(" " * width + "".join(f"  {protocol.id:>17}" for protocol in protocols))
    click.echo(f"{'picture':{width}}" + "    PSNR dB    SSIM" * len(protocols))
    rows = []
    for pair in pairs:
        lr_h, lr_w = pair.lr.shape[:2]
        with memory_for(f"{pair.name}, {lr_h}x{lr_w} LR (HxW), taken whole,", "Try --device cpu"):
            sr = super_resolve(branch, pair.lr, self_ensemble)
        rows.append([score(sr, pair, scale, protocol) for protocol in protocols])
        click.echo(f"{pair.name:{width}}" + "".join(f"    {each.psnr:7.3f}  {each.ssim:.4f}" for each in rows[-1]))
    columns = list(zip(*rows, strict=True))
    means = (f"    {mean_psnr(column):7.3f}  {mean_ssim(column):.4f}" for column in columns)
    click.echo(f"{mean_row:{width}}" + "".join(means))


def _mode(resume: bool, resume_or_begin: bool, overwrite: bool) -> "Mode":
    given: list[tuple[Mode, bool]] = [
        ("resume", resume),
        ("resume-or-begin", resume_or_begin),
        ("overwrite", overwrite),
    ]
    asked: list[Mode] = [mode for mode, is_given in given if is_given]
    if len(asked) > 1:
        raise EdsrError(f"{' and '.join(f'--{mode}' for mode in asked)} contradict each other: give one of them")
    return asked[0] if asked else "new"


def _advice(stopped: "Stopped", output: Path, device: str, threads: int | None) -> list[str]:
    from edsr_train.processes import launcher

    words = [*launcher(), "edsr-train", "fit", "-o", str(output), "--resume"]
    words += [] if device == "auto" else ["--device", device]
    words += ["--threads", str(threads)] if threads else []
    where = ", on every machine" if "--nnodes" in words else ""
    said = f"stopped after update {stopped.done} of {stopped.updates}, and saved. Go on with{where}:"
    return [said, shlex.join(words)]


def _is_first() -> bool:
    """Of the processes that torchrun started, each of which gets as far as here."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _said_once() -> Iterator[None]:
    """What is wrong for all processes, before they know of each other, is said by the first one."""
    try:
        yield
    except EdsrError as err:
        if _is_first():
            raise
        raise SystemExit(err.exit_code) from err


@contextmanager
def _said_elsewhere() -> Iterator[None]:
    """What another process has said is not said again."""
    from edsr_train.processes import SaidElsewhereError

    try:
        yield
    except SaidElsewhereError as err:
        raise SystemExit(err.exit_code) from err


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Ctrl-C, ``kill`` and a closed terminal end the command: cleaned up, and with the exit code of the signal."""
    from edsr_train.interrupt import InterruptedBySignalError, signals_interrupt

    try:
        with signals_interrupt():
            yield
    except InterruptedBySignalError as err:
        if _is_first():
            click.echo("interrupted; no unfinished file is left behind", err=True)
        raise SystemExit(err.exit_code) from None


def _use_torch(threads: int | None, *others: str) -> None:
    with needs_extra("train"):
        for package in others:  # looked for, but not loaded yet: they take their time
            if importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(name=package)
        import safetensors  # noqa: F401  # named here, so that its absence gets its sentence too
        import torch
    if threads is not None:
        torch.set_num_threads(threads)


def _asked(ctx: click.Context) -> "dict[str, Asked]":
    """What was given on the command line, by field of the configurations."""
    from edsr_train.run_config import Asked

    fields = {*TrainConfig.__dataclass_fields__, *DataConfig.__dataclass_fields__}
    asked = {}
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT or name not in (*fields, "scale"):
            continue
        value = ctx.params[name]
        option = parameter.secondary_opts[0] if value is False else parameter.opts[-1]
        text = option if isinstance(value, bool) else f"{option} {value}"
        asked["net.scale" if name == "scale" else name] = Asked(text, value)
    for given in ctx.params["net"]:
        name, equals, value = given.partition("=")
        if not (name and equals):
            raise EdsrError(f"--net {given}: expected FIELD=VALUE, such as n_feats=32")
        if (before := asked.get(f"net.{name}")) is not None:
            raise EdsrError(f"--net {given}: {name} is given already, with {before.option}. Leave one of them away")
        asked[f"net.{name}"] = Asked(f"--net {given}", _plain(value))
    return asked


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


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
