"""Sets are found in the usual layouts, and sums over their pictures are those of the pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality.data_sets import BenchmarkSet, find_sets
from benchmarks.quality.measure import as_papers_count
from benchmarks.quality.published import FULL_SETS, published_scores
from benchmarks.quality.tally import Tally
from benchmarks.settings import Settings
from edsr_runtime.errors import DataError
from edsr_runtime.metrics import PROTOCOLS, psnr_rgb
from edsr_runtime.resize import imresize
from photographs import noise, save

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
    scores = published_scores("Set5", 4)
    assert (scores["EDSR"].psnr_db, scores["EDSR"].ssim) == (32.46, 0.8968)
    assert scores["EDSR-baseline"].psnr_db == 32.09
    assert published_scores("Mine", 2) == {}
    whole = [published_scores(name, scale) for name in FULL_SETS for scale in (2, 3, 4)]
    order = ["bicubic", "A+", "SRCNN", "VDSR"]
    for each in whole:  # a figure in the wrong place would break the order of the field
        assert sorted(order, key=lambda method: each[method].psnr_db) == order
        assert each["VDSR"].psnr_db < min(each["EDSR"].psnr_db, each["MDSR"].psnr_db)
        assert each["EDSR+"].psnr_db > each["EDSR"].psnr_db
        assert each["MDSR+"].psnr_db > each["MDSR"].psnr_db
        assert all(0.65 < score.ssim < 0.97 for score in each.values() if score.ssim is not None)


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
    published = published_scores(name, scale)["bicubic"]
    counted = as_papers_count(tally.psnr_db, gray, len(pairs))
    assert counted == pytest.approx(published.psnr_db, abs=0.02)  # dB; papers round luma differently


def test_a_gray_picture_is_counted_as_papers_do() -> None:
    hr = np.repeat(noise(32, 36)[:, :, :1], 3, axis=2)
    sr = np.clip(hr.astype(int) + 2, 0, 255).astype(np.uint8)
    of_gray_levels = psnr_rgb(sr, hr, 2)
    assert as_papers_count(PROTOCOL.psnr(sr, hr, 2), 1, 1) == pytest.approx(of_gray_levels, abs=1e-4)
