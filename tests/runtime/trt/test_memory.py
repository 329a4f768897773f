"""Memory that is foretold, against what TensorRT-RTX 1.7.1 reported for full-sized networks with these contracts."""

import dataclasses
from typing import Any

import pytest

from edsr_runtime.contract import Contract
from edsr_runtime.errors import EnvironmentUnfitError, ShapeError
from edsr_runtime.trt.memory import Budget, Need, check_enough, check_fits, predict, propose
from edsr_runtime.trt.profile import Profile, Size, tile_profile
from engine_stand_ins import contract

PAPER = contract(min_side=1)
COLLAPSED = contract()
DIRECT = contract(min_side=1, config={"tail": "direct"}, receptive_radius=14)
WIDE: dict[str, Any] = {"n_feats": 256}
FP32: dict[str, Any] = {"precision": "fp32"}
UINT8: dict[str, Any] = {"io": "uint8"}
PLUS: dict[str, Any] = {"self_ensemble": True}

# (contract, what differs, size, "Total Activation Memory" in the log)
REPORTED: list[tuple[Contract, dict[str, Any], tuple[int, int, int], int]] = [
    (PAPER, {}, (8, 128, 128), 578_617_344),
    (PAPER, {}, (1, 256, 256), 293_404_672),
    (PAPER, {"scale": 2}, (8, 128, 128), 175_964_160),
    (PAPER, {"scale": 3}, (1, 256, 256), 175_964_160),
    (PAPER, WIDE, (1, 256, 256), 1_149_042_688),
    (PAPER, FP32, (8, 128, 128), 1_149_042_688),
    (DIRECT, {}, (1, 64, 64), 10_289_152),
    (DIRECT, {}, (8, 256, 256), 276_627_456),
    (DIRECT, {}, (1, 1024, 1024), 545_062_912),
    (DIRECT, FP32, (1, 256, 256), 75_300_864),
    (DIRECT, UINT8, (1, 256, 256), 45_940_736),
    (COLLAPSED, {}, (1, 16, 16), 32_859_648),
    (COLLAPSED, {}, (1, 128, 128), 44_830_208),
    (COLLAPSED, {}, (8, 64, 64), 73_698_816),
    (COLLAPSED, {}, (8, 128, 128), 118_260_224),
    (COLLAPSED, {}, (1, 256, 256), 56_626_688),
    (COLLAPSED, {}, (4, 256, 256), 160_771_584),
    (COLLAPSED, {}, (8, 256, 256), 321_552_896),
    (COLLAPSED, {}, (16, 256, 256), 593_953_280),
    (COLLAPSED, {}, (1, 1080, 1920), 1_089_142_784),
    (COLLAPSED, {"scale": 2}, (8, 128, 128), 88_239_104),
    (COLLAPSED, {"scale": 3}, (8, 128, 128), 116_756_992),
    (COLLAPSED, WIDE, (1, 256, 256), 158_480_384),
    (COLLAPSED, WIDE, (8, 256, 256), 1_136_407_040),
    (COLLAPSED, FP32, (8, 128, 128), 187_367_936),
    (COLLAPSED, UINT8, (8, 128, 128), 118_260_224),
    (COLLAPSED, PLUS, (1, 256, 256), 124_208_640),
    (COLLAPSED, PLUS, (1, 512, 512), 471_959_040),
    (PAPER, PLUS, (1, 128, 128), 101_777_408),
    (PAPER, PLUS, (1, 256, 256), 382_009_344),
]


@pytest.mark.parametrize(("base", "changes", "size", "reported"), REPORTED)
def test_what_was_reported_lies_between_the_bounds(
    base: Contract, changes: dict[str, Any], size: tuple[int, int, int], reported: int
) -> None:
    need = predict(dataclasses.replace(base, **changes), Size(*size))
    assert need.at_least <= 1.003 * reported  # the formulas leave out a few hundred KB
    assert reported <= 1.003 * need.activations


@pytest.mark.parametrize(
    ("base", "changes", "size", "reported"), [row for row in REPORTED if row[0] is not COLLAPSED and row[1] != PLUS]
)
def test_without_a_ring_and_an_ensemble_both_bounds_are_exact(
    base: Contract, changes: dict[str, Any], size: tuple[int, int, int], reported: int
) -> None:
    need = predict(dataclasses.replace(base, **changes), Size(*size))
    assert need.activations == pytest.approx(reported, rel=0.003)
    if changes != {"io": "uint8"}:  # whose casts are uncertain
        assert need.at_least == need.activations


def test_the_tail_collapse_saves_eight_ninths_where_it_counts() -> None:
    size = Size(16, 256, 256)  # large enough for what is constant not to matter
    assert predict(PAPER, size).activations > 7 * predict(COLLAPSED, size).activations
    assert predict(PAPER, size).at_least > 8 * predict(COLLAPSED, size).at_least


def test_buffers_are_input_and_output() -> None:
    assert predict(COLLAPSED, Size(2, 10, 20)).buffers == 400 * 4 * (3 + 48)
    assert predict(dataclasses.replace(COLLAPSED, **UINT8), Size(2, 10, 20)).buffers == 400 * (3 + 48)


def test_networks_that_were_not_measured_are_never_refused_for_certain() -> None:
    assert predict(contract(architecture="vdsr"), Size(1, 64, 64)).at_least == 0


def profile(batch: int, side: int) -> Profile:
    return tile_profile(side, batch, COLLAPSED)


def test_a_tensor_of_two_to_the_31_elements_is_refused() -> None:
    at_limit = tile_profile(2048, 8, COLLAPSED)  # 8 * 2048^2 * 64 = 2^31
    with pytest.raises(ShapeError, match=r"2,147,483,648 elements, expected fewer than 2\^31: use --tile 2032 --batch"):
        check_fits(COLLAPSED, at_limit, [])
    assert check_fits(COLLAPSED, tile_profile(2032, 8, COLLAPSED), []).largest_tensor == 8 * 2032**2 * 64
    with pytest.raises(ShapeError, match="use --tile 496 --batch 8"):  # 16 times as many in the paper's tail
        check_fits(PAPER, tile_profile(512, 8, PAPER), [])


def test_too_much_is_refused_with_a_tile_that_fits() -> None:
    budget = Budget(400_000_000, "the NVIDIA L4", True)
    with pytest.raises(EnvironmentUnfitError) as refused:
        check_fits(COLLAPSED, profile(8, 512), [budget])
    text = str(refused.value)
    assert text.startswith("at 8x512x512 (NxHxW) the engine needs about 1,510 MB, but the NVIDIA L4 has 400 MB: use ")
    side, batch = (int(word) for word in text.split("--tile ")[1].split(" --batch "))
    need = check_fits(COLLAPSED, profile(batch, side), [budget])
    assert need.activations + need.buffers <= budget.size
    larger = predict(COLLAPSED, Size(batch, side + 16, side + 16))
    assert larger.activations + larger.buffers > budget.size  # and no larger one would
    assert batch == 8


def test_fewer_at_once_are_proposed_where_no_tile_fits() -> None:
    assert propose(COLLAPSED, Size(8, 256, 256), [Budget(90_000_000, "it", False)]) == "use --tile 96 --batch 4"
    assert propose(COLLAPSED, Size(8, 256, 256), [Budget(1_000_000, "it", False)]) == (
        "use another GPU, or a smaller model"
    )


def test_a_proposed_tile_is_larger_than_its_halo() -> None:
    deep = contract(receptive_radius=120)
    budget = Budget(predict(deep, Size(1, 250, 250)).activations, "it", False)
    assert propose(deep, Size(1, 512, 512), [budget]).startswith("use another GPU")
    assert propose(COLLAPSED, Size(1, 512, 512), [budget]) == "use --tile 240 --batch 1"


def test_what_is_uncertain_refuses_nothing_before_the_build() -> None:
    need = predict(COLLAPSED, Size(8, 128, 128))
    between = Budget((need.at_least + need.activations) // 2, "--workspace", False)
    assert check_fits(COLLAPSED, profile(8, 128), [between]) == need


def test_what_was_measured_is_held_against_every_budget() -> None:
    need = Need(100, 200, 50, 1)
    roomy, tight = Budget(1000, "the GPU", True), Budget(400, "--workspace", False)
    check_enough(400, need, COLLAPSED, profile(1, 64), [roomy, tight], measured=True)
    with pytest.raises(EnvironmentUnfitError, match="needs 0 MB, but --workspace has"):
        check_enough(401, need, COLLAPSED, profile(1, 64), [roomy, tight], measured=True)
    check_enough(950, need, COLLAPSED, profile(1, 64), [roomy], measured=True)
    with pytest.raises(EnvironmentUnfitError, match="the GPU has"):  # its buffers are in there too
        check_enough(951, need, COLLAPSED, profile(1, 64), [roomy], measured=True)


def test_a_proposal_after_a_measurement_heeds_how_wrong_the_prediction_was() -> None:
    need = predict(DIRECT, Size(1, 1024, 1024))
    budget = [Budget(need.activations, "it", False)]
    with pytest.raises(EnvironmentUnfitError, match="use --tile 704 --batch 1"):  # half the activations: 718 x 718
        check_enough(2 * need.activations, need, DIRECT, tile_profile(1024, 1, DIRECT), budget, measured=True)
