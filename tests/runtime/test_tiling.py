"""Tiles: every pixel once, whole halos, one length, few tiles."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edsr_runtime.errors import ShapeError
from edsr_runtime.tiling import Plan, Span, even_tile, plan, split_axis

HALO = st.integers(0, 40)


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int]:
    """length, tile, halo with a core; short axes, equal ones, and long ones."""
    halo = draw(HALO)
    tile = 2 * halo + draw(st.integers(1, 60))
    length = draw(st.one_of(st.integers(1, 2 * tile), st.integers(1, 2000)))
    return length, tile, halo


@given(axes())
def test_cores_cover_the_axis_once(axis: tuple[int, int, int]) -> None:
    kept = [x for span in split_axis(*axis) for x in range(span.core_start, span.core_stop)]
    assert kept == list(range(axis[0]))


@given(axes())
def test_tiles_lie_inside_and_have_one_length(axis: tuple[int, int, int]) -> None:
    length, tile, _ = axis
    spans = split_axis(*axis)
    assert all(0 <= span.start <= span.core_start < span.core_stop <= span.stop <= length for span in spans)
    assert {span.length for span in spans} == {min(length, tile)}


@given(axes())
def test_a_core_has_its_halo_on_both_sides_except_at_the_border(axis: tuple[int, int, int]) -> None:
    length, _, halo = axis
    for span in split_axis(*axis):
        assert span.start == 0 or span.core_start - span.start >= halo
        assert span.stop == length or span.stop - span.core_stop >= halo


@given(axes())
def test_the_core_is_found_in_the_tile(axis: tuple[int, int, int]) -> None:
    for span in split_axis(*axis):
        tile = range(span.start, span.stop)
        assert list(tile[span.kept]) == list(range(span.core_start, span.core_stop))


@given(axes())
def test_even_tiles_are_as_short_as_their_number_allows(axis: tuple[int, int, int]) -> None:
    length, largest, halo = axis
    tile = even_tile(length, largest, halo)
    assert tile <= largest
    assert len(split_axis(length, tile, halo)) == len(split_axis(length, largest, halo))
    if length > largest and tile > 2 * halo + 1:
        assert len(split_axis(length, tile - 1, halo)) > len(split_axis(length, largest, halo))


@given(axes(), axes())
def test_a_plan_covers_the_picture_once(rows: tuple[int, int, int], columns: tuple[int, int, int]) -> None:
    (height, tile, halo), width = rows, columns[0] % 300 + 1
    cut = plan(height, width, tile, halo)
    tiles = list(cut)
    assert len(tiles) == len(cut) == len(cut.rows) * len(cut.columns)
    area = sum((r.core_stop - r.core_start) * (c.core_stop - c.core_start) for r, c in tiles)
    assert area == height * width
    assert tiles == [(row, column) for row in cut.rows for column in cut.columns]
    assert cut.overhead == pytest.approx(sum(r.length * c.length for r, c in tiles) / (height * width) - 1)


@pytest.mark.parametrize("length", [1, 63, 64])
def test_an_axis_no_longer_than_a_tile_stays_whole(length: int) -> None:
    whole = [Span(0, length, 0, length)]
    assert split_axis(length, tile=64, halo=12) == whole
    assert split_axis(length, tile=64, halo=32) == whole  # with any halo: none is needed
    assert plan(length, length, 64, 36) == Plan(tuple(whole), tuple(whole))


def test_the_last_tile_is_moved_inwards() -> None:
    assert split_axis(100, tile=64, halo=12) == [Span(0, 64, 0, 52), Span(36, 100, 52, 100)]


@pytest.mark.parametrize(("tile", "halo"), [(64, 32), (1, 36), (0, 0), (-5, 0)])
def test_a_tile_without_a_core_is_refused(tile: int, halo: int) -> None:
    sentence = f"tile {tile} leaves nothing after a halo of {halo} on both sides: use a tile of at least {2 * halo + 1}"
    with pytest.raises(ShapeError, match=f"^{sentence}$"):
        split_axis(1000, tile=tile, halo=halo)


@given(st.integers(3, 200), st.integers(3, 200), st.integers(3, 40), st.integers(0, 1))
def test_no_tile_is_smaller_than_the_model_takes(height: int, width: int, tile: int, halo: int) -> None:
    cut = plan(height, width, tile, halo, min_side=3)
    assert min(span.length for span in cut.rows + cut.columns) >= 3


def test_a_tile_smaller_than_the_model_takes_is_refused() -> None:
    with pytest.raises(ShapeError, match="tile 2 is smaller than the 3 pixels a side"):
        plan(100, 100, 2, 0, min_side=3)


def test_a_plan_says_what_is_done() -> None:
    assert str(plan(40, 50, 64, 8)) == "40x50 (HxW) whole"
    cut = plan(100, 30, 64, 8)
    assert (len(cut.rows), len(cut.columns), cut.rows[0].length) == (2, 1, math.ceil((100 - 16) / 2) + 16)
    assert str(cut) == "100x30 (HxW) in 2x1 tiles of 58x30, 16% computed twice"
