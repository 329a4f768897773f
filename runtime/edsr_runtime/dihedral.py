"""The eight flips and rotations of a picture, as (transpose, flip rows, flip columns).

Source of the self-ensemble: Lim et al., arXiv:1707.02921, section 3.4 (eight geometric transforms, the outputs turned
back and averaged).
"""

from itertools import product
from typing import NamedTuple


class View(NamedTuple):
    """One of the eight: first transpose, then flip."""

    transpose: bool
    flip_rows: bool
    flip_columns: bool


VIEWS = tuple(View(*flags) for flags in product((False, True), repeat=3))
