"""Build every kind of engine with TensorRT-RTX, which needs no GPU: ``python benchmarks/engines.py``.

What is looked at is whether it builds, in what precision, how large it becomes, and how far the memory that was
foretold is from what TensorRT-RTX reports. Weights are random: none of this depends on them.
"""

import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click

from benchmarks import machine as machines
from benchmarks.result_file import read_stored, write_result
from edsr_runtime.command import EdsrCommand
from edsr_runtime.errors import EdsrError, GateError

RESULTS = Path(__file__).resolve().parent / "results"
SCALES = (2, 3, 4)
SLACK = 0.01
"""By which a report may lie outside of what was foretold: the formulas leave out a few hundred KB."""


@dataclass(frozen=True)
class Network:
    """One that the paper names."""

    architecture: Literal["edsr", "mdsr"]
    n_resblocks: int
    n_feats: int
    res_scale: float = 1.0


NETWORKS = {
    "edsr-baseline": Network("edsr", 16, 64),
    "edsr": Network("edsr", 32, 256, 0.1),
    "mdsr-baseline": Network("mdsr", 16, 64),
    "mdsr": Network("mdsr", 80, 64),
}


@dataclass(frozen=True)
class Variant:
    """What an engine is made of."""

    network: str
    scale: int
    precision: Literal["fp16", "fp32"]
    io: Literal["float", "uint8"]
    self_ensemble: bool
    collapse_tail: bool

    def __str__(self) -> str:
        parts = [self.network, f"x{self.scale}", self.precision, self.io]
        parts += ["ensemble"] if self.self_ensemble else []
        return " ".join(parts + ([] if self.collapse_tail else ["uncollapsed"]))


@dataclass(frozen=True)
class Build:
    """What came of it. Memory in bytes, of the device."""

    variant: Variant
    size: tuple[int, int, int]
    """Largest input (N, H, W), for which memory is reserved."""
    parity: float
    """Largest difference of the ONNX file from the network in PyTorch, grey levels."""
    proofs: tuple[str, ...]
    """What shows that it computes in the precision that was asked for."""
    predicted_at_least: int
    """Activations."""
    predicted_at_most: int
    """The same with what is not certain."""
    activations: int
    """As the builder reports."""
    weights: int
    engine_bytes: int
    export_seconds: float
    """With the proof that the file equals its network."""
    build_seconds: float
    foretold: bool
    """Whether the report lies between the predictions. Views of an ensemble may be computed side by side, and then
    more than the upper one is needed."""


def variants(names: tuple[str, ...], scales: tuple[int, ...], everything: bool) -> list[Variant]:
    """All combinations, or those in FP16 with float input and output and without the ensemble.

    Args:
        names: keys of ``NETWORKS``.
        scales: of each.
        everything: all of them; those of the full EDSR take minutes each.
    """
    choices = itertools.product(names, scales, ("fp16", "fp32"), ("float", "uint8"), (False, True), (False, True))
    found = [Variant(*choice) for choice in choices]  # type: ignore[arg-type]  # the product gives str
    plain = ("fp16", "float", False)
    return [
        variant for variant in found if everything or (variant.precision, variant.io, variant.self_ensemble) == plain
    ]


def build(variant: Variant, folder: Path, batch: int, tile: int) -> Build:
    """Export and build one.

    Args:
        variant: which.
        folder: for its checkpoint, which others may share that are built after it.
        batch: tiles at once.
        tile: their side, LR pixels.

    Raises:
        EdsrError: TensorRT-RTX is not installed, or cannot build it.
        GateError: a proof failed.
    """
    from edsr_export.exporting import ExportOptions, export_checkpoint
    from edsr_runtime.trt.build import BuildOptions, build_engine
    from edsr_runtime.trt.flavour import load_flavour
    from edsr_runtime.trt.memory import check_fits
    from edsr_runtime.trt.profile import tile_profile

    options = ExportOptions(
        scales=(variant.scale,),
        precision=variant.precision,
        io=variant.io,
        self_ensemble=variant.self_ensemble,
        collapse_tail=variant.collapse_tail,
    )
    start = time.perf_counter()
    (exported,) = export_checkpoint(_checkpoint(variant, folder), folder / "model.onnx", options, overwrite=True)
    export_seconds = time.perf_counter() - start
    contract = exported.contract
    profile = tile_profile(tile, batch, contract)
    need = check_fits(contract, profile, [])
    built = build_engine(
        exported.path.read_bytes(),
        str(variant),
        contract,
        load_flavour("rtx"),
        BuildOptions(profile, variant.precision),
    )
    if built.activation_bytes is None or built.weight_bytes is None:
        raise GateError(f"{variant}: TensorRT-RTX does not say how much memory it needs")
    return Build(
        variant,
        profile.max,
        contract.parity.max_difference,
        built.precision.proofs,
        need.at_least,
        need.activations,
        built.activation_bytes,
        built.weight_bytes,
        len(built.engine),
        round(export_seconds, 1),
        round(built.seconds, 2),
        (1 - SLACK) * need.at_least <= built.activation_bytes <= (1 + SLACK) * need.activations,
    )


def render(builds: list[dict[str, Any]]) -> str:
    """A table, with by how much the tail collapse lets the memory fall."""
    whole = {key(b["variant"]): b["activations"] for b in builds if not b["variant"]["collapse_tail"]}
    lines = [
        "| engine | N x H x W | foretold, MB | reported, MB | uncollapsed / collapsed | weights, MB | build, s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for b in builds:
        variant, uncollapsed = b["variant"], whole.get(key(b["variant"]))
        fall = f"{uncollapsed / b['activations']:.1f}" if variant["collapse_tail"] and uncollapsed else ""
        low, high = (b[name] / 1e6 for name in ("predicted_at_least", "predicted_at_most"))
        foretold = f"{low:,.0f}" if round(low) == round(high) else f"{low:,.0f} to {high:,.0f}"
        cells = [
            str(Variant(**variant)),
            "x".join(map(str, b["size"])),
            foretold,
            f"{b['activations'] / 1e6:,.0f}" + ("" if b["foretold"] else " (!)"),
            fall,
            f"{b['weights'] / 1e6:.1f}",
            f"{b['build_seconds']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summarise(builds: list[dict[str, Any]]) -> str:
    """A line for every network, precision, and with and without the ensemble, over scales, I/O and tails."""
    lines = [
        "| engines | built | largest difference, grey levels | memory / foretold at most | uncollapsed / collapsed |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    whole = {key(b["variant"]): b["activations"] for b in builds if not b["variant"]["collapse_tail"]}
    groups: dict[str, list[dict[str, Any]]] = {}
    for b in builds:
        variant = b["variant"]
        name = f"{variant['network']} {variant['precision']}" + (" ensemble" if variant["self_ensemble"] else "")
        groups.setdefault(name, []).append(b)
    for name, group in groups.items():
        floats = [b["parity"] for b in group if b["variant"]["io"] == "float"]  # rounding hides that of the others
        shares = [b["activations"] / b["predicted_at_most"] for b in group]
        falls = [
            whole[key(b["variant"])] / b["activations"]
            for b in group
            if b["variant"]["collapse_tail"] and key(b["variant"]) in whole
        ]
        cells = [
            name,
            str(len(group)),
            f"{max(floats):.2g}" if floats else "",
            f"{min(shares):.2f} to {max(shares):.2f}",
            f"{min(falls):.1f} to {max(falls):.1f}" if falls else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def key(variant: dict[str, Any]) -> tuple[Any, ...]:
    """The same for both forms of the tail."""
    return tuple(value for name, value in variant.items() if name != "collapse_tail")


@click.command(cls=EdsrCommand)
@click.option("--network", "names", type=click.Choice(list(NETWORKS)), multiple=True, help="Default: all.")
@click.option("--scale", "scales", type=click.Choice(list(map(str, SCALES))), multiple=True, help="Default: all.")
@click.option("--all", "everything", is_flag=True, help="FP32, uint8 and the self-ensemble too: hours.")
@click.option("--tile", type=click.IntRange(min=16), default=128, show_default=True, help="Side, LR pixels.")
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Tiles at once.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Engines built side by side.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="JSON file; what it has is not built again. Default: benchmarks/results/MACHINE-DATE-engines.json.",
)
def main(
    names: tuple[str, ...],
    scales: tuple[str, ...],
    everything: bool,
    tile: int,
    batch: int,
    jobs: int,
    output: Path | None,
) -> None:
    """Build engines of the paper's networks, and compare their memory with what was foretold.

    Each is in the JSON file as soon as it is built, so the command can be stopped and given again. The table goes to
    stdout, progress to stderr. Exit code 5 if a proof fails.
    """
    wanted = variants(names or tuple(NETWORKS), tuple(map(int, scales)) or SCALES, everything)
    machine = machines.describe_machine()
    output = output or RESULTS / f"{machine.slug}-{machines.now()[:10]}-engines.json"
    result = read_stored(output) if output.exists() else _circumstances(machine)
    _check_same(result, machine, output)
    done = [Variant(**b["variant"]) for b in result["builds"] if b["size"] == [batch, tile, tile]]
    kept = sum(variant in done for variant in wanted)
    click.echo(f"{kept} of {len(wanted)} engines are in {output}; stopped, it goes on with --output {output}", err=True)
    missing = [variant for variant in wanted if variant not in done]
    everything_there_is = variants(tuple(NETWORKS), SCALES, everything=True)
    with tempfile.TemporaryDirectory(prefix="edsr-engines-") as folder:
        for built in _build_all(missing, Path(folder), batch, tile, jobs):
            click.echo(f"{built.variant}: {built.activations / 1e6:,.0f} MB of activations", err=True)
            result["builds"].append(dataclasses.asdict(built))
            result["builds"].sort(key=lambda b: everything_there_is.index(Variant(**b["variant"])))
            write_result(output, result)
    click.echo(render(result["builds"]))
    if everything:
        click.echo("\n" + summarise(result["builds"]))
    click.echo(f"written to {output}", err=True)


def _build_all(wanted: list[Variant], folder: Path, batch: int, tile: int, jobs: int) -> Iterator[Build]:
    """Each as soon as it is built; ``jobs`` processes build, since tracing a network takes one core for minutes."""
    if jobs == 1:
        yield from (build(variant, folder, batch, tile) for variant in wanted)
        return
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    with concurrent.futures.ProcessPoolExecutor(jobs, spawn, _begin, (threads,)) as pool:
        building = [pool.submit(_build_apart, variant, folder, batch, tile) for variant in wanted]
        try:
            for one in concurrent.futures.as_completed(building):
                yield one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _build_apart(variant: Variant, folder: Path, batch: int, tile: int) -> Build:
    own = folder / str(os.getpid())
    own.mkdir(exist_ok=True)
    return build(variant, own, batch, tile)


def _check_same(result: dict[str, Any], machine: machines.Machine, output: Path) -> None:
    """Whether what is built now may stand in one table with what is there.

    Raises:
        EdsrError: the file is of another measurement, machine or TensorRT-RTX.
    """
    from edsr_runtime.trt.flavour import load_flavour

    if result.get("measurement") != "engines":
        raise EdsrError(f"{output}: holds something else; pass another --output")
    for what, found, expected in (
        ("TensorRT-RTX", result["versions"]["tensorrt_rtx"], load_flavour("rtx").version),
        ("a CPU", result["machine"]["cpu"], machine.cpu),
    ):
        if found != expected:
            raise EdsrError(f"{output}: was begun with {what} {found}, and here is {expected}; pass another --output")


def _circumstances(machine: machines.Machine) -> dict[str, Any]:
    from edsr_runtime.trt.flavour import load_flavour

    commit = machines.current_commit()
    return {
        "measurement": "engines",
        "date": machines.now(),
        "commit": None if commit is None else dataclasses.asdict(commit),
        "machine": dataclasses.asdict(machine),
        "versions": {**machines.package_versions(), "tensorrt_rtx": load_flavour("rtx").version},
        "load_before": machines.load_average(),
        "weights": "random",
        "builds": [],
    }


def _checkpoint(variant: Variant, folder: Path) -> Path:
    import torch

    from edsr_train.checkpoint import save_checkpoint
    from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig

    network = NETWORKS[variant.network]
    several = network.architecture == "mdsr"
    path = folder / (f"{variant.network}.pt" if several else f"{variant.network}_x{variant.scale}.pt")
    if not path.exists():
        for other in folder.glob("*.pt"):  # the full EDSR has 170 MB
            other.unlink()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            blocks, feats = network.n_resblocks, network.n_feats
            if several:
                save_checkpoint(path, MDSR(MDSRConfig(n_resblocks=blocks, n_feats=feats)).eval())
            else:
                save_checkpoint(path, EDSR(EDSRConfig(variant.scale, blocks, feats, network.res_scale)).eval())
    return path


if __name__ == "__main__":
    main()
