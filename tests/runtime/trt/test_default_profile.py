"""What an engine is for where nobody says it: tiles that keep a useful core, however far the network sees."""

import re
from typing import Any

import pytest

from edsr_runtime.contract import Contract
from edsr_runtime.errors import EnvironmentUnfitError
from edsr_runtime.tiling import split_axis
from edsr_runtime.trt.default_profile import default_profile, default_tile, nothing_but_halo
from edsr_runtime.trt.memory import MAX_ELEMENTS, Budget, check_fits, predict
from edsr_runtime.trt.profile import Profile, Size, tile_profile
from engine_stand_ins import contract

BASELINE, EDSR = contract(receptive_radius=36), contract(receptive_radius=68, n_feats=256)
MDSR = contract(architecture="mdsr", receptive_radius=172)
PAPER: dict[str, Any] = {"min_side": 1, "folds": ()}


def test_eight_at_once_unless_the_model_makes_its_eight_itself() -> None:
    assert default_profile(BASELINE) == Profile(Size(1, 3, 3), Size(8, 256, 256), Size(8, 256, 256))
    assert default_profile(contract(self_ensemble=True)).max == Size(1, 256, 256)
    assert default_profile(BASELINE, tile=96, batch=2).opt == Size(2, 96, 96)


@pytest.mark.parametrize(("own", "side"), [(BASELINE, 256), (EDSR, 272), (MDSR, 688)])
def test_the_published_networks_have_tiles_that_they_can_be_cut_into(own: Contract, side: int) -> None:
    assert default_profile(own).max == Size(8, side, side)


@pytest.mark.parametrize("halo", [0, 1, 36, 63, 64, 65, 68, 172, 1000])
def test_half_of_each_side_is_core(halo: int) -> None:
    tile = default_tile(halo)
    assert tile >= 256 and tile % 16 == 0
    middle = split_axis(10 * tile, tile, halo)[1]
    assert middle.length == tile and 2 * (middle.core_stop - middle.core_start) >= tile
    if tile > 256:
        assert tile - 16 < 4 * halo  # and no more than that: memory goes by the square


@pytest.mark.parametrize(
    ("own", "size"),
    [
        (contract(n_feats=256, receptive_radius=68, **PAPER), Size(4, 272, 272)),
        (contract(receptive_radius=172, **PAPER), Size(4, 688, 688)),
        (contract(receptive_radius=172, self_ensemble=True, **PAPER), Size(1, 688, 688)),
        (contract(receptive_radius=36, **PAPER), Size(8, 256, 256)),
    ],
)
def test_fewer_at_once_where_a_tensor_would_be_too_large(own: Contract, size: Size) -> None:
    assert default_profile(own).max == size
    assert predict(own, size).largest_tensor < MAX_ELEMENTS
    if 1 < size.batch < 8:
        twice = Size(2 * size.batch, size.height, size.width)
        assert predict(own, twice).largest_tensor >= MAX_ELEMENTS


def test_what_is_asked_for_is_not_made_fewer() -> None:
    own = contract(n_feats=256, receptive_radius=68, **PAPER)
    assert default_profile(own, batch=8).max == Size(8, 272, 272)
    assert default_profile(own, tile=400).max == Size(2, 400, 400)
    assert default_profile(own, tile=400, batch=8).max == Size(8, 400, 400)


def test_memory_that_is_not_there_is_refused_with_a_tile_that_has_a_core() -> None:
    budget = Budget(1_000_000_000, "the GPU", False)
    with pytest.raises(EnvironmentUnfitError, match=r"at 8x688x688 .* needs about [\d,]+ MB, but the GPU") as refused:
        check_fits(MDSR, default_profile(MDSR), [budget])
    found = re.search(r"use --tile (\d+) --batch (\d+)$", str(refused.value))
    assert found is not None
    proposed = default_profile(MDSR, tile=int(found[1]), batch=int(found[2]))
    assert 345 <= proposed.max.height < 688 and nothing_but_halo(MDSR, proposed) == ""
    check_fits(MDSR, proposed, [budget])


def test_a_profile_of_nothing_but_halo_is_said_to_be_one() -> None:
    assert nothing_but_halo(MDSR, tile_profile(345, 1, MDSR)) == ""
    assert nothing_but_halo(MDSR, tile_profile(344, 1, MDSR)) == (
        "the engine is for pictures of up to 344x344 (HxW) only: tiles, into which larger ones would be cut, need a "
        "halo of 172 LR pixels on each side; with --tile 688 it is for all"
    )
    wide = Profile(Size(1, 3, 3), Size(1, 270, 480), Size(1, 270, 480))
    assert nothing_but_halo(MDSR, wide).startswith("the engine is for pictures of up to 270x480 (HxW) only")
    assert nothing_but_halo(BASELINE, wide) == ""
