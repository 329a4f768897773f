"""Building blocks that networks share.

Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
arXiv:1707.02921, section 3. Submodules keep the names of the authors' checkpoints.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

DIV2K_RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of 255; EDSR-PyTorch, src/model/common.py


def conv(in_channels: int, out_channels: int, kernel_size: int = 3, *, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the picture's size: zero padding of ``kernel_size // 2``."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=bias)


class MeanShift(nn.Conv2d):
    """Adds (``sign=+1``) or subtracts (``-1``) the mean colour, as the 1x1 convolution that checkpoints store."""

    def __init__(self, sign: int, rgb_range: float = 255.0) -> None:
        super().__init__(3, 3, kernel_size=1)
        assert self.bias is not None
        with torch.no_grad():
            self.weight.copy_(torch.eye(3, device="cpu").view(3, 3, 1, 1))
            self.bias.copy_(sign * rgb_range * torch.tensor(DIV2K_RGB_MEAN))
        self.requires_grad_(False)


class ResBlock(nn.Module):
    """conv - ReLU - conv, scaled, added to the input; no batch norm, no ReLU after the sum."""

    def __init__(self, n_feats: int, res_scale: float = 1.0, kernel_size: int = 3) -> None:
        super().__init__()
        self.res_scale = res_scale
        self.body = nn.Sequential(conv(n_feats, n_feats, kernel_size), nn.ReLU(), conv(n_feats, n_feats, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) -> the same shape."""
        branch = self.body(x)
        return x + (branch if self.res_scale == 1 else branch * self.res_scale)


class Upsampler(nn.Sequential):
    """Convolution and pixel shuffle: once for x2 and x3, twice by 2 for x4. Linear without an ``activation``."""

    def __init__(
        self, scale: int, n_feats: int, *, groups: int = 1, activation: Callable[[], nn.Module] | None = None
    ) -> None:
        factors = [3] if scale == 3 else [2] * int(math.log2(scale))
        if math.prod(factors) != scale:
            raise ValueError(f"scale {scale} is not 2, 3 or 4")
        layers: list[nn.Module] = []
        for factor in factors:
            layers.append(conv(n_feats, n_feats * factor**2, groups=groups))
            layers += [activation()] if activation else []
            layers.append(nn.PixelShuffle(factor))
        super().__init__(*layers)


class ScaleHeads(nn.Module):
    """An upsampler for each scale, under the names of CARN's and LESRCNN's checkpoints.

    ``up2.body``, ``up3.body``, ... where there are several, ``up.body`` where there is one.
    """

    def __init__(self, upsamplers: Mapping[int, nn.Sequential]) -> None:
        super().__init__()
        self._names = {scale: f"up{scale}" if len(upsamplers) > 1 else "up" for scale in upsamplers}
        for scale, upsampler in upsamplers.items():
            self.add_module(self._names[scale], nn.ModuleDict({"body": upsampler}))

    def head(self, scale: int) -> nn.Sequential:
        """The upsampler of one scale."""
        head = self.get_submodule(f"{self._names[scale]}.body")
        assert isinstance(head, nn.Sequential)
        return head


class SumOf(nn.Module):
    """``layer(a) + layer(b)``: one layer for two inputs, whose outputs are summed."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, pair: Sequence[Tensor]) -> Tensor:
        """Two of (N, F, H, W) -> what ``layer`` makes of one."""
        first, second = pair
        total: Tensor = self.layer(first) + self.layer(second)
        return total
