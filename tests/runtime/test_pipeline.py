"""From file to file: every stage at once, memory bounded, every error at its own picture, no file left half written."""

import errno
import gc
import hashlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edsr_runtime import pipeline
from edsr_runtime.errors import DiskFullError, EnvironmentUnfitError, NumericalError, ShapeError
from edsr_runtime.job.digest import Digest
from edsr_runtime.jobs import Job
from edsr_runtime.pictures import png_writer
from edsr_runtime.pictures.picture import Picture
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.pictures.write import write_picture
from edsr_runtime.pipeline import Options, Result, Seconds, upscale_files

SCALE = 2
Samples = NDArray[Any]


class Repeater:
    """An engine: every sample becomes a square, some rows at a time."""

    scale = SCALE

    def __init__(self, rows: int = 3) -> None:
        self.rows = rows
        self.bands_given = 0

    def bands(self, pixels: Samples, alpha: Samples | None = None) -> Iterator[Samples]:
        samples = pixels if alpha is None else np.concatenate([pixels, alpha[:, :, None]], axis=2)
        for start in range(0, len(samples), self.rows):
            self.before_band(start)
            self.bands_given += 1
            yield enlarged(samples[start : start + self.rows])

    def before_band(self, start: int) -> None:
        """For engines that do something in between."""


class Log:
    """A watcher that remembers, and in which thread it was told."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.pixels: dict[Path, int] = {}
        self.sizes: dict[Path, tuple[int, int]] = {}
        self.threads: set[int] = set()

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        self.threads.add(threading.get_ident())
        self.sizes[job.source] = lr_hw

    def advanced(self, job: Job, pixels: int) -> None:
        self.threads.add(threading.get_ident())
        self.pixels[job.source] = self.pixels.get(job.source, 0) + pixels

    def finished(self, result: Result) -> None:
        self.threads.add(threading.get_ident())
        self.results.append(result)

    @property
    def errors(self) -> dict[str, str | None]:
        return {result.job.source.name: result.error for result in self.results}


def enlarged(samples: Samples) -> Samples:
    return samples.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def picture(channels: int = 3, *, dtype: Any = np.uint8, alpha: bool = False, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    peak = np.iinfo(dtype).max
    pixels = rng.integers(0, peak, (10, 7, channels), dtype=dtype, endpoint=True)
    return Picture(pixels, rng.integers(0, peak, (10, 7), dtype=dtype, endpoint=True) if alpha else None)


def make_jobs(folder: Path, *names: str, fmt: str = "png") -> list[Job]:
    """Jobs whose sources exist, each a different picture."""
    (folder / "in").mkdir()
    jobs = [Job(folder / "in" / name, folder / "out" / name, fmt, 100) for name in names]
    for seed, job in enumerate(jobs):
        write_picture(job.source, picture(seed=seed), "png")
    return jobs


def upscale(jobs: Sequence[Job], engine: pipeline.Engine | None = None) -> tuple[Log, Seconds]:
    log = Log()
    return log, upscale_files(jobs, engine or Repeater(), Options(), log)


def assert_is_enlarged(job: Job) -> None:
    expected, found = read_picture(job.source), read_picture(job.target)
    np.testing.assert_array_equal(found.pixels, enlarged(expected.pixels))


def left_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("rows", [1, 4, 10])
def test_every_kind_of_picture_arrives_whole(tmp_path: Path, channels: int, alpha: bool, dtype: Any, rows: int) -> None:
    job = Job(tmp_path / "a.png", tmp_path / "b.png", "png", 0)
    source = picture(channels, dtype=dtype, alpha=alpha)
    write_picture(job.source, source)
    log, _ = upscale([job], Repeater(rows))
    result = read_picture(job.target)
    np.testing.assert_array_equal(result.pixels, enlarged(source.pixels))
    if source.alpha is not None:
        assert result.alpha is not None
        np.testing.assert_array_equal(result.alpha, enlarged(source.alpha))
    assert log.errors == {"a.png": None}


def test_watcher_hears_of_every_picture_in_the_callers_thread(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, "a.png", "b.png", "c.png")
    log, seconds = upscale(jobs)
    assert log.errors == {"a.png": None, "b.png": None, "c.png": None}
    assert set(log.sizes.values()) == {(10, 7)}
    assert set(log.pixels.values()) == {20 * 14}
    assert log.threads == {threading.get_ident()}
    assert all(value >= 0 for value in (seconds.decode, seconds.infer, seconds.encode, seconds.waited))
    assert seconds.total >= seconds.infer > 0
    for job in jobs:
        assert_is_enlarged(job)


def test_seconds_are_counted_where_they_were_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, "a.png")

    def slow(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            time.sleep(seconds)
            return function(*args)

        return call

    class Slow(Repeater):
        def before_band(self, start: int) -> None:
            time.sleep(0.15)

    monkeypatch.setattr(pipeline, "read_picture", slow(read_picture, 0.2))
    monkeypatch.setattr(png_writer.PngWriter, "_finish", slow(png_writer.PngWriter._finish, 0.4))
    _, seconds = upscale(jobs, Slow(rows=5))
    # lower bounds only: sleeping is never too short, but on a busy machine everything may take longer
    assert seconds.decode >= 0.2
    assert seconds.infer >= 0.3
    assert seconds.encode >= 0.4
    assert seconds.waited >= 0.02  # reading may begin well before anybody waits for it
    assert seconds.total >= 0.2 + 0.3 + 0.4 - 0.15  # a band is computed while the one before is written


def test_next_picture_is_decoded_while_one_is_upscaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second_is_read = threading.Event()

    def reading(path: Path, max_pixels: int) -> Picture:
        if path.name == "b.png":
            second_is_read.set()
        return read_picture(path, max_pixels)

    class Waiting(Repeater):
        def before_band(self, start: int) -> None:
            assert second_is_read.wait(5)

    monkeypatch.setattr(pipeline, "read_picture", reading)
    log, _ = upscale(make_jobs(tmp_path, "a.png", "b.png"), Waiting())
    assert log.errors == {"a.png": None, "b.png": None}


def test_bands_are_written_while_the_next_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, "a.png")
    is_written = threading.Event()
    write = png_writer.PngWriter._write

    def writing(self: png_writer.PngWriter, *args: Any) -> None:
        write(self, *args)
        is_written.set()

    class Waiting(Repeater):
        def before_band(self, start: int) -> None:
            assert start == 0 or is_written.wait(5)

    monkeypatch.setattr(png_writer.PngWriter, "_write", writing)
    log, _ = upscale(jobs, Waiting())
    assert log.errors == {"a.png": None}


def test_large_pictures_are_decoded_one_ahead_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []

    def reading(path: Path, max_pixels: int) -> Picture:
        started.append(path)
        return read_picture(path, max_pixels)

    class Patient(Repeater):
        upscaled = 0

        def before_band(self, start: int) -> None:
            time.sleep(0.05)  # time enough to decode all the others
            self.upscaled += start == 0
            assert len(started) <= self.upscaled + 1

    monkeypatch.setattr(pipeline, "read_picture", reading)
    monkeypatch.setattr(pipeline, "_AHEAD_BYTES", 1)
    log, _ = upscale(make_jobs(tmp_path, *(f"{n}.png" for n in range(4))), Patient(rows=10))
    assert [result.error for result in log.results] == 4 * [None]


def test_large_bands_wait_until_the_last_but_one_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, "a.png")
    written = 0
    write = png_writer.PngWriter._write

    def slowly(self: png_writer.PngWriter, *args: Any) -> None:
        nonlocal written
        time.sleep(0.02)
        write(self, *args)
        written += 1

    class Counting(Repeater):
        def before_band(self, start: int) -> None:
            # one is being written, and this one is about to be computed
            assert start - written <= 2

    monkeypatch.setattr(png_writer.PngWriter, "_write", slowly)
    monkeypatch.setattr(pipeline, "_BANDS_BYTES", 1)
    log, _ = upscale(jobs, Counting(rows=1))
    assert log.errors == {"a.png": None}


def test_pixels_are_given_back_when_a_picture_failed(tmp_path: Path) -> None:
    references: list[weakref.ref[Any]] = []

    class Refusing(Repeater):
        def bands(self, pixels: Samples, alpha: Samples | None = None) -> Iterator[Samples]:
            references.append(weakref.ref(pixels))
            raise ShapeError("too small")

    log, _ = upscale(make_jobs(tmp_path, "a.png"), Refusing())
    gc.collect()
    assert log.errors == {"a.png": "too small"}
    assert [reference() for reference in references] == [None]


def test_a_picture_that_fails_stops_no_other(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, "broken.png", "good.png", "infected.png", "last.png")
    jobs[0].source.write_bytes(b"no picture")

    class Failing(Repeater):
        pictures = 0

        def before_band(self, start: int) -> None:
            self.pictures += start == 0
            if self.pictures == 2 and start > 0:
                raise NumericalError("NaN in row 3")

    log, _ = upscale(jobs, Failing())
    assert log.errors == {
        "broken.png": f"{jobs[0].source}: is a text file, not a picture",
        "good.png": None,
        "infected.png": "NaN in row 3",
        "last.png": None,
    }
    assert left_in(tmp_path / "out") == ["good.png", "last.png"]
    for job in (jobs[1], jobs[3]):
        assert_is_enlarged(job)


def test_what_the_format_cannot_hold_is_refused_before_inference(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, "a.png", fmt="jpg")
    write_picture(jobs[0].source, picture(alpha=True))
    engine = Repeater()
    log, _ = upscale(jobs, engine)
    assert log.errors == {"a.png": f"{jobs[0].target}: JPEG holds no transparency; use -f png or -f webp"}
    assert engine.bands_given == 0
    assert not (tmp_path / "out").exists()


def test_full_disk_ends_the_work_and_leaves_finished_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, "a.png", "b.png", "c.png")
    write = png_writer.PngWriter._write

    def full_for_the_second(self: png_writer.PngWriter, *args: Any) -> None:
        if self.path.name != "a.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, *args)

    monkeypatch.setattr(png_writer.PngWriter, "_write", full_for_the_second)
    log = Log()
    with pytest.raises(DiskFullError) as caught:
        upscale_files(jobs, Repeater(rows=1), Options(), log)
    assert str(caught.value) == (
        f"{jobs[1].target}: cannot be written (No space left on device). The work was stopped, finished pictures are "
        "intact: make room, then go on with --resume"
    )
    assert caught.value.exit_code == 4
    assert log.errors == {"a.png": None}
    assert left_in(tmp_path / "out") == ["a.png"]
    assert_is_enlarged(jobs[0])


def test_a_file_that_fails_for_itself_stops_its_inference_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, "a.png", "b.png")
    write = png_writer.PngWriter._write

    def too_large(self: png_writer.PngWriter, *args: Any) -> None:
        if self.path.name == "a.png":
            raise OSError(errno.EFBIG, "File too large")
        write(self, *args)

    class Patient(Repeater):
        def before_band(self, start: int) -> None:
            time.sleep(0.02)

    monkeypatch.setattr(png_writer.PngWriter, "_write", too_large)
    engine = Patient(rows=1)
    log, _ = upscale(jobs, engine)
    assert log.errors == {"a.png": f"{jobs[0].target}: cannot be written (File too large)", "b.png": None}
    assert left_in(tmp_path / "out") == ["b.png"]
    assert engine.bands_given < 20


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced_unless_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    (job,) = make_jobs(tmp_path, "a.png")
    if not links:  # as exFAT

        def refuse(*names: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    upscale([job])
    made = job.target.read_bytes()
    assert upscale([job])[0].errors == {"a.png": None}
    assert job.target.read_bytes() == made
    job.target.write_bytes(b"mine")
    (error,) = upscale([job])[0].errors.values()
    assert error is not None and "another file of this name has appeared since the start" in error
    assert job.target.read_bytes() == b"mine"
    assert left_in(tmp_path / "out") == ["a.png"]


def test_a_source_that_changes_while_it_is_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, "a.png", "b.png")

    def changing(path: Path, max_pixels: int) -> Picture:
        read = read_picture(path, max_pixels)
        if path.name == "a.png":
            write_picture(path, picture(seed=5))
        return read

    monkeypatch.setattr(pipeline, "read_picture", changing)
    log, _ = upscale(jobs)
    assert log.errors["b.png"] is None
    assert "was changed while it was read" in str(log.errors["a.png"])
    assert left_in(tmp_path / "out") == ["b.png"]


def test_receipts_are_of_both_files(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, "a.png", "b.png")
    jobs[1].source.write_bytes(b"no picture")
    log = Log()
    upscale_files(jobs, Repeater(), Options(receipts=True), log)
    results = {result.job.source.name: result for result in log.results}
    for found, path in (
        (results["a.png"].input, jobs[0].source),
        (results["a.png"].output, jobs[0].target),
        (results["b.png"].input, jobs[1].source),
    ):
        content = path.read_bytes()
        assert found == Digest(len(content), hashlib.sha256(content).hexdigest())
    assert results["b.png"].output is None
    upscale(jobs, Repeater())
    assert upscale(jobs)[0].results[0].input is None


def test_names_and_folders_that_the_file_system_refuses_are_said_of_their_picture(tmp_path: Path) -> None:
    sources = make_jobs(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "file").touch()
    targets = [tmp_path / (300 * "x" + ".png"), tmp_path / "file" / "b.png", tmp_path / "out" / "c.png"]
    log, _ = upscale([Job(job.source, target, "png", 0) for job, target in zip(sources, targets, strict=True)])
    assert log.errors == {
        "a.png": f"{targets[0]}: cannot be written (File name too long)",
        "b.png": f"{tmp_path / 'file'}: this output folder cannot be made (File exists)",
        "c.png": None,
    }


@pytest.mark.parametrize("stage", ["infer", "encode"])
def test_lack_of_memory_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    def lacking(*args: Any) -> None:
        raise MemoryError

    jobs = make_jobs(tmp_path, "a.png")
    engine = Repeater()
    monkeypatch.setattr(*((engine, "before_band") if stage == "infer" else (png_writer.PngWriter, "_write")), lacking)
    log, _ = upscale(jobs, engine)
    error = log.errors["a.png"]
    assert error is not None
    assert "not enough memory to " + ("upscale it" if stage == "infer" else "write it as png") in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), EnvironmentUnfitError("no AMX")])
def test_interrupts_and_errors_of_the_machine_end_the_work_and_leave_complete_files(
    tmp_path: Path, error: BaseException
) -> None:
    jobs = [
        Job(job.source, tmp_path / "out" / folder / job.source.name, "png", 0)
        for job, folder in zip(make_jobs(tmp_path, "a.png", "b.png", "c.png"), "xyz", strict=True)
    ]

    class Ending(Repeater):
        pictures = 0

        def before_band(self, start: int) -> None:
            self.pictures += start == 0
            if self.pictures == 2 and start > 0:
                while not list(tmp_path.glob("out/y/.*.part")):  # its file has been begun
                    time.sleep(0.01)
                raise error

    log = Log()
    with pytest.raises(type(error)):
        upscale_files(jobs, Ending(), Options(), log)
    assert log.errors == {"a.png": None}
    assert left_in(tmp_path / "out") == ["x/a.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]
    assert_is_enlarged(jobs[0])


@pytest.mark.parametrize("stage", ["decode", "encode"])
def test_a_bug_in_another_thread_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    jobs = make_jobs(tmp_path, *(f"{n}.png" for n in range(20)))

    def buggy(*args: Any) -> None:
        raise ZeroDivisionError(stage)

    monkeypatch.setattr(*((pipeline, "read_picture") if stage == "decode" else (png_writer.PngWriter, "_write")), buggy)
    with pytest.raises(ZeroDivisionError, match=stage):
        upscale(jobs)
    assert not (tmp_path / "out").exists()


def test_existing_file_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    jobs = [replace(job, may_replace=True) for job in make_jobs(tmp_path, "a.png")]
    jobs[0].target.parent.mkdir()
    jobs[0].target.write_bytes(b"before")

    class Refusing(Repeater):
        def before_band(self, start: int) -> None:
            if start > 0:
                raise NumericalError("NaN")

    upscale(jobs, Refusing())
    assert jobs[0].target.read_bytes() == b"before"
    upscale(jobs)
    assert_is_enlarged(jobs[0])


def test_notes_of_reading_and_writing_come_with_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = make_jobs(tmp_path, "a.png")

    def noting(path: Path, max_pixels: int) -> Picture:
        read = read_picture(path, max_pixels)
        return Picture(read.pixels, None, read.metadata, read.source_format, ("CMYK converted to sRGB",))

    monkeypatch.setattr(pipeline, "read_picture", noting)
    begin = png_writer.PngWriter._begin

    def leaving_out(self: png_writer.PngWriter, *args: Any) -> None:
        self.notes = ("XMP data left out",)
        begin(self, *args)

    monkeypatch.setattr(png_writer.PngWriter, "_begin", leaving_out)
    log, _ = upscale(jobs)
    assert log.results[0].notes == ("CMYK converted to sRGB", "XMP data left out")
