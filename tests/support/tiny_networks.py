"""Tiny random networks that tests of all packages share."""

import torch

from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig


def tiny_edsr(scale: int = 2, res_scale: float = 0.5, tail: str = "paper") -> EDSR:
    """Two blocks of eight feature maps; the weights are large enough for every fold to matter."""
    torch.manual_seed(scale)
    return EDSR(EDSRConfig(scale, 2, 8, res_scale, tail)).eval()  # type: ignore[arg-type]


def tiny_mdsr() -> MDSR:
    """One block of eight feature maps, all three scales."""
    torch.manual_seed(0)
    return MDSR(MDSRConfig(n_resblocks=1, n_feats=8)).eval()
