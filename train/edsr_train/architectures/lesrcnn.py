"""Checkpoints of LESRCNN: ours and the authors' (LESRCNN ``model/lesrcnn.py``), which have the same names."""

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
from edsr_train.models.lesrcnn import LESRCNN, LESRCNNConfig

_LANDMARKS = ("conv1.0.weight", "conv16.0.weight", "conv17.0.weight", "conv18.0.weight")
_FIRST_OF_REFINEMENT = "conv17_1.0.weight"


def _describe(config: LESRCNNConfig) -> str:
    blocks = ["IEEB", *(["RB"] if config.reconstruct else []), *(["IRB"] if config.refine else [])]
    name = "LESRCNN-S" if len(config.scales) > 1 else "LESRCNN"
    return f"{name} {in_words(config.scales)}, {config.n_feats} feature maps, {' + '.join(blocks)}"


def _configure(shapes: Shapes) -> LESRCNNConfig:
    feats = rgb_feats(shapes, "conv1.0.weight")
    scales = head_scales(shapes, feats)
    if _FIRST_OF_REFINEMENT not in shapes:
        return LESRCNNConfig(scales, feats, refine=False)
    return LESRCNNConfig(scales, feats, n_refine=shape_of(shapes, _FIRST_OF_REFINEMENT)[0])


LESRCNN_CHECKPOINTS = Architecture(
    name="lesrcnn",
    config_type=LESRCNNConfig,
    network_type=LESRCNN,
    describe=_describe,
    own=Layout(OWN_LAYOUT, _LANDMARKS, _configure),
    foreign=(Layout("lesrcnn", _LANDMARKS, _configure, adapt=said(UNIT_RANGE)),),
    unseen=("reconstruct", "pixel_range"),
)
