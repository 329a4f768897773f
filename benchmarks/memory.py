"""Peak memory of ``edsr-upscale`` on a very large picture: bounded by a tile, not by the picture."""

import shutil
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.context import Context
from benchmarks.peak_memory import CommandFailedError, run_and_measure
from benchmarks.pictures import gradient_bands
from benchmarks.targets import Target, at_most
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_runtime.pictures.write import open_writer
from edsr_runtime.zoo import DEFAULT_NAME, model_path

_LIMIT_GB = 3.0  # 1e9 bytes each
_BYTES_PER_PIXEL = 3  # of a PNG that does not shrink


@dataclass(frozen=True)
class MemoryRow:
    """One run of the command, with its start and the loading of the model."""

    scale: int
    lr_hw: tuple[int, int]
    hr_hw: tuple[int, int]
    seconds: float
    peak_bytes: int
    """Resident set."""
    input_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class MemoryResult:
    """PNG to PNG."""

    model: str
    rows: list[MemoryRow]
    targets: list[Target]


def measure(context: Context) -> MemoryResult:
    """Upscale one picture of ``memory_side`` squared.

    Raises:
        ModelFileError: the model does not come with the package.
        EnvironmentUnfitError: the disk is too small, or the command is not installed.
        EdsrError: the command failed.
    """
    rows, side = [], context.settings.memory_side
    for scale in context.settings.memory_scales:
        arguments = ["-n", DEFAULT_NAME, "-s", str(scale)]
        model_path(DEFAULT_NAME, scale)  # refuses here, not after minutes
        context.say(f"memory: edsr-upscale {' '.join(arguments)} on {side}x{side}")
        rows.append(measure_command(context.folder, side, scale, arguments))
    unless = context.settings.why_no_target
    targets = [at_most(_promise(row), _LIMIT_GB, row.peak_bytes / 1e9, "GB", unless=unless) for row in rows]
    return MemoryResult(DEFAULT_NAME, rows, targets)


def measure_command(folder: Path, side: int, scale: int, arguments: list[str]) -> MemoryRow:
    """Run ``edsr-upscale`` on a new picture of side x side.

    Args:
        folder: for input and output, which are removed again.
        side: LR pixels.
        scale: what the model enlarges by.
        arguments: that choose the model.
    """
    source, target = folder / "large.png", folder / f"large_x{scale}.png"
    _check_disk(folder, _BYTES_PER_PIXEL * side**2 * (1 + scale**2))
    _write(source, side)
    try:
        usage = run_and_measure([_program("edsr-upscale"), "-i", str(source), "-o", str(target), *arguments])
        hr_hw = _png_size(target)
        if hr_hw != (side * scale, side * scale):
            raise EdsrError(f"edsr-upscale wrote a picture of {hr_hw[0]}x{hr_hw[1]} (HxW), not {scale} times {side}")
        sizes = source.stat().st_size, target.stat().st_size
        return MemoryRow(scale, (side, side), hr_hw, usage.seconds, usage.peak_bytes, *sizes)
    except CommandFailedError as err:
        raise EdsrError(str(err)) from err
    finally:
        source.unlink()
        target.unlink(missing_ok=True)


def _promise(row: MemoryRow) -> str:
    return f"memory for {row.lr_hw[0] * row.lr_hw[1] / 1e6:,.3g} megapixels x{row.scale}"


def _write(path: Path, side: int) -> None:
    with open_writer(path, "png", height=side, width=side, channels=3, dtype=np.uint8) as writer:
        for band in gradient_bands(side):
            writer.write_rows(band)


def _program(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise EnvironmentUnfitError(f"{path}: there is no such command. Install the project: pip install -e '.[cpu]'")
    return str(path)


def _check_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentUnfitError(
            f"{folder} has {free / 1e9:.1f} GB left, and the pictures may need {needed / 1e9:.1f} GB: "
            "name a larger disk in TMPDIR"
        )


def _png_size(path: Path) -> tuple[int, int]:
    """(H, W), from the header."""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return height, width
