"""Checkpoints of SRResNet: ours, and plain state dicts with our names."""

import re

from edsr_runtime.errors import CheckpointError
from edsr_train.architectures.base import (
    OWN_LAYOUT,
    Architecture,
    Layout,
    Shapes,
    count_indices,
    rgb_feats,
    shape_of,
    stored_mean_shift,
    upsampler_scale,
)
from edsr_train.models.srresnet import SRResNet, SRResNetConfig

_LANDMARKS = ("head.0.weight", "body.0.body.0.weight", "body.0.body.1.running_mean", "tail.0.0.weight")


def _describe(config: SRResNetConfig) -> str:
    size = f"{config.n_resblocks} blocks of {config.n_feats} feature maps"
    return f"SRResNet x{config.scale}, {size}, {config.form} form"


def _configure(shapes: Shapes) -> SRResNetConfig:
    feats = rgb_feats(shapes, "head.0.weight")
    # A convolution, or the PReLU of the original form's upsampler, whose weight has one dimension.
    steps = sorted(key for key in shapes if re.fullmatch(r"tail\.0\.\d+\.weight", key) and len(shapes[key]) == 4)
    side = shape_of(shapes, "head.0.weight")[3]
    if side not in (3, 9):
        raise CheckpointError(f"head.0.weight has {side}x{side} taps, expected 3x3 (reproduced form) or 9x9 (original)")
    return SRResNetConfig(
        scale=upsampler_scale(shapes, steps, feats),
        n_resblocks=count_indices(shapes, r"body\.(\d+)\.body\.0\.weight"),
        n_feats=feats,
        form="reproduced" if side == 3 else "original",
    )


SRRESNET_CHECKPOINTS = Architecture(
    name="srresnet",
    config_type=SRResNetConfig,
    network_type=SRResNet,
    describe=_describe,
    own=Layout(OWN_LAYOUT, _LANDMARKS, _configure),
    foreign=(Layout("plain", _LANDMARKS, _configure, adapt=stored_mean_shift),),
)
