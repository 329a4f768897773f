"""Named configurations: the networks of the paper with its recipe, and a small one with a short recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edsr_train.config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A network, but for the scale where it has a single one, and how to train it."""

    architecture: str
    network: Mapping[str, Any]
    """Fields of the architecture's configuration."""
    training: TrainConfig = field(default_factory=TrainConfig)


DEFAULT_RECIPE = "edsr-baseline"

# Sizes: Lim et al., arXiv:1707.02921, table 1.
RECIPES: dict[str, Recipe] = {
    "edsr-baseline": Recipe("edsr", {"n_resblocks": 16, "n_feats": 64}),
    "edsr": Recipe("edsr", {"n_resblocks": 32, "n_feats": 256, "res_scale": 0.1}),
    "mdsr-baseline": Recipe("mdsr", {"n_resblocks": 16, "n_feats": 64}),
    "mdsr": Recipe("mdsr", {"n_resblocks": 80, "n_feats": 64}),
    # Not of the paper: small enough to be trained on a CPU within the hour.
    "edsr-small": Recipe(
        "edsr",
        {"n_resblocks": 5, "n_feats": 64, "tail": "direct"},
        TrainConfig(
            patch=32,
            updates=20_000,
            lr=5e-4,
            schedule="cosine",
            warmup=200,
            ema=0.999,
            precision="bf16",
            channels_last=True,
            validate_every=1_000,
        ),
    ),
}
