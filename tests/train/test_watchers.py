"""What a run leaves to look at: the log, TensorBoard's events, curves and a summary."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edsr_runtime.errors import DataError
from edsr_runtime.resize import imresize
from edsr_train.board import Board
from edsr_train.curves import summarise, write_summary
from edsr_train.data.pictures import make_pair
from edsr_train.journal import Journal, read_journal
from edsr_train.loop import Progress, Record
from edsr_train.run_config import parse
from edsr_train.run_folder import RunFolder
from edsr_train.validation import Validation
from edsr_train.watchers import Tolerant
from tiny_networks import tiny_edsr, tiny_mdsr

NETWORK = tiny_edsr()


def record(update: int, **changes: Any) -> Record:
    values = {"update": update, "loss": 1.0 / update, "lr": 1e-4, "updates_per_second": 10.0, "skipped": 0}
    return Record(**{**values, "protocol": "paper-y" if "psnr" in changes else None, **changes})


def test_the_log_has_every_stretch_and_no_nan(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl", 0)
    journal.recorded(record(100), NETWORK)
    journal.recorded(record(200, loss=math.nan, skipped=100, psnr={2: 30.5, 3: 28.25}), NETWORK)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    expected = {"update": 100, "loss": 0.01, "lr": 1e-4, "updates_per_second": 10.0, "skipped": 0}
    expected |= {"psnr": None, "protocol": None, "validation": None, "rescaled": 0, "idle": 0}
    assert lines == [
        expected,
        {
            **expected,
            "update": 200,
            "loss": None,
            "skipped": 100,
            "psnr": {"x2": 30.5, "x3": 28.25},
            "protocol": "paper-y",
        },
    ]


def test_a_resumed_log_drops_what_is_done_again_and_what_a_kill_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    journal = Journal(path, 0)
    for update in (100, 200, 300):
        journal.recorded(record(update), NETWORK)
    with path.open("a") as file:
        file.write('{"update": 3')
    Journal(path, 200).recorded(record(300, loss=7.0), NETWORK)
    assert [(line["update"], line["loss"]) for line in read_journal(path)] == [(100, 0.01), (200, 0.005), (300, 7.0)]
    assert len(path.read_text().splitlines()) == 3


def test_what_is_no_line_of_a_log_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    Journal(path, 0).recorded(record(100, psnr={2: math.inf}), NETWORK)
    whole = path.read_bytes()
    json.loads(whole, parse_constant=pytest.fail)  # no Infinity, which is no JSON
    others = ("[1]", "7", '{"update": "x"}', '{"update": 3}', '{"update": 1, "loss": "much"}', "{", "[" * 100_000)
    wrong = whole.replace(b'{"x2": "inf"}', b'"high"')
    path.write_bytes(b"".join((*(f"{line}\n".encode() for line in others), wrong, b"\xff\xfe\n", whole)))
    assert [(line["update"], line["psnr"]) for line in read_journal(path)] == [(100, {"x2": math.inf})]
    assert [line["update"] for line in read_journal(path)] == [100]


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log\.jsonl: cannot be written \(No such file or directory\)"):
        Journal(tmp_path / "nowhere" / "log.jsonl", 0)


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own
        found = EventAccumulator(str(folder))
        found.Reload()
    return found


def test_tensorboard_has_scalars_and_crops_side_by_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pair = make_pair(rng.integers(0, 256, (100, 200, 3), dtype=np.uint8), 2, "noise")
    board = Board(tmp_path, 0, Validation({2: [pair]}))
    network = tiny_edsr().train()
    board.recorded(record(100), network)
    board.recorded(record(200, psnr={2: 30.5}), network)
    board.close()
    assert network.training
    found = events(tmp_path)
    assert [(each.step, each.value) for each in found.Scalars("PSNR paper-y x2")] == [(200, 30.5)]
    assert [each.step for each in found.Scalars("loss")] == [100, 200]
    (crop,) = found.Images("bicubic, SR, HR/x2 noise")
    assert (crop.step, crop.width, crop.height) == (200, 3 * 96, 96)
    (tmp_path / "crop.png").write_bytes(crop.encoded_image_string)
    bicubic, _, hr = np.split(np.asarray(Image.open(tmp_path / "crop.png")), 3, axis=1)
    np.testing.assert_array_equal(hr, pair.hr[2:98, 52:148])
    np.testing.assert_array_equal(bicubic, np.asarray(imresize(pair.lr[1:49, 26:74], 2), np.uint8))


def test_events_of_updates_that_are_done_again_are_hidden(tmp_path: Path) -> None:
    for done, value in ((0, 1.0), (100, 2.0)):
        board = Board(tmp_path, done, Validation())
        for update in (100, 200)[done // 100 :]:
            board.recorded(record(update, loss=value), NETWORK)
        board.close()
    assert [(each.step, each.value) for each in events(tmp_path).Scalars("loss")] == [(100, 1.0), (200, 2.0)]


def test_the_summary_says_what_the_run_gave(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    journal = Journal(folder.log_file, 0)
    journal.recorded(record(100, updates_per_second=10.0, psnr={2: 30.0, 3: 28.0, 4: 26.0}), tiny_mdsr())
    journal.recorded(record(150, updates_per_second=5.0, psnr={2: 31.0, 3: 29.0, 4: 26.5}), tiny_mdsr())
    journal.recorded(record(200, updates_per_second=10.0, skipped=2, psnr={2: 30.5, 3: 28.5, 4: 26.9}), tiny_mdsr())
    config = parse({"network": {"architecture": "mdsr"}})
    write_summary(folder, config, 200)
    summary = json.loads(folder.summary_file.read_text())
    assert summary == json.loads(json.dumps(summarise(folder, config, 200)))
    assert summary["best_validation"] == {"update": 150, "psnr": {"x2": 31.0, "x3": 29.0, "x4": 26.5}}
    assert summary["last_validation"]["update"] == 200
    assert (summary["updates"], summary["skipped"], summary["last_loss"]) == (200, 2, 0.005)
    assert summary["hours"] == pytest.approx((10 + 10 + 5) / 3600)
    with Image.open(folder.curves_file) as curves:
        assert (curves.format, curves.size) == ("PNG", (1200, 480))
    colours = np.unique(np.asarray(Image.open(folder.curves_file).convert("RGB")).reshape(-1, 3), axis=0)
    for line in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):  # x2, x3, x4 in matplotlib's first colours
        assert (colours == line).all(axis=1).any()


def test_scores_of_other_validations_are_not_compared(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    journal = Journal(folder.log_file, 0)
    for update, psnr, validation in ((100, 40.0, "a"), (200, 30.0, "b"), (300, 29.0, "b")):
        journal.recorded(record(update, psnr={2: psnr}, validation=validation), NETWORK)
    summary = summarise(folder, parse({"network": {"architecture": "edsr", "scale": 2}}), 300)
    assert summary["best_validation"] == {"update": 200, "psnr": {"x2": 30.0}}


def test_equal_pictures_break_neither_the_summary_nor_the_curves(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    journal = Journal(folder.log_file, 0)
    journal.recorded(record(100, psnr={2: 30.0}), NETWORK)
    journal.recorded(record(200, psnr={2: math.inf}), NETWORK)
    init = {"file": "x2.pt", "sha256": "00"}
    write_summary(folder, parse({"network": {"architecture": "edsr", "scale": 2}}), 200, init)
    summary = json.loads(folder.summary_file.read_text(), parse_constant=pytest.fail)
    assert summary["best_validation"] == {"update": 200, "psnr": {"x2": "inf"}}
    assert summary["init"] == init
    assert folder.curves_file.exists()


class Full:
    """A watcher on a full disk."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def updated(self, _: object) -> None:
        self.calls += 1
        raise self.error

    def recorded(self, *_: object) -> None:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(28, "No space left on device"), "No space left on device"), (DataError("log: no"), "log: no")],
)
def test_a_full_disk_under_a_log_is_said_once_and_ends_nothing(error: Exception, reason: str) -> None:
    said: list[str] = []
    full = Full(error)
    tolerant = Tolerant(lambda: full, "tensorboard", said.append)
    for update in (1, 2):
        tolerant.updated(Progress(update, 1.0))
        tolerant.recorded(record(update), NETWORK)
    assert said == [f"tensorboard: {reason}. The run goes on, with gaps there"]
    assert full.calls == 4  # there may be room again
    with pytest.raises(ValueError, match="a bug"):
        Tolerant(lambda: Full(ValueError("a bug")), "", said.append).updated(Progress(1, 1.0))


def test_a_log_that_cannot_be_made_is_said_once_and_made_when_it_can_be(tmp_path: Path) -> None:
    said: list[str] = []
    place = tmp_path / "later" / "log.jsonl"
    tolerant = Tolerant(lambda: Journal(place, 0), "log.jsonl", said.append)
    tolerant.recorded(record(100), NETWORK)
    assert len(said) == 1
    assert said[0].endswith("(No such file or directory). The run goes on, with gaps there")
    place.parent.mkdir()
    tolerant.recorded(record(200), NETWORK)
    assert ([line["update"] for line in read_journal(place)], len(said)) == ([200], 1)


def test_a_full_disk_at_a_resume_leaves_the_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    journal = Journal(path, 0)
    for update in (100, 200, 300):
        journal.recorded(record(update), NETWORK)
    whole = path.read_bytes()

    def full(file: Path, text: str, **_: object) -> None:
        file.write_bytes(text.encode()[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match=r"log\.jsonl: cannot be written \(No space left on device\)"):
        Journal(path, 200)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_log_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        read_journal(tmp_path)


def test_a_full_disk_under_tensorboard_shows_where_it_is_written_to(tmp_path: Path) -> None:
    board = Board(tmp_path, 0, Validation())
    board._file.close()
    board._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    board._events = type(board._events)(board._file)
    with pytest.raises(OSError, match="No space left"):
        board.recorded(record(1), NETWORK)
    board.close()
    with pytest.raises(DataError, match="file: cannot be written to"):
        (tmp_path / "file").touch()
        Board(tmp_path / "file", 0, Validation())


def test_a_run_without_validation_has_a_summary_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    Journal(folder.log_file, 0).recorded(record(100, loss=math.nan, skipped=100), NETWORK)
    write_summary(folder, parse({"network": {"architecture": "edsr", "scale": 2}}), 100)
    summary = json.loads(folder.summary_file.read_text())
    assert (summary["best_validation"], summary["last_loss"], summary["skipped"]) == (None, None, 100)
