"""What was published of the cost of networks. A network that the project lacks is said to be absent.

A row names the architecture as ``edsr_train.architectures`` does and the fields of its configuration; as soon as that
network is there, it is counted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.cost.conventions import HR_128, PAPER, Convention

_CARN = "Ahn et al., CARN, ECCV 2018, table 1"
_EDSR = "Lim et al., arXiv:1707.02921, table 1; Mult-Adds: surveys after Ahn et al."
_LESRCNN = "Tian et al., LESRCNN, Knowledge-Based Systems 2020, table 9"
FIXED = ("sub_mean", "add_mean", "base", "_to_copy", "repeat")
"""Starts of names of what is not learned: maps of colours, and the bicubic enlargement. Maps that are computed and not
stored come out of PyTorch's exporter as constants, named after the operator that made them."""

_EVERY = (2, 3, 4)

_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Figure:
    """A number as it was printed."""

    text: str
    """``1,370K``, ``316.3G``."""

    @property
    def value(self) -> float:
        """In ones."""
        number, unit = self._parts()
        return float(number) * _UNITS[unit]

    @property
    def half_digit(self) -> float:
        """By how much rounding alone may have changed it."""
        number, unit = self._parts()
        return 0.5 * 10.0 ** -len(number.partition(".")[2]) * _UNITS[unit]

    def agrees(self, counted: float, within: float = 0.005) -> bool:
        """Whether a count is what was printed: within a share of it, or rounded to it."""
        return abs(counted - self.value) <= max(within * self.value, self.half_digit)

    def _parts(self) -> tuple[str, str]:
        found = re.fullmatch(r"([\d,]+(?:\.\d+)?)([KMG]?)", self.text)
        assert found is not None, self.text
        return found[1].replace(",", ""), found[2]


@dataclass(frozen=True)
class PublishedMultAdds:
    """Of a network whose parameters stand elsewhere."""

    source: str
    convention: Convention
    mult_adds: Mapping[int, Figure]
    """By scale."""


@dataclass(frozen=True)
class PublishedCost:
    """One network."""

    name: str
    architecture: str
    """As in ``edsr_train.architectures.registry``."""
    config: Mapping[str, Any]
    """Of the architecture, without the scale."""
    source: str
    parameters: Mapping[int, Figure]
    """By scale; of a network for several scales, of all of them together."""
    mult_adds: Mapping[int, Figure]
    convention: Convention = PAPER
    left_out: tuple[str, ...] = FIXED
    """Starts of names of layers that are not learned and that the paper does not count."""
    weights_only: bool = False
    """Whether the published parameters are those of weights alone: no biases, no slopes."""
    reading: str = ""
    """Why the graph does not give the published figures, and what does; empty where it gives them."""
    also: tuple[PublishedMultAdds, ...] = ()
    """What others published of it, under their conventions."""
    is_small: bool = False
    """Counted in a quick run too."""


def _figures(scales: tuple[int, ...], *texts: str) -> dict[int, Figure]:
    """One text for all scales, or one for each."""
    return {scale: Figure(texts[index if len(texts) > 1 else 0]) for index, scale in enumerate(scales)}


PUBLISHED = (
    PublishedCost("SRCNN", "srcnn", {}, _CARN, _figures(_EVERY, "57K"), _figures(_EVERY, "52.7G"), weights_only=True),
    PublishedCost(
        "FSRCNN",
        "fsrcnn",
        {},
        _CARN,
        _figures(_EVERY, "12K"),
        _figures(_EVERY, "6.0G", "5.0G", "4.6G"),
        weights_only=True,
    ),
    PublishedCost(
        "VDSR",
        "vdsr",
        {},
        _CARN,
        _figures(_EVERY, "665K"),
        _figures(_EVERY, "612.6G"),
        weights_only=True,
        also=(PublishedMultAdds(_LESRCNN, HR_128, _figures(_EVERY, "10.90G")),),  # it works on the enlarged picture
    ),
    PublishedCost(
        "CARN",
        "carn",
        {},
        _CARN,
        _figures(_EVERY, "1,592K"),
        _figures(_EVERY, "222.8G", "118.8G", "90.9G"),
    ),
    PublishedCost(
        "CARN-M",
        "carn",
        {"groups": 4},
        _CARN,
        _figures(_EVERY, "412K"),
        _figures(_EVERY, "91.2G", "46.1G", "32.5G"),
        weights_only=True,
    ),
    PublishedCost(
        "LESRCNN",
        "lesrcnn",
        {"scales": (4,)},
        _LESRCNN,
        _figures((4,), "516K"),
        _figures((4,), "3.08G"),
        convention=HR_128,
        reading="516K has one convolution of 64 to 64 maps where x4 has two sub-pixel convolutions of 64 to 256, and "
        "3.08G leaves out the second of these, at twice the size, which two feature maps go through; what is really "
        "computed is more",
    ),
    PublishedCost(
        "EDSR-baseline",
        "edsr",
        {"n_resblocks": 16, "n_feats": 64},
        _EDSR,
        _figures(_EVERY, "1,370K", "1,554K", "1,518K"),
        _figures(_EVERY, "316.3G", "160.3G", "114.2G"),
        is_small=True,
    ),
    PublishedCost(
        "MDSR-baseline",
        "mdsr",
        {"n_resblocks": 16, "n_feats": 64},
        _EDSR,
        _figures(_EVERY, "3.23M"),
        _figures(_EVERY, "410.6G", "202.3G", "137.8G"),
    ),
    PublishedCost(
        "MDSR",
        "mdsr",
        {"n_resblocks": 80, "n_feats": 64},
        _EDSR,
        _figures(_EVERY, "7.95M"),
        _figures(_EVERY, "1,497.8G", "685.4G", "409.6G"),
    ),
    PublishedCost(
        "EDSR",
        "edsr",
        {"n_resblocks": 32, "n_feats": 256, "res_scale": 0.1},
        _EDSR,
        _figures(_EVERY, "40.7M", "43.7M", "43.1M"),
        _figures(_EVERY, "9,384.7G", "4,476.5G", "2,894.5G"),
    ),
)
