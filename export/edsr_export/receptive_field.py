"""How far a network sees: the radius of its receptive field, which is the halo that makes tiles seamless."""

from collections.abc import Callable

import torch
from torch import Tensor

_FIRST_PROBE = 128
_LONGEST_PROBE = 8192


@torch.inference_mode()
def receptive_radius(network: Callable[[Tensor], Tensor], scale: int) -> int:
    """LR pixels around a pixel that can change its SR cell; the network's, not that of its weights.

    A NaN at one end of a picture one pixel wide spreads exactly as far as the network sees: NaN times a zero weight is
    still NaN, and no activation stops it. Both ends are tried, since a transposed convolution of even reach sees
    further to one side.

    Args:
        network: (1, 3, H, W) -> (1, 3, scale*H, scale*W), for any H and W.
        scale: its enlargement.
    """
    length = _FIRST_PROBE
    while length <= _LONGEST_PROBE:
        probe = torch.zeros(2, 3, length, 1)
        probe[0, :, 0] = probe[1, :, -1] = torch.nan
        from_first, from_last = network(probe).isnan().any(dim=3).any(dim=1).view(2, length, scale).any(dim=2)
        reached = [*from_first.nonzero().flatten().tolist(), *from_last.flip(0).nonzero().flatten().tolist()]
        radius = max(reached, default=0)
        if radius < length - 1:
            return radius
        length *= 2
    raise ValueError(f"the network sees further than {_LONGEST_PROBE} pixels")
