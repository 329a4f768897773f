"""Training on a real GPU: the paths that a CPU does not have."""

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edsr_runtime.errors import EnvironmentUnfitError
from edsr_train.checkpoint import load_network
from edsr_train.compiling import check_compiler
from edsr_train.config import TrainConfig
from edsr_train.data import training_set as training_sets
from edsr_train.data.batches import batches
from edsr_train.data.sets import benchmark_pairs, find_sources
from edsr_train.data.training_set import TrainingSet, open_training_set
from edsr_train.journal import read_journal
from edsr_train.loop import Ended, Progress, Record, train
from edsr_train.models import EDSR, EDSRConfig
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.processes import Processes, choose_device
from edsr_train.run_folder import RunFolder
from edsr_train.tf32 import allow_tf32, is_tf32_allowed
from edsr_train.updater import Updater
from edsr_train.validation import Validation
from tiny_networks import tiny_edsr, tiny_mdsr
from tiny_training import PATCH, options, save_noise, training_set

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """The first GPU, as a command would choose it."""
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    before = is_tf32_allowed()
    yield choose_device("auto")
    allow_tf32(before)


def on(device: torch.device, folder: Path, scales: tuple[int, ...] = (2,)) -> TrainingSet:
    """The pictures of ``training_set``, for a device."""
    sources = find_sources(save_noise(folder / "photographs-5"), scales)
    return open_training_set(sources, scales, PATCH, cache=folder / "cache", device=device)


class Losses:
    """Watches a run."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def updated(self, progress: Progress) -> None:
        self.losses.append(progress.loss)

    def recorded(self, _: Record, network: SuperResolutionNetwork) -> None:
        assert not any(torch.isnan(p).any() for p in network.parameters())


def run(
    folder: Path, config: TrainConfig, device: torch.device, network: SuperResolutionNetwork, **arguments: Any
) -> list[float]:
    losses, run_folder = Losses(), RunFolder(folder)
    data = on(device, folder.parent, network.scales)
    with run_folder.locked():
        train(network, config, data, run_folder, processes=Processes(device), watchers=(losses,), **arguments)
    return losses.losses


@pytest.mark.parametrize("live_there", [True, False])
def test_batches_that_are_cut_ahead_are_whole_while_the_gpu_is_busy(
    tmp_path: Path, gpu: torch.device, monkeypatch: pytest.MonkeyPatch, live_there: bool
) -> None:
    monkeypatch.setattr(training_sets, "fits", lambda nbytes, free_bytes: live_there)
    here, data = training_set(tmp_path, (2, 3)), on(gpu, tmp_path, (2, 3))
    assert (data.place == f"in the memory of {gpu}") is live_there
    plans = [here.plan(0, update, 64) for update in range(40)]
    work = torch.randn(2048, 2048, device=gpu)
    with contextlib.closing(batches(data, plans)) as supply:
        for batch, plan in zip(supply, plans, strict=True):
            work = torch.tanh(work @ work)  # the copies of the next batches run beside it
            found = batch.lr * 1, batch.hr * 1  # on the stream that computes
            for moved, expected in zip(found, here.cut(plan), strict=True):
                assert moved.device == gpu
                assert torch.equal(moved.cpu(), expected)


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [({}, 1e-4), ({"precision": "bf16", "channels_last": True}, 0.02), ({"precision": "tf32"}, 0.01)],
    ids=str,
)
def test_losses_are_those_of_the_cpu(
    tmp_path: Path, gpu: torch.device, changes: dict[str, Any], tolerance: float
) -> None:
    there = run(tmp_path / "gpu", options(updates=20, **changes), gpu, tiny_edsr())
    here = run(tmp_path / "cpu", options(updates=20), torch.device("cpu"), tiny_edsr())
    assert there == pytest.approx(here, rel=tolerance)  # float32 sums in another order; 8 and 10 bits of mantissa


def test_mdsr_trains_on_a_gpu(tmp_path: Path, gpu: torch.device) -> None:
    there = run(tmp_path / "gpu", options(updates=12), gpu, tiny_mdsr())
    assert there == pytest.approx(
        run(tmp_path / "cpu", options(updates=12), torch.device("cpu"), tiny_mdsr()), rel=1e-4
    )


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "fp16", "ema": 0.9}, {"precision": "bf16", "channels_last": True}], ids=str
)
def test_a_stopped_run_goes_on(tmp_path: Path, gpu: torch.device, changes: dict[str, Any]) -> None:
    config = options(updates=12, **changes)
    whole = run(tmp_path / "whole", config, gpu, tiny_edsr())
    calls = itertools.count(1)
    cut = run(tmp_path / "cut", config, gpu, tiny_edsr(), should_stop=lambda: next(calls) >= 5)
    loaded = load_network(RunFolder(tmp_path / "cut").checkpoints()[-1])
    state = loaded.extra["training"]
    assert state["updates"] == len(cut) == 5
    cut += run(tmp_path / "cut", config, gpu, loaded.network, resume=state)
    assert cut == pytest.approx(whole, rel=1e-3, nan_ok=True)  # cuDNN does not sum in the same order every time


def test_validation_scores_are_those_of_the_cpu(tmp_path: Path, gpu: torch.device) -> None:
    pairs = benchmark_pairs(save_noise(tmp_path / "val", hw=(64, 70)), 2)
    validation, network = Validation({2: pairs}), tiny_edsr()
    here = validation.psnr(network, Processes(torch.device("cpu")))
    there = validation.psnr(network.to(gpu), Processes(gpu))
    assert here is not None
    assert there == {2: pytest.approx(here[2], abs=1e-3)}  # dB; a grey level here and there


def test_float32_is_float32_unless_tf32_is_asked_for(gpu: torch.device) -> None:
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False, device=gpu)
    nn.init.ones_(conv.weight)
    x = torch.full((1, 64, 32, 32), 1 + 2**-12, device=gpu)  # TF32, with ten bits of mantissa, makes 1 of it
    with torch.no_grad():
        inner = conv(x)[0, 0, 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 576 * (1 + 2**-12)), rtol=1e-5, atol=0)


@pytest.fixture
def little_memory(gpu: torch.device) -> Iterator[torch.device]:
    """A GPU of which this process may use half a gigabyte."""
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info(gpu)[1]
    torch.cuda.set_per_process_memory_fraction(2**29 / total, gpu)
    yield gpu
    torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    torch.cuda.empty_cache()


def baseline() -> EDSR:
    return EDSR(EDSRConfig(2))


def test_an_update_that_is_too_large_is_one_sentence(little_memory: torch.device) -> None:
    updater = Updater(baseline(), options(), Processes(little_memory))
    lr, hr = (torch.zeros(64, 3, side, side, device=little_memory) for side in (48, 96))
    sentence = "an update with 64 patches of 48x48 LR pixels at x2 does not fit into the GPU's memory"
    with pytest.raises(EnvironmentUnfitError, match=sentence):
        updater.update(0, lr, hr, 2)


def test_a_validation_picture_that_is_too_large_is_one_sentence(tmp_path: Path, little_memory: torch.device) -> None:
    pairs = benchmark_pairs(save_noise(tmp_path / "val", count=1, hw=(3000, 3000)), 2)
    with pytest.raises(EnvironmentUnfitError, match=r"the validation picture 0, 1500x1500 LR .* the GPU's memory"):
        Validation({2: pairs}).try_largest(baseline().to(little_memory))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")  # PyTorch's own use of it
def test_a_compiled_network_gets_the_same_update(gpu: torch.device) -> None:
    try:
        check_compiler(gpu)
    except EnvironmentUnfitError as err:
        pytest.skip(str(err))
    generator = torch.Generator().manual_seed(0)
    lr, hr = (torch.rand(2, 3, side, side, generator=generator).to(gpu) * 255 for side in (8, 16))
    found: list[tuple[float, dict[str, Tensor]]] = []
    for compiled in (False, True):
        network = tiny_edsr()
        step = Updater(network, options(compile=compiled), Processes(gpu)).update(0, lr, hr, 2)
        found.append((step.loss, network.state_dict()))
    (loss, weights), (compiled_loss, compiled_weights) = found
    assert compiled_loss == pytest.approx(loss, rel=1e-5)
    for key, value in weights.items():
        torch.testing.assert_close(compiled_weights[key], value, rtol=1e-3, atol=1e-5)


def test_the_command_trains_on_the_gpu_and_goes_on(tmp_path: Path, gpu: torch.device) -> None:
    data, val = save_noise(tmp_path / "data"), save_noise(tmp_path / "val", count=1, seed=9)
    places = ("--data", data, "--val", val, "-o", tmp_path / "run", "--cache", tmp_path / "cache")
    small = "--scale 2 --patch 8 --batch 4 --net n_resblocks=1 --net n_feats=8 --validate-every 4 --device cuda"
    first = command(*places, *small.split(), "--updates", 4)
    assert f"in the memory of {gpu}" in first
    assert "resumed: " in command("-o", tmp_path / "run", "--resume", "--updates", 8)
    log = read_journal(tmp_path / "run" / "log.jsonl")
    assert [(line["update"], line["psnr"] is not None) for line in log] == [(4, True), (8, True)]
    assert load_network(tmp_path / "run" / "model.safetensors").extra == {"update": 8}


def command(*arguments: object, launcher: tuple[str, ...] = ()) -> str:
    """Run ``edsr-train fit``; what it says."""
    start = [sys.executable, *launcher, "-c", "from edsr_train.cli import main; main()", "fit"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*start, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_gpus_give_the_losses_of_one(tmp_path: Path, gpu: torch.device) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("a single NVIDIA GPU")
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", sys.executable)
    losses = []
    for name, launcher in (("one", ()), ("two", two)):
        places = ("--data", save_noise(tmp_path / "data"), "-o", tmp_path / name, "--cache", tmp_path / "cache")
        small = "--scale 2 --patch 8 --batch 4 --net n_resblocks=1 --net n_feats=8 --updates 20 --log-every 1"
        command(*places, *small.split(), launcher=launcher)
        losses.append([line["loss"] for line in read_journal(tmp_path / name / "log.jsonl")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_process_without_a_gpu_of_its_own_is_refused(gpu: torch.device) -> None:
    with pytest.raises(EnvironmentUnfitError, match="has no GPU of its own"):
        choose_device("cuda", torch.cuda.device_count())


def test_a_whole_run_ends(tmp_path: Path, gpu: torch.device) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        ended = train(tiny_edsr(), options(), on(gpu, tmp_path), folder, processes=Processes(gpu))
    assert ended == Ended(6, is_whole=True)
    network = load_network(folder.model_file).network  # on the CPU, wherever it was trained
    assert {p.device.type for p in network.parameters()} == {"cpu"}
