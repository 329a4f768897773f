"""Several processes train as one: the same batches, the same losses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_train.journal import read_journal
from edsr_train.processes import Processes, check_divisible, choose_device
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
