"""What stands around the layers of networks for luma, or for all three colours: SRCNN, VDSR, ESPCN, FSRCNN."""

from typing import Literal

from torch import nn

from edsr_train.models.branch import Branch
from edsr_train.models.colours import chroma, from_range, grey, grey_difference, luma, to_range

Colors = Literal["y", "rgb"]
"""``y``: luma only, and chroma is enlarged bicubically. ``rgb``: all three colours."""


class Ends(nn.Module):
    """The maps of colours before and after the layers; they hold nothing that is trained or stored."""

    def __init__(self, colors: Colors, pixel_range: float) -> None:
        super().__init__()
        self.is_luma = colors == "y"
        self.into = luma(pixel_range) if self.is_luma else to_range(pixel_range)
        self.out = grey(pixel_range) if self.is_luma else from_range(pixel_range)
        self.out_of_difference = grey_difference(pixel_range) if self.is_luma else from_range(pixel_range)
        self.chroma = chroma()

    @property
    def channels(self) -> int:
        """That the layers take and give."""
        return 1 if self.is_luma else 3

    def around_picture(self, scale: int, features: nn.Module, tail: nn.Sequential, enlarge: nn.Module) -> Branch:
        """A network whose layers give the picture; ``enlarge`` is for the chroma of one for luma."""
        base = nn.Sequential(self.chroma, enlarge) if self.is_luma else None
        return Branch(scale, self.into, features, tail, self.out, base)

    def around_difference(self, scale: int, features: nn.Module, tail: nn.Sequential, enlarge: nn.Module) -> Branch:
        """A network whose layers give what is added to the enlarged picture."""
        return Branch(scale, self.into, features, tail, self.out_of_difference, enlarge)
