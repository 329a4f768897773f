"""Tiny random networks of the field beside EDSR and MDSR, one of each form, that tests of all packages share."""

from collections.abc import Callable

import torch
from torch import nn

from edsr_train.models import (
    CARN,
    ESPCN,
    FSRCNN,
    LESRCNN,
    SRCNN,
    VDSR,
    CARNConfig,
    ESPCNConfig,
    FSRCNNConfig,
    LESRCNNConfig,
    SRCNNConfig,
    SRResNet,
    SRResNetConfig,
    VDSRConfig,
)
from edsr_train.models.branch import SuperResolutionNetwork

FIELD: dict[str, Callable[[int], SuperResolutionNetwork]] = {
    "srcnn": lambda scale: SRCNN(SRCNNConfig(scale, n_feats=(8, 6))),
    "srcnn-915": lambda scale: SRCNN(SRCNNConfig(scale, (9, 1, 5), n_feats=(8, 6))),
    "srcnn-rgb": lambda scale: SRCNN(SRCNNConfig(scale, n_feats=(8, 6), colors="rgb", pixel_range=255.0)),
    "vdsr": lambda scale: VDSR(VDSRConfig((scale,), n_layers=4, n_feats=8)),
    "vdsr-rgb": lambda scale: VDSR(VDSRConfig((scale,), n_layers=4, n_feats=8, colors="rgb")),
    "espcn": lambda scale: ESPCN(ESPCNConfig(scale, n_feats=(8, 6))),
    "espcn-rgb": lambda scale: ESPCN(ESPCNConfig(scale, n_feats=(8, 6), colors="rgb")),
    "fsrcnn": lambda scale: FSRCNN(FSRCNNConfig(scale, n_feats=8, n_shrunk=4, n_layers=2)),
    "fsrcnn-rgb": lambda scale: FSRCNN(FSRCNNConfig(scale, n_feats=8, n_shrunk=4, n_layers=2, colors="rgb")),
    "srresnet": lambda scale: SRResNet(SRResNetConfig(scale, n_resblocks=2, n_feats=8)),
    "srresnet-original": lambda scale: SRResNet(SRResNetConfig(scale, n_resblocks=2, n_feats=8, form="original")),
    "carn": lambda _: CARN(CARNConfig(n_feats=8)),
    "carn-m": lambda _: CARN(CARNConfig(n_feats=8, groups=4)),
    "lesrcnn": lambda scale: LESRCNN(LESRCNNConfig((scale,), n_feats=8)),
    "lesrcnn-s": lambda _: LESRCNN(LESRCNNConfig(n_feats=8, n_refine=12)),
    "lesrcnn-ieeb": lambda scale: LESRCNN(LESRCNNConfig((scale,), n_feats=8, reconstruct=False, refine=False)),
    "lesrcnn-ieeb-rb": lambda scale: LESRCNN(LESRCNNConfig((scale,), n_feats=8, refine=False)),
}


def tiny(name: str, scale: int = 2) -> SuperResolutionNetwork:
    """One of ``FIELD`` in eval mode, with weights for which every fold matters: batch norm and slopes too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scale)
        network = FIELD[name](scale)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            elif isinstance(module, nn.PReLU):
                nn.init.uniform_(module.weight, 0.1, 0.5)
    return network.eval()
