"""Patches follow from the seed and the update's number alone, and every pixel is as likely as any other."""

import numpy as np
import pytest

from edsr_runtime.errors import EdsrError
from edsr_train.data.patches import Plan, draw

SIZES = np.array([[20, 30], [8, 8], [48, 10]])


def plan(seed: int = 0, update: int = 0, batch: int = 16, patch: int = 8) -> Plan:
    return draw(seed, update, batch, patch, {2: SIZES, 3: SIZES + 1, 4: SIZES + 5})


def rows(some: Plan) -> list[tuple[int, ...]]:
    columns = (some.picture, some.top, some.left, some.turns, some.mirror)
    return [(some.scale, *(int(n) for n in row)) for row in zip(*columns, strict=True)]


def test_a_plan_is_a_function_of_seed_and_update() -> None:
    assert rows(plan(7, 3)) == rows(plan(7, 3))
    assert len({tuple(rows(plan(seed, update))) for seed in range(20) for update in range(20)}) == 400
    huge = plan(2**200 + 1, 2**40)
    assert rows(huge) == rows(plan(2**200 + 1, 2**40))


def test_plans_stay_the_same_in_all_versions() -> None:
    """Runs are resumed with other versions of this project and of NumPy."""
    assert rows(plan(1, 2, batch=3)) == [(4, 2, 4, 1, 2, 1), (4, 2, 31, 5, 1, 1), (4, 2, 43, 7, 3, 1)]


def test_a_larger_batch_begins_like_a_smaller_one() -> None:
    assert rows(plan(batch=40))[:5] == rows(plan(batch=5))


def test_pictures_are_drawn_by_area() -> None:
    sizes = np.array([[8, 8], [24, 24]])
    share = np.mean(draw(0, 0, 4000, 4, {2: sizes}).picture == 0)
    assert share == pytest.approx(0.1, abs=0.015)  # 64 of 640 pixels; three standard deviations of 4000 draws


def test_pictures_of_one_pixel_are_drawn_evenly() -> None:
    counts = np.bincount(draw(0, 0, 3000, 1, {2: np.ones((3, 2), np.int64)}).picture, minlength=3)
    assert counts.tolist() == pytest.approx([1000] * 3, abs=78)  # three standard deviations


def test_scales_are_drawn_evenly() -> None:
    drawn = [plan(update=update, batch=1).scale for update in range(3000)]
    for scale in (2, 3, 4):
        assert drawn.count(scale) == pytest.approx(1000, abs=78)  # three standard deviations


def test_places_and_orientations_are_drawn_evenly_and_stay_inside() -> None:
    some = draw(5, 0, 8000, 5, {3: np.array([[6, 8]])})
    corners, counts = np.unique(np.stack([some.top, some.left]), axis=1, return_counts=True)
    assert corners.T.tolist() == [[top, left] for top in range(2) for left in range(4)]
    orientations, turned = np.unique(np.stack([some.turns, some.mirror]), axis=1, return_counts=True)
    assert orientations.T.tolist() == [[turns, mirror] for turns in range(4) for mirror in range(2)]
    for count in (*counts, *turned):
        assert count == pytest.approx(1000, abs=120)  # four standard deviations


def test_a_picture_as_small_as_a_patch_is_taken_whole() -> None:
    some = draw(0, 0, 500, 8, {2: np.array([[8, 8], [8, 9]])})
    assert set(some.picture) == {0, 1}
    assert some.top.max() == 0
    assert set(some.left[some.picture == 0]) == {0}
    assert set(some.left[some.picture == 1]) == {0, 1}


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_parts_make_up_the_whole(world: int) -> None:
    whole = plan(batch=17)
    parts = [whole.part(rank, world) for rank in range(world)]
    assert [row for part in parts for row in rows(part)] == rows(whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_more_processes_than_patches_are_refused() -> None:
    with pytest.raises(EdsrError, match="a batch of 3 patches cannot be shared by 4 processes"):
        plan(batch=3).part(0, 4)
