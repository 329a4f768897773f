"""The optimization profile: which input shapes an engine takes. One engine has one, and it is narrow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edsr_runtime.contract import Contract
from edsr_runtime.errors import ShapeError

INPUT = "input"  # its name in every file of edsr-export

Io = Literal["float", "uint8"]
Dims = tuple[int, int, int, int]
"""As the engine's input has them: (N, 3, H, W) float, (N, H, W, 3) uint8."""


class Size(NamedTuple):
    """An input shape without its channels, which are always three."""

    batch: int
    height: int
    width: int

    def dims(self, io: Io) -> Dims:
        """With the channels where the engine has them."""
        batch, height, width = self
        return (batch, 3, height, width) if io == "float" else (batch, height, width, 3)

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}"


@dataclass(frozen=True)
class Profile:
    """Smallest, best and largest input, each (N, H, W) in LR pixels."""

    min: Size
    opt: Size
    max: Size

    def holds(self, size: Size) -> bool:
        """Whether an engine with this profile takes an input of this size."""
        return all(low <= n <= high for low, n, high in zip(self.min, size, self.max, strict=True))

    def __str__(self) -> str:
        return f"{self.min} .. {self.max} (NxHxW)" + (f", best at {self.opt}" if self.opt != self.max else "")


def tile_profile(tile: int, batch: int, contract: Contract) -> Profile:
    """For tiles of one size, and pictures smaller than that.

    Args:
        tile: side, LR pixels; kernels are chosen for ``batch`` of them.
        batch: how many at once, at most.
        contract: of the model; it knows the smallest side.

    Raises:
        ShapeError: there can be no such profile.
    """
    size = Size(batch, tile, tile)
    side = min(tile, contract.min_side)
    return checked(Profile(Size(1, side, side), size, size), contract)


def shapes_profile(shapes: Mapping[str, str], contract: Contract) -> Profile:
    """From trtexec's options.

    Args:
        shapes: ``min``, ``opt`` and ``max``, some of them: ``input:1x3x64x64``. One that is missing is like its
            neighbour: opt like max, max and min like opt.
        contract: of the model.

    Raises:
        ShapeError: not of that grammar, or there can be no such profile.
    """
    sizes = {which: _parse(text, which, contract) for which, text in shapes.items()}
    opt = sizes.get("opt") or sizes.get("max") or sizes["min"]
    return checked(Profile(sizes.get("min", opt), opt, sizes.get("max", opt)), contract)


def checked(profile: Profile, contract: Contract) -> Profile:
    """The profile itself. TensorRT takes nonsense without a word, so it is looked at here.

    Raises:
        ShapeError: an axis is out of order, or smaller than the model takes.
    """
    lowest = Size(1, contract.min_side, contract.min_side)
    for axis, low, opt, high, least in zip(Size._fields, profile.min, profile.opt, profile.max, lowest, strict=True):
        if not low <= opt <= high:
            raise ShapeError(f"the profile's {axis} is min {low}, opt {opt}, max {high}; expected min <= opt <= max")
        if low < least:
            hint = "; a model exported with --no-collapse takes smaller ones" if 1 <= low < contract.min_side else ""
            raise ShapeError(f"the profile's smallest {axis} is {low}, expected at least {least}{hint}")
    return profile


def _parse(text: str, which: str, contract: Contract) -> Size:
    layout = "NxHxWx3" if contract.io == "uint8" else "Nx3xHxW"
    example = "1x64x64x3" if contract.io == "uint8" else "1x3x64x64"
    expected = f"expected {INPUT}:{layout}, such as {INPUT}:{example}"
    name, _, dims = text.strip().rpartition(":")
    if name.strip("'\"") not in ("", INPUT):
        raise ShapeError(
            f"the {which} shapes name the input {name!r}, but the model's only input is {INPUT}: {expected}"
        )
    if not re.fullmatch(r"\d+(x\d+){3}", dims, flags=re.ASCII):
        raise ShapeError(f"{text!r} is not a {which} shape: {expected}")
    batch, *rest = (int(number) for number in dims.split("x"))
    channels = rest.pop(2 if contract.io == "uint8" else 0)
    if channels != 3:
        raise ShapeError(f"{text!r} has {channels} channels where the model has 3: {expected}")
    return Size(batch, *rest)
