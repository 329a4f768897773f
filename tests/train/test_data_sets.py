"""Sets are found as they are published, and what is missing is found before anything is read."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edsr_runtime.errors import DataError
from edsr_runtime.resize import imresize
from edsr_train.config import DataConfig
from edsr_train.data import sets
from edsr_train.data.left_out import left_out
from edsr_train.data.overlap import same_files
from edsr_train.data.pictures import make_pair, read_rgb
from edsr_train.data.selection import Selection
from edsr_train.data.sets import (
    Source,
    benchmark_pairs,
    benchmark_sources,
    find_sources,
    lr_origin,
    pairs_by_scale,
    pairs_of,
)
from photographs import noise, save


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def div2k(root: Path, train: Iterable[int] = range(1, 5), valid: Iterable[int] = (5, 6), scales: str = "2") -> Path:
    """Empty files in the places of DIV2K's, with both tracks."""
    for part, numbers in (("train", train), ("valid", valid)):
        for number in numbers:
            touch(root, f"DIV2K_{part}_HR/{number:04}.png")
            for track in ("bicubic", "unknown"):
                touch(root, *(f"DIV2K_{part}_LR_{track}/X{s}/{number:04}x{s}.png" for s in scales))
    return root


def names(sources: list[Source]) -> list[str]:
    return [source.name for source in sources]


def test_any_folder_is_searched_with_those_below_but_nothing_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.PNG", "b/sub/1.jpg", "b/._2.png", "b/notes.txt", "a/3.png", "b/.thumbnails/1.png")
    sources = find_sources(tmp_path, (2,))
    assert [source.hr.relative_to(tmp_path).as_posix() for source in sources] == ["a/3.png", "b/2.PNG", "b/sub/1.jpg"]
    assert names(sources) == ["3", "2", "1"]
    assert all(not source.lr and source.track == "made" for source in sources)
    assert lr_origin(sources) == "made by MATLAB's bicubic"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("empty", "empty: is empty, expected pictures in it"),
        ("missing", "missing: there is no such folder"),
        ("file", "file: is a file, expected a folder of pictures"),
        ("set", "set: expected pictures in .*HR or in the folder itself, found none"),
        ("others", r"others: expected pictures in .*, found none \(.*\)\. .*: 3 files .* are taken: 2 .gif, 1 .heic"),
    ],
)
def test_a_folder_without_pictures_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "set" / "DIV2K_train_HR").mkdir(parents=True)
    touch(tmp_path, "file", "others/a.gif", "others/b/b.GIF", "others/c.heic")
    for find in (find_sources, lambda folder, scales: benchmark_pairs(folder, *scales)):
        with pytest.raises(DataError, match=sentence):
            find(tmp_path / name, (2,))


def test_what_is_passed_over_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "set/a.png", "set/b.gif", "set/deep/c.gif", "set/notes", "set/.hidden/d.gif", "set/.e.gif")
    touch(tmp_path, "elsewhere/f.png")
    (tmp_path / "set" / "deep" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "folder.png").mkdir()
    sources = find_sources(tmp_path / "set", (2,))
    assert names(sources) == ["a"]
    assert left_out(source.root for source in sources) == [
        f"{tmp_path}/set: 3 files are no pictures that are taken: 2 .gif, 1 no suffix",
        f"{tmp_path}/set: links to folders are not followed (deep/link). Name what is meant with --data",
    ]
    assert left_out([tmp_path / "elsewhere"]) == []


def test_a_link_to_an_hr_folder_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(noise(8, 8), tmp_path / "disk" / "0001.png")
    (tmp_path / "DIV2K_train_HR").symlink_to(tmp_path / "disk")
    save(noise(4, 4), tmp_path / "DIV2K_train_LR_unknown" / "X2" / "0001x2.png")
    monkeypatch.chdir(tmp_path)
    (given,) = DataConfig(data=("DIV2K_train_HR",)).with_absolute_paths().data
    (source,) = find_sources(Path(given), (2,), "unknown")
    assert source.lr[2].name == "0001x2.png"


def test_files_of_equal_bytes_are_found_whatever_their_names(tmp_path: Path) -> None:
    save(noise(8, 8, 1), tmp_path / "train" / "a.png")
    save(noise(8, 8, 2), tmp_path / "train" / "b.png")
    (tmp_path / "train" / "same_size.png").write_bytes(bytes((tmp_path / "train" / "b.png").stat().st_size))
    shutil.copy(tmp_path / "train" / "b.png", tmp_path / "copy.png")
    save(noise(8, 8, 3), tmp_path / "other.png")
    trained = [tmp_path / "gone.png", *(tmp_path / "train").iterdir()]
    validated = [tmp_path / name for name in ("other.png", "copy.png", "also_gone.png")]
    assert same_files(validated, trained) == [(tmp_path / "copy.png", tmp_path / "train" / "b.png")]


@pytest.mark.parametrize(
    ("hr", "lr", "given"),
    [
        ("DIV2K/DIV2K_train_HR", "DIV2K/DIV2K_train_LR_bicubic", "DIV2K"),
        ("DIV2K/DIV2K_train_HR", "DIV2K/DIV2K_train_LR_bicubic", "DIV2K/DIV2K_train_HR"),
        ("Flickr2K/Flickr2K_HR", "Flickr2K/Flickr2K_LR_bicubic", "Flickr2K"),
        ("Set5/HR", "Set5/LR_bicubic", "Set5"),
        ("Set5/HR", "Set5/LR_bicubic", "Set5/HR"),
    ],
)
def test_lr_files_are_found_beside_hr_in_all_published_layouts(tmp_path: Path, hr: str, lr: str, given: str) -> None:
    touch(tmp_path, f"{hr}/002.png", f"{hr}/001.png", f"{hr}/readme.txt")
    touch(tmp_path, *(f"{lr}/X{scale}/{name}x{scale}.png" for scale in (2, 3) for name in ("001", "002")))
    sources = find_sources(tmp_path / given, (2, 3))
    assert [(source.name, source.hr) for source in sources] == [(n, tmp_path / hr / f"{n}.png") for n in ("001", "002")]
    assert sources[1].lr == {scale: tmp_path / lr / f"X{scale}" / f"002x{scale}.png" for scale in (2, 3)}
    assert sources[0].track == "bicubic"
    assert lr_origin(sources) == f"files of {tmp_path / lr}"


def test_an_hr_folder_is_recognised_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(div2k(tmp_path) / "DIV2K_train_HR")
    assert names(find_sources(Path(), (2,), "unknown")) == ["0001", "0002", "0003", "0004"]


def test_only_the_part_that_is_meant_is_taken_unless_numbers_say_more(tmp_path: Path) -> None:
    div2k(tmp_path)
    assert names(find_sources(tmp_path, (2,))) == ["0001", "0002", "0003", "0004"]
    assert names(find_sources(tmp_path, (2,), default_part="valid")) == ["0005", "0006"]
    chosen = find_sources(tmp_path, (2,), "unknown", Selection.parse("4-5,1"))
    assert [(source.hr.parent.name, source.name) for source in chosen] == [
        ("DIV2K_train_HR", "0001"),
        ("DIV2K_train_HR", "0004"),
        ("DIV2K_valid_HR", "0005"),
    ]
    assert chosen[2].lr[2] == tmp_path / "DIV2K_valid_LR_unknown/X2/0005x2.png"


def test_a_set_without_the_part_that_is_meant_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "DIV2K_test_HR/0901.png", "DIV2K_valid_HR/0801.png")
    with pytest.raises(DataError, match=r"holds DIV2K_test_HR, DIV2K_valid_HR and no part train"):
        find_sources(tmp_path, (2,))


def test_a_number_in_two_parts_is_taken_from_the_part_that_is_meant(tmp_path: Path) -> None:
    div2k(tmp_path, train=range(1, 7), valid=(5, 6, 7))
    chosen = find_sources(tmp_path, (2,), select=Selection.parse("5-7"))
    assert [(source.hr.parent.name, source.name) for source in chosen] == [
        ("DIV2K_train_HR", "0005"),
        ("DIV2K_train_HR", "0006"),
        ("DIV2K_valid_HR", "0007"),
    ]


def test_numbers_that_no_picture_has_are_listed(tmp_path: Path) -> None:
    div2k(tmp_path, train=(1, 2, 4), valid=(7,))
    with pytest.raises(DataError, match=r"3 numbers of 1-7 have no picture: 3, 5, 6$"):
        find_sources(tmp_path, (2,), select=Selection.parse("1-7"))
    with pytest.raises(DataError, match=r"96 numbers of 1-100 .*: 3, 5, 6, 8, 9, 10, 11, 12, 13, 14 and 86 more$"):
        find_sources(tmp_path, (2,), select=Selection.parse("1-100"))
    with pytest.raises(DataError, match=r"no picture has a number of 801-810; there are 1 to 7"):
        find_sources(tmp_path, (2,), select=Selection.parse("801-810"))


def test_names_without_numbers_cannot_be_chosen_by_number(tmp_path: Path) -> None:
    touch(tmp_path, "img_001.png", "baby.png")
    with pytest.raises(DataError, match=r"by the number that their names end in, and there is none in baby\.png"):
        find_sources(tmp_path, (2,), select=Selection.parse("1"))


def test_a_range_of_any_folder_is_chosen_too(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/img_{number:03}.jpg" for name, number in (("a", 2), ("b", 1), ("b", 3))))
    assert names(find_sources(tmp_path, (4,), select=Selection.parse("1-2"))) == ["img_002", "img_001"]


def test_bicubic_files_are_used_where_there_are_any_at_every_scale(tmp_path: Path) -> None:
    div2k(tmp_path, scales="23")
    assert {source.track for source in find_sources(tmp_path, (2, 3))} == {"bicubic"}
    assert {source.track for source in find_sources(tmp_path, (2, 3, 4))} == {"made"}
    made = find_sources(tmp_path, (2,), "made")
    assert not any(source.lr for source in made)
    assert all(source.can_be_rescaled for source in made)


def test_the_files_of_a_named_track_must_be_there(tmp_path: Path) -> None:
    div2k(tmp_path)
    unknown = find_sources(tmp_path, (2,), "unknown")
    assert not any(source.can_be_rescaled for source in unknown)
    with pytest.raises(DataError, match=r"LR_unknown/X4: there is no such folder.* there are bicubic, unknown$"):
        find_sources(tmp_path, (2, 4), "unknown")
    with pytest.raises(DataError, match=r"LR_mild/X2: there is no such folder, .* of the track mild"):
        find_sources(tmp_path, (2,), "mild")
    touch(tmp_path, "photos/1.png")
    with pytest.raises(DataError, match=r"photos: has no LR pictures of the track unknown, .*_LR_unknown/X2 beside"):
        find_sources(tmp_path / "photos", (2,), "unknown")


def test_all_missing_lr_files_are_listed(tmp_path: Path) -> None:
    div2k(tmp_path, train=range(1, 21), valid=(21,), scales="23")
    for number in range(3, 17):
        (tmp_path / f"DIV2K_train_LR_unknown/X2/{number:04}x2.png").unlink()
    (tmp_path / "DIV2K_valid_LR_unknown/X3/0021x3.png").unlink()
    with pytest.raises(DataError) as caught:
        find_sources(tmp_path, (2, 3), "unknown", Selection.parse("2-21"))
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path}/DIV2K_train_LR_unknown/X2: 14 of 19 LR pictures are missing: 0003x2.png, ")
    assert first.endswith("0012x2.png and 4 more")
    assert second.endswith("DIV2K_valid_LR_unknown/X3: 1 of 1 LR pictures are missing: 0021x3.png")


def test_missing_lr_files_can_be_collected_with_other_problems(tmp_path: Path) -> None:
    div2k(tmp_path, train=(1, 2), scales="23")
    (tmp_path / "DIV2K_train_LR_unknown/X2/0002x2.png").unlink()
    problems: list[str] = []
    sources = find_sources(tmp_path, (2, 3), "unknown", problems=problems)
    hr = tmp_path / "DIV2K_train_HR/0002.png"
    assert problems == [f"{tmp_path}/DIV2K_train_LR_unknown/X2/0002x2.png: is missing, the LR of {hr}"]
    assert [sorted(source.lr) for source in sources] == [[2, 3], [3]]


def test_an_hr_picture_is_read_and_held_once_for_all_scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(noise(25, 37), tmp_path / "a.png")
    read: list[Path] = []
    monkeypatch.setattr(sets, "read_rgb", lambda file: (read.append(file), read_rgb(file))[1])
    problems: list[str] = []
    pairs = pairs_by_scale({scale: benchmark_sources(tmp_path, scale) for scale in (2, 3, 4)}, problems)
    assert (read, problems) == ([tmp_path / "a.png"], [])
    for scale, (pair,) in pairs.items():
        np.testing.assert_array_equal(pair.hr, noise(25, 37)[: 25 // scale * scale, : 37 // scale * scale])
        np.testing.assert_array_equal(pair.lr, make_pair(noise(25, 37), scale).lr)
    assert np.shares_memory(pairs[2][0].hr, pairs[3][0].hr)


def test_all_that_is_wrong_with_validation_pictures_is_collected(tmp_path: Path) -> None:
    for name in "abc":
        save(noise(8, 8), tmp_path / "HR" / f"{name}.png")
    (tmp_path / "HR" / "a.png").write_bytes(b"")
    save(noise(5, 4), tmp_path / "LR_bicubic" / "X2" / "bx2.png")
    (tmp_path / "LR_bicubic" / "X2" / "ax2.png").write_bytes(b"")
    problems: list[str] = []
    pairs = pairs_by_scale({2: benchmark_sources(tmp_path, 2, problems)}, problems)
    assert pairs == {2: []}
    found = sorted(line.removeprefix(f"{tmp_path}/").partition(": ")[0] for line in problems)
    assert found == ["HR/a.png", "LR_bicubic/X2/ax2.png", "LR_bicubic/X2/bx2.png", "LR_bicubic/X2/cx2.png"]


def test_several_sets_in_one_folder_must_be_named_one_by_one(tmp_path: Path) -> None:
    touch(tmp_path, "DF2K/DIV2K_train_HR/0001.png", "DF2K/Flickr2K_HR/000001.png")
    with pytest.raises(DataError, match=r"DF2K: holds several sets \(DIV2K_train_HR, Flickr2K_HR\)"):
        find_sources(tmp_path / "DF2K", (2,))
    with pytest.raises(DataError, match=r"holds folders of published sets \(.*DF2K/DIV2K_train_HR\)"):
        find_sources(tmp_path, (2,))


@pytest.mark.parametrize("given", ["DIV2K_train_LR_bicubic", "DIV2K_train_LR_bicubic/X2"])
def test_lr_pictures_are_not_taken_for_photographs(tmp_path: Path, given: str) -> None:
    div2k(tmp_path)
    with pytest.raises(DataError, match=r"holds folders of published sets \(.*DIV2K_train_LR_bicubic/X2\)"):
        find_sources(tmp_path / given, (2,))


def test_what_is_chosen_has_an_origin_that_names_folder_and_numbers(tmp_path: Path) -> None:
    div2k(tmp_path)
    hr = tmp_path.resolve() / "DIV2K_train_HR"
    everything = {source.origin for source in find_sources(tmp_path, (2,))}
    assert everything == {str(hr)}
    assert {s.origin for s in find_sources(hr, (2,), select=Selection.parse("1-4"))} == everything
    assert {s.origin for s in find_sources(hr, (2,), select=Selection.parse("1-3"))} == {f"{hr} 1-3"}


def test_pairs_of_a_range_have_the_files_pixels(tmp_path: Path) -> None:
    hr, lr = noise(13, 16, 1), noise(6, 8, 2)
    save(hr, tmp_path / "DIV2K_valid_HR" / "0801.png")
    save(lr, tmp_path / "DIV2K_valid_LR_unknown" / "X2" / "0801x2.png")
    sources = find_sources(tmp_path, (2,), "unknown", Selection.parse("801"))
    (pair,) = pairs_of(sources, 2)
    assert pair.name == "0801"
    np.testing.assert_array_equal(pair.lr, lr)
    np.testing.assert_array_equal(pair.hr, hr[:12, :16])


def test_all_pictures_that_cannot_be_validated_on_are_listed(tmp_path: Path) -> None:
    save(noise(8, 8), tmp_path / "1.png")
    touch(tmp_path, "2.png", "3.png")
    with pytest.raises(DataError, match=r"(?s)2 of the pictures cannot be used:.*2\.png: is empty.*3\.png: is empty"):
        pairs_of(find_sources(tmp_path, (2,)), 2)


def test_a_folder_of_pictures_gets_its_lr_by_bicubic(tmp_path: Path) -> None:
    hr = noise(13, 16)
    save(hr, tmp_path / "set" / "a.png")
    save(noise(12, 12), tmp_path / "set" / "deeper" / "b.png")
    (pair,) = benchmark_pairs(tmp_path / "set", 3)
    assert pair.name == "a"
    np.testing.assert_array_equal(pair.hr, hr[:12, :15])
    np.testing.assert_array_equal(pair.lr, imresize(hr[:12, :15], 1 / 3))


def test_stored_lr_pictures_are_used_as_they_are(tmp_path: Path) -> None:
    hr, lr = noise(13, 16, 1), noise(6, 8, 2)
    save(hr, tmp_path / "HR" / "a.png")
    save(lr, tmp_path / "LR_bicubic" / "X2" / "ax2.png")
    (pair,) = benchmark_pairs(tmp_path, 2)
    np.testing.assert_array_equal(pair.lr, lr)
    np.testing.assert_array_equal(pair.hr, hr[:12, :16])
    (made,) = benchmark_pairs(tmp_path, 4)  # there is no X4
    np.testing.assert_array_equal(made.lr, imresize(hr[:12, :16], 1 / 4))


def test_missing_and_misfit_lr_pictures_are_refused(tmp_path: Path) -> None:
    for name in "abc":
        save(noise(8, 8), tmp_path / "HR" / f"{name}.png")
    save(noise(4, 4), tmp_path / "LR_bicubic" / "X2" / "bx2.png")
    with pytest.raises(DataError, match=r"X2: 2 of 3 LR pictures are missing: ax2\.png, cx2\.png"):
        benchmark_pairs(tmp_path, 2)
    for name in "ac":
        save(noise(4, 5), tmp_path / "LR_bicubic" / "X2" / f"{name}x2.png")
    with pytest.raises(DataError, match=r"(?s)ax2\.png: is 4x5 \(HxW\), expected 4x4 for scale 2.*cx2\.png: is 4x5"):
        benchmark_pairs(tmp_path, 2)


@pytest.mark.parametrize(
    ("name", "sentence"), [("", "is empty"), ("HR", r"expected pictures in .*HR or in the folder")]
)
def test_an_empty_benchmark_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / name).mkdir(exist_ok=True)
    with pytest.raises(DataError, match=sentence):
        benchmark_pairs(tmp_path, 2)


def test_the_benchmark_of_a_published_set_is_its_validation_part(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        save(noise(8, 8), tmp_path / f"DIV2K_{part}_HR" / f"{part}.png")
    assert [pair.name for pair in benchmark_pairs(tmp_path, 2)] == ["valid"]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_benchmark_files_are_the_pairs_that_training_makes(data_root: Path, tmp_path: Path, scale: int) -> None:
    set5 = data_root / "benchmark" / "Set5"
    pairs = benchmark_pairs(set5, scale)
    assert [pair.name for pair in pairs] == ["baby", "bird", "butterfly", "head", "woman"]
    for pair in pairs:
        np.testing.assert_array_equal(make_pair(pair.hr, scale).lr, pair.lr)
    shutil.copytree(set5 / "HR", tmp_path / "HR")
    sources = find_sources(set5, (scale,)), find_sources(tmp_path, (scale,))
    assert [{source.track for source in some} for some in sources] == [{"bicubic"}, {"made"}]
    for stored, made in zip(*(pairs_of(some, scale) for some in sources), strict=True):
        np.testing.assert_array_equal(stored.lr, made.lr)


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "locked/b.png")
    listed = os.scandir

    def scandir(place: Any) -> Any:
        if Path(place).name == "locked":
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"locked: cannot be read \(Permission denied\)\. Let this user read it"):
        find_sources(tmp_path, (2,))


@pytest.mark.parametrize("name", ["DIV2K_train_LR_bicubic/X2", "LR_bicubic/X2"])
def test_lr_pictures_are_no_benchmark_set(tmp_path: Path, name: str) -> None:
    save(noise(20, 24), tmp_path / name / "ax2.png")
    with pytest.raises(DataError, match=r"X2: holds the LR pictures of a published set\. Name the set"):
        benchmark_sources(tmp_path / name, 2)


def test_a_picture_smaller_than_the_scale_is_named(tmp_path: Path) -> None:
    save(noise(1, 9), tmp_path / "thin.png")
    save(noise(20, 20), tmp_path / "whole.png")
    problems: list[str] = []
    pairs = pairs_by_scale({2: benchmark_sources(tmp_path, 2)}, problems)
    assert [pair.name for pair in pairs[2]] == ["whole"]
    assert problems == [f"{tmp_path / 'thin.png'}: is 1x9 pixels (HxW), expected at least 2 on each side"]
