"""Decoding in another process: the same pictures, the same sentences, and what goes wrong there stays there."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import corpus
from edsr_runtime import sandbox
from edsr_runtime.errors import PictureError
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.sandbox import Sandbox

MAX_PIXELS = 1_000_000


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


@pytest.mark.parametrize("name", ["exif.png", "deep.png", "rgba.png", "progressive.jpg", "deep.tif", "lossless.webp"])
def test_pictures_come_back_as_they_are_with_everything_that_belongs_to_them(
    box: Sandbox, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(corpus.corpus()[name])
    here, there = read_picture(path), box.read(path, MAX_PIXELS)
    assert (there.metadata, there.source_format, there.notes) == (here.metadata, here.source_format, here.notes)
    assert there.pixels.dtype == here.pixels.dtype
    np.testing.assert_array_equal(there.pixels, here.pixels)
    assert (there.alpha is None) == (here.alpha is None)
    if here.alpha is not None and there.alpha is not None:
        np.testing.assert_array_equal(there.alpha, here.alpha)


@pytest.mark.parametrize("name", ["no.png", "\udcff\n.png"])
def test_sentences_are_the_same(box: Sandbox, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for content in (None, b"", b"<html>", b"P6 60000 60000 255\n", corpus.corpus()["rgb.png"][:-9]):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(PictureError) as here:
            read_picture(path, MAX_PIXELS)
        with pytest.raises(PictureError) as there:
            box.read(path, MAX_PIXELS)
        assert str(there.value) == str(here.value)


def test_one_process_reads_many_pictures_and_a_new_one_follows_a_crash(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(corpus.corpus()["rgb.png"])
    box.read(path, MAX_PIXELS)
    process = box._process
    assert process is not None
    box.read(path, MAX_PIXELS)
    assert box._process is process
    monkeypatch.setattr(sandbox, "_send", lambda pipe, message: process.send_signal(signal.SIGSEGV))
    with pytest.raises(PictureError, match=r"a.png: its decoder crashed \(signal 11\); the file is damaged, or made"):
        box.read(path, MAX_PIXELS)
    monkeypatch.undo()
    assert box.read(path, MAX_PIXELS).height == corpus.H


def test_a_decoder_that_does_not_end_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(corpus.corpus()["rgb.png"])
    with Sandbox(seconds=0.5) as box:
        box._running(MAX_PIXELS)
        assert box._process is not None
        os.kill(box._process.pid, signal.SIGSTOP)
        with pytest.raises(PictureError, match="decoding took longer than 0 s, so it was stopped"):
            box.read(path, MAX_PIXELS)
        assert box._process is None


def test_a_picture_beyond_its_memory_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_BYTES_PER_PIXEL", 0)
    path = tmp_path / "large.ppm"
    with path.open("wb") as file:
        file.write(b"P6 10000 10000 65535\n")
        file.truncate(600_000_100)
    with Sandbox(memory_bytes=100 << 20) as box, pytest.raises(PictureError, match="not enough memory to decode"):
        box.read(path, 200_000_000)


@pytest.mark.parametrize(
    "answer",
    [
        b"no JSON",
        b"[]",
        b'{"height": 1e9}',
        b'{"height": 100000, "width": 100000, "channels": 3, "dtype": "uint8", "has_alpha": false}',
        b'{"height": 1, "width": 1, "channels": 2, "dtype": "uint8", "has_alpha": false}',
        b'{"height": 1, "width": 1, "channels": 1, "dtype": "object", "has_alpha": false}',
    ],
)
def test_what_is_no_picture_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(corpus.corpus()["rgb.png"])
    monkeypatch.setattr(sandbox, "_receive", lambda *arguments: answer)
    with Sandbox() as box:
        with pytest.raises(PictureError, match="its decoder gave what is no picture"):
            box.read(path, MAX_PIXELS)
        assert box._process is None
