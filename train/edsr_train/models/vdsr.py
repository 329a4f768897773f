"""VDSR: twenty convolutions that correct the bicubically enlarged picture; one network for all scales.

Source: Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016,
arXiv:1511.04587, figure 2. 664,704 parameters, published as 665K, are those of convolutions without biases, which is
how PyTorch versions of it have them; the submodules have the names that those use (input, residual_layer, output).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from edsr_runtime.errors import EdsrError
from edsr_train.models.bicubic import Bicubic
from edsr_train.models.blocks import conv
from edsr_train.models.branch import Branch, ChainNetwork
from edsr_train.models.checks import check_pixel_range
from edsr_train.models.ends import Colors, Ends


@dataclass(frozen=True)
class VDSRConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scales: tuple[int, ...] = (2, 3, 4)
    """The scales it is for. The weights are the same for all, and do not show them: the picture is enlarged before."""
    n_layers: int = 20
    """Convolutions."""
    n_feats: int = 64
    """Feature maps."""
    colors: Colors = "y"
    """``y``: luma only, and chroma is enlarged bicubically, as in the paper. ``rgb``: all three colours."""
    pixel_range: float = 1.0
    """White inside."""

    def __post_init__(self) -> None:
        check_pixel_range(self.pixel_range)
        if self.n_layers < 2:
            raise EdsrError(f"n_layers is {self.n_layers}, expected at least 2, the first and the last")


class VDSR(ChainNetwork):
    """Very deep super-resolution network; see the module's docstring for the source."""

    config: VDSRConfig

    def __init__(self, config: VDSRConfig) -> None:
        super().__init__()
        self.config = config
        self.ends = Ends(config.colors, config.pixel_range)
        self.enlarge = nn.ModuleDict({str(scale): Bicubic(scale) for scale in config.scales})
        feats = config.n_feats
        self.input = _conv(self.ends.channels, feats)
        self.residual_layer = nn.Sequential(*(_ConvReLU(feats) for _ in range(config.n_layers - 2)))
        self.output = _conv(feats, self.ends.channels)

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales it is for."""
        return self.config.scales

    def branch(self, scale: int) -> Branch:
        """The network at one scale as a chain of parts."""
        self.check_scale(scale)
        enlarge = self.enlarge[str(scale)]
        features = nn.Sequential(enlarge, self.input, nn.ReLU(), self.residual_layer)
        return self.ends.around_difference(scale, features, nn.Sequential(self.output), enlarge)


class _ConvReLU(nn.Module):
    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = _conv(n_feats, n_feats)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.relu(self.conv(x))
        return activated


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    layer = conv(in_channels, out_channels, bias=False)
    # He et al., as in section 3 of the paper: twenty layers without it begin with next to no signal.
    nn.init.normal_(layer.weight, std=(2 / (9 * out_channels)) ** 0.5)
    return layer
