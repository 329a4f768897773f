"""The terms in which a network's checkpoints are described.

An ``Architecture`` is one kind of network; a ``Layout`` is one way its weights are named and scaled in a file. A new
network is one module beside this one that ends in an ``Architecture``, and one line in ``registry``.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edsr_runtime.errors import CheckpointError
from edsr_train.models.blocks import MeanShift
from edsr_train.models.branch import NetworkConfig, SuperResolutionNetwork
from edsr_train.models.ends import Colors

Shapes = Mapping[str, tuple[int, ...]]
"""Key of a tensor in the file -> its shape."""

OWN_LAYOUT = "edsr-toolkit"
UNIT_RANGE = "pixel range: 0..1 inside, as in the authors' code; the weights do not show it"


@dataclass(frozen=True)
class Layout:
    """How one project names and scales the weights of a network."""

    name: str
    """``edsr-pytorch``, ``basicsr``, ...; shown to the user and kept in ``LoadedNetwork.layout``."""
    landmarks: tuple[str, ...]
    """Keys that, found together, belong to this layout and to no other."""
    configure: Callable[[Shapes], NetworkConfig]
    """Configuration from the shapes; fields that they do not show hold anything.

    Raises CheckpointError where the shapes show a network that is not supported.
    """
    stored_key: Callable[[str, NetworkConfig], str | None] = lambda key, _: key
    """Our key -> the key in the file, or None where the layout does not store that tensor."""
    adapt: Callable[[dict[str, Tensor]], tuple[dict[str, Tensor], tuple[str, ...]]] = lambda state: (state, ())
    """Float32 tensors under our keys -> all tensors of our network, for RGB in 0..255, and lines to print."""

    def claims(self, shapes: Shapes) -> bool:
        """Whether a file with these tensors is of this layout."""
        return all(key in shapes for key in self.landmarks)

    def almost_claims(self, shapes: Shapes) -> bool:
        """Whether a single landmark is missing, so that the file is most likely a damaged one of this layout."""
        return len(self.landmarks) - sum(key in shapes for key in self.landmarks) == 1


@dataclass(frozen=True)
class Architecture:
    """One kind of network and all the layouts in which its checkpoints are found."""

    name: str
    """``edsr``; stored in our checkpoints."""
    config_type: type[NetworkConfig]
    network_type: Callable[[Any], SuperResolutionNetwork]
    """The network's class; called with a configuration."""
    describe: Callable[[Any], str]
    """Configuration -> "EDSR x4, 16 blocks of 64 feature maps"."""
    own: Layout
    """Our own names."""
    foreign: tuple[Layout, ...]
    """Those of others, tried in this order."""
    published_res_scale: Callable[[Any], tuple[float, str] | None] = lambda _: None
    """Residual scaling of a published size and why, or None where nothing tells it."""
    unseen: tuple[str, ...] = ()
    """Fields of the configuration, beside residual scaling, that the weights do not show."""

    @property
    def has_res_scale(self) -> bool:
        """Whether the network has residual scaling, which the weights do not show."""
        return "res_scale" in self.config_type.__dataclass_fields__

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """All of them, ours first."""
        return (self.own, *self.foreign)


def shape_of(shapes: Shapes, key: str) -> tuple[int, int, int, int]:
    """Shape (out, in, kernel height, kernel width) of a convolution's weight; CheckpointError if it is none."""
    if key not in shapes:
        raise CheckpointError(f"{key} is missing, so the size of the network is unknown")
    shape = shapes[key]
    if len(shape) != 4 or 0 in shape:
        raise CheckpointError(f"{key} has the shape {show_shape(shape)}, expected a convolution's weight")
    return shape[0], shape[1], shape[2], shape[3]


def rgb_feats(shapes: Shapes, first_convolution: str) -> int:
    """Feature maps of a network whose first convolution has this key; CheckpointError if it does not take RGB."""
    feats, colours, *_ = shape_of(shapes, first_convolution)
    if colours != 3:
        channels = "1 colour channel" if colours == 1 else f"{colours} input channels"
        raise CheckpointError(
            f"a network for {channels} ({first_convolution} is {show_shape(shapes[first_convolution])}). "
            "Only networks for RGB, 3 channels, are supported"
        )
    return feats


def seen_colors(shapes: Shapes, first_convolution: str) -> Colors:
    """What a network works on, by what its first convolution takes; CheckpointError for anything but luma and RGB."""
    _, channels, *_ = shape_of(shapes, first_convolution)
    if channels not in (1, 3):
        found = show_shape(shapes[first_convolution])
        raise CheckpointError(f"{first_convolution} is {found}, expected 1 input channel (luma) or 3 (RGB)")
    return "y" if channels == 1 else "rgb"


def head_scales(shapes: Shapes, feats: int) -> tuple[int, ...]:
    """Scales of an ``upsample`` with a head for each (``up2.body``), or with one (``up.body``).

    Raises:
        CheckpointError: there is none, or one is of another scale than its name says.
    """
    scales = []
    for name in sorted({match[1] for key in shapes if (match := re.fullmatch(r"upsample\.(up\d*)\.body\..*", key))}):
        steps = sorted(key for key in shapes if re.fullmatch(rf"upsample\.{name}\.body\.\d+\.weight", key))
        scales.append(upsampler_scale(shapes, steps, feats))
        if name not in ("up", f"up{scales[-1]}"):
            raise CheckpointError(f"upsample.{name} upscales by {scales[-1]}, which contradicts its name")
    if not scales:
        raise CheckpointError("upsample.up.body.0.weight is missing, so the scale of the network is unknown")
    return tuple(scales)


def count_indices(shapes: Shapes, pattern: str) -> int:
    """How many different numbers the first group of ``pattern`` takes among the keys.

    The count, not the highest number: a key with the index 10^9 must not make a network of 10^9 blocks. Where indices
    are left out, the comparison of keys that follows reports the gap.
    """
    return len({match[1] for key in shapes if (match := re.fullmatch(pattern, key))})


def upsampler_scale(shapes: Shapes, keys: Iterable[str], feats: int) -> int:
    """Scale from the weights of an upsampler's convolutions, F -> F * factor^2 each.

    Raises:
        CheckpointError: the convolutions do not give a scale of 2, 3 or 4 as 2, 3 or 2 times 2.
    """
    factors = []
    for key in keys:
        out_channels, *_ = shape_of(shapes, key)
        factor = math.isqrt(out_channels // feats)
        if factor < 2 or feats * factor**2 != out_channels:
            raise CheckpointError(
                f"{key} has {out_channels} output channels, expected 4 or 9 times the {feats} feature maps"
            )
        factors.append(factor)
    if factors not in ([2], [3], [2, 2]):
        steps = " x ".join(map(str, factors)) or "nothing"
        raise CheckpointError(f"the network upscales by {steps}. The scales 2, 3 and 4 (as 2 x 2) are supported")
    return math.prod(factors)


def said(*notes: str) -> Callable[[dict[str, Tensor]], tuple[dict[str, Tensor], tuple[str, ...]]]:
    """An ``adapt`` that changes nothing and has these lines printed."""
    return lambda state: (state, notes)


def on_colors(colors: Colors) -> str:
    """``on luma`` or ``on RGB``."""
    return "on luma" if colors == "y" else "on RGB"


def in_words(scales: Iterable[int]) -> str:
    """``x2, x3, x4``."""
    return ", ".join(f"x{scale}" for scale in scales)


def default_mean_shift(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with the mean shift of DIV2K on 0..255, for layouts that keep the mean outside the file."""
    shifts = {"sub_mean": MeanShift(sign=-1), "add_mean": MeanShift(sign=+1)}
    stored = {f"{name}.{key}": value for name, shift in shifts.items() for key, value in shift.state_dict().items()}
    return {**stored, **state}


def biases_to_255(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network for 0..1 as those of the same function on 0..255.

    Convolution, ReLU, sum and pixel shuffle commute with a positive factor: if every bias grows 255 times, input and
    output do too, and nothing else changes.
    """
    return {key: value * 255 if key.endswith(".bias") else value for key, value in state.items()}


def stored_mean_shift(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """For layouts that store the mean shift: its values decide on which range the network works.

    A mean of at most 1, but not zero, is a network trained for 0..1 (the authors' ``--rgb_range 1``): black is 0, so
    no photographs have a mean of less than 1 of 255.
    """
    mean = -state["sub_mean.bias"]
    if 0 < float(mean.abs().max()) <= 1:
        state = biases_to_255(state)
        note = "pixel range: 0..1 by its mean shift; all biases were multiplied by 255 for 0..255, which is exact"
        return state, (_mean_note(-state["sub_mean.bias"]), note)
    return state, (_mean_note(mean),)


def _mean_note(mean: Tensor) -> str:
    if not torch.count_nonzero(mean):
        return "mean shift: none (zeros in the file)"
    return "mean shift: " + ", ".join(f"{value:.2f}" for value in mean.tolist()) + " of 255, as in the file"


def show_shape(shape: Iterable[int]) -> str:
    """(64, 3, 3, 3) -> 64x3x3x3."""
    return "x".join(map(str, shape)) or "a single number"
