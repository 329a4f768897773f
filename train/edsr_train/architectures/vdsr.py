"""Checkpoints of VDSR: ours, and others with the same names (pytorch-vdsr ``vdsr.py``)."""

from edsr_train.architectures.base import (
    OWN_LAYOUT,
    UNIT_RANGE,
    Architecture,
    Layout,
    Shapes,
    count_indices,
    in_words,
    on_colors,
    said,
    seen_colors,
    shape_of,
)
from edsr_train.models.vdsr import VDSR, VDSRConfig

_LANDMARKS = ("input.weight", "residual_layer.0.conv.weight", "residual_layer.1.conv.weight", "output.weight")
_SCALES = "scales: 2, 3 and 4, as the published network was trained for; the weights show none"


def _describe(config: VDSRConfig) -> str:
    layers = f"{config.n_layers} layers of {config.n_feats} feature maps"
    return f"VDSR {in_words(config.scales)}, {layers}, {on_colors(config.colors)}"


def _configure(shapes: Shapes) -> VDSRConfig:
    feats, *_ = shape_of(shapes, "input.weight")
    return VDSRConfig(
        n_layers=count_indices(shapes, r"residual_layer\.(\d+)\.conv\.weight") + 2,
        n_feats=feats,
        colors=seen_colors(shapes, "input.weight"),
    )


VDSR_CHECKPOINTS = Architecture(
    name="vdsr",
    config_type=VDSRConfig,
    network_type=VDSR,
    describe=_describe,
    own=Layout(OWN_LAYOUT, _LANDMARKS, _configure),
    foreign=(Layout("pytorch-vdsr", _LANDMARKS, _configure, adapt=said(_SCALES, UNIT_RANGE)),),
    unseen=("scales", "pixel_range"),
)
