"""Export the models that come with the package anew: ``python -m edsr_export.ship``, or ``make models``.

Works in a clone of the repository, where the checkpoints are. To be run after every change of a checkpoint that ships:
a test compares the files with them.
"""

from pathlib import Path
from typing import Literal

from edsr_export.exporting import Exported, ExportOptions, export_checkpoint
from edsr_runtime import zoo

CHECKPOINTS = Path(__file__).resolve().parents[2] / "train" / "checkpoints"
MODELS = Path(zoo.__file__).parent / "models"

SHIPPED: dict[str, tuple[Literal["fp32", "fp16"], ...]] = {
    "edsr-small_x2": ("fp32", "fp16"),
    "edsr-small_x3": ("fp32", "fp16"),
    "edsr-small_x4": ("fp32", "fp16"),
    "edsr-baseline_x2": ("fp32",),
    "edsr-baseline_x3": ("fp32",),
    "edsr-baseline_x4": ("fp32",),
}
"""Checkpoint -> what is exported of it: FP32 for CPUs, FP16 for TensorRT. All else is as ``edsr-export`` has it."""


def main() -> None:
    """Export all of them over those that are there."""
    for name in SHIPPED:
        for exported in export(name, MODELS):
            source = exported.contract.source_sha256[:12]
            print(f"{exported.path}: {exported.size_bytes / 1e6:.1f} MB, of the checkpoint {source}...")


def export(name: str, folder: Path) -> list[Exported]:
    """The files of one checkpoint, each whole or not at all.

    Args:
        name: key of ``SHIPPED``.
        folder: where they are written; existing ones are replaced.

    Raises:
        EdsrError: the checkpoint is not there, or cannot be exported.
        GateError: a file would not be equal to its network.
    """
    written = []
    for precision in SHIPPED[name]:
        options = ExportOptions(precision=precision)
        written += export_checkpoint(CHECKPOINTS / f"{name}.safetensors", folder, options, overwrite=True)
    return written


if __name__ == "__main__":
    main()
