"""What is to be done: pictures found, results named, inputs safe, nothing guessed."""

import os
from pathlib import Path
from typing import Any

import pytest

from edsr_runtime.errors import EdsrError, PictureError
from edsr_runtime.job.shard import Shard
from edsr_runtime.jobs import Work, plan_work

PNG = b"\x89PNG\r\n\x1a\n"
JPG = b"\xff\xd8\xff"
GIF = b"GIF89a"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder of its own, so that paths are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str, header: bytes = PNG) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(header)


def plan(*inputs: str, output: str = "out", fmt: str | None = None, suffix: str = "", **flags: Any) -> Work:
    return plan_work([Path(name) for name in inputs], output, fmt=fmt, suffix=suffix, **flags)


def names(work: Work) -> dict[str, str]:
    return {str(job.source): str(job.target) for job in work.jobs}


def test_one_picture_goes_to_a_file_whose_suffix_decides_the_format() -> None:
    put("a.png")
    for target, fmt in (("b.png", "png"), ("b.JPEG", "jpg"), ("b.webp", "webp"), ("new/b.tif", "tiff")):
        (job,) = plan("a.png", output=target).jobs
        assert (str(job.target), job.format) == (target, fmt)


def test_format_option_decides_over_the_suffix_of_a_file() -> None:
    put("a.jpg", header=JPG)
    assert plan("a.jpg", output="b.dat", fmt="tiff").jobs[0].format == "tiff"
    assert plan("a.jpg", output="b.dat", fmt="keep").jobs[0].format == "jpg"
    assert plan("a.jpg", output="b.JPEG", fmt="jpg").jobs[0].format == "jpg"


def test_format_option_and_suffix_must_not_contradict_each_other() -> None:
    put("a.jpg", header=JPG)
    for fmt in ("jpg", "keep"):
        with pytest.raises(PictureError, match=f"^-o b.png and -f {fmt}, which is jpg here, contradict each other$"):
            plan("a.jpg", output="b.png", fmt=fmt)


@pytest.mark.parametrize("output", ["out", "out.v2/", "there.png"])
def test_one_picture_goes_into_a_folder(output: str) -> None:
    put("a.jpg", header=JPG)
    Path("there.png").mkdir()
    (job,) = plan("a.jpg", output=output).jobs
    assert (job.target, job.format) == (Path(output, "a.png"), "png")


def test_output_that_could_be_file_or_folder_is_not_guessed() -> None:
    put("a.png")
    with pytest.raises(PictureError, match=r"^-o out.v2: cannot write .v2, .*If it is to be a folder, write out.v2/$"):
        plan("a.png", output="out.v2")


def test_folder_is_searched_by_suffix_in_the_order_of_names() -> None:
    put("in/b.JPG", "in/a.png", "in/c.tiff", "in/.hidden.png", "in/notes.txt", "in/sub/d.png")
    assert names(plan("in")) == {"in/a.png": "out/a.png", "in/b.JPG": "out/b.png", "in/c.tiff": "out/c.png"}


def test_recursive_search_keeps_the_structure_and_passes_hidden_folders() -> None:
    put("in/a.png", "in/x/a.png", "in/x/y/a.png", "in/.git/a.png")
    expected = {"in/a.png": "out/a.png", "in/x/a.png": "out/x/a.png", "in/x/y/a.png": "out/x/y/a.png"}
    assert names(plan("in", recursive=True)) == expected


def test_output_folder_inside_the_input_is_not_searched() -> None:
    put("in/a.png", "in/out/a.png", "in/out/deep/b.png")
    work = plan("in", output="in/out", recursive=True, overwrite=True)
    assert names(work) == {"in/a.png": "in/out/a.png"}


def test_named_picture_needs_no_known_suffix_and_loses_none() -> None:
    put("photo.v2", "photo")
    assert names(plan("photo.v2", "photo")) == {"photo.v2": "out/photo.v2.png", "photo": "out/photo.png"}


@pytest.mark.parametrize(
    ("name", "header", "target", "fmt"),
    [
        ("a.jpeg", JPG, "out/a.jpeg", "jpg"),
        ("a.TIF", b"II*\0", "out/a.TIF", "tiff"),
        ("a.png", JPG, "out/a.jpg", "jpg"),
        ("a.gif", GIF, "out/a.png", "png"),
        ("a.webp", b"<html>", "out/a.webp", "webp"),
    ],
)
def test_keep_takes_the_format_from_the_header_and_the_suffix_where_it_fits(
    name: str, header: bytes, target: str, fmt: str
) -> None:
    put(name, header=header)
    (job,) = plan(name, fmt="keep").jobs
    assert (str(job.target), job.format) == (target, fmt)


def test_keep_does_not_wait_for_a_pipe() -> None:
    os.mkfifo("pipe.png")
    assert names(plan("pipe.png", fmt="keep")) == {"pipe.png": "out/pipe.png"}


def test_suffix_stands_before_the_dot() -> None:
    put("a.b.png")
    assert names(plan("a.b.png", suffix="_x4")) == {"a.b.png": "out/a.b_x4.png"}


def test_suffix_for_a_file_and_suffix_with_a_slash_are_refused() -> None:
    put("a.png")
    with pytest.raises(PictureError, match=r"-o b.png is a file: use one of them"):
        plan("a.png", output="b.png", suffix="_x4")
    with pytest.raises(PictureError, match=r"'\.\./x' is not part of a file name"):
        plan("a.png", suffix="../x")


def test_results_beside_their_sources_are_not_upscaled_again() -> None:
    put("in/a.png", "in/a_x4.png", "in/a_x4_x4.png", "in/b.jpg")
    work = plan("in", output="in", suffix="_x4")
    assert names(work) == {"in/b.jpg": "in/b_x4.png"}
    assert [str(job.source) for job in work.existing] == ["in/a.png"]
    assert list(map(str, work.left_out)) == ["in/a_x4.png", "in/a_x4_x4.png"]


def test_existing_files_are_skipped_unless_they_may_be_replaced() -> None:
    put("in/a.png", "in/b.png", "out/a.png")
    Path("out/b.png").symlink_to("nowhere")
    work = plan("in")
    assert names(work) == {}
    assert [str(job.target) for job in work.existing] == ["out/a.png", "out/b.png"]
    assert len(plan("in", overwrite=True).jobs) == 2


@pytest.mark.parametrize("output", ["a.png", "./sub/../a.png", "link.png"])
def test_output_that_is_an_input_is_refused(output: str) -> None:
    put("a.png", "sub/x")
    Path("link.png").symlink_to("a.png")
    with pytest.raises(PictureError, match=r"^a.png would become \S+, which is an input: "):
        plan("a.png", output=output, overwrite=True)


def test_output_that_is_the_input_of_another_picture_is_refused() -> None:
    put("in/a.png", "out/a_x4.png")
    with pytest.raises(PictureError, match=r"^in/a.png would become out/a_x4.png, which is an input: "):
        plan("in", "out/a_x4.png", suffix="_x4", overwrite=True)


def test_pictures_that_differ_in_their_suffix_only_get_it_into_their_names() -> None:
    put("in/a.jpg", "in/b.jpg", header=JPG)
    put("in/a.png", "in/c.png", "in/x/a.webp")
    work = plan("in", suffix="_x4", recursive=True)
    assert names(work) == {
        "in/a.jpg": "out/a_jpg_x4.png",
        "in/a.png": "out/a_png_x4.png",
        "in/b.jpg": "out/b_x4.png",
        "in/c.png": "out/c_x4.png",
        "in/x/a.webp": "out/x/a_x4.png",
    }
    assert [str(job.source) for job in work.renamed] == ["in/a.jpg", "in/a.png"]
    assert len(plan("in", fmt="keep").renamed) == 0


def test_no_two_pictures_get_the_same_name() -> None:
    put("in/a.jpg", "in/a_png.jpg", header=JPG)
    put("in/a.png", "in/a_jpg.png")
    targets = names(plan("in"))
    assert len(targets) == len(set(targets.values())) == 4


def test_two_pictures_of_one_name_all_the_same_are_refused_with_what_to_do() -> None:
    put("in/a.png", "other/a.png")
    message = r"^in/a.png and other/a.png would both become out/a\S*.png: use another output folder for one of them$"
    with pytest.raises(PictureError, match=message):
        plan("in", "other")


def test_shares_are_disjoint_and_make_up_the_whole() -> None:
    put(*(f"in/{n}.png" for n in range(40)))
    whole = names(plan("in"))
    shares = [names(plan("in", shard=Shard(index, 3))) for index in (1, 2, 3)]
    assert sorted(source for share in shares for source in share) == sorted(whole)
    assert all(len(share) > 5 for share in shares)


def test_a_picture_that_comes_later_changes_no_other_ones_share() -> None:
    put(*(f"in/{n}.png" for n in range(20)))
    before = names(plan("in", shard=Shard(2, 3)))
    put("in/0a.png", "in/5a.png", "in/z.png")
    after = names(plan("in", shard=Shard(2, 3)))
    assert before.items() <= after.items()
    assert set(after) - set(before) <= {"in/0a.png", "in/5a.png", "in/z.png"}


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2", "1/1000000", "١/٤"])  # noqa: RUF001
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(EdsrError, match="is not a share such as 1/4"):
        Shard.parse(text)
    assert Shard.parse("2/4") == Shard(2, 4)


def test_picture_named_twice_is_done_once() -> None:
    put("in/a.png", "in/b.png")
    assert list(names(plan("in/b.png", "in", "./in/a.png"))) == ["in/b.png", "in/a.png"]


def test_missing_input_and_folder_without_pictures_are_refused() -> None:
    put("in/sub/a.png")
    with pytest.raises(PictureError, match=r"^nope.png: no such file or folder$"):
        plan("in", "nope.png")
    with pytest.raises(PictureError, match=r"^no pictures in in \(folders inside are looked into with --recursive\)$"):
        plan("in")


def test_several_pictures_need_a_folder() -> None:
    put("in/a.png", "in/b.png", "file")
    with pytest.raises(PictureError, match=r"-o c.png names a single picture; .*write c.png/\)$"):
        plan("in", output="c.png")
    with pytest.raises(PictureError, match="-o file is a file"):
        plan("in/a.png", "in/b.png", output="file")
    assert len(plan("in", output="c.png/").jobs) == 2


def test_size_of_a_source_is_known_and_a_missing_one_is_nothing() -> None:
    Path("a.png").write_bytes(bytes(77))
    Path("b.png").symlink_to("nowhere")
    assert [job.size_bytes for job in plan("a.png", "b.png").jobs] == [77, 0]
