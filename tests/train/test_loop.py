"""The training loop: the updates are Adam's, a run can be cut anywhere, and what is broken does not spread."""

import errno
import signal
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edsr_runtime.errors import CheckpointError, DataError, NumericalError
from edsr_runtime.metrics import PROTOCOLS
from edsr_train.checkpoint import load_network
from edsr_train.config import TrainConfig
from edsr_train.data import Pair, PatchSampler, make_pair
from edsr_train.evaluate import evaluate
from edsr_train.interrupt import stop_requests
from edsr_train.loop import Progress, train
from edsr_train.models import EDSR, EDSRConfig

Weights = dict[str, Tensor]


def tiny() -> EDSR:
    torch.manual_seed(0)
    return EDSR(EDSRConfig(2, n_resblocks=1, n_feats=8, tail="direct"))


def options(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"patch": 8, "batch": 2, "updates": 6, "lr": 1e-3, "validate_every": 4, **changes})


def pictures() -> list[Pair]:
    rng = np.random.default_rng(5)
    return [make_pair(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8), 2, str(i)) for i in range(2)]


def quiet(_: object) -> None:
    pass


def run(output: Path, config: TrainConfig, **arguments: Any) -> Weights:
    network = tiny()
    train(network, config, pictures(), [], output, report=arguments.pop("report", quiet), **arguments)
    return network.state_dict()


def training_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = load_network(path).extra["training"]
    return state


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def stop_after(count: int) -> Callable[[], bool]:
    calls = iter([False] * (count - 1) + [True])
    return lambda: next(calls)


def break_batches(monkeypatch: pytest.MonkeyPatch, broken: set[int]) -> None:
    """Put a NaN into the HR patches of the updates with these numbers."""
    whole, drawn = PatchSampler.batch, []

    def batch(self: PatchSampler, size: int) -> tuple[Tensor, Tensor]:
        lr, hr = whole(self, size)
        if len(drawn) in broken:
            hr[0, 0, 0, 0] = float("nan")
        drawn.append(size)
        return lr, hr

    monkeypatch.setattr(PatchSampler, "batch", batch)


@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_updates_are_those_of_adam_on_the_chosen_loss(tmp_path: Path, loss: str) -> None:
    config = options(updates=3, loss=loss, schedule="cosine", warmup=1)
    trained = run(tmp_path / "a.pt", config)

    reference = tiny()
    sampler = PatchSampler(pictures(), 2, 8, np.random.default_rng(config.seed))
    parameters = [p for p in reference.parameters() if p.requires_grad]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    for step in range(3):
        lr, hr = sampler.batch(2)
        difference = reference(lr) - hr
        error = difference.abs().mean() if loss == "l1" else difference.square().mean()
        gradients = torch.autograd.grad(error, parameters)
        with torch.no_grad():
            for p, g, (first, second) in zip(parameters, gradients, moments, strict=True):
                first.mul_(0.9).add_(0.1 * g)
                second.mul_(0.999).add_(0.001 * g * g)
                rate = config.lr_at(step) / (1 - 0.9 ** (step + 1))
                p -= rate * first / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(trained[key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []

    def note(progress: Progress) -> None:
        losses.append(progress.loss)

    row, column = np.indices((40, 48))
    waves = np.stack([127 + 100 * np.sin(row / 5), 127 + 100 * np.sin(column / 7), row * 6], axis=-1)
    pairs = [make_pair(waves.astype(np.uint8), 2)]
    train(tiny(), options(updates=40, lr=5e-3), pairs, [], tmp_path / "a.pt", report=quiet, on_update=note)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


@pytest.mark.parametrize(
    "changes", [{}, {"ema": 0.9, "schedule": "cosine", "warmup": 2}, {"bf16": True, "ema": 0.9}], ids=str
)
def test_a_resumed_run_ends_bit_equal_to_one_in_one_go(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = options(**changes)
    whole = run(tmp_path / "whole.pt", config)

    run(tmp_path / "cut.pt", config, should_stop=stop_after(3))
    state = training_state(tmp_path / "cut.pt")
    assert state["updates"] == 3
    resumed = run(tmp_path / "cut.pt", config, resume=state)

    assert same(resumed, whole)
    assert not same(resumed, state["weights"])
    for key in ("weights", "averaged"):
        assert same(training_state(tmp_path / "cut.pt")[key], training_state(tmp_path / "whole.pt")[key])
    saved, uncut = (load_network(tmp_path / name).network.state_dict() for name in ("cut.pt", "whole.pt"))
    assert same(saved, uncut)


def test_another_seed_draws_other_patches(tmp_path: Path) -> None:
    assert not same(run(tmp_path / "a.pt", options()), run(tmp_path / "b.pt", options(seed=1)))


def test_a_stopped_run_says_how_far_it_came(tmp_path: Path) -> None:
    network = tiny()
    done = train(network, options(), pictures(), [], tmp_path / "a.pt", report=quiet, should_stop=stop_after(2))
    assert done == 2
    assert same(training_state(tmp_path / "a.pt")["weights"], network.state_dict())
    assert train(tiny(), options(), pictures(), [], tmp_path / "b.pt", report=quiet) == 6


def test_the_file_holds_the_average_and_resumes_from_the_plain_weights(tmp_path: Path) -> None:
    start = tiny().state_dict()
    plain = run(tmp_path / "a.pt", options(updates=1, ema=0.5))
    saved = load_network(tmp_path / "a.pt").network.state_dict()
    for key in start:  # the decay begins at 1/10, so that the random start is soon forgotten
        torch.testing.assert_close(saved[key], 0.1 * start[key] + 0.9 * plain[key])
    assert not same(saved, plain)
    assert same(training_state(tmp_path / "a.pt")["weights"], plain)


def test_without_averaging_the_file_holds_the_plain_weights(tmp_path: Path) -> None:
    plain = run(tmp_path / "a.pt", options())
    assert same(load_network(tmp_path / "a.pt").network.state_dict(), plain)


def test_mean_shifts_are_not_trained(tmp_path: Path) -> None:
    start, trained = tiny().state_dict(), run(tmp_path / "a.pt", options())
    unchanged = {key for key in start if torch.equal(start[key], trained[key])}
    assert unchanged == {"sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias"}


def test_lines_come_at_every_validation_and_at_the_end(tmp_path: Path) -> None:
    lines: list[str] = []
    network, validation = tiny(), pictures()
    train(network, options(updates=5, validate_every=2), pictures(), validation, tmp_path / "a.pt", report=lines.append)
    assert [line.partition("  ")[0] for line in lines] == ["update 2/5", "update 4/5", "update 5/5"]
    mean = np.mean([score.psnr for score in evaluate(network, validation, 2, PROTOCOLS["paper-y"])])
    assert lines[-1].endswith(f"paper-y {mean:.3f} dB")


def test_a_step_with_a_loss_of_nan_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with monkeypatch.context() as patch:
        break_batches(patch, {1})
        skipped = run(tmp_path / "a.pt", options(updates=3, ema=0.5), report=lines.append)
    assert "  1 skipped (loss or gradient not finite)" in lines[0]
    assert "loss nan" not in lines[0]

    # The same as if the batch had never been drawn, but for the rate and the decay, which count it.
    whole, drawn = PatchSampler.batch, []

    def without_second(self: PatchSampler, size: int) -> tuple[Tensor, Tensor]:
        batch = whole(self, size)
        drawn.append(size)
        return whole(self, size) if len(drawn) == 2 else batch

    monkeypatch.setattr(PatchSampler, "batch", without_second)
    assert same(run(tmp_path / "b.pt", options(updates=2)), skipped)


def test_a_step_with_an_infinite_gradient_is_skipped(tmp_path: Path) -> None:
    network = tiny()
    start = {key: value.clone() for key, value in network.state_dict().items()}
    network.get_parameter("head.0.bias").register_hook(lambda gradient: gradient * float("inf"))
    train(network, options(updates=2), pictures(), [], tmp_path / "a.pt", report=quiet)
    assert same(network.state_dict(), start)


def test_ten_bad_steps_in_a_row_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_batches(monkeypatch, {3, *range(5, 15)})
    seen: list[int] = []
    with pytest.raises(
        NumericalError, match=r"10 times in a row, up to update 15; .*a\.pt holds the state of update 12"
    ):
        run(tmp_path / "a.pt", options(updates=30), on_update=lambda progress: seen.append(progress.done))
    assert seen == list(range(1, 15))
    assert all(torch.isfinite(value).all() for value in training_state(tmp_path / "a.pt")["weights"].values())


def test_nine_bad_steps_in_a_row_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_batches(monkeypatch, {*range(9), *range(10, 19)})
    run(tmp_path / "a.pt", options(updates=20))
    assert training_state(tmp_path / "a.pt")["updates"] == 20


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = torch.save, []

    def save(value: object, file: IO[bytes]) -> None:
        if written:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(value)
        write(value, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(DataError, match=r"a\.pt: cannot be written after update 6 \(No space left on device\)"):
        run(tmp_path / "a.pt", options())
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
    assert training_state(tmp_path / "a.pt")["updates"] == 4


def test_other_pictures_are_refused_on_resume(tmp_path: Path) -> None:
    run(tmp_path / "a.pt", options(), should_stop=stop_after(2))
    state = training_state(tmp_path / "a.pt")
    with pytest.raises(DataError, match="the training pictures are not those the run began with"):
        train(tiny(), options(), pictures()[::-1], [], tmp_path / "a.pt", resume=state, report=quiet)
    del state["data"]  # files of before the pictures were noted
    train(tiny(), options(), pictures(), [], tmp_path / "a.pt", resume=state, report=quiet)
    assert "data" in training_state(tmp_path / "a.pt")


@pytest.mark.parametrize("part", ["weights", "averaged", "optimizer", "rng", "moments", "missing"])
def test_a_damaged_training_state_is_refused(tmp_path: Path, part: str) -> None:
    run(tmp_path / "a.pt", options(), should_stop=stop_after(2))
    state = training_state(tmp_path / "a.pt")
    if part in ("weights", "averaged"):
        state[part]["head.0.bias"] = torch.zeros(9)
    elif part == "optimizer":
        state[part]["param_groups"] = []
    elif part == "rng":
        state[part]["bit_generator"] = "MT19937"
    elif part == "moments":
        state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)
    else:
        del state["optimizer"]
    with pytest.raises(CheckpointError, match=r"a\.pt: its training state is damaged"):
        train(tiny(), options(), pictures(), [], tmp_path / "a.pt", resume=state, report=quiet)


def test_validation_needs_no_gradient_and_leaves_the_run_alone(tmp_path: Path) -> None:
    plain = run(tmp_path / "a.pt", options(validate_every=1))
    network = tiny()
    train(network, options(validate_every=1), pictures(), pictures(), tmp_path / "b.pt", report=quiet)
    assert same(network.state_dict(), plain)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_acts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    heard: list[int] = []
    signal.signal(number, lambda got, _: heard.append(got))
    try:
        with stop_requests() as stop:
            assert not stop
            signal.raise_signal(number)
            assert stop
            assert stop.exit_code == 128 + number
            assert heard == []
            signal.raise_signal(number)
            assert heard == [number]
    finally:
        signal.signal(number, before)


def test_handlers_are_as_before_after_the_block() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
