"""Tile geometry: overlapping tiles whose cores are disjoint and cover the picture.

With a halo of at least the network's receptive radius, tiling changes no pixel: a tile that ends at the picture's
border really ends there (the network's own zero padding is the truth there), all other sides have a full halo.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edsr_runtime.errors import ShapeError


@dataclass(frozen=True)
class Span:
    """One tile along one axis, LR pixels: computed is start..stop, kept is core_start..core_stop."""

    start: int
    stop: int
    core_start: int
    core_stop: int

    @property
    def length(self) -> int:
        """Pixels that are computed."""
        return self.stop - self.start

    @property
    def kept(self) -> slice:
        """The core, counted from the tile's own start."""
        return slice(self.core_start - self.start, self.core_stop - self.start)


def split_axis(length: int, tile: int, halo: int) -> list[Span]:
    """Cut one picture axis into tiles of one length.

    Args:
        length: length of the axis, LR pixels.
        tile: length of a tile with its halo on both sides, LR pixels.
        halo: LR pixels on each inner side that are computed and thrown away.

    Returns:
        The tiles in ascending order; a single one if the axis is no longer than ``tile``. The last one is shifted
        inwards to end at the border, so that all have the same length.

    Raises:
        ShapeError: ``tile`` leaves no core, that is ``tile <= 2 * halo``.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    if tile <= 2 * halo:
        raise ShapeError(
            f"tile {tile} leaves nothing after a halo of {halo} on both sides: use a tile of at least {2 * halo + 1}"
        )
    spans: list[Span] = []
    core_start = 0
    while core_start < length:
        start = min(max(0, core_start - halo), length - tile)
        stop = start + tile
        core_stop = length if stop == length else stop - halo
        spans.append(Span(start, stop, core_start, core_stop))
        core_start = core_stop
    return spans


def even_tile(length: int, largest: int, halo: int) -> int:
    """The shortest tile that needs no more tiles than ``largest`` does: all tiles are then equally full."""
    if length <= largest or largest <= 2 * halo:
        return largest
    count = math.ceil((length - 2 * halo) / (largest - 2 * halo))
    return math.ceil((length - 2 * halo) / count) + 2 * halo


@dataclass(frozen=True)
class Plan:
    """How one picture is cut."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        """(row, column) spans of all tiles, row by row."""
        return ((row, column) for row in self.rows for column in self.columns)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def overhead(self) -> float:
        """Computed pixels per pixel of the picture, less one: what the halos cost."""
        computed = sum(row.length * column.length for row, column in self)
        return computed / (self.rows[-1].core_stop * self.columns[-1].core_stop) - 1

    def __str__(self) -> str:
        height, width = self.rows[-1].core_stop, self.columns[-1].core_stop
        if len(self) == 1:
            return f"{height}x{width} (HxW) whole"
        return (
            f"{height}x{width} (HxW) in {len(self.rows)}x{len(self.columns)} tiles of "
            f"{self.rows[0].length}x{self.columns[0].length}, {self.overhead:.0%} computed twice"
        )


def plan(height: int, width: int, tile: int, halo: int, min_side: int = 1) -> Plan:
    """Cut a picture of height x width LR pixels into tiles of ``min_side`` to ``tile`` pixels a side.

    Raises:
        ShapeError: ``tile <= 2 * halo`` and the picture is larger than a tile, or ``tile < min_side``.
    """
    if tile < min_side:
        raise ShapeError(f"tile {tile} is smaller than the {min_side} pixels a side that the model takes at least")
    rows, columns = (
        split_axis(length, max(min_side, even_tile(length, tile, halo)), halo) for length in (height, width)
    )
    return Plan(tuple(rows), tuple(columns))
