"""Named networks: the sizes of the paper, and a small one."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Preset:
    """An EDSR without its scale; the fields are those of ``EDSRConfig``."""

    n_resblocks: int
    n_feats: int
    res_scale: float = 1.0
    tail: Literal["paper", "direct"] = "paper"


PRESETS = {
    # Lim et al., arXiv:1707.02921, table 1
    "edsr-baseline": Preset(n_resblocks=16, n_feats=64),
    "edsr": Preset(n_resblocks=32, n_feats=256, res_scale=0.1),
    # Not of the paper: small enough to be trained on a CPU within the hour.
    "edsr-small": Preset(n_resblocks=5, n_feats=64, tail="direct"),
}
