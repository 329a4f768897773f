"""SRCNN: three convolutions on the bicubically enlarged picture.

Source: Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016, arXiv:1501.00092: 9-1-5 in
section 4, 9-5-5 (the published 57K) in section 4.3.2. Theirs cuts the border off; here every convolution is padded with
zeros, so that SR is as large as HR. The submodules have the names that PyTorch versions of it use: conv1, conv2, conv3.
"""

from dataclasses import dataclass

from torch import nn

from edsr_runtime.errors import EdsrError
from edsr_train.models.bicubic import Bicubic
from edsr_train.models.blocks import conv
from edsr_train.models.branch import Branch, ChainNetwork
from edsr_train.models.checks import check_pixel_range, check_sizes
from edsr_train.models.ends import Colors, Ends


@dataclass(frozen=True)
class SRCNNConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scale: int
    """Upscaling factor: 2, 3 or 4. The weights do not show it: the picture is enlarged before them."""
    kernels: tuple[int, ...] = (9, 5, 5)
    """Sides of the three kernels: 9-5-5, or 9-1-5."""
    n_feats: tuple[int, ...] = (64, 32)
    """Feature maps after the first and after the second convolution."""
    colors: Colors = "y"
    """``y``: luma only, and chroma is enlarged bicubically, as in the paper. ``rgb``: all three colours."""
    pixel_range: float = 1.0
    """White inside."""

    def __post_init__(self) -> None:
        check_pixel_range(self.pixel_range)
        check_sizes("n_feats", self.n_feats, 2)
        check_sizes("kernels", self.kernels, 3)
        if not all(side % 2 for side in self.kernels):
            raise EdsrError(f"kernels is {self.kernels}, expected odd numbers: others would shift the picture")


class SRCNN(ChainNetwork):
    """Super-resolution CNN; see the module's docstring for the source."""

    config: SRCNNConfig

    def __init__(self, config: SRCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.ends = Ends(config.colors, config.pixel_range)
        self.enlarge = Bicubic(config.scale)
        (first, second), (k1, k2, k3) = config.n_feats, config.kernels
        self.conv1 = conv(self.ends.channels, first, k1)
        self.conv2 = conv(first, second, k2)
        self.conv3 = conv(second, self.ends.channels, k3)

    @property
    def scales(self) -> tuple[int, ...]:
        """The only scale it has."""
        return (self.config.scale,)

    def branch(self, scale: int) -> Branch:
        """The network as a chain of parts; ``scale`` must be its own."""
        self.check_scale(scale)
        features = nn.Sequential(self.enlarge, self.conv1, nn.ReLU(), self.conv2, nn.ReLU())
        return self.ends.around_picture(scale, features, nn.Sequential(self.conv3), self.enlarge)
