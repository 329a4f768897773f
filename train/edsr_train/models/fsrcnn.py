"""FSRCNN: a thin network at LR resolution and a transposed convolution.

Source: Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016, arXiv:1608.00367,
figure 2: FSRCNN(d=56, s=12, m=4). The submodules have the names that PyTorch versions of it use: first_part, mid_part,
last_part.
"""

from dataclasses import dataclass

from torch import nn

from edsr_train.models.bicubic import Bicubic
from edsr_train.models.blocks import conv
from edsr_train.models.branch import Branch, ChainNetwork
from edsr_train.models.checks import check_pixel_range
from edsr_train.models.ends import Colors, Ends

_LAST_KERNEL = 9


@dataclass(frozen=True)
class FSRCNNConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scale: int
    """Upscaling factor: 2, 3 or 4. The weights do not show it: it is the stride of the transposed convolution."""
    n_feats: int = 56
    """Feature maps of the first and the last convolution; d in the paper."""
    n_shrunk: int = 12
    """Feature maps between; s in the paper."""
    n_layers: int = 4
    """3x3 convolutions between; m in the paper."""
    colors: Colors = "y"
    """``y``: luma only, and chroma is enlarged bicubically, as in the paper. ``rgb``: all three colours."""
    pixel_range: float = 1.0
    """White inside."""

    def __post_init__(self) -> None:
        check_pixel_range(self.pixel_range)


class FSRCNN(ChainNetwork):
    """Fast SRCNN; see the module's docstring for the source."""

    config: FSRCNNConfig

    def __init__(self, config: FSRCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.ends = Ends(config.colors, config.pixel_range)
        self.enlarge = Bicubic(config.scale)
        colours, wide, thin = self.ends.channels, config.n_feats, config.n_shrunk
        layers: list[nn.Module] = [conv(wide, thin, 1), nn.PReLU(thin)]
        for _ in range(config.n_layers):
            layers += [conv(thin, thin), nn.PReLU(thin)]
        self.first_part = nn.Sequential(conv(colours, wide, 5), nn.PReLU(wide))
        self.mid_part = nn.Sequential(*layers, conv(thin, wide, 1), nn.PReLU(wide))
        padding, scale = _LAST_KERNEL // 2, config.scale
        self.last_part = nn.ConvTranspose2d(wide, colours, _LAST_KERNEL, scale, padding, output_padding=scale - 1)

    @property
    def scales(self) -> tuple[int, ...]:
        """The only scale it has."""
        return (self.config.scale,)

    def branch(self, scale: int) -> Branch:
        """The network as a chain of parts; ``scale`` must be its own."""
        self.check_scale(scale)
        features = nn.Sequential(self.first_part, self.mid_part)
        return self.ends.around_picture(scale, features, nn.Sequential(self.last_part), self.enlarge)
