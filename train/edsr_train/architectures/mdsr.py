"""Checkpoints of MDSR: ours and the authors' (EDSR-PyTorch ``src/model/mdsr.py``), which have the same names."""

import re
from dataclasses import replace

from edsr_train.architectures.base import (
    OWN_LAYOUT,
    Architecture,
    Layout,
    Shapes,
    count_indices,
    rgb_feats,
    stored_mean_shift,
    upsampler_scale,
)
from edsr_train.models.mdsr import MDSR, MDSRConfig


def _describe(config: MDSRConfig) -> str:
    scales = ", ".join(f"x{scale}" for scale in config.scales)
    return f"MDSR {scales}, {config.n_resblocks} blocks of {config.n_feats} feature maps"


def _published_res_scale(_: MDSRConfig) -> tuple[float, str]:
    return 1.0, "the published MDSR has none"


def _configure(shapes: Shapes) -> MDSRConfig:
    feats = rgb_feats(shapes, "head.0.weight")
    n_scales = count_indices(shapes, r"upsample\.(\d+)\.\d+\.weight")
    steps = [
        sorted(key for key in shapes if re.fullmatch(rf"upsample\.{branch}\.\d+\.weight", key))
        for branch in range(n_scales)
    ]
    return MDSRConfig(
        scales=tuple(upsampler_scale(shapes, keys, feats) for keys in steps),
        n_resblocks=count_indices(shapes, r"body\.(\d+)\.body\.\d+\.weight"),
        n_feats=feats,
    )


_AUTHORS = Layout(
    name="edsr-pytorch",
    landmarks=("pre_process.0.0.body.0.weight", "upsample.0.0.weight"),
    configure=_configure,
    adapt=stored_mean_shift,
)

MDSR_CHECKPOINTS = Architecture(
    name="mdsr",
    config_type=MDSRConfig,
    network_type=MDSR,
    describe=_describe,
    own=replace(_AUTHORS, name=OWN_LAYOUT, adapt=lambda state: (state, ())),
    foreign=(_AUTHORS,),
    published_res_scale=_published_res_scale,
)
