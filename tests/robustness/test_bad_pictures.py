"""Pictures of strangers: read, or one sentence. No traceback, no crash, no hang, little memory, nothing wrong called
right."""

import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import commands
import corpus
from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.libtiff_errors import IS_HEARD
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.pictures.write import write_picture
from photographs import noise, save

SUPPORT = Path(commands.__file__).parent
MEMORY_MIB = 256
"""More than what the process has after reading the sound files, whose decoders are loaded then."""
HANG_S = 10
MAX_PIXELS = 4_000_000
FOLDER = ["-i", "in", "-o", "out", "-s", "2"]


@pytest.mark.parametrize(
    ("first", "count"), [(0, 900), pytest.param(100_000, 12_000, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_damaged_pictures_are_read_or_refused(
    first: int, count: int, record_property: Callable[[str, object], None]
) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, str(SUPPORT / "read_mutated.py"), *map(str, (first, count, MEMORY_MIB, HANG_S))]
    done = subprocess.run(words, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    record_property("pictures", found)
    assert found["problems"] == []
    assert sum(found["outcome"].values()) == count
    assert found["outcome"]["refused"] > count / 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("count", [320, pytest.param(10_000, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_folder_of_damaged_pictures_ends_with_right_pictures_an_exact_list_and_code_3(
    tmp_path: Path, count: int
) -> None:
    names = list(corpus.corpus())
    (tmp_path / "in").mkdir()
    read: dict[str, Picture] = {}
    refused: dict[str, str] = {}
    for number in range(count):
        draw, name = random.Random(500_000 + number), names[number % len(names)]
        damage = corpus.truncated if draw.random() < 0.25 else corpus.mutated
        path = tmp_path / "in" / f"{number}{Path(name).suffix}"
        path.write_bytes(damage(corpus.corpus()[name], draw))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as in the command; here they would be errors
                read[path.name] = read_picture(path, MAX_PIXELS)
        except PictureError as err:
            refused[path.name] = str(err).replace(f"{tmp_path}/", "")
    done = commands.run([*FOLDER, "--max-pixels", str(MAX_PIXELS), "--jsonl", "log"], tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {Path(one["source"]).name: one["error"] for one in events if one["event"] == "failed"} == refused
    assert [line for line in done.stderr.splitlines() if line.startswith("  ")] == [
        f"  {refused[name]}" for name in sorted(refused)
    ]
    written = {Path(one["source"]).name: tmp_path / one["target"] for one in events if one["event"] == "done"}
    assert written.keys() == read.keys()
    for name, target in written.items():
        expected = read[name].pixels.repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(read_picture(target).pixels, expected)
    assert commands.run([*FOLDER, "--resume", "--max-pixels", str(MAX_PIXELS)], tmp_path).returncode == 3


@given(st.sampled_from(sorted(corpus.corpus())), st.data())
def test_bytes_of_any_value_at_any_place_are_a_picture_or_a_sentence(name: str, data: st.DataObject) -> None:
    content = bytearray(corpus.corpus()[name])
    changes = data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)
    )
    for where, replacement in changes:
        content[where : where + len(replacement)] = replacement
    with tempfile.TemporaryDirectory() as folder:
        path, sound = Path(folder, f"damaged{Path(name).suffix}"), Path(folder, name)
        path.write_bytes(content)
        sound.write_bytes(corpus.corpus()[name])
        try:
            picture = read_picture(path, max_pixels=1_000_000)
        except PictureError as err:
            assert str(err).startswith(f"{path}: ") and "\n" not in str(err)
            return
        assert picture.pixels.dtype in (np.uint8, np.uint16) and picture.pixels.shape[2] in (1, 3)
        assert 0 < picture.height * picture.width <= 1_000_000
        if path.suffix == ".png":  # which has checksums
            np.testing.assert_array_equal(picture.pixels, read_picture(sound).pixels)


@pytest.mark.parametrize("name", ["tiled.tif", "jpeg.tif"])
def test_samples_in_an_unknown_arrangement_are_never_what_was_in_memory_before(tmp_path: Path, name: str) -> None:
    # found by the ten thousand above
    content = bytearray(corpus.corpus()[name])
    where = content.index(struct.pack("<HHIH", 284, 3, 1, 1)) + 8
    content[where : where + 2] = struct.pack("<H", 128)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PictureError, match="its samples are arranged in the way 128, expected 1 or 2"):
        read_picture(tmp_path / name)


@pytest.mark.parametrize("name", corpus.corpus())
def test_sound_pictures_of_every_format_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(corpus.corpus()[name])
    picture = read_picture(path)
    turned = name in ("exif.png", "progressive.jpg", "lossy.webp", "rgb.tif")  # they say so
    expected = (corpus.W, corpus.H) if turned else (corpus.H, corpus.W)
    assert (picture.height, picture.width) == expected
    write_picture(tmp_path / "again.png", picture)
    assert read_picture(tmp_path / "again.png").pixels.shape == picture.pixels.shape


@pytest.mark.parametrize("name", corpus.refused())
def test_what_is_no_picture_for_us_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(corpus.refused()[name])
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    if "bomb" in name and path.suffix != ".gif":  # whose frame would be outside, or is missing
        side = 1 << 24 if path.suffix == ".webp" else 60_000
        assert f"declares {side}x{side} pixels" in str(caught.value)


@pytest.mark.parametrize("name", corpus.oddities())
def test_odd_pictures_are_read_and_can_be_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(corpus.oddities()[name])
    picture = read_picture(path)
    write_picture(tmp_path / "again.png", picture)
    assert (read_picture(tmp_path / "again.png").pixels == picture.pixels).all()


@pytest.mark.skipif(not IS_HEARD, reason="Pillow's libtiff cannot be told where to report errors")
def test_what_libtiff_finds_wrong_is_an_error_and_not_a_line_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = bytearray(corpus.corpus()["bilevel.tif"])
    damaged[60:70] = bytes(10)
    whole = bytearray(corpus.corpus()["bilevel.tif"])
    refused = 0
    for where in range(8, len(whole)):
        damaged = bytearray(whole)
        damaged[where] ^= 0xFF
        (tmp_path / "a.tif").write_bytes(damaged)
        try:
            read_picture(tmp_path / "a.tif")
        except PictureError as err:
            refused += "libtiff" in str(err)
    assert refused > 10
    assert capfd.readouterr().err == ""


def test_a_folder_with_everything_ends_with_right_pictures_and_an_exact_list(tmp_path: Path) -> None:
    names = [
        "plain.png",
        "two words.png",
        "Кириллица.png",
        "漢字.png",
        "🙂.png",
        "line\nbreak\x1b[31m.png",
        os.fsdecode(b"no text \xff.png"),
        "x" * 251 + ".png",
        "-s.png",
        "a.png.png",
    ]
    for seed, name in enumerate(names):
        save(noise(6, 7, seed), tmp_path / "in" / "picture.png").rename(tmp_path / "in" / name)
    folder = tmp_path / "in"
    outside = save(noise(5, 5), tmp_path / "outside.png")
    (folder / "link out.png").symlink_to(outside)
    (folder / "link in.png").symlink_to(folder / "plain.png")
    (folder / "link nowhere.png").symlink_to(folder / "gone.png")
    (folder / "link to itself.png").symlink_to(folder / "link to itself.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    for name, content in corpus.refused().items():
        (folder / f"refused {name}").write_bytes(content)
    bad = {f"refused {name}" for name in corpus.refused()} | {"link nowhere.png", "link to itself.png", "pipe.png"}
    good = {*names, "link out.png", "link in.png"}
    done = commands.run([*FOLDER, "--jsonl", "log"], tmp_path)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    written = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert written == good
    failed = {
        Path(event["source"]).name
        for event in map(json.loads, (tmp_path / "log").read_text().splitlines())
        if event["event"] == "failed"
    }
    assert failed == bad
    sentences = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(sentences) == len(bad)
    assert "\x1b" not in done.stderr
    assert commands.run([*FOLDER, "--resume"], tmp_path).returncode == 3


@pytest.mark.parametrize("words", [["--sandbox"], []])
def test_a_picture_that_vanishes_or_cannot_be_read_is_a_sentence(tmp_path: Path, words: list[str]) -> None:
    save(noise(6, 7), tmp_path / "in/a.png")
    save(noise(6, 7), tmp_path / "in/b.png")
    (tmp_path / "in/b.png").write_bytes(corpus.corpus()["lzw.tif"][:-30])
    (tmp_path / "in/c.png").symlink_to("/proc/self/mem")  # opens, but cannot be read: root may read all files
    done = commands.run([*FOLDER, *words], tmp_path)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["a.png"]
    assert "error: 2 of 3 pictures failed:" in done.stderr


def test_a_picture_that_is_removed_meanwhile_is_a_sentence_and_stops_no_other(tmp_path: Path) -> None:
    for number in range(14):  # more than are decoded ahead
        save(noise(24, 8, number), tmp_path / "in" / f"{number:02}.png")
    with commands.ended(commands.start(FOLDER, tmp_path, env={"EDSR_TEST_BAND_S": "0.05"})) as command:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out/00.png").exists():
            assert time.monotonic() < deadline and command.poll() is None
            time.sleep(0.005)
        (tmp_path / "in/13.png").unlink()
        _, said = command.communicate(timeout=60)
    assert command.returncode == 3, said
    assert said.splitlines()[-2:] == ["error: 1 of 14 pictures failed:", "  in/13.png: no such file"]
    assert len(list((tmp_path / "out").glob("*.png"))) == 13


def test_an_output_folder_that_may_not_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    save(noise(6, 7), tmp_path / "in/a.png")
    for target in ("/proc", "/proc/nowhere", str(tmp_path / "in/a.png" / "below")):
        done = commands.run(["-i", "in", "-o", target + "/", "-s", "2"], tmp_path)
        assert done.returncode in (2, 3, 4), done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
