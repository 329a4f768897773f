"""Named configurations: EDSR and MDSR with their paper's recipe, the other networks of the field with theirs.

Patches are LR pixels here and HR pixels in most papers. The optimiser is Adam for all networks of papers, also where
one, before it was common, has SGD: SRCNN, ESPCN, FSRCNN and VDSR.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

# Ahn et al., ECCV 2018, section 4.2, and the authors' program, whose crops of 64x64 are LR pixels.
_CARN = TrainConfig(patch=64, batch=64, updates=600_000, halve_every=400_000)
# Tian et al., arXiv:2007.04344, section 4.2: the same, with the loss of equation 1.
_LESRCNN = replace(_CARN, loss="half-mse")
# Kim et al., CVPR 2016, section 5: 41x41 of the enlarged picture, batches of 64.
_VDSR = TrainConfig(patch=20, batch=64, loss="half-mse")
# Dong et al., TPAMI 2016, section 4.1: 33x33 of the enlarged picture.
_SRCNN = TrainConfig(patch=16, batch=128, loss="mse", updates=1_000_000, halve_every=1_000_000)
# Shi et al., CVPR 2016, section 3.2: 17x17.
_ESPCN = TrainConfig(patch=17, batch=64, lr=1e-3, loss="mse")
# Dong et al., ECCV 2016, section 4.1: 10x10 at x2.
_FSRCNN = TrainConfig(patch=10, batch=128, lr=1e-3, loss="mse", updates=1_000_000)
# Ledig et al., CVPR 2017, section 3.2: 96x96 at x4, 10^6 updates at one rate.
_SRRESNET_ORIGINAL = TrainConfig(patch=24, loss="mse", updates=1_000_000, halve_every=1_000_000)

# Sizes of EDSR and MDSR: Lim et al., arXiv:1707.02921, table 1; of the others, see their modules.
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
            optimizer="muon",
            lr=1e-3,
            schedule="cosine",
            warmup=100,
            ema=0.999,
            precision="bf16",
            channels_last=True,
            validate_every=1_000,
        ),
    ),
    # As in table 1 of the EDSR paper, which has it with L2 and with L1 (--loss l1).
    "srresnet": Recipe("srresnet", {"form": "reproduced"}, TrainConfig(loss="mse")),
    "srresnet-original": Recipe("srresnet", {"form": "original"}, _SRRESNET_ORIGINAL),
    "srcnn": Recipe("srcnn", {"kernels": (9, 5, 5)}, _SRCNN),
    "srcnn-915": Recipe("srcnn", {"kernels": (9, 1, 5)}, _SRCNN),
    "espcn": Recipe("espcn", {}, _ESPCN),
    "fsrcnn": Recipe("fsrcnn", {}, _FSRCNN),
    "vdsr": Recipe("vdsr", {"scales": (2, 3, 4)}, _VDSR),
    "carn": Recipe("carn", {"scales": (2, 3, 4)}, _CARN),
    "carn-m": Recipe("carn", {"scales": (2, 3, 4), "groups": 4}, _CARN),
    # --net 'scales=[4]' for another scale
    "lesrcnn": Recipe("lesrcnn", {"scales": (2,)}, _LESRCNN),
    "lesrcnn-s": Recipe("lesrcnn", {"scales": (2, 3, 4)}, _LESRCNN),
    "lesrcnn-wide": Recipe("lesrcnn", {"scales": (2,), "n_refine": 109}, _LESRCNN),
    # The ablation: what the blocks add to the first one.
    "lesrcnn-ieeb": Recipe("lesrcnn", {"scales": (2,), "reconstruct": False, "refine": False}, _LESRCNN),
    "lesrcnn-ieeb-rb": Recipe("lesrcnn", {"scales": (2,), "refine": False}, _LESRCNN),
}
