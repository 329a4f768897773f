"""Share of the time that goes into writing the PNG, of a picture that is upscaled four times."""

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.context import Context
from benchmarks.ours import AUTO
from benchmarks.pictures import Rgb, picture_to_encode
from benchmarks.targets import Target, at_most
from benchmarks.timing import Candidate, Spread, interleave, paired_ratios, spread
from edsr_runtime.pictures.write import open_writer
from edsr_runtime.resize import imresize

_SCALE = 4
_LIMIT = 15.0  # percent


@dataclass(frozen=True)
class EncodeRow:
    """One encoder."""

    name: str
    seconds: Spread
    """To a file in the system's folder for temporary files."""
    share_percent: Spread
    """Of encoding in encoding plus inference, one after the other, in pairs."""
    size_bytes: int


@dataclass(frozen=True)
class EncodeResult:
    """Inference and encoding are timed one after the other; edsr-upscale overlaps them."""

    network: str
    description: str
    lr_hw: tuple[int, int]
    hr_hw: tuple[int, int]
    picture: str
    """What is encoded: a picture of the size of the result, since random weights give no natural one."""
    infer_seconds: Spread
    rows: list[EncodeRow]
    targets: list[Target]


def measure(context: Context) -> EncodeResult:
    """Time inference, our encoder and Pillow's, in turns."""
    settings = context.settings
    side = settings.encode_side
    context.say("encode: exporting")
    picture, hr = picture_to_encode(context.data, side)
    lr = np.asarray(imresize(hr, 1 / _SCALE), np.uint8)
    ours, pillow = context.folder / "ours.png", context.folder / "pillow.png"
    with ExitStack() as stack:
        upscaler = stack.enter_context(AUTO.open(context.models.exported(_SCALE)))
        bands = [slice(row.core_start * _SCALE, row.core_stop * _SCALE) for row in upscaler.plan(*lr.shape[:2]).rows]

        def infer() -> None:
            for _ in upscaler.bands(lr):
                pass

        def encode() -> None:
            with open_writer(ours, "png", height=side, width=side, channels=3, dtype=np.uint8) as writer:
                for band in bands:
                    writer.write_rows(hr[band])

        candidates = [
            Candidate("infer", infer),
            Candidate("edsr-upscale", encode),
            Candidate("Pillow, default settings", lambda: Image.fromarray(hr).save(pillow)),
        ]
        context.say(f"encode: {settings.encode_rounds} rounds of {', '.join(c.name for c in candidates)}")
        seconds = interleave(candidates, settings.encode_rounds, warm_up=settings.warm_up)
        description = upscaler.description
    files = {"edsr-upscale": ours, "Pillow, default settings": pillow}
    rows = [
        EncodeRow(name, spread(seconds[name]), spread(_shares(seconds[name], seconds["infer"])), path.stat().st_size)
        for name, path in files.items()
    ]
    return EncodeResult(
        context.models.description,
        description,
        (lr.shape[0], lr.shape[1]),
        (side, side),
        picture,
        spread(seconds["infer"]),
        rows,
        [_target(context, rows[0], hr)],
    )


def _shares(encode: list[float], infer: list[float]) -> list[float]:
    total = [e + i for e, i in zip(encode, infer, strict=True)]
    return [100 * share for share in paired_ratios(encode, total)]


def _target(context: Context, row: EncodeRow, hr: Rgb) -> Target:
    promise = f"encoding, of a baseline x4 run to {hr.shape[0]}x{hr.shape[1]}"
    return at_most(promise, _LIMIT, row.share_percent.median, "%", unless=context.settings.why_no_target)
