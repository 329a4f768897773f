"""The command ``edsr-train``: runs that begin, go on and are refused, and scores of a checkpoint."""

import functools
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor

from edsr_runtime.metrics import PROTOCOLS
from edsr_train.checkpoint import load_network, save_checkpoint
from edsr_train.cli import main
from edsr_train.config import DataConfig, TrainConfig
from edsr_train.data import training_set
from edsr_train.data.sets import benchmark_pairs
from edsr_train.data.training_set import TrainingSet
from edsr_train.evaluate import evaluate, evaluate_bicubic, mean_psnr
from edsr_train.journal import read_journal
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig
from edsr_train.run_config import parse, read_base
from edsr_train.run_folder import RunFolder
from edsr_train.voice import Voice
from tiny_training import save_noise

SIZES = ("--net", "n_resblocks=1", "--net", "n_feats=8")
FEW = ("--patch", "8", "--batch", "2", "--validate-every", "4", "--updates", "6", "--lr", "0.001")
NEW = (*SIZES, "--net", "tail=direct", "--scale", "2", *FEW)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photo graphs"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name, size in (("a", (40, 44, 3)), ("b", (36, 52, 3)), ("tiny", (8, 8, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))


def edsr_train(*arguments: object) -> Result:
    # An exception that is no EdsrError is a bug: let it through to the test.
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def fit(*arguments: object) -> Result:
    return edsr_train("fit", *arguments)


def fitted(*arguments: object) -> Result:
    result = fit(*arguments)
    assert result.exit_code == 0, result.output
    return result


def weights(run: Path) -> dict[str, Tensor]:
    """Those at the end of a run."""
    return load_network(RunFolder(run).model_file).network.state_dict()


def training_state(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = load_network(RunFolder(run).checkpoints()[-1]).extra["training"]
    return state


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def save_tiny(path: Path, scale: int = 2, **options: Any) -> EDSR:
    torch.manual_seed(3)
    network = EDSR(EDSRConfig(scale, **{"n_resblocks": 1, "n_feats": 8, **options}))
    save_checkpoint(path, network)
    return network


def test_fit_leaves_a_folder_that_tells_what_was_done(tmp_path: Path, photographs: Path) -> None:
    out, val = tmp_path / "x2", save_noise(tmp_path / "val", count=1)
    options = ("--net", "res_scale=0.5", "--log-every", "3", "--threads", 1, "--device", "cpu")
    result = fitted("--data", photographs, "--val", val, "-o", out, *NEW, *options)
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        "network: EDSR x2, 1 blocks of 8 feature maps with a direct tail, residual scaling 0.5, "
    )
    bicubic = mean_psnr(list(evaluate_bicubic(benchmark_pairs(val, 2), 2, PROTOCOLS["paper-y"])))
    assert lines[1] == f"validation: 1 pictures of {val}, x2, bicubic: paper-y {bicubic:.3f} dB"
    assert "data: 2 of 3 pictures have both sides of at least 16 pixels" in lines
    updates = [line for line in lines if line.startswith("update")]
    assert [line.partition("  ")[0] for line in updates] == ["update 4/6", "update 6/6"]
    assert re.search(r"loss \d+\.\d{4}  \d+\.\d updates/s  paper-y \d+\.\d{3} dB$", updates[1])
    assert lines[-1] == f"wrote {out}/model.safetensors"

    folder = RunFolder(out)
    assert load_network(folder.model_file).config == EDSRConfig(2, 1, 8, 0.5, "direct")
    assert [file.name for file in folder.checkpoints()] == ["update-00000004.pt", "update-00000006.pt"]
    assert training_state(out)["options"]["lr"] == 0.001
    log = read_journal(folder.log_file)
    assert [line["update"] for line in log] == [3, 4, 6]
    best = max((line for line in log if line["psnr"]), key=lambda line: line["psnr"]["x2"])
    assert load_network(folder.best_file).extra == {name: best[name] for name in ("update", "psnr", "protocol")}
    summary = json.loads(folder.summary_file.read_text())
    assert summary["best_validation"]["psnr"] == best["psnr"]
    assert folder.curves_file.read_bytes().startswith(b"\x89PNG")
    assert any(folder.board_folder.iterdir())
    assert not list(out.rglob("*.partial"))


def test_no_path_of_this_machine_gets_into_the_weights(tmp_path: Path, photographs: Path) -> None:
    fitted("--data", photographs, "-o", tmp_path / "run", *NEW)
    folder = RunFolder(tmp_path / "run")
    for file in (*folder.checkpoints(), folder.model_file):
        assert str(tmp_path).encode() not in file.read_bytes()


def test_validation_follows_the_chosen_protocol(tmp_path: Path, photographs: Path) -> None:
    val, out = save_noise(tmp_path / "val", count=1), tmp_path / "run"
    result = fitted("--data", photographs, "--val", val, "--protocol", "paper-div2k", "-o", out, *NEW)
    network = load_network(RunFolder(out).model_file).network
    (score,) = evaluate(network, benchmark_pairs(val, 2), 2, PROTOCOLS["paper-div2k"])
    assert f"paper-div2k {score.psnr:.3f} dB" in result.stdout
    assert read_journal(RunFolder(out).log_file)[-1]["psnr"] == {"x2": pytest.approx(score.psnr, abs=1e-9)}


def test_the_same_run_can_be_begun_from_its_configuration(tmp_path: Path, photographs: Path) -> None:
    fitted("--data", photographs, "-o", tmp_path / "a", *NEW)
    fitted("--config", tmp_path / "a" / "config.yaml", "-o", tmp_path / "b")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_print_config_prints_the_whole_and_writes_nothing(tmp_path: Path, photographs: Path) -> None:
    result = fitted("--config", "edsr", "--scale", "4", "--data", photographs, "--lr", "2e-4", "--print-config")
    (tmp_path / "run.yaml").write_text(result.stdout)
    config = parse(read_base(str(tmp_path / "run.yaml")))
    assert config.network == EDSRConfig(4, 32, 256, 0.1)
    assert config.training == TrainConfig(lr=2e-4)
    assert config.data == DataConfig(data=(str(photographs),))


def test_mdsr_trains_and_is_validated_at_every_scale(tmp_path: Path) -> None:
    data, val = save_noise(tmp_path / "data", hw=(48, 48)), save_noise(tmp_path / "val", count=1, hw=(96, 96))
    out = tmp_path / "m"
    fitted("--config", "mdsr-baseline", *SIZES, *FEW, "--data", data, "--val", val, "-o", out)
    network = load_network(RunFolder(out).model_file).network
    assert network.config == MDSRConfig((2, 3, 4), 1, 8)
    psnr = read_journal(RunFolder(out).log_file)[-1]["psnr"]
    for scale in (2, 3, 4):
        scores = list(evaluate(network, benchmark_pairs(val, scale), scale, PROTOCOLS["paper-y"]))
        assert psnr[f"x{scale}"] == pytest.approx(mean_psnr(scores), abs=1e-9)


def test_a_run_that_ctrl_c_cut_ends_as_if_it_had_not_been(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted("--data", photographs, "-o", tmp_path / "whole", *NEW)
    cut = tmp_path / "cut"
    plan, drawn = TrainingSet.plan, []

    def interrupted(self: TrainingSet, seed: int, update: int, batch: int) -> Any:
        drawn.append(update)
        if len(drawn) == 3:
            signal.raise_signal(signal.SIGINT)
        return plan(self, seed, update, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingSet, "plan", interrupted)
        stopped = fit("--data", photographs, "-o", cut, *NEW, "--threads", "1")
    assert stopped.exit_code == 130
    advice, command = stopped.stdout.splitlines()[-2:]
    assert advice == "stopped after update 3 of 6, and saved. Go on with:"
    program, *arguments = shlex.split(command)
    assert program == "edsr-train"

    monkeypatch.chdir("/")  # from another folder too
    result = edsr_train(*arguments)
    assert result.exit_code == 0, result.output
    assert f"resumed: {cut}/checkpoints/update-00000003.pt at update 3 of 6" in result.stdout
    assert same(weights(cut), weights(tmp_path / "whole"))
    assert [line["update"] for line in read_journal(RunFolder(cut).log_file)] == [3, 4, 6]


KILLED = """
import os, signal
from edsr_train.cli import main
from edsr_train.updater import Updater
update = Updater.update
def killed(self, number, *rest):
    if number == 33:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, number, *rest)
Updater.update = killed
main()
"""


def test_twenty_updates_a_kill_and_twenty_more_are_forty_in_one_go(tmp_path: Path, photographs: Path) -> None:
    forty = ("--data", photographs, *NEW, "--updates", "40", "--validate-every", "20", "--ema", "0.9", "--threads", "1")
    fitted("-o", tmp_path / "whole", *forty)
    arguments = ["fit", "-o", tmp_path / "cut", *forty]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)], env=env, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert training_state(tmp_path / "cut")["updates"] == 20
    fitted("-o", tmp_path / "cut", "--resume", "--threads", "1")
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_one_command_begins_a_run_and_goes_on_with_it(tmp_path: Path, photographs: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    fitted("--data", photographs, "-o", whole, *NEW)
    command = ("--data", photographs, "-o", out, *NEW, "--config", whole / "config.yaml", "--resume-or-begin")
    fitted(*command, "--updates", "2")
    result = fitted(*command)
    assert f"resumed: {out}/checkpoints/update-00000002.pt at update 2 of 6" in result.stdout
    assert same(weights(out), weights(whole))
    assert f"{out}: all 6 updates are done already" in fitted(*command).stdout
    refused = fit(*command, "--lr", "0.002")
    assert (refused.exit_code, "lr is 0.001 there, which --lr 0.002 contradicts" in refused.stderr) == (2, True)
    refused = fit("-o", out, "--resume-or-begin", "--config", "edsr", "--data", photographs)
    assert (refused.exit_code, "which --config edsr contradicts" in refused.stderr) == (2, True)


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path: Path, photographs: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    fitted("--data", photographs, "-o", whole, *NEW)
    fitted("--data", photographs, "-o", out, *NEW)
    before, newest = RunFolder(out).checkpoints()
    contents = bytearray(newest.read_bytes())
    contents[len(contents) // 2] ^= 1
    newest.write_bytes(contents)
    result = fitted("-o", out, "--resume")
    assert re.search(rf"{newest}: .*\. Going on from the checkpoint before it", result.stdout)
    assert f"resumed: {before} at update 4 of 6" in result.stdout
    assert same(weights(out), weights(whole))
    assert newest.with_name("update-00000006.pt.damaged").read_bytes() == contents
    assert RunFolder(out).checkpoints() == [before, newest]
    for file in (before, newest):
        file.write_bytes(b"")
    refused = fit("-o", out, "--resume")
    assert (refused.exit_code, f"{newest}: is empty" in refused.stderr) == (2, True)


def test_a_configuration_that_was_edited_is_not_believed(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "a"
    fitted("--data", photographs, "-o", out, *NEW, "--updates", "2")
    file = RunFolder(out).config_file
    text = file.read_text()
    file.write_text(text.replace("lr: 0.001", "lr: 0.002").replace("n_feats: 8", "n_feats: 9"))
    refused = fit("-o", out, "--resume", "--updates", "4")
    differing = "n_feats is 9 there and 8 in update-00000002.pt; lr is 0.002 there and 0.001 in update-00000002.pt"
    advice = "Put it back, or begin a new run with --init"
    assert refused.stderr == f"error: {file}: was changed since the run began: {differing}. {advice}\n"
    assert refused.exit_code == 2
    file.write_text(text.replace("updates: 2 ", "updates: 4 "))
    result = fitted("-o", out, "--resume")
    assert f"{file}: updates is 4 there and 2 in update-00000002.pt, which is taken" in result.stdout
    assert training_state(out)["updates"] == 4


def test_another_validation_begins_anew_with_the_best(tmp_path: Path, photographs: Path) -> None:
    out, easy, hard = tmp_path / "a", tmp_path / "easy", save_noise(tmp_path / "hard", count=1)
    easy.mkdir()
    Image.fromarray(np.full((40, 40, 3), 128, np.uint8)).save(easy / "flat.png")
    fitted("--data", photographs, "--val", easy, "-o", out, *NEW, "--updates", "2")
    best = RunFolder(out).best_file
    high = load_network(best).extra["psnr"]["x2"]
    result = fitted("-o", out, "--resume", "--val", hard, "--updates", "4")
    said = "validation: other pictures or another protocol than before, so the best weights are chosen anew"
    assert said in result.stdout.splitlines()
    low = load_network(best).extra
    assert low["psnr"]["x2"] < high
    summary = json.loads(RunFolder(out).summary_file.read_text())
    assert summary["best_validation"] == {"update": low["update"], "psnr": low["psnr"]}
    again = fitted("-o", out, "--resume", "--updates", "6")
    assert said not in again.stdout
    assert "update 4/6" not in again.stdout  # that validation was done
    assert load_network(best).extra["psnr"]["x2"] >= low["psnr"]["x2"]


@pytest.mark.parametrize("again", [(), ("--overwrite",), ("--resume",), ("--resume-or-begin",)], ids=str)
def test_of_two_runs_in_one_folder_the_second_is_refused_before_it_touches_anything(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, again: tuple[str, ...]
) -> None:
    out, tried = tmp_path / "a", []
    new = ("--data", photographs, *NEW, "--updates", "1")
    if again:
        fitted("-o", out, *new)
    arguments = ("-o", out, *(("--updates", "2") if again == ("--resume",) else new), *again)
    begin = training_set.prepare

    def while_it_prepares(*rest: Any) -> Any:
        monkeypatch.undo()
        before = sorted(out.rglob("*"))
        second = fit(*arguments)
        tried.append((second.exit_code, second.stderr, sorted(out.rglob("*")) == before))
        return begin(*rest)

    if again != ("--resume-or-begin",):  # which has nothing left to do there
        monkeypatch.setattr(training_set, "prepare", while_it_prepares)
        fitted(*arguments)
        sentence = f"error: {out}: another process is training there. Wait, or choose another\n"
        assert tried == [(2, sentence, True)]
    with RunFolder(out).locked():
        assert fit(*arguments).exit_code == 2
    assert RunFolder(out).model_file.exists()


def test_a_signal_before_training_ends_at_once_with_its_code(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with monkeypatch.context() as patch:
            killed = functools.partial(signal.raise_signal, number)
            patch.setattr("edsr_train.fit.open_training_set", lambda *_, killed=killed, **__: killed())
            result = fit("--data", photographs, "-o", tmp_path / "a", *NEW)
        assert (result.exit_code, result.stderr) == (128 + number, "interrupted; no unfinished file is left behind\n")
        assert not (tmp_path / "a").exists()


def test_a_closed_pipe_ends_with_a_checkpoint(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = TrainingSet.plan

    def cut(self: TrainingSet, seed: int, update: int, batch: int) -> Any:
        if update == 2:
            voices[0].is_cut = True
        return plan(self, seed, update, batch)

    voices: list[Voice] = []
    monkeypatch.setattr(Voice, "__init__", lambda self: (voices.append(self), setattr(self, "is_cut", False))[1])
    monkeypatch.setattr(TrainingSet, "plan", cut)
    result = fit("--data", photographs, "-o", tmp_path / "a", *NEW)
    assert result.exit_code == 128 + signal.SIGPIPE
    assert training_state(tmp_path / "a")["updates"] == 3


def test_a_full_disk_at_the_beginning_is_not_in_the_way_of_the_next_start(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        result = fit("--data", photographs, "-o", tmp_path / "a", *NEW)
    assert (result.exit_code, "config.yaml: cannot be written (No space left on device)" in result.stderr) == (2, True)
    assert not (tmp_path / "a").exists()


def test_resuming_a_finished_run_says_so_and_changes_nothing(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "a"
    fitted("--data", photographs, "-o", out, *NEW)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    result = fitted("-o", out, "--resume", *NEW)
    assert f"{out}: all 6 updates are done already" in result.stdout
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_weights_that_a_kill_prevented_are_written_on_resume(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "a"
    fitted("--data", photographs, "-o", out, *NEW, "--ema", "0.5")
    before = weights(out)
    RunFolder(out).model_file.unlink()
    assert f"wrote {out}/model.safetensors" in fitted("-o", out, "--resume").stdout
    assert same(weights(out), before)


def test_a_run_of_the_papers_schedule_can_be_made_longer(tmp_path: Path, photographs: Path) -> None:
    fitted("--data", photographs, "-o", tmp_path / "whole", *NEW)
    short = tmp_path / "short"
    fitted("--data", photographs, "-o", short, *NEW, "--updates", "2")
    fitted("-o", short, "--resume", "--updates", "6", "--validate-every", "1")
    assert same(weights(short), weights(tmp_path / "whole"))
    assert training_state(short)["options"]["updates"] == 6
    refused = fit("-o", short, "--resume", "--updates", "5")
    sentence = f"error: {short}/checkpoints/update-00000006.pt: has done 6 updates already, more than --updates 5\n"
    assert (refused.exit_code, refused.stderr) == (2, sentence)


@pytest.mark.parametrize(
    ("contradiction", "sentence"),
    [
        (("--lr", "0.002"), "lr is 0.001 there, which --lr 0.002 contradicts"),
        (("--seed", "1"), "seed is 0 there, which --seed 1 contradicts"),
        (("--precision", "bf16"), "precision is fp32 there, which --precision bf16 contradicts"),
        (("--compile",), "compile is False there, which --compile contradicts"),
        (("--scale", "3"), "scale is 2 there, which --scale 3 contradicts"),
        (("--net", "n_feats=16"), "n_feats is 8 there, which --net n_feats=16 contradicts"),
        (("--updates", "7"), "updates is 6 there, which --updates 7 contradicts"),
    ],
)
def test_options_that_contradict_the_run_are_refused(
    tmp_path: Path, photographs: Path, contradiction: tuple[str, ...], sentence: str
) -> None:
    out = tmp_path / "a"
    fitted("--data", photographs, "-o", out, *NEW, "--schedule", "cosine")
    result = fit("-o", out, "--resume", *contradiction)
    assert result.exit_code == 2
    newest = out / "checkpoints" / "update-00000006.pt"
    assert result.stderr == f"error: {newest}: {sentence}. Leave it away, or begin a new run with --init\n"


def test_data_may_move_but_not_change(tmp_path: Path, photographs: Path) -> None:
    out, moved = tmp_path / "a", tmp_path / "moved"
    fitted("--data", photographs, "-o", out, *NEW, "--updates", "2")
    photographs.rename(moved)
    gone = fit("-o", out, "--resume", "--updates", "6")
    assert (gone.exit_code, str(photographs) in gone.stderr) == (2, True)
    fitted("-o", out, "--resume", "--updates", "4", "--data", moved)
    (moved / "a.png").unlink()
    refused = fit("-o", out, "--resume", "--updates", "6")
    assert (refused.exit_code, "the training pictures are not those the run began with" in refused.stderr) == (2, True)


def test_a_run_is_only_replaced_on_request(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "a"
    fitted("--data", photographs, "-o", out, *NEW)
    before = weights(out)
    result = fit("--data", photographs, "-o", out, *NEW)
    assert (result.exit_code, same(weights(out), before)) == (2, True)
    advice = "is not empty. Go on from it with --resume, or replace it with --overwrite"
    assert result.stderr == f"error: {out}: {advice}\n"
    fitted("--data", photographs, "-o", out, *NEW, "--seed", "5", "--overwrite")
    assert not same(weights(out), before)
    broken = fit("--data", tmp_path / "nowhere", "-o", out, *NEW, "--overwrite")
    assert (broken.exit_code, RunFolder(out).model_file.exists()) == (2, True)  # nothing was lost for nothing


@pytest.mark.parametrize(
    "training", [None, {}, {"options": {}, "updates": "3"}, {"options": [], "updates": 3}], ids=str
)
def test_a_checkpoint_without_training_state_cannot_be_resumed(
    tmp_path: Path, photographs: Path, training: dict[str, Any] | None
) -> None:
    out = tmp_path / "a"
    fitted("--data", photographs, "-o", out, *NEW)
    extra = {} if training is None else {"training": training}
    save_checkpoint(RunFolder(out).checkpoints()[-1], EDSR(EDSRConfig(2, 1, 8)), extra)
    result = fit("-o", out, "--resume")
    assert (result.exit_code, "update-00000006.pt: holds no training state. Begin a run" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "-o is missing: give the folder that takes the run"),
        (("-o", "a", "--resume"), "a: holds no checkpoint to go on from"),
        (("-o", "a", "--resume", "--overwrite"), "--resume and --overwrite contradict each other: give one of them"),
        (("-o", "a", "--resume-or-begin", "--overwrite"), "give one of them"),
        (("-o", "a", "--resume", "--print-config"), "a: holds no checkpoint to go on from"),
        (("--resume", "--print-config"), "-o is missing"),
        (("-o", "a", "--scale", "2", "--seed", str(2**64)), "the seed is 18446744073709551616, expected 0 to"),
        (("-o", "a", "--scale", "2", "--updates", "1.5"), "'1.5' is not a whole number"),
        (("-o", "a", "--config", "mdsr-baseline", "--scale", "2"), "scale is 2, but this network has a list of scales"),
        (("-o", "a", "--scale", "2", "--data", ""), "--data is given nothing"),
        (("-o", "a", "--scale", "2", "--data", "nowhere"), "nowhere: there is no such folder"),
        (("-o", "photo graphs/a", "--scale", "2"), "-o photo graphs/a: lies in .*photo graphs, where all pictures are"),
        (("-o", "a", "--scale", "2", "--cache", "photo graphs/a"), "--cache photo graphs/a: lies in .*photo graphs"),
        (("-o", "a", "--resume", "--config", "edsr"), "leave --config and --init away"),
        (("-o", "a"), "--scale is missing: give 2, 3 or 4"),
        (("-o", "a", "--scale", "2", "--lr", "-1"), "the learning rate is -1"),
        (("-o", "a", "--scale", "2", "--patch", "99"), "no training picture has both sides of at least 198 pixels"),
        (("-o", "a", "--scale", "5"), "'5' is not one of"),
        (("-o", "a", "--scale", "2", "--net", "n_resblocks=0"), "network.n_resblocks is 0, expected a positive"),
        (("-o", "a", "--scale", "2", "--net", "blocks=3"), "unknown key blocks"),
        (("-o", "a", "--scale", "2", "--net", "blocks"), "--net blocks: expected FIELD=VALUE"),
        (("-o", "a", "--scale", "2", "--config", "edrs"), "--config edrs: neither a file nor one of"),
        (("-o", "a", "--scale", "2", "--train", "1-2", "--train", "all"), "--train is given 2 times and --data 1"),
        (("-o", "a", "--scale", "2", "--train", "x"), "'x'"),
        (("-o", "a", "--scale", "2", "--val", "nowhere"), "nowhere"),
        (("-o", "a", "--scale", "2", "--track", "unknown"), "unknown"),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = fit("--data", photographs, *arguments)
    assert result.exit_code == 2
    assert re.search(sentence, result.stderr)
    assert "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {photographs.name, ".cache"}


def test_training_without_data_is_refused(tmp_path: Path) -> None:
    result = fit("-o", tmp_path / "a", "--scale", "2")
    assert (result.exit_code, "--data is missing: give a folder of photographs" in result.stderr) == (2, True)


def test_numbers_of_a_published_set_train_and_validate(tmp_path: Path) -> None:
    root = tmp_path / "DIV2K"
    pictures = save_noise(root / "DIV2K_train_HR", count=3, hw=(48, 48))
    for index, file in enumerate(sorted(pictures.iterdir()), start=1):
        file.rename(pictures / f"{index:04}.png")
    result = fitted("--data", root, "--train", "1-2", "--val", "3-3", "-o", tmp_path / "a", *NEW)
    assert "validation: 1 pictures of 3-3, x2" in result.stdout
    assert "data: 2 of 2 pictures" in result.stdout
    refused = fit("--data", root, "--train", "1-3", "--val", "3-3", "-o", tmp_path / "b", *NEW)
    sentence = "--val 3-3: 1 of its pictures are trained on too (0003.png). Give --train the others"
    assert (refused.exit_code, sentence in refused.stderr) == (2, True)


def test_a_validation_picture_too_small_to_be_scored_is_found_before_training(
    tmp_path: Path, photographs: Path
) -> None:
    val = save_noise(tmp_path / "val", count=1, hw=(16, 20))
    result = fit("--data", photographs, "--val", val, "--protocol", "paper-div2k", "-o", tmp_path / "a", *NEW)
    assert (result.exit_code, "0: nothing is left of 16x20 (HxW) after shaving 8" in result.stderr) == (2, True)
    assert not (tmp_path / "a").exists()


def test_pictures_that_are_trained_on_too_are_no_validation(tmp_path: Path, photographs: Path) -> None:
    val = save_noise(tmp_path / "val", count=1)
    shutil.copy(photographs / "b.png", val / "renamed.png")
    result = fit("--data", photographs, "--val", val, "-o", tmp_path / "a", *NEW)
    sentence = f"--val {val}: 1 of its pictures are trained on too (renamed.png is {photographs}/b.png). "
    assert (result.exit_code, sentence in result.stderr) == (2, True)
    assert not (tmp_path / "a").exists()


def test_all_kinds_of_problems_are_listed_at_once_and_all_of_them_in_a_file(tmp_path: Path) -> None:
    hr, lr = tmp_path / "set" / "HR", tmp_path / "set" / "LR_bicubic" / "X2"
    save_noise(hr, count=24, hw=(32, 32))
    save_noise(lr, count=24, hw=(16, 16))
    for index in range(24):
        (lr / f"{index}.png").rename(lr / f"{index}x2.png")
    (lr / "0x2.png").unlink()
    save_noise(tmp_path / "wrong", count=1, hw=(15, 16))
    shutil.copy(tmp_path / "wrong" / "0.png", lr / "1x2.png")
    for index in range(2, 24):
        (hr / f"{index}.png").write_bytes(b"")
    val = save_noise(tmp_path / "val", count=1, seed=8)
    (val / "bad.png").write_text("<html>")
    out = tmp_path / "runs" / "a"
    result = fit("--data", tmp_path / "set", "--val", val, "-o", out, *NEW)
    assert result.exit_code == 2
    head, *lines, more = result.stderr.splitlines()
    assert head == "error: 25 of the pictures cannot be used:"
    assert lines[0] == f"{lr}/0x2.png: is missing, the LR of {hr}/0.png"
    assert lines[1].startswith(f"{val}/bad.png: ")
    assert (len(lines), more) == (20, f"and 5 more; all of them are in {out}/problems.txt")
    listed = (out / "problems.txt").read_text().splitlines()
    assert listed[:20] == lines
    assert any(line.startswith(f"{lr}/1x2.png: is 15x16 (HxW), expected 16x16") for line in listed)
    assert {file.name for file in out.iterdir()} == {"problems.txt"}

    fitted("--data", save_noise(tmp_path / "good"), "-o", out, *NEW)  # it is not in the way
    assert not (out / "problems.txt").exists()


def test_what_is_left_out_is_said(tmp_path: Path, photographs: Path) -> None:
    (photographs / "moving.gif").touch()
    result = fitted("--data", photographs, "-o", tmp_path / "a", *NEW)
    assert f"data: {photographs}: 1 files are no pictures that are taken: 1 .gif" in result.stdout.splitlines()


def test_a_link_to_a_set_can_be_resumed(tmp_path: Path, photographs: Path) -> None:
    (tmp_path / "DIV2K_train_HR").symlink_to(photographs)
    fitted("--data", tmp_path / "DIV2K_train_HR", "-o", tmp_path / "a", *NEW, "--updates", "2")
    fitted("-o", tmp_path / "a", "--resume", "--updates", "4")
    stored = read_base(str(RunFolder(tmp_path / "a").config_file))["data"]["data"]
    assert stored == [str(tmp_path / "DIV2K_train_HR")]


def test_a_network_that_this_machine_cannot_hold_is_refused(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edsr_train.start.machine_memory", lambda: 2 * 10**9)
    arguments = ("--data", photographs, "-o", tmp_path / "a", "--scale", "2", "--net", "n_resblocks=8")
    result = fit(*arguments, "--net", "n_feats=1024")
    # 16 convolutions of 1024 x 1024 x 9, one after the blocks, four times one in the tail: 198 million weights
    assert "weights, gradients and Adam's moments need 3 GB, and this machine has 2." in result.stderr
    assert result.exit_code == 4
    assert not (tmp_path / "a").exists()


def test_compile_without_a_compiler_is_refused(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    result = fit("--data", photographs, "-o", tmp_path / "a", *NEW, "--compile")
    assert (result.exit_code, result.stderr.startswith("error: --compile needs a C++ compiler")) == (4, True)


# The rate is so small that nothing moves: what is in the file is what the run began with.
STILL = ("--patch", "8", "--batch", "1", "--updates", "1", "--lr", "1e-30")


def test_a_larger_scale_begins_with_the_body_of_a_trained_x2(tmp_path: Path, photographs: Path) -> None:
    x2, x4 = tmp_path / "x2.pt", tmp_path / "x4"
    source = save_tiny(x2, res_scale=0.5)
    result = fitted("--data", photographs, "-o", x4, "--init", x2, "--scale", "4", *STILL)
    assert f"taken from {x2}: sub_mean, head, body, add_mean; fresh: tail\n" in result.stdout
    loaded = load_network(RunFolder(x4).model_file)
    assert loaded.config == EDSRConfig(4, 1, 8, 0.5)
    taken = {key for key in weights(x4) if not key.startswith("tail.")}
    assert all(torch.equal(loaded.network.state_dict()[key], source.state_dict()[key]) for key in taken)
    torch.manual_seed(0)  # the default seed
    fresh = EDSR(EDSRConfig(4, 1, 8, 0.5)).state_dict()
    assert same({k: v for k, v in weights(x4).items() if k not in taken}, {k: fresh[k] for k in fresh.keys() - taken})

    init = {"file": "x2.pt", "sha256": hashlib.sha256(x2.read_bytes()).hexdigest()}
    assert loaded.extra["init"] == training_state(x4)["init"] == init
    assert json.loads(RunFolder(x4).summary_file.read_text())["init"] == init
    first_line = RunFolder(x4).config_file.read_text().splitlines()[0]
    assert first_line == f"# begun with the weights of x2.pt, SHA-256 {init['sha256']}"
    fitted("-o", x4, "--resume", "--updates", "2")
    assert RunFolder(x4).config_file.read_text().splitlines()[0] == first_line

    again, newest = tmp_path / "again", RunFolder(x4).checkpoints()[-1]
    result = fitted("--data", photographs, "-o", again, "--init", newest, *STILL)
    assert f"taken from {newest}: sub_mean, head, body, tail, add_mean (everything)" in result.stdout
    assert same(weights(again), weights(x4))


def test_mdsr_begins_with_head_and_body_of_a_trained_edsr(tmp_path: Path) -> None:
    source, data = save_tiny(tmp_path / "x2.pt"), save_noise(tmp_path / "data")
    options = ("--config", "mdsr-baseline", *SIZES, "--init", tmp_path / "x2.pt", *STILL)
    result = fitted("--data", data, "-o", tmp_path / "m", *options)
    assert "taken from" in result.stdout
    assert "x2.pt: sub_mean, head, body, add_mean; fresh: pre_process, upsample, tail\n" in result.stdout
    trained = weights(tmp_path / "m")
    assert all(torch.equal(trained[k], v) for k, v in source.state_dict().items() if not k.startswith("tail."))


def test_init_must_fit_the_network(tmp_path: Path, photographs: Path) -> None:
    save_tiny(tmp_path / "x2.pt")
    init = ("--data", photographs, "-o", tmp_path / "x3", "--init", tmp_path / "x2.pt", "--scale", "3")
    result = fit(*init, "--net", "n_resblocks=2")
    assert result.exit_code == 2
    assert "x2.pt: n_resblocks is 1 there and 2 here. Leave --config and --net n_resblocks away" in result.stderr
    refused = fit(*init, "--config", "edsr", *SIZES)
    assert "x2.pt: res_scale is 1.0 there and 0.1 here" in refused.stderr


def test_options_are_those_of_the_configurations_with_their_texts() -> None:
    options = {option.name: option for option in main.commands["fit"].params if isinstance(option, click.Option)}
    for config_type in (TrainConfig, DataConfig):
        for name, field in config_type.__dataclass_fields__.items():
            assert (options[name].help or "").startswith(field.metadata["help"])
    shown = edsr_train("fit", "--help").stdout
    assert re.search(r"--patch N\s+Side of a training patch, LR pixels\.\s+\[48;\s+edsr-small:\s+32", shown)


BOTH = ("paper-y", "paper-div2k")


@pytest.mark.parametrize(
    ("extra", "protocols"),
    [((), BOTH), (("-x",), BOTH), (("--protocol", "paper-div2k"), BOTH[1:])],
    ids=["both", "ensemble", "one"],
)
def test_eval_prints_the_scores_of_every_picture(
    tmp_path: Path, photographs: Path, extra: tuple[str, ...], protocols: tuple[str, ...]
) -> None:
    network = save_tiny(tmp_path / "net.pt")
    (photographs / "tiny.png").unlink()
    result = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", photographs, *extra)
    assert result.exit_code == 0, result.output
    header, names, columns, *rows = result.stdout.splitlines()
    ensemble = ", self-ensemble x8" if "-x" in extra else ""
    assert header == (f"net.pt on photo graphs, x2{ensemble}; LR: made by MATLAB's bicubic")
    assert names.split() == list(protocols)
    assert columns.split() == ["picture", *["PSNR", "dB", "SSIM"] * len(protocols)]
    pairs = benchmark_pairs(photographs, 2)
    expected = []
    for protocol in protocols:
        scores = list(evaluate(network, pairs, 2, PROTOCOLS[protocol], "-x" in extra))
        mean = (np.mean([s.psnr for s in scores]), np.mean([s.ssim for s in scores]))
        expected.append([f"{psnr:.3f} {ssim:.4f}" for psnr, ssim in (*((s.psnr, s.ssim) for s in scores), mean)])
    labels = ["a", "b", "mean of 2"]
    wanted = [f"{label} {' '.join(cells)}" for label, *cells in zip(labels, *expected, strict=True)]
    assert [" ".join(row.split()) for row in rows] == wanted
    assert {len(row) for row in rows} == {len(columns)}


def test_eval_uses_stored_lr_pictures_and_says_so(tmp_path: Path) -> None:
    save_tiny(tmp_path / "net.pt")
    lr, hr = np.full((20, 20, 3), 90, np.uint8), np.full((40, 40, 3), 90, np.uint8)
    for folder, name, pixels in (("HR", "a.png", hr), ("LR_bicubic/X2", "ax2.png", lr)):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "set" / folder / name)
    result = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", tmp_path / "set")
    assert result.stdout.splitlines()[0].endswith(f"LR: files of {tmp_path}/set/LR_bicubic")


def test_eval_of_a_published_set_names_where_lr_is_from(tmp_path: Path) -> None:
    save_tiny(tmp_path / "net.pt")
    save_noise(tmp_path / "DIV2K" / "DIV2K_valid_HR", count=1)
    lr = save_noise(tmp_path / "DIV2K" / "DIV2K_valid_LR_bicubic" / "X2", count=1, hw=(20, 24))
    (lr / "0.png").rename(lr / "0x2.png")
    result = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", tmp_path / "DIV2K")
    assert result.stdout.splitlines()[0].endswith(f"LR: files of {tmp_path}/DIV2K/DIV2K_valid_LR_bicubic")
    made = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", lr)
    assert (made.exit_code, "holds the LR pictures of a published set" in made.stderr) == (2, True)


def test_a_newer_checkpoint_is_refused_and_not_gone_back_from(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "run"
    fitted("--data", photographs, "-o", out, *NEW)
    before, newest = RunFolder(out).checkpoints()
    content = torch.load(newest, weights_only=True)
    torch.save({**content, "version": 2}, newest)
    refused = fit("-o", out, "--resume")
    sentence = f"error: {newest}: is of version 2 of our format, this program knows 1. Update it\n"
    assert (refused.exit_code, refused.stderr) == (2, sentence)
    assert RunFolder(out).checkpoints() == [before, newest]


def test_a_log_that_cannot_be_written_to_ends_no_run(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "run"
    fitted("--data", photographs, "-o", out, *NEW)
    RunFolder(out).model_file.unlink()  # so that there is something to do
    newest = RunFolder(out).checkpoints()[-1]
    newest.unlink()
    RunFolder(out).log_file.unlink()
    RunFolder(out).log_file.mkdir()
    shutil.rmtree(RunFolder(out).board_folder)
    RunFolder(out).board_folder.touch()
    result = fitted("-o", out, "--resume")
    for name in ("log.jsonl", "tensorboard"):
        (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"{name}: ")]
        assert line.endswith("The run goes on, with gaps there")
    assert RunFolder(out).model_file.is_file()


def test_a_batch_that_no_memory_holds_is_one_sentence(tmp_path: Path, photographs: Path) -> None:
    sizes = (*SIZES, "--net", "tail=direct", "--scale", "2", "--patch", "8", "--batch", "1000000000000")
    refused = fit("--data", photographs, "-o", tmp_path / "run", *sizes)
    what = "a batch of 1000000000000 patches of 8x8 LR pixels does not fit into memory"
    assert (refused.exit_code, refused.stderr) == (4, f"error: {what}. Choose a smaller --batch or --patch\n")


def test_what_is_said_twice_or_of_nothing_is_refused(tmp_path: Path, photographs: Path) -> None:
    start = ("--data", photographs, "-o", tmp_path / "run")
    twice = fit(*start, *NEW, "--net", "scale=3")
    sentence = "error: --net scale=3: scale is given already, with --scale 2. Leave one of them away\n"
    assert (twice.exit_code, twice.stderr) == (2, sentence)
    of_nothing = fit(*start, *NEW, "--init-res-scale", "0.1")
    sentence = "error: --init-res-scale is of the file of --init, which is not given\n"
    assert (of_nothing.exit_code, of_nothing.stderr) == (2, sentence)
    save_checkpoint(tmp_path / "mdsr.pt", MDSR(MDSRConfig((2, 3), 1, 8)))
    contradicted = fit(*start, "--init", tmp_path / "mdsr.pt", "--scale", "2")
    assert contradicted.stderr.startswith(f"error: {tmp_path / 'mdsr.pt'}: network: scale is 2, but this network has")
    assert not (tmp_path / "run").exists()


def test_a_name_with_a_line_break_leaves_the_configuration_whole(tmp_path: Path, photographs: Path) -> None:
    start = tmp_path / "two\nlines.pt"
    save_checkpoint(start, EDSR(EDSRConfig(2, 1, 8, tail="direct")))
    out = tmp_path / "run"
    fitted("--data", photographs, "-o", out, "--init", start, *FEW)
    assert out.joinpath("config.yaml").read_text().startswith(r"# begun with the weights of two\nlines.pt, SHA-256 ")
    assert "all 6 updates are done already" in fitted("-o", out, "--resume").stdout


def test_eval_prints_the_psnr_of_equal_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny(tmp_path / "net.pt")
    data = save_noise(tmp_path / "set", count=1)
    (pair,) = benchmark_pairs(data, 2)
    monkeypatch.setattr("edsr_train.evaluate.super_resolve", lambda *_: pair.hr)
    result = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", data, "--protocol", "paper-y")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()[-2:]] == [
        ["0", "inf", "1.0000"],
        ["mean", "of", "1", "inf", "1.0000"],
    ]


def test_ctrl_c_ends_eval_with_its_code(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny(tmp_path / "net.pt")
    monkeypatch.setattr("edsr_train.data.sets.pairs_of", lambda *_: signal.raise_signal(signal.SIGINT))
    result = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", photographs)
    assert result.exit_code == 130


def test_eval_of_mdsr_needs_a_scale(tmp_path: Path, photographs: Path) -> None:
    (photographs / "tiny.png").unlink()
    save_checkpoint(tmp_path / "m.pt", MDSR(MDSRConfig(n_resblocks=1, n_feats=8)))
    arguments = ("eval", "--ckpt", tmp_path / "m.pt", "--data", photographs)
    refused = edsr_train(*arguments)
    assert (refused.exit_code, "m.pt: holds the scales 2, 3, 4. Choose one with --scale" in refused.stderr) == (2, True)
    done = edsr_train(*arguments, "--scale", "3")
    assert (done.exit_code, ", x3; LR" in done.stdout) == (0, True)


def test_eval_at_another_scale_is_refused(tmp_path: Path, photographs: Path) -> None:
    save_tiny(tmp_path / "net.pt")
    result = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", photographs, "--scale", "4")
    assert (result.exit_code, "holds scale 2, and --scale 4 was asked for" in result.stderr) == (2, True)


def test_eval_takes_residual_scaling_for_files_that_lack_it(tmp_path: Path, photographs: Path) -> None:
    (photographs / "tiny.png").unlink()
    torch.manual_seed(0)
    torch.save(EDSR(EDSRConfig(2, n_resblocks=1, n_feats=8, res_scale=0.1)).state_dict(), tmp_path / "foreign.pt")
    arguments = ("eval", "--ckpt", tmp_path / "foreign.pt", "--data", photographs)
    refused = edsr_train(*arguments)
    assert (refused.exit_code, "Pass --res-scale" in refused.stderr) == (2, True)
    done = edsr_train(*arguments, "--res-scale", "0.1")
    assert (done.exit_code, "residual scaling: 0.1" in done.stdout) == (0, True)


@pytest.mark.parametrize("package", ["torch", "safetensors", "tensorboard"])
def test_without_pytorch_the_command_says_what_to_install(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    result = fit("--data", photographs, "-o", tmp_path / "a.pt", *NEW)
    assert result.exit_code == 4
    advice = f"{package} could not be imported. Install it with: pip install 'edsr-toolkit[train]'"
    assert result.stderr == f"error: {advice}\n"


def test_half_rounds_a_checkpoint_and_keeps_what_it_says_but_the_state_of_training(tmp_path: Path) -> None:
    network = EDSR(EDSRConfig(2, n_resblocks=1, n_feats=32))
    save_checkpoint(tmp_path / "run.pt", network, {"training": {"updates": 3}, "init": {"file": "a.pt"}})
    done = edsr_train("half", "--ckpt", tmp_path / "run.pt", "-o", tmp_path / "half.safetensors")
    assert done.exit_code == 0, done.stderr
    loaded = load_network(tmp_path / "half.safetensors")
    assert loaded.extra == {"init": {"file": "a.pt"}}
    rounded = network.get_parameter("head.0.weight").half().float()
    assert torch.equal(loaded.network.get_parameter("head.0.weight"), rounded)
    assert done.stdout == f"{tmp_path / 'half.safetensors'}: 0.1 MB, of 0.3 MB\n"

    before = (tmp_path / "half.safetensors").read_bytes()
    again = edsr_train("half", "--ckpt", tmp_path / "run.pt", "-o", tmp_path / "half.safetensors")
    assert (again.exit_code, (tmp_path / "half.safetensors").read_bytes()) == (2, before)
    assert "exists: pass --overwrite to replace it, or another -o" in again.stderr


def test_half_says_why_a_file_cannot_be_written_and_takes_residual_scaling(tmp_path: Path) -> None:
    network = EDSR(EDSRConfig(2, n_resblocks=1, n_feats=32))
    torch.save(network.state_dict(), tmp_path / "bare.pt")
    bare = ("half", "--ckpt", tmp_path / "bare.pt")
    unknown = edsr_train(*bare, "-o", tmp_path / "a.pt")
    assert (unknown.exit_code, "Pass --res-scale" in unknown.stderr) == (2, True)
    nowhere = edsr_train(*bare, "--res-scale", "0.5", "-o", tmp_path / "no" / "a.pt")
    sentence = f"error: {tmp_path / 'no' / 'a.pt'}: cannot be written (No such file or directory)\n"
    assert (nowhere.exit_code, nowhere.stderr) == (2, sentence)
    assert edsr_train(*bare, "--res-scale", "0.5", "-o", tmp_path / "a.pt").exit_code == 0
    config = load_network(tmp_path / "a.pt").config
    assert isinstance(config, EDSRConfig)
    assert config.res_scale == 0.5


def test_an_average_is_the_mean_of_every_weight_and_says_of_what(tmp_path: Path) -> None:
    networks = [EDSR(EDSRConfig(2, n_resblocks=1, n_feats=8)) for _ in range(3)]
    ckpts = [tmp_path / f"{name}.pt" for name in "abc"]
    for ckpt, network in zip(ckpts, networks, strict=True):
        save_checkpoint(ckpt, network, {"training": {"updates": 3}})
    asked = [word for ckpt in ckpts for word in ("--ckpt", ckpt)]
    done = edsr_train("average", *asked, "-o", tmp_path / "mean.safetensors")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'mean.safetensors'}: the average of 3 checkpoints\n")
    loaded = load_network(tmp_path / "mean.safetensors")
    assert loaded.extra == {"average": [{"file": c.name, "sha256": load_network(c).sha256} for c in ckpts]}
    for key, value in loaded.network.state_dict().items():
        mean = sum(network.state_dict()[key].double() for network in networks) / 3
        assert torch.equal(value, torch.as_tensor(mean).float()), key

    before = (tmp_path / "mean.safetensors").read_bytes()
    again = edsr_train("average", *asked, "-o", tmp_path / "mean.safetensors")
    assert (again.exit_code, (tmp_path / "mean.safetensors").read_bytes()) == (2, before)
    assert edsr_train("average", *asked, "-o", tmp_path / "mean.safetensors", "--overwrite").exit_code == 0


def test_only_different_files_of_one_network_are_averaged(tmp_path: Path) -> None:
    for name, feats in (("a", 8), ("b", 16)):
        save_checkpoint(tmp_path / f"{name}.pt", EDSR(EDSRConfig(2, n_resblocks=1, n_feats=feats)))
    a, b, output = tmp_path / "a.pt", tmp_path / "b.pt", ("-o", tmp_path / "mean.pt")
    for ckpts in (("--ckpt", a), ("--ckpt", a, "--ckpt", a)):
        refused = edsr_train("average", *ckpts, *output)
        sentence = "error: average takes two different checkpoints or more: pass --ckpt for each\n"
        assert (refused.exit_code, refused.stderr) == (2, sentence)
    other = edsr_train("average", "--ckpt", a, "--ckpt", b, *output)
    assert other.exit_code == 2
    assert other.stderr.startswith(f"error: {b}: is edsr (scale 2, n_resblocks 1, n_feats 16, ")
    assert "only weights of one and the same network can be averaged" in other.stderr
    assert not (tmp_path / "mean.pt").exists()
