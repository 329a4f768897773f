"""Names beside points of a plot, where they hide neither each other nor the points."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_GAP = 6  # points between a name and its point
_POINT = 4  # half the side of the square that a point takes, points
_SIDES = (
    *(((_GAP, 0), "left", "center"), ((-_GAP, 0), "right", "center")),
    *(((0, _GAP), "center", "bottom"), ((0, -_GAP), "center", "top")),
    *(((_GAP, _GAP), "left", "bottom"), ((_GAP, -_GAP), "left", "top")),
    *(((-_GAP, _GAP), "right", "bottom"), ((-_GAP, -_GAP), "right", "top")),
)


def label_points(axes: "Axes", names: Sequence[str], places: Sequence[tuple[float, float]]) -> "list[Annotation]":
    """Write each name on the first side of its point that is free, or to its right where none is.

    Args:
        axes: with everything in it and its limits final. Texts that are in it already are kept clear of.
        names: one for each point.
        places: in data coordinates.
    """
    from matplotlib.transforms import Bbox

    figure = axes.figure
    figure.canvas.draw()  # the layout moves the axes
    point = _POINT * figure.get_dpi() / 72
    centres = [axes.transData.transform(place) for place in places]
    taken = [Bbox([[x - point, y - point], [x + point, y + point]]) for x, y in centres]
    taken += [text.get_window_extent() for text in axes.texts]
    written = []
    for index, (name, place) in enumerate(zip(names, places, strict=True)):
        others = [box for each, box in enumerate(taken) if each != index]
        tried = []
        for offset, horizontal, vertical in _SIDES:
            label = axes.annotate(
                name, place, xytext=offset, textcoords="offset points", ha=horizontal, va=vertical, fontsize=8
            )
            box = label.get_window_extent()
            if axes.bbox.containsx(box.x1) and axes.bbox.containsx(box.x0) and not any(map(box.overlaps, others)):
                break
            tried.append(label)
        else:
            label = tried.pop(0)
        for wrong in tried:
            wrong.remove()
        taken.append(label.get_window_extent())
        written.append(label)
    return written
