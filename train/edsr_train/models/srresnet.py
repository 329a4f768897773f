"""SRResNet: residual blocks with batch norm, which EDSR took out.

Source: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017,
arXiv:1609.04802, figure 4. The reproduced form is that of Lim et al., arXiv:1707.02921, table 1 (1.5M parameters): ends
and mean shift as in EDSR. Submodules have the names of EDSR's checkpoints.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from edsr_train.models.blocks import MeanShift, Upsampler, conv
from edsr_train.models.branch import Branch, ChainNetwork, Residual

_ORIGINAL_KERNEL = 9  # of the first and the last convolution


@dataclass(frozen=True)
class SRResNetConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scale: int
    """Upscaling factor: 2, 3 or 4."""
    n_resblocks: int = 16
    """Residual blocks."""
    n_feats: int = 64
    """Feature maps per convolution."""
    form: Literal["reproduced", "original"] = "reproduced"
    """``reproduced``: 3x3 ends, and no activation in the tail. ``original``: 9x9 ends, PReLU in the tail too."""


class SRResNet(ChainNetwork):
    """Super-resolution residual network; see the module's docstring for the source."""

    config: SRResNetConfig

    def __init__(self, config: SRResNetConfig) -> None:
        super().__init__()
        self.config = config
        feats, is_original = config.n_feats, config.form == "original"
        kernel = _ORIGINAL_KERNEL if is_original else 3
        blocks = [_Block(feats) for _ in range(config.n_resblocks)]
        self.sub_mean = MeanShift(sign=-1)
        self.head = nn.Sequential(conv(3, feats, kernel), nn.PReLU())
        self.body = nn.Sequential(*blocks, conv(feats, feats), nn.BatchNorm2d(feats))
        upsampler = Upsampler(config.scale, feats, activation=nn.PReLU if is_original else None)
        self.tail = nn.Sequential(upsampler, conv(feats, 3, kernel))
        self.add_mean = MeanShift(sign=+1)

    @property
    def scales(self) -> tuple[int, ...]:
        """The only scale it has."""
        return (self.config.scale,)

    def branch(self, scale: int) -> Branch:
        """The network as a chain of parts; ``scale`` must be its own."""
        self.check_scale(scale)
        return Branch(scale, self.sub_mean, Residual(self.head, self.body), self.tail, self.add_mean)


class _Block(nn.Module):
    """conv - batch norm - PReLU - conv - batch norm, added to the input."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        first = (conv(n_feats, n_feats), nn.BatchNorm2d(n_feats), nn.PReLU())
        self.body = nn.Sequential(*first, conv(n_feats, n_feats), nn.BatchNorm2d(n_feats))

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = x + self.body(x)
        return total
