"""For which picture Mult-Adds are counted: papers do not agree, so every number carries the name of its convention."""

from dataclasses import dataclass

from benchmarks.cost.count import mult_adds
from benchmarks.cost.graph import Graph


@dataclass(frozen=True)
class Convention:
    """A picture size."""

    id: str
    """Printed beside the number."""
    hw: tuple[int, int]
    is_hr: bool
    """Whether the size is that of the result, or of the input."""
    used_by: str

    def lr_hw(self, scale: float) -> tuple[float, float]:
        """The input's size; not whole where the scale does not divide the result."""
        return (self.hw[0] / scale, self.hw[1] / scale) if self.is_hr else (float(self.hw[0]), float(self.hw[1]))


PAPER = Convention("HR 1280x720", (720, 1280), True, "Ahn et al., CARN, and most papers after it")
LR_256 = Convention("LR 256x256", (256, 256), False, "EDSR-PyTorch's users")
HR_128 = Convention("HR 128x128", (128, 128), True, "Tian et al., LESRCNN")
CONVENTIONS = (PAPER, LR_256, HR_128)


def mult_adds_by_convention(
    graph: Graph, scale: float, convention: Convention, left_out: tuple[str, ...] = ()
) -> float:
    """Multiply-adds for one picture; where the scale does not divide its size, in proportion to the area.

    Args:
        graph: takes the LR picture, or one that was enlarged before.
        scale: of the network.
        convention: see there.
        left_out: see ``count_layers``.
    """
    enlarged_before = scale / graph.scale()
    height, width = (side * enlarged_before for side in convention.lr_hw(scale))
    whole = round(height), round(width)
    return mult_adds(graph, whole, left_out) * (height * width) / (whole[0] * whole[1])
