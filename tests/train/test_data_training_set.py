"""Patches of LR and HR show the same place and are those of the files; what is wrong is found before the start."""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edsr_runtime.errors import DataError
from edsr_runtime.resize import imresize
from edsr_train.data import training_set
from edsr_train.data.batches import batches, cut_ahead
from edsr_train.data.patches import Plan
from edsr_train.data.pictures import UnusablePicturesError, make_pair
from edsr_train.data.selection import Selection
from edsr_train.data.sets import Source, find_sources
from edsr_train.data.training_set import TrainingSet, fits, open_training_set
from photographs import noise, save

Pixels = NDArray[np.uint8]


def addressed(height: int, width: int, scale: int) -> tuple[Pixels, Pixels]:
    """Every LR pixel holds its row and column, every HR pixel those of its LR pixel and its place within that."""
    row, column = np.indices((height * scale, width * scale))
    hr = np.stack([row // scale, column // scale, row % scale * scale + column % scale], axis=-1).astype(np.uint8)
    return hr[::scale, ::scale].copy(), hr


def save_set(folder: Path, hr: dict[str, Pixels], lr: dict[int, dict[str, Pixels]]) -> Path:
    """With a track of its own, ``unknown``."""
    for name, pixels in hr.items():
        save(pixels, folder / "HR" / f"{name}.png")
    for scale, pictures in lr.items():
        for name, pixels in pictures.items():
            save(pixels, folder / "LR_unknown" / f"X{scale}" / f"{name}x{scale}.png")
    return folder


def photographs(folder: Path, count: int = 3) -> Path:
    for index in range(count):
        save(noise(33 + index, 41 - index, index), folder / f"{index}.png")
    return folder


def opened(folder: Path, cache: Path, *scales: int, patch: int = 5, rescale: tuple[float, ...] = ()) -> TrainingSet:
    scales = scales or (2,)
    return open_training_set(find_sources(folder, scales), scales, patch, rescale=rescale, cache=cache)


def whole(scale: int, picture: int, top: int, left: int) -> Plan:
    """One patch, as it lies in the picture."""
    places = (np.array([value], np.int64) for value in (picture, top, left, 0, 0))
    return Plan(scale, *places)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_of_lr_and_hr_show_the_same_place_in_the_same_orientation(tmp_path: Path, scale: int) -> None:
    small_picture, large_picture = addressed(9, 12, scale)
    large_picture = np.pad(large_picture, ((0, 1), (0, 1), (0, 0)))  # HR need not be a multiple of the scale
    save_set(tmp_path, {"1": large_picture}, {scale: {"1": small_picture}})
    data = open_training_set(find_sources(tmp_path, (scale,), "unknown"), (scale,), 5, cache=tmp_path / "cache")
    plan = data.plan(0, 0, 300)
    lr, hr = (batch.numpy() for batch in data.cut(plan))
    assert (lr.shape, hr.shape) == ((300, 3, 5, 5), (300, 3, 5 * scale, 5 * scale))
    assert lr.dtype == hr.dtype == np.float32
    np.testing.assert_array_equal(hr[:, :2], lr[:, :2].repeat(scale, axis=2).repeat(scale, axis=3))

    orientations, corners = set(), set()
    for small, large in zip(lr, hr, strict=True):
        # How row and column of the original change along the patch's axes, in LR pixels and within one.
        steps = [(p[1, 0] - p[0, 0], p[0, 1] - p[0, 0]) for p in small[:2].astype(int)]
        within = np.divmod(large[2, :scale, :scale].astype(int), scale)
        assert steps == [(p[1, 0] - p[0, 0], p[0, 1] - p[0, 0]) for p in within]
        orientations.add(tuple(steps))
        corners.add((int(small[0].min()), int(small[1].min())))
    assert len(orientations) == 8
    assert corners == {(top, left) for top in range(5) for left in range(8)}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_are_what_the_plan_says(tmp_path: Path, scale: int) -> None:
    data = opened(photographs(tmp_path / "photographs"), tmp_path / "cache", 2, 3, 4)
    pairs = [make_pair(noise(33 + index, 41 - index, index), scale) for index in range(3)]
    plan = next(plan for update in range(99) if (plan := data.plan(1, update, 64)).scale == scale)
    assert set(plan.picture) == {0, 1, 2}
    lr, hr = data.cut(plan)
    assert lr.is_contiguous() and hr.is_contiguous()
    for i in range(64):
        pair, top, left = pairs[plan.picture[i]], plan.top[i], plan.left[i]
        for picture, factor, patch in ((pair.lr, 1, lr[i]), (pair.hr, scale, hr[i])):
            cut = picture[factor * top : factor * (top + 5), factor * left : factor * (left + 5)]
            cut = np.rot90(cut, plan.turns[i])
            cut = cut[:, ::-1] if plan.mirror[i] else cut
            np.testing.assert_array_equal(patch.numpy(), cut.transpose(2, 0, 1))


def test_a_batch_is_the_same_in_parts(tmp_path: Path) -> None:
    data = opened(photographs(tmp_path / "photographs"), tmp_path / "cache", 2, 3)
    plan = data.plan(3, 5, 7)
    parts = [data.cut(plan.part(rank, 3)) for rank in range(3)]
    for together, separate in zip(data.cut(plan), zip(*parts, strict=True), strict=True):
        assert torch.equal(together, torch.cat(separate))


def test_a_batch_can_be_changed_without_changing_the_pictures(tmp_path: Path) -> None:
    data = opened(photographs(tmp_path / "photographs"), tmp_path / "cache")
    plan = whole(2, 0, 0, 0)
    before = [batch.clone() for batch in data.cut(plan)]
    for batch in data.cut(plan):
        batch.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, data.cut(plan), strict=True))


def test_rescaled_copies_are_photographs_of_their_own(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photographs", 2)
    data = opened(folder, tmp_path / "cache", 3, rescale=(0.8, 0.5))
    assert (data.counts.photographs, data.counts.copies, data.counts.copies_too_small) == (2, 4, 0)
    assert "4 of 4 rescaled copies have both sides of at least 15 pixels" in data.notes
    for picture, (index, factor) in enumerate([(0, 1), (1, 1), (0, 0.8), (1, 0.8), (0, 0.5), (1, 0.5)]):
        original = noise(33 + index, 41 - index, index)
        pair = make_pair(original if factor == 1 else imresize(original, factor), 3)
        lr, hr = data.cut(whole(3, picture, 0, 0))
        np.testing.assert_array_equal(lr[0].numpy(), pair.lr[:5, :5].transpose(2, 0, 1))
        np.testing.assert_array_equal(hr[0].numpy(), pair.hr[:15, :15].transpose(2, 0, 1))


def test_bicubic_files_may_be_rescaled_and_others_may_not(tmp_path: Path) -> None:
    original = noise(16, 16)
    save_set(tmp_path, {"1": original}, {2: {"1": noise(8, 8, 1)}})
    with pytest.raises(DataError, match=r"HR: its LR pictures are of the track unknown and cannot be rescaled"):
        open_training_set(find_sources(tmp_path, (2,), "unknown"), (2,), 4, rescale=(0.8,), cache=tmp_path / "cache")
    (tmp_path / "LR_unknown").rename(tmp_path / "LR_bicubic")
    data = opened(tmp_path, tmp_path / "cache", patch=4, rescale=(0.8,))
    lr, _ = data.cut(whole(2, 1, 0, 0))
    expected = make_pair(imresize(original, 0.8), 2).lr
    np.testing.assert_array_equal(lr[0].numpy(), expected[:4, :4].transpose(2, 0, 1))


def test_files_of_an_unknown_track_are_taken_as_they_are(tmp_path: Path) -> None:
    lr_file = noise(7, 9, 5)
    save_set(tmp_path, {"1": noise(15, 18)}, {2: {"1": lr_file}})
    data = open_training_set(find_sources(tmp_path, (2,), "unknown"), (2,), 4, cache=tmp_path / "cache")
    lr, _ = data.cut(whole(2, 0, 3, 5))
    np.testing.assert_array_equal(lr[0].numpy(), lr_file[3:7, 5:9].transpose(2, 0, 1))
    assert f"LR: files of {tmp_path / 'LR_unknown'}" in data.notes


def test_pictures_smaller_than_a_patch_at_the_largest_scale_are_left_out(tmp_path: Path) -> None:
    for name, height in (("low", 15), ("fits", 16), ("tiny", 1)):
        save(noise(height, 40), tmp_path / "photographs" / f"{name}.png")
    data = opened(tmp_path / "photographs", tmp_path / "cache", 4, 2, patch=4, rescale=(0.9,))
    assert (data.counts.photographs, data.counts.too_small) == (1, 2)
    assert (data.counts.copies, data.counts.copies_too_small) == (0, 3)
    assert "1 of 3 pictures have both sides of at least 16 pixels" in data.notes
    for update in range(20):
        assert set(data.plan(0, update, 8).picture) == {0}
    with pytest.raises(DataError, match=r"no training picture has both sides of at least 18 pixels; choose a smaller"):
        opened(tmp_path / "photographs", tmp_path / "cache", 2, patch=9)


def test_all_that_is_wrong_with_all_files_is_listed_at_once(tmp_path: Path) -> None:
    hr = {name: noise(16, 16) for name in ("1", "2", "3")}
    lr = {2: {"1": noise(8, 8), "2": noise(8, 8), "3": noise(8, 7)}, 4: {name: noise(4, 4) for name in hr}}
    save_set(tmp_path / "a", hr, lr)
    (tmp_path / "a/HR/1.png").write_text("<html>not found</html>")
    (tmp_path / "a/LR_unknown/X4/2x4.png").write_bytes(b"")
    save_set(tmp_path / "b", {"4": noise(16, 16)}, {2: {"4": noise(16, 16)}, 4: {"4": noise(4, 4)}})
    save(np.full((4, 4), 999, np.uint16), tmp_path / "b/LR_unknown/X4/4x4.png")
    sources = [s for name in "ab" for s in find_sources(tmp_path / name, (2, 4), "unknown")]
    with pytest.raises(DataError) as caught:
        open_training_set(sources, (2, 4), 2, cache=tmp_path / "cache")
    lines = str(caught.value).splitlines()
    assert lines[0] == "5 of the pictures cannot be used:"
    assert [line.removeprefix(str(tmp_path)).partition(": ")[0] for line in lines[1:]] == [
        "/a/HR/1.png",
        "/a/LR_unknown/X2/3x2.png",
        "/a/LR_unknown/X4/2x4.png",
        "/b/LR_unknown/X2/4x2.png",
        "/b/LR_unknown/X4/4x4.png",
    ]
    assert "3x2.png: is 8x7 (HxW), expected 8x8 for scale 2" in lines[2]


def test_missing_lr_files_are_listed_with_all_other_problems(tmp_path: Path) -> None:
    names = ("1", "2", "3")
    save_set(tmp_path / "a", {n: noise(16, 16) for n in names}, {2: {"1": noise(8, 8), "2": noise(8, 7)}})
    (tmp_path / "a/HR/1.png").write_bytes(b"")
    problems = ["found before"]
    sources = find_sources(tmp_path / "a", (2,), "unknown", problems=problems)
    with pytest.raises(UnusablePicturesError) as caught:
        open_training_set(sources, (2,), 2, cache=tmp_path / "cache", problems=problems)
    assert [line.removeprefix(f"{tmp_path}/a/").partition(": ")[0] for line in caught.value.problems] == [
        "found before",
        "LR_unknown/X2/3x2.png",
        "HR/1.png",
        "LR_unknown/X2/2x2.png",
    ]
    save(noise(16, 16), tmp_path / "a/HR/1.png")
    save(noise(8, 8), tmp_path / "a/LR_unknown/X2/2x2.png")
    with pytest.raises(UnusablePicturesError, match="found before"):
        open_training_set(sources, (2,), 2, cache=tmp_path / "cache", problems=problems)
    assert not any("unknown" in stored.name for stored in (tmp_path / "cache").glob("*.pixels"))  # a part of it only


def test_batches_that_are_cut_ahead_are_the_same_in_the_same_order(tmp_path: Path) -> None:
    data = opened(photographs(tmp_path / "photographs"), tmp_path / "cache", 2, 3)
    plans = [data.plan(0, update, 3) for update in range(8)]
    log: list[object] = []

    @contextlib.contextmanager
    def working() -> Iterator[None]:
        log.append(threading.current_thread() is threading.main_thread())
        yield

    marks = itertools.count()
    waited: list[int] = []
    ahead = cut_ahead(data, plans, working, lambda: next(marks), lambda batch, mark: waited.append(mark))
    for number, (batch, plan) in enumerate(zip(ahead, plans, strict=True)):
        lr, hr = data.cut(plan)
        assert (batch.scale, torch.equal(batch.lr, lr), torch.equal(batch.hr, hr)) == (plan.scale, True, True)
        assert waited[-1] == number
        assert len(log) <= number + 3  # not all of them at once
    assert (log, waited) == ([False] * 8, list(range(8)))


def test_on_a_cpu_batches_are_cut_when_they_are_asked_for(tmp_path: Path) -> None:
    data = opened(photographs(tmp_path / "photographs"), tmp_path / "cache")
    asked: list[int] = []

    def plans() -> Iterator[Plan]:
        for update in range(3):
            asked.append(update)
            yield data.plan(0, update, 2)

    with contextlib.closing(batches(data, plans())) as supply:
        next(supply)
        assert asked == [0]


def test_several_sets_are_one_and_share_what_is_stored_of_each(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        save(noise(16, 16, seed), tmp_path / name / "1.png")
    cache = tmp_path / "cache"
    for folders in ("a", "ab", "ba", "b"):
        sources = [source for name in folders for source in find_sources(tmp_path / name, (2,))]
        data = open_training_set(sources, (2,), 8, cache=cache)
        assert data.counts.photographs == len(folders)
        for picture, name in enumerate(folders):
            _, hr = data.cut(whole(2, picture, 0, 0))
            np.testing.assert_array_equal(hr[0].numpy(), noise(16, 16, 1 + "ab".index(name)).transpose(2, 0, 1))
    assert len(list(cache.glob("*.pixels"))) == 4


def test_ranges_of_a_set_are_stored_side_by_side(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photographs")
    for text, prepared in (("0-1", 2), ("0-2", 2), ("0-1", 0), ("all", 0), ("1", 2)):
        sources = find_sources(folder, (2,), select=Selection.parse(text))
        data = open_training_set(sources, (2,), 5, cache=tmp_path / "cache")
        assert sum("prepared" in note for note in data.notes) == prepared, text


def test_the_fingerprint_changes_with_all_that_changes_a_batch(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photographs")
    cache = tmp_path / "cache"

    def prints(sources: list[Source], patch: int = 5, rescale: tuple[float, ...] = ()) -> str:
        return open_training_set(sources, (2,), patch, rescale=rescale, cache=cache).fingerprint

    sources = find_sources(folder, (2,))
    variants = [
        prints(sources),
        prints(sources, patch=6),
        prints(sources, rescale=(0.8,)),
        prints(sources, rescale=(0.7,)),
        prints(sources[::-1]),
        prints(sources[:2]),
        opened(folder, cache, 3).fingerprint,
        opened(folder, cache, 2, 3).fingerprint,
    ]
    (folder / "0.png").rename(folder / "00.png")
    variants.append(opened(folder, cache).fingerprint)
    save(noise(33, 41, 99), folder / "00.png")
    variants.append(opened(folder, cache).fingerprint)
    save_set(tmp_path, {"1": noise(16, 16)}, {2: {"1": noise(8, 8, 1)}})
    variants += [prints(find_sources(tmp_path / "HR", (2,), track)) for track in ("made", "unknown")]
    assert len(set(variants)) == len(variants)


def test_the_fingerprint_does_not_change_with_what_changes_no_batch(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photographs")
    first = opened(folder, tmp_path / "cache", 2, 3).fingerprint
    assert opened(folder, tmp_path / "cache", 2, 3).fingerprint == first
    assert opened(folder, tmp_path / "elsewhere", 3, 2).fingerprint == first
    os.utime(folder / "1.png", ns=(0, 0))
    folder.rename(tmp_path / "moved")
    assert opened(tmp_path / "moved", tmp_path / "cache", 2, 3).fingerprint == first


def test_a_touched_photograph_is_read_again_but_not_shrunk_again(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photographs")
    before = opened(folder, tmp_path / "cache", 2)
    assert sum("prepared" in note for note in before.notes) == 2
    os.utime(folder / "1.png", ns=(0, 0))
    after = opened(folder, tmp_path / "cache", 2)
    assert [note for note in after.notes if "prepared" in note] == [
        note.replace("prepared", "prepared again (1 of its pictures changed)")
        for note in before.notes
        if "prepared" in note and "bicubic" not in note
    ]


def test_pictures_live_on_a_gpu_if_half_of_its_free_memory_is_enough() -> None:
    assert fits(50, 100)
    assert not fits(51, 100)
    assert fits(7, 15)
    assert not fits(8, 15)


def test_where_pictures_are_and_how_much_is_said(tmp_path: Path) -> None:
    save(noise(16, 20), tmp_path / "photographs" / "1.png")
    data = opened(tmp_path / "photographs", tmp_path / "cache", 2, 4, patch=2)
    assert data.counts.nbytes == 3 * (16 * 20 + 8 * 10 + 4 * 5)
    assert data.notes[-3:] == (
        "LR: made by MATLAB's bicubic",
        "1 of 1 pictures have both sides of at least 8 pixels",
        f"0.00 GB, mapped from {tmp_path / 'cache'}",
    )


@pytest.mark.gpu
@pytest.mark.parametrize("on_gpu", [True, False])
def test_batches_on_a_gpu_are_those_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_gpu: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    folder, device = photographs(tmp_path / "photographs"), torch.device("cuda", 0)
    monkeypatch.setattr(training_set, "fits", lambda nbytes, free_bytes: on_gpu)
    on_cpu = opened(folder, tmp_path / "cache", 2, 3)
    data = open_training_set(find_sources(folder, (2, 3)), (2, 3), 5, cache=tmp_path / "cache", device=device)
    assert data.fingerprint == on_cpu.fingerprint
    assert (data.place == f"in the memory of {device}") == on_gpu
    for update in range(20):
        plan = data.plan(0, update, 16)
        for moved, here in zip(data.cut(plan), on_cpu.cut(plan), strict=True):
            assert moved.device == device
            assert torch.equal(moved.cpu(), here)
