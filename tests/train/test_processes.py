"""Several processes train as one: the same batches, the same losses."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_train.checkpoint import load_network
from edsr_train.data.pictures import make_pair
from edsr_train.journal import read_journal
from edsr_train.processes import (
    Processes,
    SaidElsewhereError,
    check_alike,
    check_divisible,
    choose_device,
    launcher,
)
from edsr_train.run_folder import RunFolder
from edsr_train.validation import Validation
from tiny_networks import tiny_edsr
from tiny_training import save_noise

ALONE = ("-c", "from edsr_train.cli import main; main()")
TOGETHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", sys.executable)


def fit(tmp_path: Path, name: str, start: tuple[str, ...], *arguments: str) -> list[float]:
    """Run ``edsr-train fit`` on two pictures of noise; the loss of every update."""
    data = save_noise(tmp_path / "photographs")
    options = "--threads 1 --device cpu --patch 8 --batch 4 --log-every 1 --lr 1e-3 --net n_resblocks=1 --net n_feats=8"
    places = ("--data", str(data), "-o", str(tmp_path / name), "--cache", str(tmp_path / "cache"))
    command = [sys.executable, *start, "fit", *places, *options.split(), *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.terminate()  # torchrun ends the processes that it started
    assert process.returncode == 0, errors
    return [line["loss"] for line in read_journal(tmp_path / name / "log.jsonl")]


@pytest.mark.parametrize(
    "arguments",
    [("--scale", "2", "--updates", "40", "--ema", "0.9"), ("--config", "mdsr-baseline", "--updates", "24")],
    ids=["edsr", "mdsr"],
)
def test_two_processes_give_the_losses_of_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    val = ("--val", str(save_noise(tmp_path / "val", count=3, hw=(64, 64), seed=9)), "--validate-every", "10")
    one = fit(tmp_path, "one", ALONE, *arguments, *val)
    two = fit(tmp_path, "two", (*TOGETHER, *ALONE), *arguments, *val)
    assert len(one) == int(arguments[-1] if arguments[-2] == "--updates" else arguments[3])
    # float32 sums in another order; the losses are some 60 grey levels
    assert two == pytest.approx(one, rel=1e-5, abs=0)
    scores = [[line["psnr"] for line in read_journal(tmp_path / name / "log.jsonl")] for name in ("one", "two")]
    for single, several in zip(*scores, strict=True):
        assert several == (None if single is None else pytest.approx(single, abs=1e-3))  # dB


class OfTwo(Processes):
    """The first of two processes, or the second; the other one gives ``others``, call by call."""

    def __init__(self, rank: int, others: list[Any]) -> None:
        super().__init__(torch.device("cpu"), rank, 2)
        object.__setattr__(self, "others", others)

    def gather(self, values: Sequence[Any]) -> list[Any]:
        other = self.others.pop(0)  # type: ignore[attr-defined]
        return [*values, other] if self.rank == 0 else [other, *values]


def test_what_is_wrong_is_said_by_the_first_process_that_has_it_and_ends_all() -> None:
    with pytest.raises(EdsrError, match="mine"), OfTwo(0, [2]).together():
        raise EdsrError("mine")
    with pytest.raises(SaidElsewhereError) as caught, OfTwo(1, [2]).together():
        raise EdsrError("the same")
    assert caught.value.exit_code == 2
    with pytest.raises(SaidElsewhereError) as caught, OfTwo(0, [4]).together():
        pass  # only the other one cannot go on
    assert caught.value.exit_code == 4
    with pytest.raises(EnvironmentUnfitError, match="mine"), OfTwo(1, [None]).together():
        raise EnvironmentUnfitError("mine")
    with OfTwo(0, [None]).together():
        pass


def test_processes_on_gpus_and_on_cpus_do_not_mix() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    with pytest.raises(EnvironmentUnfitError, match="process 1 has no GPU and process 0 has one"):
        check_alike(cuda, OfTwo(0, ["cpu", None]))
    check_alike(cpu, OfTwo(0, ["cpu", None]))


def test_the_first_process_decides() -> None:
    assert OfTwo(0, ["other"]).of_first("own") == "own"
    assert OfTwo(1, ["other"]).of_first("own") == "other"


def test_a_validation_that_another_process_stopped_has_no_score() -> None:
    pairs = [make_pair(np.zeros((24, 24, 3), np.uint8), 2, str(i)) for i in range(2)]
    validation = Validation({2: pairs})
    # together, whole or not, the scores
    assert validation.psnr(tiny_edsr(), OfTwo(0, [None, False])) is None
    psnr = validation.psnr(tiny_edsr(), OfTwo(0, [None, True, 30.0]))
    own = validation.psnr(tiny_edsr(), Processes(torch.device("cpu")))
    assert own is not None and psnr == {2: pytest.approx((own[2] + 30) / 2)}


def test_the_words_that_start_the_processes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "GROUP_WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert launcher() == []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert launcher() == ["torchrun", "--standalone", "--nproc-per-node", "4", "--no-python"]
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "HOST:PORT"]
    assert launcher() == ["torchrun", "--nnodes", "2", "--nproc-per-node", "4", *meeting, "--no-python"]


STOPPED = """
import os, signal, time
from edsr_train import cli, loop
if os.environ["RANK"] == "0":
    save = loop.RunFolder.save
    def slowly(*rest):
        loop.RunFolder.save = save
        os.kill(os.getppid(), signal.SIGTERM)  # torchrun passes it on, and once more
        time.sleep(3)  # it comes while the checkpoint is written
        save(*rest)
    loop.RunFolder.save = slowly
cli.main()
"""


@pytest.mark.slow  # PyTorch is loaded five times
def test_a_signal_to_torchrun_loses_no_checkpoint_and_errors_are_said_once(tmp_path: Path) -> None:
    data, out = save_noise(tmp_path / "photographs"), tmp_path / "run"
    options = "--threads 1 --device cpu --patch 8 --batch 4 --scale 2 --net n_resblocks=1 --net n_feats=8"
    new = ("fit", "--data", str(data), "-o", str(out), "--cache", str(tmp_path / "cache"), *options.split())
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}

    def together(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, *TOGETHER, "-c", code, *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)

    stopped = together(STOPPED, *new, "--updates", "40", "--validate-every", "10")
    advice = f"torchrun --standalone --nproc-per-node 2 --no-python edsr-train fit -o {out} --resume"
    assert "stopped after update 11 of 40, and saved. Go on with:" in stopped.stdout
    assert f"{advice} --device cpu --threads 1" in stopped.stdout
    assert stopped.stderr.count("stopping: the update is being finished and a checkpoint written") == 1
    states = [load_network(file).extra["training"] for file in RunFolder(out).checkpoints()]
    assert [state["updates"] for state in states] == [10, 11]

    refused = together(ALONE[1], *new)
    assert refused.stderr.count("error: ") == 1
    assert f"error: {out}: is not empty" in refused.stderr


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(EdsrError, match="a batch of 16 cannot be shared by 3 processes"):
        check_divisible(16, Processes(torch.device("cpu"), 0, 3))


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(EnvironmentUnfitError, match="--device cuda: PyTorch sees no NVIDIA GPU"):
        choose_device("cuda")


def test_every_process_of_a_machine_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(EnvironmentUnfitError, match="process 2 of this machine has no GPU of its own, there are 2"):
        choose_device("cuda", 2)
