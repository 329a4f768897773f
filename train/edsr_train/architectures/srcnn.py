"""Checkpoints of SRCNN: ours, and others with the same names (SRCNN-pytorch ``models.py``)."""

from edsr_train.architectures.base import (
    OWN_LAYOUT,
    UNIT_RANGE,
    Architecture,
    Layout,
    Shapes,
    on_colors,
    said,
    seen_colors,
    shape_of,
)
from edsr_train.models.srcnn import SRCNN, SRCNNConfig

_KEYS = tuple(f"conv{number}.{kind}" for number in (1, 2, 3) for kind in ("weight", "bias"))


def _describe(config: SRCNNConfig) -> str:
    return f"SRCNN {'-'.join(map(str, config.kernels))} x{config.scale}, {on_colors(config.colors)}"


def _configure(shapes: Shapes) -> SRCNNConfig:
    layers = [shape_of(shapes, f"conv{number}.weight") for number in (1, 2, 3)]
    return SRCNNConfig(
        scale=2,
        kernels=tuple(side for *_, side in layers),
        n_feats=tuple(feats for feats, *_ in layers[:2]),
        colors=seen_colors(shapes, "conv1.weight"),
    )


SRCNN_CHECKPOINTS = Architecture(
    name="srcnn",
    config_type=SRCNNConfig,
    network_type=SRCNN,
    describe=_describe,
    own=Layout(OWN_LAYOUT, _KEYS, _configure),
    foreign=(Layout("srcnn-pytorch", _KEYS, _configure, adapt=said(UNIT_RANGE)),),
    unseen=("scale", "pixel_range"),
)
