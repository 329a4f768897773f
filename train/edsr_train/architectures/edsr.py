"""Checkpoints of EDSR: ours, the authors', BasicSR's and mmagic's.

Names and conventions were read from the projects' network definitions: EDSR-PyTorch ``src/model/edsr.py``, BasicSR
``basicsr/archs/edsr_arch.py``, mmagic ``mmagic/models/editors/edsr/edsr_net.py`` (mmediting has the same names).
"""

import re
from dataclasses import replace

from torch import Tensor

from edsr_runtime.errors import CheckpointError
from edsr_train.architectures.base import (
    OWN_LAYOUT,
    Architecture,
    Layout,
    Shapes,
    biases_to_255,
    count_indices,
    default_mean_shift,
    rgb_feats,
    shape_of,
    show_shape,
    stored_mean_shift,
    upsampler_scale,
)
from edsr_train.models.branch import NetworkConfig
from edsr_train.models.edsr import EDSR, EDSRConfig


def _describe(config: EDSRConfig) -> str:
    tail = " with a direct tail" if config.tail == "direct" else ""
    return f"EDSR x{config.scale}, {config.n_resblocks} blocks of {config.n_feats} feature maps{tail}"


def _published_res_scale(config: EDSRConfig) -> tuple[float, str] | None:
    """Table 1 of the paper."""
    return {
        (16, 64): (1.0, "16 blocks of 64 feature maps is the published baseline"),
        (32, 256): (0.1, "32 blocks of 256 feature maps is the published EDSR"),
    }.get((config.n_resblocks, config.n_feats))


def _configure_authors(shapes: Shapes) -> EDSRConfig:
    feats = rgb_feats(shapes, "head.0.weight")
    steps = sorted(key for key in shapes if re.fullmatch(r"tail\.0\.\d+\.weight", key))
    return EDSRConfig(
        scale=upsampler_scale(shapes, steps, feats),
        n_resblocks=count_indices(shapes, r"body\.(\d+)\.body\.\d+\.weight"),
        n_feats=feats,
    )


def _configure_own(shapes: Shapes) -> EDSRConfig:
    if "tail.0.weight" not in shapes:
        return _configure_authors(shapes)
    out_channels, *_ = shape_of(shapes, "tail.0.weight")
    scales = [scale for scale in (2, 3, 4) if 3 * scale**2 == out_channels]
    if not scales:
        raise CheckpointError(
            f"tail.0.weight is {show_shape(shapes['tail.0.weight'])}, expected 12, 27 or 48 output channels"
        )
    return EDSRConfig(
        scale=scales[0],
        n_resblocks=count_indices(shapes, r"body\.(\d+)\.body\.\d+\.weight"),
        n_feats=rgb_feats(shapes, "head.0.weight"),
        tail="direct",
    )


def _configure_frameworks(shapes: Shapes) -> EDSRConfig:
    feats = rgb_feats(shapes, "conv_first.weight")
    steps = sorted(key for key in shapes if re.fullmatch(r"upsample\.\d+(\.upsample_conv)?\.weight", key))
    return EDSRConfig(
        scale=upsampler_scale(shapes, steps, feats),
        n_resblocks=count_indices(shapes, r"body\.(\d+)\.conv\d\.weight"),
        n_feats=feats,
    )


def _basicsr_key(key: str, config: NetworkConfig) -> str | None:
    assert isinstance(config, EDSRConfig)
    if key.startswith(("sub_mean.", "add_mean.")):
        return None
    for ours, theirs in (
        (r"head\.0", "conv_first"),
        (rf"body\.{config.n_resblocks}", "conv_after_body"),
        (r"body\.(\d+)\.body\.0", r"body.\1.conv1"),
        (r"body\.(\d+)\.body\.2", r"body.\1.conv2"),
        (r"tail\.0\.(\d+)", r"upsample.\1"),
        (r"tail\.1", "conv_last"),
    ):
        if match := re.fullmatch(rf"{ours}\.(?P<parameter>weight|bias)", key):
            return f"{match.expand(theirs)}.{match['parameter']}"
    raise AssertionError(f"EDSR has a tensor {key} without a name in BasicSR")


def _mmagic_key(key: str, config: NetworkConfig) -> str | None:
    theirs = _basicsr_key(key, config)
    step = re.fullmatch(r"upsample\.(\d+)\.(weight|bias)", theirs or "")
    # Pixel shuffles are modules of their own in BasicSR's upsampler and in ours, but not in mmagic's.
    return f"upsample.{int(step[1]) // 2}.upsample_conv.{step[2]}" if step else theirs


def _adapt_basicsr(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    # (x - mean) * 255 on 0..1 is X - 255 * mean on 0..255: only the mean shift has to be written out.
    note = "mean and pixel range: BasicSR stores neither; its defaults are used (DIV2K mean, img_range 255)"
    return default_mean_shift(state), (note,)


def _adapt_mmagic(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    return default_mean_shift(biases_to_255(state)), (
        "mean: mmagic does not store it; its default is used (DIV2K)",
        "pixel range: 0..1 in mmagic; all biases were multiplied by 255 for 0..255, which is exact",
    )


_AUTHORS = Layout(
    name="edsr-pytorch",
    landmarks=("body.0.body.0.weight", "tail.0.0.weight"),
    configure=_configure_authors,
    adapt=stored_mean_shift,
)
_BASICSR = Layout(
    name="basicsr",
    landmarks=("body.0.conv1.weight", "conv_after_body.weight", "upsample.0.weight"),
    configure=_configure_frameworks,
    stored_key=_basicsr_key,
    adapt=_adapt_basicsr,
)
_MMAGIC = replace(
    _BASICSR,
    name="mmagic",
    landmarks=("body.0.conv1.weight", "conv_after_body.weight", "upsample.0.upsample_conv.weight"),
    stored_key=_mmagic_key,
    adapt=_adapt_mmagic,
)

EDSR_CHECKPOINTS = Architecture(
    name="edsr",
    config_type=EDSRConfig,
    network_type=EDSR,
    describe=_describe,
    own=Layout(OWN_LAYOUT, landmarks=("head.0.weight",), configure=_configure_own),
    foreign=(_AUTHORS, _BASICSR, _MMAGIC),
    published_res_scale=_published_res_scale,
)
