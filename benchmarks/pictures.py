"""Pictures to measure on, natural where there are some."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
"""(H, W, 3)."""

NATURAL = Path("benchmark/DIV2K_valid3/HR/0802.png")
"""2040x1356, rich in detail; its place in the folder of the benchmark data."""


def noise(height: int, width: int, seed: int = 0) -> Rgb:
    """Uniform noise: for what does not depend on the picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def texture(height: int, width: int, seed: int = 0) -> Rgb:
    """Noise with the spectrum of photographs (amplitude 1/f), with less colour than brightness."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf  # no mean
    planes = []
    for amplitude in (45.0, 12.0, 12.0):  # brightness, and what red and blue have of their own; grey levels rms
        spectrum = random.standard_normal(frequency.shape) + 1j * random.standard_normal(frequency.shape)
        plane = np.fft.irfft2(spectrum / frequency, (height, width))
        planes.append(plane * (amplitude / plane.std()))
    brightness, red, blue = planes
    rgb = np.stack([brightness + red, brightness, brightness + blue], axis=2) + 120
    rounded: Rgb = np.rint(rgb.clip(0, 255)).astype(np.uint8)
    return rounded


def picture_to_encode(data: Path | None, side: int) -> tuple[str, Rgb]:
    """What it is, and side x side pixels: a photograph where the benchmark data have it, else ``texture``.

    The photograph is cropped, or continued by its mirror image.
    """
    from edsr_runtime.pictures.read import read_picture  # its decoders are no need of the rest

    if data is None or not (data / NATURAL).is_file():
        return "synthetic texture, amplitude 1/f", texture(side, side)
    pixels = read_picture(data / NATURAL).pixels
    missing = [max(0, side - length) for length in pixels.shape[:2]]
    mirrored = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    said = f"{NATURAL.stem} of DIV2K, continued by its mirror image"
    return said, np.ascontiguousarray(mirrored[:side, :side])


def gradient_bands(side: int, rows: int = 256, seed: int = 0) -> Iterator[Rgb]:
    """A smooth gradient with a little noise, side x side, in bands from top to bottom."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, side)
    for start in range(0, side, rows):
        down = ramp[start : start + rows, None]
        smooth = np.stack(np.broadcast_arrays(down, ramp[None], (down + ramp[None]) / 2), axis=2)
        yield (smooth + random.integers(0, 16, smooth.shape)).astype(np.uint8)
