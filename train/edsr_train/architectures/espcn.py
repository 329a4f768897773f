"""Checkpoints of ESPCN: ours, and others with the same names (ESPCN-pytorch ``models.py``)."""

from edsr_runtime.errors import CheckpointError
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
    show_shape,
)
from edsr_train.models.espcn import ESPCN, ESPCNConfig

_LANDMARKS = ("first_part.0.weight", "first_part.2.weight", "last_part.0.weight")


def _describe(config: ESPCNConfig) -> str:
    return f"ESPCN x{config.scale}, {' and '.join(map(str, config.n_feats))} feature maps, {on_colors(config.colors)}"


def _configure(shapes: Shapes) -> ESPCNConfig:
    first, second, last = (shape_of(shapes, key)[0] for key in _LANDMARKS)
    colors = seen_colors(shapes, _LANDMARKS[0])
    channels = 1 if colors == "y" else 3
    scales = [scale for scale in (2, 3, 4) if channels * scale**2 == last]
    if not scales:
        expected = ", ".join(str(channels * scale**2) for scale in (2, 3, 4))
        raise CheckpointError(
            f"last_part.0.weight is {show_shape(shapes['last_part.0.weight'])}, expected of {expected} output channels"
        )
    return ESPCNConfig(scales[0], n_feats=(first, second), colors=colors)


ESPCN_CHECKPOINTS = Architecture(
    name="espcn",
    config_type=ESPCNConfig,
    network_type=ESPCN,
    describe=_describe,
    own=Layout(OWN_LAYOUT, _LANDMARKS, _configure),
    foreign=(Layout("espcn-pytorch", _LANDMARKS, _configure, adapt=said(UNIT_RANGE)),),
    unseen=("pixel_range",),
)
