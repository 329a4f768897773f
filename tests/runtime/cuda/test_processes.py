"""Several processes that share the pictures, each with a GPU of its own (here: none)."""

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from doubler import Doubler
from edsr_runtime.cuda.processes import VISIBLE, upscale_on_gpus, visible_device
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_runtime.jobs import Job, plan_work
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.pipeline import Options, Result, Seconds
from photographs import save


class Record:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.opened_sizes: dict[str, tuple[int, int]] = {}
        self.pixels = 0
        self.results: dict[str, Result] = {}
        self.said: list[str] = []

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        self.opened_sizes[job.source.name] = lr_hw

    def advanced(self, job: Job, pixels: int) -> None:
        self.pixels += pixels

    def finished(self, result: Result) -> None:
        self.results[result.job.source.name] = result


def pictures(folder: Path, *first_samples: int) -> list[NDArray[np.uint8]]:
    """0.png, 1.png, ...; see ``Doubler`` for what their first samples do."""
    made = []
    for number, first in enumerate(first_samples):
        pixels = np.full((3, 4 + number, 3), 100 + number, np.uint8)
        pixels[0, 0, 0] = first
        save(pixels, folder / f"{number}.png")
        made.append(pixels)
    return made


def run(folder: Path, record: Record, gpus: tuple[int, ...] = (0, 1)) -> Seconds:
    jobs = plan_work([folder / "in"], f"{folder / 'out'}/").jobs
    return upscale_on_gpus(jobs, gpus, Doubler, Options(), record, record.said.append)


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def test_every_picture_is_done_once_and_told_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "5,GPU-7")
    given = pictures(tmp_path / "in", 1, 2, 13, 4, 5)
    record = Record()
    seconds = run(tmp_path, record)
    assert sorted(record.results) == [f"{number}.png" for number in range(5)]
    for number, pixels in enumerate(given):
        result = record.results[f"{number}.png"]
        if number == 2:
            assert result.error == "it is thirteen"
            assert not result.job.target.exists()
        else:
            assert result.error is None
            np.testing.assert_array_equal(
                read_picture(result.job.target).pixels, pixels.repeat(2, axis=0).repeat(2, axis=1)
            )
    assert record.opened_sizes == {f"{number}.png": (3, 4 + number) for number in range(5)}
    assert record.pixels == sum(4 * pixels.shape[0] * pixels.shape[1] for i, pixels in enumerate(given) if i != 2)
    assert sorted(record.said) == ["GPU 0: a doubler", "GPU 0: sees 5", "GPU 1: a doubler", "GPU 1: sees GPU-7"]
    assert seconds.total > 0
    assert seconds.infer > 0


def test_no_more_processes_than_pictures(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 1)
    record = Record()
    run(tmp_path, record, gpus=(3, 4, 5))
    assert record.said == ["GPU 3: sees 3", "GPU 3: a doubler"]


def test_an_error_of_the_machine_ends_all_of_them(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 14, 16)
    with pytest.raises(EdsrError, match=r"^GPU 0: no electricity$") as caught:
        run(tmp_path, Record())
    assert caught.value.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_a_process_that_dies_is_noticed(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 15, 1)
    with pytest.raises(EnvironmentUnfitError, match=r"^the process for GPU 0 has ended before its work was done$"):
        run(tmp_path, Record())


def test_an_interrupt_ends_them_and_no_unfinished_file_is_left(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 16, 16)
    record = Record()

    def interrupt() -> Callable[[str], None]:
        waiting: set[str] = set()

        def say(line: str) -> None:
            if line.endswith("waiting"):
                waiting.add(line)
            if len(waiting) == 2:
                raise KeyboardInterrupt

        return say

    jobs = plan_work([tmp_path / "in"], f"{tmp_path / 'out'}/").jobs
    with pytest.raises(KeyboardInterrupt):
        upscale_on_gpus(jobs, (0, 1), Doubler, Options(), record, interrupt())
    assert not (tmp_path / "out").exists()
    assert record.results == {}


def test_signals_of_the_terminal_are_left_to_the_parent(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 17, 17)
    record = Record()
    run(tmp_path, record)
    assert [result.error for result in record.results.values()] == [None, None]


@pytest.mark.parametrize(
    ("index", "visible", "expected"), [(0, None, "0"), (3, None, "3"), (1, "2, 7", "7"), (0, "GPU-a,GPU-b", "GPU-a")]
)
def test_gpus_are_counted_among_those_that_may_be_seen(index: int, visible: str | None, expected: str) -> None:
    assert visible_device(index, visible) == expected


@pytest.mark.parametrize("visible", ["", "2", "2,"])
def test_a_gpu_that_may_not_be_seen_is_refused(visible: str) -> None:
    with pytest.raises(EnvironmentUnfitError, match=f"^there is no GPU 1: CUDA_VISIBLE_DEVICES is '{visible}'$"):
        visible_device(1, visible)
