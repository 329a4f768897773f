"""``python -m edsr_runtime.demo``: a photograph upscaled four times by the shipped model, beside bicubic.

The photograph lies in the folder ``demo``, with a note on where it comes from. It was made small from an original that
lies there too, so the result can be compared with the truth.
"""

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edsr_runtime.command import EdsrCommand
from edsr_runtime.errors import PictureError
from edsr_runtime.metrics import PROTOCOLS
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.pictures.write import write_picture
from edsr_runtime.resize import imresize
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import DEFAULT_NAME, model_path

Rgb = NDArray[np.uint8]

SCALE = 4
LR_PHOTOGRAPH = Path(__file__).parent / "demo" / "coffee_lr.png"
HR_PHOTOGRAPH = Path(__file__).parent / "demo" / "coffee_hr.png"
DETAIL = np.s_[150:340, 270:440]
"""Rows and columns of the result that are shown large: the rim of the cup, and the spoon."""

_MAGNIFIED = 4
_PROTOCOL = PROTOCOLS["paper-y"]
_BAR = 44  # height of the labels, pixels
_GAP = 8
_BACKGROUND, _INK = (24, 24, 24), (240, 240, 240)


@click.command(cls=EdsrCommand)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the two pictures.",
)
def main(output: Path) -> None:
    """Upscale the bundled photograph four times and put it beside bicubic."""
    for line in run(model_path(DEFAULT_NAME, SCALE), output):
        click.echo(line)


def run(model: Path, output: Path) -> list[str]:
    """Do it.

    Args:
        model: ONNX file for scale 4.
        output: folder, made if needed; files in it are replaced.

    Returns:
        Lines on what was chosen, how long it took, what was written and how good it is.

    Raises:
        EdsrError: the model cannot be used, or the folder not be written.
    """
    lr, hr = (read_picture(path).pixels for path in (LR_PHOTOGRAPH, HR_PHOTOGRAPH))
    with Upscaler(model) as upscaler:
        start = time.perf_counter()
        ours = upscaler.upscale(lr)
        seconds = time.perf_counter() - start
        description = upscaler.description
    bicubic: Rgb = np.asarray(imresize(lr, SCALE), np.uint8)
    ours_db, bicubic_db = (_PROTOCOL.psnr(picture, hr, SCALE) for picture in (ours, bicubic))
    both = side_by_side((f"bicubic, {bicubic_db:.2f} dB", bicubic), (f"{model.stem}, {ours_db:.2f} dB", ours))

    paths = output / "photo_x4.png", output / "side_by_side.png"
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise PictureError(f"{output}: this output folder cannot be made ({err.strerror})") from err
    for path, pixels in zip(paths, (ours, both), strict=True):
        write_picture(path, Picture(pixels, None))
    return [
        description,
        f"{lr.shape[0]}x{lr.shape[1]} -> {ours.shape[0]}x{ours.shape[1]} (HxW) in {seconds:.2f} s, "
        "loading the model included",
        f"{paths[0]}: the photograph, {SCALE} times as large",
        f"{paths[1]}: a detail of it, bicubic on the left, ours on the right",
        f"PSNR against the original ({_PROTOCOL.id}): bicubic {bicubic_db:.2f} dB, ours {ours_db:.2f} dB",
    ]


def side_by_side(left: tuple[str, Rgb], right: tuple[str, Rgb]) -> Rgb:
    """The same detail of two (H, W, 3) pictures, magnified pixel by pixel, each below its label."""
    columns = [_labelled(label, picture[DETAIL]) for label, picture in (left, right)]
    gap = np.full((len(columns[0]), _GAP, 3), _BACKGROUND, np.uint8)
    return np.concatenate([columns[0], gap, columns[1]], axis=1)


def _labelled(label: str, detail: NDArray[Any]) -> Rgb:
    large = detail.repeat(_MAGNIFIED, axis=0).repeat(_MAGNIFIED, axis=1)
    bar = Image.new("RGB", (large.shape[1], _BAR), _BACKGROUND)
    font = ImageFont.load_default(size=_BAR * 0.55)
    ImageDraw.Draw(bar).text((_BAR // 3, _BAR // 2), label, fill=_INK, font=font, anchor="lm")
    return np.concatenate([np.asarray(bar), large])


if __name__ == "__main__":
    main(prog_name="python -m edsr_runtime.demo")
