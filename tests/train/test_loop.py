"""The training loop: a run can be cut anywhere, and what is broken does not spread."""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edsr_runtime.errors import CheckpointError, DataError, EnvironmentUnfitError, NumericalError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.checkpoint import load_network
from edsr_train.config import TrainConfig
from edsr_train.data.patches import Plan
from edsr_train.data.pictures import Pair, make_pair
from edsr_train.data.training_set import TrainingSet
from edsr_train.evaluate import evaluate
from edsr_train.interrupt import SIGNALS, InterruptedBySignalError, signals_interrupt, stop_requests
from edsr_train.loop import Ended, Progress, Record, train
from edsr_train.models import EDSR, EDSRConfig
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.processes import Processes
from edsr_train.run_folder import RunFolder
from edsr_train.updater import Step, Updater
from edsr_train.validation import Validation
from tiny_networks import tiny_mdsr
from tiny_training import options, training_set

Weights = dict[str, Tensor]
ALONE = Processes(torch.device("cpu"))


class Notes:
    """Watches a run and keeps what it is told."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.records: list[Record] = []

    def updated(self, progress: Progress) -> None:
        self.progress.append(progress)

    def recorded(self, record: Record, _: SuperResolutionNetwork) -> None:
        self.records.append(record)


def tiny() -> EDSR:
    torch.manual_seed(0)
    return EDSR(EDSRConfig(2, n_resblocks=1, n_feats=8, tail="direct"))


def run(folder: Path, config: TrainConfig, network: SuperResolutionNetwork | None = None, **arguments: Any) -> Weights:
    """Train in ``folder``; the pictures are beside it."""
    network = network or tiny()
    data = arguments.pop("data", None) or training_set(folder.parent, network.scales)
    run_folder = RunFolder(folder)
    with run_folder.locked():
        train(network, config, data, run_folder, processes=ALONE, **arguments)
    return network.state_dict()


def last(folder: Path) -> tuple[SuperResolutionNetwork, dict[str, Any]]:
    """Network and training state of the newest checkpoint."""
    loaded = load_network(RunFolder(folder).checkpoints()[-1])
    return loaded.network, loaded.extra["training"]


def resumed(folder: Path, config: TrainConfig, **arguments: Any) -> Weights:
    network, state = last(folder)
    return run(folder, config, network, resume=state, **arguments)


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def stop_after(count: int) -> Callable[[], bool]:
    """True from the call with this number on."""
    calls = itertools.count(1)
    return lambda: next(calls) >= count


def noise_pairs(count: int = 1, name: str = "a") -> Validation:
    rng = np.random.default_rng(3)
    return Validation({2: [make_pair(rng.integers(0, 256, (32, 36, 3), dtype=np.uint8), 2, name)] * count})


def break_updates(monkeypatch: pytest.MonkeyPatch, broken: set[int]) -> None:
    """Put a NaN into the HR patches of the updates with these numbers."""
    whole, drawn = TrainingSet.cut, []

    def cut(self: TrainingSet, plan: Plan) -> tuple[Tensor, Tensor]:
        lr, hr = whole(self, plan)
        if len(drawn) in broken:
            hr[0, 0, 0, 0] = float("nan")
        drawn.append(plan)
        return lr, hr

    monkeypatch.setattr(TrainingSet, "cut", cut)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    notes = Notes()
    run(tmp_path / "run", options(updates=60, lr=5e-3), watchers=(notes,))
    losses = [progress.loss for progress in notes.progress]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:3])  # noise can be learnt only so far


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9, "schedule": "cosine", "warmup": 2, "clip": 1.0},
        {"precision": "bf16", "channels_last": True, "ema": 0.9},
        {"precision": "fp16"},
        {"optimizer": "muon", "ema": 0.9},
    ],
    ids=str,
)
def test_a_resumed_run_ends_bit_equal_to_one_in_one_go(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = options(**changes)
    whole = run(tmp_path / "whole", config)

    run(tmp_path / "cut", config, should_stop=stop_after(3))
    network, state = last(tmp_path / "cut")
    assert state["updates"] == 3
    cut_weights = {key: value.clone() for key, value in (state["weights"] or network.state_dict()).items()}
    torch.manual_seed(99)  # another process: nothing of this one's random state is left
    weights = resumed(tmp_path / "cut", config)

    assert same(weights, whole)
    assert not same(weights, cut_weights)
    for name in ("model_file",):
        files = (getattr(RunFolder(tmp_path / folder), name) for folder in ("cut", "whole"))
        assert same(*(load_network(file).network.state_dict() for file in files))


def test_mdsr_resumes_bit_equal_too(tmp_path: Path) -> None:
    config = options(updates=8, ema=0.5)
    whole = run(tmp_path / "whole", config, tiny_mdsr())
    run(tmp_path / "cut", config, tiny_mdsr(), should_stop=stop_after(5))
    assert same(resumed(tmp_path / "cut", config), whole)


def test_another_seed_draws_other_patches(tmp_path: Path) -> None:
    assert not same(run(tmp_path / "a", options()), run(tmp_path / "b", options(seed=1)))


def test_a_stopped_run_says_how_far_it_came(tmp_path: Path) -> None:
    data, folder = training_set(tmp_path), RunFolder(tmp_path / "run")
    network = tiny()
    with folder.locked():
        stopped = train(network, options(), data, folder, processes=ALONE, should_stop=stop_after(2))
        assert stopped == Ended(2, is_whole=False)
        assert same(last(folder.path)[0].state_dict(), network.state_dict())
        assert not folder.model_file.exists()
        assert train(tiny(), options(), data, folder, processes=ALONE) == Ended(6, is_whole=True)
        assert folder.model_file.exists()


def test_files_hold_the_average_and_a_run_goes_on_from_the_plain_weights(tmp_path: Path) -> None:
    start = tiny().state_dict()
    plain = run(tmp_path / "run", options(updates=1, ema=0.5))
    network, state = last(tmp_path / "run")
    for key, value in network.state_dict().items():  # the decay begins at 1/10: the random start is soon forgotten
        torch.testing.assert_close(value, 0.1 * start[key] + 0.9 * plain[key])
    assert not same(network.state_dict(), plain)
    assert same(state["weights"], plain)
    delivered = load_network(RunFolder(tmp_path / "run").model_file).network.state_dict()
    assert same(delivered, network.state_dict())


def test_lines_come_at_every_validation_at_every_stretch_and_at_the_end(tmp_path: Path) -> None:
    notes, network = Notes(), tiny()
    rng = np.random.default_rng(3)
    pairs = [make_pair(rng.integers(0, 256, (32, 36, 3), dtype=np.uint8), 2, "a")]
    config = options(updates=7, validate_every=4, log_every=3)
    run(tmp_path / "run", config, network, validation=Validation({2: pairs}), watchers=(notes,))
    assert [record.update for record in notes.records] == [3, 4, 6, 7]
    assert [record.psnr is not None for record in notes.records] == [False, True, False, True]
    (score,) = evaluate(network, pairs, 2, PROTOCOLS["paper-y"])
    assert notes.records[-1].psnr == {2: score.psnr}
    losses = [progress.loss for progress in notes.progress]
    assert notes.records[0].loss == pytest.approx(np.mean(losses[:3]))
    assert notes.records[1].loss == pytest.approx(losses[3])


def test_the_best_weights_are_kept_also_over_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([30.0, 31.0, 29.0, 30.5, 31.5, 28.0])
    monkeypatch.setattr(Validation, "psnr", lambda *_: {2: next(scores)})
    rng = np.random.default_rng(3)
    validation = Validation({2: [make_pair(rng.integers(0, 256, (32, 36, 3), dtype=np.uint8), 2, "a")]})
    config, folder = options(validate_every=1), RunFolder(tmp_path / "run")

    def best() -> dict[str, Any]:
        return load_network(folder.best_file).extra

    run(folder.path, config, validation=validation, should_stop=stop_after(4))  # before the validation of update 4
    assert best() == {"update": 2, "psnr": {"x2": 31.0}, "protocol": "paper-y"}
    resumed(folder.path, config, validation=validation)
    assert best() == {"update": 5, "psnr": {"x2": 31.5}, "protocol": "paper-y"}


def test_the_best_begins_anew_where_scores_cannot_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([31.0, 19.0, 20.0, 18.0])  # the second: update 1 again, on the other pictures
    monkeypatch.setattr(Validation, "psnr", lambda *_: {2: next(scores)})
    folder = RunFolder(tmp_path / "run")
    run(folder.path, options(updates=1), validation=noise_pairs())
    notes = Notes()
    resumed(folder.path, options(updates=3, validate_every=1), validation=noise_pairs(name="b"), watchers=(notes,))
    assert load_network(folder.best_file).extra == {"update": 2, "psnr": {"x2": 20.0}, "protocol": "paper-y"}
    assert {record.validation for record in notes.records} == {noise_pairs(name="b").fingerprint}


def test_a_fingerprint_changes_with_what_scores_depend_on() -> None:
    (pair,) = noise_pairs().pairs[2]
    brighter = Pair(pair.name, pair.lr, pair.hr + 1)
    variants = [
        Validation({2: [pair]}),
        Validation({2: [pair]}, PROTOCOLS["paper-div2k"]),
        Validation({2: [pair, pair]}),
        Validation({2: [brighter]}),
        Validation({3: [pair]}),
    ]
    assert len({each.fingerprint for each in variants}) == len(variants)
    assert noise_pairs().fingerprint == variants[0].fingerprint
    strided = Pair(pair.name, pair.lr, np.repeat(pair.hr, 2, axis=1)[:, ::2])  # the same pixels, not in one piece
    assert Validation({2: [strided]}).fingerprint == variants[0].fingerprint


def test_a_kill_in_a_validation_loses_neither_the_updates_nor_the_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, whole = Notes(), Notes()
    config = options(updates=6, validate_every=3)
    expected = run(tmp_path / "whole", config, validation=noise_pairs(), watchers=(whole,))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Validation, "psnr", killed)
        run(tmp_path / "run", config, validation=noise_pairs(), watchers=(notes,))
    assert (last(tmp_path / "run")[1]["updates"], notes.records) == (3, [])
    again = resumed(tmp_path / "run", config, validation=noise_pairs(), watchers=(notes,))
    assert same(again, expected)
    assert [(r.update, r.psnr, r.loss) for r in notes.records] == [(r.update, r.psnr, r.loss) for r in whole.records]
    files = [load_network(RunFolder(tmp_path / name).best_file) for name in ("whole", "run")]
    assert files[0].extra == files[1].extra
    assert same(*(file.network.state_dict() for file in files))


def test_a_validation_can_be_stopped_and_is_made_up_for(tmp_path: Path) -> None:
    data, folder, config = training_set(tmp_path), RunFolder(tmp_path / "run"), options(updates=4)
    notes = Notes()
    scored: list[bool] = []

    def in_validation() -> bool:
        """Asked after each of four updates, then before each of three pictures."""
        scored.append(len(scored) >= 5)
        return scored[-1]

    arguments: dict[str, Any] = {"processes": ALONE, "validation": noise_pairs(3), "watchers": (notes,)}
    with folder.locked():
        ended = train(tiny(), config, data, folder, **arguments, should_stop=in_validation)
    assert (ended, notes.records, len(scored)) == (Ended(4, is_whole=False), [], 6)
    assert not folder.model_file.exists()
    resumed(folder.path, config, validation=noise_pairs(3), watchers=(notes,))
    assert [(record.update, record.psnr is not None) for record in notes.records] == [(4, True)]
    assert load_network(folder.model_file).extra == {"update": 4}


def test_the_checkpoint_comes_before_whoever_might_fail(tmp_path: Path) -> None:
    class Broken(Notes):
        def recorded(self, record: Record, _: SuperResolutionNetwork) -> None:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(tmp_path / "run", options(updates=2), watchers=(Broken(),))
    assert last(tmp_path / "run")[1]["updates"] == 2


def test_every_file_of_weights_says_what_the_run_began_with(tmp_path: Path) -> None:
    init = {"file": "x2.pt", "sha256": "00" * 32}
    run(tmp_path / "run", options(updates=2), validation=noise_pairs(), init=init)
    folder = RunFolder(tmp_path / "run")
    assert load_network(folder.model_file).extra == {"update": 2, "init": init}
    assert load_network(folder.best_file).extra["init"] == init
    assert last(folder.path)[1]["init"] == init


def test_a_validation_picture_that_does_not_fit_is_found_before_the_first_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("edsr_train.validation.super_resolve", too_large)
    notes = Notes()
    sentence = r"the validation picture a, 16x18 LR \(HxW\) at x2, taken whole, does not fit into the GPU's memory\. "
    with pytest.raises(EnvironmentUnfitError, match=sentence + "Validate on smaller pictures"):
        run(tmp_path / "run", options(), validation=noise_pairs(), watchers=(notes,))
    assert notes.progress == []


def test_an_update_with_a_loss_of_nan_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()
    break_updates(monkeypatch, {1})
    skipped = run(tmp_path / "run", options(updates=2, log_every=2, ema=0.5), watchers=(notes,))
    assert (notes.records[0].skipped, np.isfinite(notes.records[0].loss)) == (1, True)
    assert np.isnan(notes.progress[1].loss)
    monkeypatch.undo()
    assert same(run(tmp_path / "one", options(updates=1, ema=0.5)), skipped)


def test_an_update_with_an_infinite_gradient_is_skipped(tmp_path: Path) -> None:
    network = tiny()
    start = {key: value.clone() for key, value in network.state_dict().items()}
    network.get_parameter("head.0.bias").register_hook(lambda gradient: gradient * float("inf"))
    assert same(run(tmp_path / "run", options(updates=2), network), start)


def test_ten_bad_updates_in_a_row_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_updates(monkeypatch, {3, *range(5, 15)})
    notes = Notes()
    with pytest.raises(NumericalError, match=r"10 times in a row, up to update 15; .*run holds the state of update 12"):
        run(tmp_path / "run", options(updates=30), watchers=(notes,))
    assert [progress.done for progress in notes.progress] == list(range(1, 15))
    network, state = last(tmp_path / "run")
    assert state["updates"] == 12
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_updates_that_only_lower_the_scale_of_the_loss_do_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, notes = Updater.update, Notes()

    def rescaled(self: Updater, number: int, *batch: Any) -> Step:
        return Step(7.0, is_done=False, is_rescaled=True) if number < 15 else update(self, number, *batch)

    monkeypatch.setattr(Updater, "update", rescaled)
    run(tmp_path / "run", options(updates=16, log_every=16), watchers=(notes,))
    (record,) = [record for record in notes.records if record.update == 16]
    assert sum(each.rescaled for each in notes.records) == 15
    assert (record.skipped, np.isfinite(record.loss)) == (0, True)


def test_nine_bad_updates_in_a_row_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_updates(monkeypatch, {*range(9), *range(10, 19)})
    run(tmp_path / "run", options(updates=20))
    assert last(tmp_path / "run")[1]["updates"] == 20


def test_other_pictures_are_refused_on_resume(tmp_path: Path) -> None:
    run(tmp_path / "run", options(), should_stop=stop_after(2))
    with pytest.raises(DataError, match="the training pictures are not those the run began with"):
        resumed(tmp_path / "run", options(), data=training_set(tmp_path, seed=6))


@pytest.mark.parametrize("part", ["weights", "optimizer", "random", "moments", "missing"])
def test_a_damaged_training_state_is_refused(tmp_path: Path, part: str) -> None:
    run(tmp_path / "run", options(ema=0.5), should_stop=stop_after(2))
    network, state = last(tmp_path / "run")
    if part == "weights":
        state[part]["head.0.bias"] = torch.zeros(9)
    elif part == "optimizer":
        state[part]["param_groups"] = []
    elif part == "random":
        state[part]["torch"] = torch.zeros(3)
    elif part == "moments":
        state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)
    else:
        del state["optimizer"]
    with pytest.raises(CheckpointError, match="run: the training state is damaged"):
        run(tmp_path / "run", options(ema=0.5), network, resume=state)


def test_a_damaged_momentum_of_muon_is_refused(tmp_path: Path) -> None:
    config = options(optimizer="muon")
    run(tmp_path / "run", config, should_stop=stop_after(2))
    network, state = last(tmp_path / "run")
    state["muon"]["state"][0]["momentum"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match="the optimizer is of another network"):
        run(tmp_path / "run", config, network, resume=state)


def test_validation_leaves_the_run_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    validation = Validation({2: [make_pair(rng.integers(0, 256, (32, 36, 3), dtype=np.uint8), 2, "a")]})
    config = options(validate_every=1)
    plain = run(tmp_path / "a", config)
    assert same(run(tmp_path / "b", config, validation=validation), plain)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_says_so(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    with stop_requests("stopping: wait") as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        assert stop.exit_code == 128 + number
        signal.raise_signal(signal.SIGTERM)  # as torchrun does, for each of its own reasons
        signal.raise_signal(signal.SIGHUP)
        assert stop.exit_code == 128 + number
    assert capfd.readouterr().err == "\nstopping: wait\n"


def test_a_second_ctrl_c_ends_at_once_but_not_under_torchrun() -> None:
    with pytest.raises(InterruptedBySignalError) as caught, stop_requests():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert caught.value.exit_code == 130
    with stop_requests(twice_ends=False) as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert stop.exit_code == 130


def test_before_training_a_signal_ends_at_once() -> None:
    for number in SIGNALS:
        with pytest.raises(InterruptedBySignalError) as caught, signals_interrupt():
            os.kill(os.getpid(), number)
        assert caught.value.exit_code == 128 + number


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as stop, signals_interrupt():
            signal.raise_signal(signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_as_before_after_the_block() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_requests():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in SIGNALS] == before
