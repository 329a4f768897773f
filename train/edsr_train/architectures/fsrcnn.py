"""Checkpoints of FSRCNN: ours, and others with the same names (FSRCNN-pytorch ``models.py``)."""

from edsr_train.architectures.base import (
    OWN_LAYOUT,
    UNIT_RANGE,
    Architecture,
    Layout,
    Shapes,
    count_indices,
    on_colors,
    said,
    seen_colors,
    shape_of,
)
from edsr_train.models.fsrcnn import FSRCNN, FSRCNNConfig

_LANDMARKS = ("first_part.0.weight", "first_part.1.weight", "mid_part.0.weight", "last_part.weight")
_AROUND = 2  # 1x1 convolutions, before and after the 3x3 ones


def _describe(config: FSRCNNConfig) -> str:
    return f"FSRCNN({config.n_feats}, {config.n_shrunk}, {config.n_layers}) x{config.scale}, {on_colors(config.colors)}"


def _configure(shapes: Shapes) -> FSRCNNConfig:
    wide, *_ = shape_of(shapes, "first_part.0.weight")
    thin, *_ = shape_of(shapes, "mid_part.0.weight")
    return FSRCNNConfig(
        scale=2,
        n_feats=wide,
        n_shrunk=thin,
        n_layers=count_indices(shapes, r"mid_part\.(\d+)\.bias") - _AROUND,
        colors=seen_colors(shapes, "first_part.0.weight"),
    )


FSRCNN_CHECKPOINTS = Architecture(
    name="fsrcnn",
    config_type=FSRCNNConfig,
    network_type=FSRCNN,
    describe=_describe,
    own=Layout(OWN_LAYOUT, _LANDMARKS, _configure),
    foreign=(Layout("fsrcnn-pytorch", _LANDMARKS, _configure, adapt=said(UNIT_RANGE)),),
    unseen=("scale", "pixel_range"),
)
