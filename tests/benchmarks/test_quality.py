"""Sets are found in the usual layouts, and sums over their pictures are those of the pictures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.context import Context
from benchmarks.cost import trained
from benchmarks.cost.trained import checkpoint_behind
from benchmarks.machine import describe_machine
from benchmarks.models import Models
from benchmarks.ours import ONNXRUNTIME, OPENVINO_FP32
from benchmarks.peers.registry import PEERS
from benchmarks.quality import measure
from benchmarks.quality.data_sets import BenchmarkSet, find_sets
from benchmarks.quality.measure import QualityRow, as_papers_count
from benchmarks.quality.published import FULL_SETS, published_scores
from benchmarks.quality.tally import Tally
from benchmarks.settings import Settings, smoke_settings
from edsr_runtime.contract import read_contract
from edsr_runtime.errors import DataError
from edsr_runtime.metrics import PROTOCOLS, psnr_rgb
from edsr_runtime.resize import imresize
from edsr_runtime.zoo import shipped_models
from edsr_train.checkpoint import save_checkpoint
from made_up_result import quality_section
from photographs import noise, save
from tiny_networks import tiny_mdsr

PROTOCOL = PROTOCOLS["paper-y"]


@pytest.mark.parametrize("place", ["benchmark/{}/HR", "{}/HR", "{}"])
def test_sets_are_found_in_every_usual_layout(tmp_path: Path, place: str) -> None:
    for name in ("Urban100", "Set5", "Mine"):
        save(noise(24, 20), tmp_path / place.format(name) / "a.png")
    assert [each.name for each in find_sets(tmp_path)] == ["Set5", "Urban100", "Mine"]
    assert [each.name for each in find_sets(tmp_path, ("Mine", "Set14"))] == ["Mine"]
    (pair,) = find_sets(tmp_path, ("Mine",))[0].pairs(2, Settings())
    assert pair.lr.shape == (12, 10, 3)


@pytest.mark.parametrize("place", ["HR", "", "DIV2K_valid_HR"])
def test_a_set_may_be_named_by_itself(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "Set14"
    save(noise(24, 20), folder / place / "a.png")
    assert find_sets(folder) == [BenchmarkSet("Set14", folder)]


def test_gray_files_are_told_from_colour_files_without_colour(tmp_path: Path) -> None:
    gray = noise(24, 20)[:, :, 0]
    for name, pixels in {"gray": gray, "rgb": np.stack([gray] * 3, axis=2)}.items():
        (tmp_path / "Set5" / "HR").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "Set5" / "HR" / f"{name}.png")
    (found,) = find_sets(tmp_path)
    assert [found.gray_files([name]) for name in ("gray", "rgb")] == [1, 0]


def test_no_sets_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected folders of benchmark sets"):
        find_sets(tmp_path)
    save(noise(24, 20), tmp_path / "Set5" / "HR" / "a.png")
    with pytest.raises(DataError, match="there is no set Set14; there are Set5"):
        find_sets(tmp_path, ("Set14",))


@pytest.mark.parametrize(
    ("name", "pictures", "shown", "protocol"),
    [
        ("Set5", 5, "Set5", "paper-y"),
        ("Urban100", 10, "10 of Urban100", "paper-y"),
        ("DIV2K_valid3", 3, "DIV2K_valid3", "paper-div2k"),
        ("Mine", 7, "Mine", "paper-y"),
    ],
)
def test_a_set_that_is_not_whole_is_called_so(name: str, pictures: int, shown: str, protocol: str) -> None:
    each = BenchmarkSet(name, Path())
    assert (each.shown(pictures), each.protocol.id) == (shown, protocol)


def test_published_scores_are_those_of_the_paper() -> None:
    scores = published_scores("Set5", 4, "abcde")
    assert (scores["EDSR"].psnr_db, scores["EDSR"].ssim) == (32.46, 0.8968)
    assert scores["EDSR-baseline"].psnr_db == 32.09
    assert published_scores("Mine", 2, "a") == {} == published_scores("Set5", 4, "abcd")
    ten = [f"08{number:02}" for number in range(1, 11)]
    assert published_scores("DIV2K_valid_HR", 2, ten)["SRResNet"].psnr_db == 34.44
    assert published_scores("DIV2K_valid_HR", 2, ten[:9]) == {} == published_scores("Mine", 2, ten)
    whole = [published_scores(name, scale, "x" * n) for name, n in FULL_SETS.items() for scale in (2, 3, 4)]
    whole += [published_scores("DIV2K", scale, ten) for scale in (2, 3, 4)]
    order = ["bicubic", "A+", "SRCNN", "VDSR"]
    for each in whole:  # a figure in the wrong place would break the order of the field
        assert sorted(order, key=lambda method: each[method].psnr_db) == order
        assert each["VDSR"].psnr_db < min(each["EDSR"].psnr_db, each["MDSR"].psnr_db)
        assert each["EDSR+"].psnr_db > each["EDSR"].psnr_db
        assert each["MDSR+"].psnr_db > each["MDSR"].psnr_db
        assert all(0.65 < score.ssim < 0.971 for score in each.values() if score.ssim is not None)


def test_a_tally_is_the_mean_over_pictures_and_the_worst_of_them() -> None:
    tally = Tally(PROTOCOL, 2)
    hrs = [noise(32, 36, seed) for seed in range(2)]
    srs = [np.clip(hr.astype(int) + 3 * (index + 1), 0, 255).astype(np.uint8) for index, hr in enumerate(hrs)]
    base_dbs = [30.0, 20.0]
    for hr, sr, base_db in zip(hrs, srs, base_dbs, strict=True):
        found = tally.add(hr, sr)
        floats = sr.astype(np.float32)
        tally.compare(found, sr, floats + 0.5, base_db, hr, hr.astype(np.float32))
    psnr = [PROTOCOL.psnr(sr, hr, 2) for hr, sr in zip(hrs, srs, strict=True)]
    assert tally.psnr_db == pytest.approx(np.mean(psnr))
    assert tally.ssim == pytest.approx(np.mean([PROTOCOL.ssim(s, h, 2) for h, s in zip(hrs, srs, strict=True)]))
    assert tally.loss_db == pytest.approx(np.mean([30 - psnr[0], 20 - psnr[1]]))
    assert tally.worst_loss_db == pytest.approx(max(30 - psnr[0], 20 - psnr[1]))
    steps = [s.astype(float) + 0.5 - h for h, s in zip(hrs, srs, strict=True)]
    assert tally.max_difference == max(float(step.max()) for step in steps) == 6.5
    assert tally.rms_difference == pytest.approx(np.sqrt(np.mean(np.square(steps))))
    assert tally.changed_share == pytest.approx(np.mean([s != h for h, s in zip(hrs, srs, strict=True)]))


@pytest.mark.parametrize(("name", "scale"), [("Set5", 2), ("Set5", 4), ("Set14", 3)])
def test_bicubic_is_reproduced(data_root: Path, name: str, scale: int) -> None:
    tally = Tally(PROTOCOL, scale)
    (found,) = find_sets(data_root, (name,))
    pairs = found.pairs(scale, Settings())
    for pair in pairs:
        tally.add(pair.hr, np.asarray(imresize(pair.lr, scale), np.uint8))
    gray = found.gray_files(pair.name for pair in pairs)
    assert gray == {"Set5": 0, "Set14": 1}[name]
    published = published_scores(name, scale, [pair.name for pair in pairs])["bicubic"]
    counted = as_papers_count(tally.psnr_db, gray, len(pairs))
    assert counted == pytest.approx(published.psnr_db, abs=0.02)  # dB; papers round luma differently


def test_a_gray_picture_is_counted_as_papers_do() -> None:
    hr = np.repeat(noise(32, 36)[:, :, :1], 3, axis=2)
    sr = np.clip(hr.astype(int) + 2, 0, 255).astype(np.uint8)
    of_gray_levels = psnr_rgb(sr, hr, 2)
    assert as_papers_count(PROTOCOL.psnr(sr, hr, 2), 1, 1) == pytest.approx(of_gray_levels, abs=1e-4)


def quality_context(folder: Path, data: Path | None, settings: Settings) -> Context:
    return Context(settings, describe_machine(), Models(folder, settings), folder, data, lambda line: None)


def test_peers_are_scored_and_compared_as_our_forms_are(
    tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(
        smoke_settings(), quality_scales=(4,), quality_foreign=False, quality_pictures=1, quality_side=24
    )
    settings = dataclasses.replace(
        small, quality_sets=("Set5", "Set14"), quality_peer_sets=("Set5",), quality_form_sets=("Set5",)
    )
    model = next(model for model in shipped_models() if model.path.stem == "edsr-small_x4")
    monkeypatch.setattr(measure, "shipped_models", lambda: [model])
    monkeypatch.setattr(measure, "_FORMS", (OPENVINO_FP32, ONNXRUNTIME))
    with_peers, without = measure.measure(quality_context(tmp_path, data_root, settings)).cases
    rows = {row.name: row for row in with_peers.rows}
    slow = {peer.name for peer in PEERS if peer.is_slow_to_open}
    assert {*rows, *with_peers.missing} == {*(peer.name for peer in PEERS), "openvino-fp32", "onnxruntime"}
    assert slow <= set(with_peers.missing) <= {*slow, "peer-ncnn", "peer-opencv"}
    reference = rows.pop("torch-eager-fp32")
    for row in rows.values():
        is_fp32 = "bf16" not in row.description.lower()
        assert 0 < row.max_difference < (0.01 if is_fp32 else 4)  # grey levels
        assert row.changed_share < (0.001 if is_fp32 else 0.5)
        assert row.loss_db == pytest.approx(reference.psnr_db - row.psnr_db, abs=1e-9)
        assert abs(row.loss_db) < (0.001 if is_fp32 else 0.1)
        assert row.ssim == pytest.approx(reference.ssim, abs=1e-5 if is_fp32 else 1e-2)
    assert rows["torch-bf16"].changed_share > 0.01
    assert [row.name for row in without.rows] == ["torch-eager-fp32", "openvino-fp32"]
    assert without.missing["torch-bf16"] == without.missing["onnxruntime"] == "measured on Set5 only"


def test_our_checkpoints_that_do_not_ship_are_measured_at_all_their_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "ours.safetensors", tiny_mdsr())
    shipped = next(model for model in shipped_models() if model.path.stem == "edsr-small_x4")
    source = checkpoint_behind(shipped.path)
    assert source is not None
    (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(trained, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(measure, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(measure, "shipped_models", lambda: [shipped])
    (tmp_path / "made").mkdir()
    settings = dataclasses.replace(smoke_settings(), quality_scales=(2, 4), quality_foreign=False)
    without = quality_context(tmp_path / "made", None, settings)
    assert [m.name for m in measure._models(without, tmp_path)] == ["edsr-small_x4"]
    settings = dataclasses.replace(settings, quality_unshipped=True)
    models = list(measure._models(quality_context(tmp_path / "made", None, settings), tmp_path))
    assert [(m.name, m.scale, m.is_shipped) for m in models] == [
        ("edsr-small_x4", 4, True),
        ("ours_x2", 2, False),
        ("ours_x4", 4, False),
    ]
    assert [read_contract(model.path).scale for model in models] == [4, 2, 4]


def test_what_others_lose_is_no_promise_of_ours(tmp_path: Path) -> None:
    cases = quality_section().cases
    cases[0].rows.append(QualityRow("torch-bf16", "", 30.0, 0.9, 7.0, 7.0, 1.0, 9.0, 0.5))
    loss = next(measure._targets(quality_context(tmp_path, None, Settings()), cases))
    assert (loss.measured, loss.met) == (0.0042, True)
    assert "openvino-bf16" in loss.promise
