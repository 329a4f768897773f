"""CARN and CARN-M: cascading residual networks with a head for each scale.

Source: Ahn et al., "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", ECCV 2018,
arXiv:1803.08664, figures 2 and 3. Submodules keep the names of the authors' checkpoints.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edsr_runtime.errors import EdsrError
from edsr_train.models.blocks import ScaleHeads, Upsampler, conv
from edsr_train.models.branch import Branch, ChainNetwork
from edsr_train.models.checks import check_pixel_range
from edsr_train.models.colours import AddMean, SubMean

_STEPS = (1, 2, 3)  # of a cascade, in a block and in the network


@dataclass(frozen=True)
class CARNConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scales: tuple[int, ...] = (2, 3, 4)
    """The scales that have a head."""
    n_feats: int = 64
    """Feature maps per convolution."""
    groups: int = 1
    """1: CARN. More, 4 in the paper: CARN-M, whose residual blocks are two convolutions in so many groups and a 1x1
    one, and share their weights within a cascading block. Its upsamplers have groups too."""
    pixel_range: float = 1.0
    """White inside."""

    def __post_init__(self) -> None:
        check_pixel_range(self.pixel_range)
        if self.groups < 1 or self.n_feats % self.groups:
            raise EdsrError(f"groups is {self.groups}, expected a divisor of the {self.n_feats} feature maps")
        object.__setattr__(self, "scales", tuple(sorted(self.scales)))  # as a checkpoint shows them


class CARN(ChainNetwork):
    """Cascading residual network; see the module's docstring for the source."""

    config: CARNConfig

    def __init__(self, config: CARNConfig) -> None:
        super().__init__()
        self.config = config
        feats = config.n_feats
        self.sub_mean = SubMean(config.pixel_range)
        self.add_mean = AddMean(config.pixel_range)
        self.entry = conv(3, feats)
        for step in _STEPS:
            self.add_module(f"b{step}", _CascadingBlock(config))
            self.add_module(f"c{step}", _Fusion(step, feats))
        self.upsample = ScaleHeads(
            {scale: Upsampler(scale, feats, groups=config.groups, activation=nn.ReLU) for scale in config.scales}
        )
        self.exit = conv(feats, 3)

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales it has heads for."""
        return self.config.scales

    def branch(self, scale: int) -> Branch:
        """The network at one scale as a chain of parts, without the modules of the other scales."""
        self.check_scale(scale)
        blocks, fusions = ([self.get_submodule(f"{kind}{step}") for step in _STEPS] for kind in "bc")
        features = nn.Sequential(self.entry, _Cascade(blocks, fusions))
        tail = nn.Sequential(self.upsample.head(scale), self.exit)
        return Branch(scale, self.sub_mean, features, tail, self.add_mean)


class _Cascade(nn.Module):
    """Each block takes the fusion of all that came before it: the input and the outputs of all earlier blocks."""

    def __init__(self, blocks: Iterable[nn.Module], fusions: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.fusions = nn.ModuleList(fusions)

    def forward(self, x: Tensor) -> Tensor:
        return _cascade(x, self.blocks, self.fusions)


class _CascadingBlock(nn.Module):
    """A cascade of three residual blocks, which are one and the same in CARN-M."""

    def __init__(self, config: CARNConfig) -> None:
        super().__init__()
        self._blocks = [f"b{1 if _is_mobile(config) else step}" for step in _STEPS]
        for name in dict.fromkeys(self._blocks):
            self.add_module(name, _ResidualBlock(config))
        for step in _STEPS:
            self.add_module(f"c{step}", _Fusion(step, config.n_feats))

    def forward(self, x: Tensor) -> Tensor:
        fusions = [self.get_submodule(f"c{step}") for step in _STEPS]
        return _cascade(x, [self.get_submodule(name) for name in self._blocks], fusions)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions, in CARN-M in groups and with a 1x1 one after them; ReLU after the sum."""

    def __init__(self, config: CARNConfig) -> None:
        super().__init__()
        feats, groups = config.n_feats, config.groups
        layers: list[nn.Module] = [conv(feats, feats, groups=groups), nn.ReLU(), conv(feats, feats, groups=groups)]
        self.body = nn.Sequential(*layers, *([nn.ReLU(), conv(feats, feats, 1)] if _is_mobile(config) else []))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


class _Fusion(nn.Module):
    """1x1 convolution of the input and ``step`` outputs, ReLU."""

    def __init__(self, step: int, n_feats: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv((step + 1) * n_feats, n_feats, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.body(x)
        return fused


def _is_mobile(config: CARNConfig) -> bool:
    return config.groups > 1


def _cascade(x: Tensor, blocks: Iterable[nn.Module], fusions: Iterable[nn.Module]) -> Tensor:
    collected = fused = x
    for block, fusion in zip(blocks, fusions, strict=True):
        collected = torch.cat([collected, block(fused)], dim=1)
        fused = fusion(collected)
    return fused
