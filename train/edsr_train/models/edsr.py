"""EDSR, one network per scale.

Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
arXiv:1707.02921, figure 3 and table 1. Submodules keep the names of the authors' checkpoints (head, body, tail,
sub_mean, add_mean), so those load without renaming.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from edsr_train.models.blocks import MeanShift, ResBlock, Upsampler, conv
from edsr_train.models.branch import Branch, Residual, SuperResolutionNetwork


@dataclass(frozen=True)
class EDSRConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scale: int
    """Upscaling factor: 2, 3 or 4."""
    n_resblocks: int = 16
    """Residual blocks in the body: 16 in the baseline, 32 in EDSR."""
    n_feats: int = 64
    """Feature maps per convolution: 64 in the baseline, 256 in EDSR."""
    res_scale: float = 1.0
    """Residual scaling: 1 in the baseline, 0.1 in EDSR. The weights do not show it."""
    tail: Literal["paper", "direct"] = "paper"
    """``paper``: convolution and pixel shuffle per factor, then a convolution at HR resolution. ``direct``: one 5x5
    convolution to 3*scale^2 channels and one pixel shuffle. Inside a picture both are the same class of functions
    (a 5x5 linear map); ``direct`` trains and runs several times faster, but is not the paper's network."""


class EDSR(SuperResolutionNetwork):
    """Enhanced deep super-resolution network; see the module's docstring for the source."""

    config: EDSRConfig

    def __init__(self, config: EDSRConfig) -> None:
        super().__init__()
        self.config = config
        feats = config.n_feats
        blocks = [ResBlock(feats, config.res_scale) for _ in range(config.n_resblocks)]
        self.sub_mean = MeanShift(sign=-1)
        self.head = nn.Sequential(conv(3, feats))
        self.body = nn.Sequential(*blocks, conv(feats, feats))
        self.tail = _tail(config)
        self.add_mean = MeanShift(sign=+1)

    def forward(self, lr: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..255 -> (N, 3, scale*H, scale*W), same range, not clamped."""
        x = self.head(self.sub_mean(lr))
        x = x + self.body(x)
        return self.add_mean(self.tail(x))

    @property
    def scales(self) -> tuple[int, ...]:
        """The only scale it has."""
        return (self.config.scale,)

    def branch(self, scale: int) -> Branch:
        """The network as a chain of parts; ``scale`` must be its own."""
        if scale != self.config.scale:
            raise ValueError(f"this network has scale {self.config.scale}, not {scale}")
        return Branch(scale, self.sub_mean, Residual(self.head, self.body), self.tail, self.add_mean)


def _tail(config: EDSRConfig) -> nn.Sequential:
    if config.tail == "direct":
        return nn.Sequential(conv(config.n_feats, 3 * config.scale**2, 5), nn.PixelShuffle(config.scale))
    return nn.Sequential(Upsampler(config.scale, config.n_feats), conv(config.n_feats, 3))
