"""LESRCNN: a heterogeneous network at LR resolution, one sub-pixel path for two of its feature maps, and a refinement.

Source: Tian et al., "Lightweight Image Super-Resolution with Enhanced CNN", Knowledge-Based Systems 2020,
arXiv:2007.04344, section 3, and the authors' checkpoints, whose names the submodules keep. Where the two differ the
checkpoints are followed: 3x3 convolutions are conv1 and those with even numbers, 1x1 those with odd ones.

* Information extraction and enhancement (IEEB), conv1 to conv17: the output of each odd layer is added to what came of
  the earlier odd ones, then ReLU: f_1 = relu(conv1(x)), f_k = relu(f_(k-2) + conv_k(relu(conv_(k-1)(f_(k-2))))). As
  formulas and code are written, the sums are those before ReLU; but the authors' ReLU works in place, so that what
  their checkpoints were trained with, and need, are the sums after it.
* Reconstruction (RB): the sub-pixel convolution of f_17 and, with the same weights, of f_1; summed, ReLU.
* Information refinement (IRB), conv17_1 to conv17_4 with ReLU, and conv18 to the picture.

The published 516K parameters are 478,592 of the numbered convolutions and 36,928 of a 64 -> 64 convolution where the
sub-pixel convolutions are, which have 147,712 (x2), 332,352 (x3) or 295,424 (x4) parameters.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from edsr_train.models.blocks import ScaleHeads, SumOf, Upsampler, conv
from edsr_train.models.branch import Branch, ChainNetwork
from edsr_train.models.checks import check_pixel_range
from edsr_train.models.colours import AddMean, SubMean

_LAST_LAYER = 17  # of the IEEB
_REFINEMENTS = (1, 2, 3, 4)


@dataclass(frozen=True)
class LESRCNNConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scales: tuple[int, ...] = (2, 3, 4)
    """The scales that have a sub-pixel path: several in the blind form, LESRCNN-S, which trains all of them."""
    n_feats: int = 64
    """Feature maps per convolution."""
    reconstruct: bool = True
    """The first feature map goes into the RB too. Without it and without ``refine`` the IEEB is alone. The weights do
    not show it."""
    refine: bool = True
    """The four convolutions of the IRB are there."""
    n_refine: int = 64
    """Feature maps between those four, which take and give ``n_feats``. 109 is a reading of the enlarged network that
    is published with 707K parameters: counted as 516K are (see the module), it has 707,490. What was made wider is not
    published; 75 feature maps everywhere would be 707,250."""
    pixel_range: float = 1.0
    """White inside."""

    def __post_init__(self) -> None:
        check_pixel_range(self.pixel_range)
        object.__setattr__(self, "scales", tuple(sorted(self.scales)))  # as a checkpoint shows them


class LESRCNN(ChainNetwork):
    """Lightweight enhanced super-resolution CNN; see the module's docstring for the source."""

    config: LESRCNNConfig

    def __init__(self, config: LESRCNNConfig) -> None:
        super().__init__()
        self.config = config
        feats = config.n_feats
        self.sub_mean = SubMean(config.pixel_range)
        self.add_mean = AddMean(config.pixel_range)
        self.conv1 = _layer(3, feats, 3)
        for number in range(2, _LAST_LAYER + 1):
            self.add_module(f"conv{number}", _layer(feats, feats, 1 if number % 2 else 3))
        if config.refine:
            ends = (feats, *(config.n_refine,) * (len(_REFINEMENTS) - 1), feats)
            for number, taken, given in zip(_REFINEMENTS, ends[:-1], ends[1:], strict=True):
                self.add_module(f"conv17_{number}", _layer(taken, given, 3))
        self.conv18 = _layer(feats, 3, 3)
        self.upsample = ScaleHeads({scale: Upsampler(scale, feats) for scale in config.scales})

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales it has sub-pixel paths for."""
        return self.config.scales

    def branch(self, scale: int) -> Branch:
        """The network at one scale as a chain of parts, without the modules of the other scales."""
        self.check_scale(scale)
        layers = [self.get_submodule(f"conv{number}") for number in range(1, _LAST_LAYER + 1)]
        upsampler = self.upsample.head(scale)
        tail: list[nn.Module] = [upsampler]
        if self.config.reconstruct:
            tail = [SumOf(upsampler), nn.ReLU()]
        if self.config.refine:
            for number in _REFINEMENTS:
                tail += [self.get_submodule(f"conv17_{number}"), nn.ReLU()]
        features = _Extraction(layers, self.config.reconstruct)
        return Branch(scale, self.sub_mean, features, nn.Sequential(*tail, self.conv18), self.add_mean)


class _Extraction(nn.Module):
    """The IEEB."""

    def __init__(self, layers: Iterable[nn.Module], with_first: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._with_first = with_first

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> the last feature map, or the last and the first, (N, F, H, W) each."""
        last = first = F.relu(self.layers[0](x))
        for even, odd in zip(self.layers[1::2], self.layers[2::2], strict=True):
            last = F.relu(last + odd(F.relu(even(last))))
        return (last, first) if self._with_first else last


def _layer(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """A convolution without bias, under the authors' name ``conv1.0``."""
    return nn.Sequential(conv(in_channels, out_channels, kernel_size, bias=False))
