"""ESPCN: three convolutions at LR resolution and the pixel shuffle, which it introduced.

Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
Network", CVPR 2016, arXiv:1609.05158, section 3.2: 5-3-3 with 64 and 32 feature maps and tanh. The submodules have the
names that PyTorch versions of it use: first_part, last_part.
"""

from dataclasses import dataclass

from torch import nn

from edsr_train.models.bicubic import Bicubic
from edsr_train.models.blocks import conv
from edsr_train.models.branch import Branch, ChainNetwork
from edsr_train.models.checks import check_pixel_range, check_sizes
from edsr_train.models.ends import Colors, Ends


@dataclass(frozen=True)
class ESPCNConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scale: int
    """Upscaling factor: 2, 3 or 4."""
    n_feats: tuple[int, ...] = (64, 32)
    """Feature maps after the first and after the second convolution."""
    colors: Colors = "y"
    """``y``: luma only, and chroma is enlarged bicubically, as in the paper. ``rgb``: all three colours."""
    pixel_range: float = 1.0
    """White inside."""

    def __post_init__(self) -> None:
        check_pixel_range(self.pixel_range)
        check_sizes("n_feats", self.n_feats, 2)


class ESPCN(ChainNetwork):
    """Efficient sub-pixel network; see the module's docstring for the source."""

    config: ESPCNConfig

    def __init__(self, config: ESPCNConfig) -> None:
        super().__init__()
        self.config = config
        self.ends = Ends(config.colors, config.pixel_range)
        self.enlarge = Bicubic(config.scale)
        colours, (first, second) = self.ends.channels, config.n_feats
        self.first_part = nn.Sequential(conv(colours, first, 5), nn.Tanh(), conv(first, second), nn.Tanh())
        self.last_part = nn.Sequential(conv(second, colours * config.scale**2), nn.PixelShuffle(config.scale))

    @property
    def scales(self) -> tuple[int, ...]:
        """The only scale it has."""
        return (self.config.scale,)

    def branch(self, scale: int) -> Branch:
        """The network as a chain of parts; ``scale`` must be its own."""
        self.check_scale(scale)
        return self.ends.around_picture(scale, self.first_part, self.last_part, self.enlarge)
