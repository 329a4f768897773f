"""MDSR, one network for the scales 2, 3 and 4.

Source: Lim et al., arXiv:1707.02921, figure 5 and table 1: a shared head and body; two residual blocks with 5x5
convolutions and an upsampler of its own for each scale. Submodule names are the authors'.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from edsr_train.models.blocks import MeanShift, ResBlock, Upsampler, conv
from edsr_train.models.branch import Branch, Residual, SuperResolutionNetwork

PRE_PROCESS_KERNEL = 5  # "two residual blocks with 5x5 kernels", section 3.3 of the paper


@dataclass(frozen=True)
class MDSRConfig:
    """What is needed to rebuild the network; every checkpoint of ours carries it."""

    scales: tuple[int, ...] = (2, 3, 4)
    """The scales that have a head, in the order of the stored modules."""
    n_resblocks: int = 80
    """Residual blocks in the shared body: 80 in MDSR, 16 in the baseline."""
    n_feats: int = 64
    """Feature maps per convolution."""
    res_scale: float = 1.0
    """Residual scaling: 1 in the published networks."""


class MDSR(SuperResolutionNetwork):
    """Multi-scale network. The scale is an argument of every call: the module has no current scale."""

    config: MDSRConfig

    def __init__(self, config: MDSRConfig) -> None:
        super().__init__()
        self.config = config
        feats = config.n_feats
        blocks = [ResBlock(feats, config.res_scale) for _ in range(config.n_resblocks)]
        self.sub_mean = MeanShift(sign=-1)
        self.head = nn.Sequential(conv(3, feats))
        self.pre_process = nn.ModuleList(
            nn.Sequential(*(ResBlock(feats, kernel_size=PRE_PROCESS_KERNEL) for _ in range(2))) for _ in config.scales
        )
        self.body = nn.Sequential(*blocks, conv(feats, feats))
        self.upsample = nn.ModuleList(Upsampler(scale, feats) for scale in config.scales)
        self.tail = nn.Sequential(conv(feats, 3))
        self.add_mean = MeanShift(sign=+1)

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """(N, 3, H, W) RGB in 0..255 -> (N, 3, scale*H, scale*W), same range, not clamped."""
        branch = self.config.scales.index(scale)
        x = self.pre_process[branch](self.head(self.sub_mean(lr)))
        x = x + self.body(x)
        return self.add_mean(self.tail(self.upsample[branch](x)))

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales it has heads for."""
        return self.config.scales

    def branch(self, scale: int) -> Branch:
        """The network at one scale as a chain of parts, without the modules of the other scales."""
        if scale not in self.config.scales:
            raise ValueError(f"this network has the scales {self.config.scales}, not {scale}")
        index = self.config.scales.index(scale)
        head = nn.Sequential(*self.head, self.pre_process[index])
        tail = nn.Sequential(self.upsample[index], *self.tail)
        return Branch(scale, self.sub_mean, Residual(head, self.body), tail, self.add_mean)
