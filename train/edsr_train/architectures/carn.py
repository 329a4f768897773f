"""Checkpoints of CARN and CARN-M: ours and the authors' (CARN-pytorch ``carn/model``), which have the same names."""

from edsr_train.architectures.base import (
    OWN_LAYOUT,
    UNIT_RANGE,
    Architecture,
    Layout,
    Shapes,
    head_scales,
    in_words,
    rgb_feats,
    said,
    shape_of,
)
from edsr_train.models.carn import CARN, CARNConfig

_LANDMARKS = ("entry.weight", "b1.b1.body.0.weight", "b1.c1.body.0.weight", "exit.weight")


def _describe(config: CARNConfig) -> str:
    name = f"CARN-M (groups of {config.n_feats // config.groups})" if config.groups > 1 else "CARN"
    return f"{name} {in_words(config.scales)}, {config.n_feats} feature maps"


def _configure(shapes: Shapes) -> CARNConfig:
    feats = rgb_feats(shapes, "entry.weight")
    _, in_group, *_ = shape_of(shapes, "b1.b1.body.0.weight")
    return CARNConfig(scales=head_scales(shapes, feats), n_feats=feats, groups=max(1, feats // in_group))


CARN_CHECKPOINTS = Architecture(
    name="carn",
    config_type=CARNConfig,
    network_type=CARN,
    describe=_describe,
    own=Layout(OWN_LAYOUT, _LANDMARKS, _configure),
    foreign=(Layout("carn-pytorch", _LANDMARKS, _configure, adapt=said(UNIT_RANGE)),),
    unseen=("pixel_range",),
)
