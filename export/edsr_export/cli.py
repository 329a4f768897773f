"""The command ``edsr-export``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edsr_runtime.command import EdsrCommand, needs_extra, version_option

if TYPE_CHECKING:
    from edsr_export.exporting import Exported


@click.command(cls=EdsrCommand)
@click.option(
    "--ckpt",
    type=click.Path(path_type=Path),
    required=True,
    help="Checkpoint: ours, or of a known project; see export/README.md.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File ending in .onnx, or folder. Default: beside the checkpoint.",
)
@click.option(
    "--scale",
    "scales",
    type=int,
    multiple=True,
    help="Scale head to write; may be repeated. Default: all. Of SRCNN and FSRCNN of others, whose weights do not show "
    "it: what they were trained for.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="fp16 is for TensorRT engines.",
)
@click.option(
    "--io",
    type=click.Choice(["float", "uint8"]),
    default="float",
    show_default=True,
    help="float: float32 NCHW. uint8: uint8 NHWC, rounded inside.",
)
@click.option("--self-ensemble", is_flag=True, help="Average the eight flips and rotations inside the graph.")
@click.option("--opset", type=int, default=20, show_default=True, help="ONNX operator set, 18 to 25.")
@click.option(
    "--res-scale",
    type=float,
    help="Residual scaling, where the checkpoint does not tell: 0.1 in the published EDSR, 1 in the baseline.",
)
@click.option(
    "--no-collapse",
    is_flag=True,
    help="Keep the tail as it is: larger and slower, but takes pictures with a side of 1 or 2.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@version_option
def main(
    ckpt: Path,
    output: Path | None,
    scales: tuple[int, ...],
    precision: str,
    io: str,
    self_ensemble: bool,
    opset: int,
    res_scale: float | None,
    no_collapse: bool,
    force: bool,
) -> None:
    """Fold a checkpoint, prove it equal and write it as ONNX, one file per scale head."""
    with needs_extra("export"):
        from edsr_export.exporting import ExportOptions, export_checkpoint

    options = ExportOptions(
        scales=scales,
        precision=precision,  # type: ignore[arg-type]  # click has checked it
        io=io,  # type: ignore[arg-type]
        self_ensemble=self_ensemble,
        collapse_tail=not no_collapse,
        opset=opset,
    )
    for exported in export_checkpoint(ckpt, output, options, res_scale=res_scale, overwrite=force, note=click.echo):
        click.echo(summary(exported))


def summary(exported: "Exported") -> str:
    """What was done, in a few lines."""
    contract, before, after = exported.contract, exported.before, exported.after
    parity = contract.parity
    lines = [
        f"{exported.path}: {contract.architecture} x{contract.scale}, {contract.precision}, {contract.io} in and out"
        + (", self-ensemble inside" if contract.self_ensemble else ""),
        *(f"  folded: {fold}" for fold in contract.folds),
        f"  parameters: {before.parameters / 1e3:,.0f} K -> {after.parameters / 1e3:,.0f} K",
        f"  Mult-Adds at HR 1280x720: {before.mult_adds / 1e9:,.1f} G -> {after.mult_adds / 1e9:,.1f} G"
        f" ({after.mult_adds / before.mult_adds - 1:+.0%})",
        f"  parity with PyTorch: {parity.max_difference:.2g} grey levels at most, {parity.rms_difference:.2g} rms,"
        f" on {len(parity.shapes)} shapes",
        f"  receptive radius: {contract.receptive_radius} LR pixels; smallest side: {contract.min_side}",
        f"  size: {exported.size_bytes / 1e6:,.1f} MB",
    ]
    return "\n".join(lines)
