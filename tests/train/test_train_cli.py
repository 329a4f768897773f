"""The command ``edsr-train``: runs that begin, go on and are refused, and scores of a checkpoint."""

import re
import shlex
import shutil
import signal
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
from edsr_train.config import TrainConfig
from edsr_train.data import PatchSampler
from edsr_train.evaluate import benchmark_pairs, evaluate, evaluate_bicubic, mean_psnr
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig
from edsr_train.presets import PRESETS

TINY = ("--blocks", "1", "--feats", "8", "--tail", "direct", "--patch", "8", "--batch", "2", "--validate-every", "4")
NEW = (*TINY, "--scale", "2", "--updates", "6", "--lr", "0.001", "--network", "edsr-small")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photo graphs"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name, size in (("a", (40, 44, 3)), ("b", (36, 52, 3)), ("tiny", (8, 8, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def edsr_train(*arguments: object) -> Result:
    # An exception that is no EdsrError is a bug: let it through to the test.
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def fit(*arguments: object) -> Result:
    return edsr_train("fit", *arguments)


def fitted(*arguments: object) -> Result:
    result = fit(*arguments)
    assert result.exit_code == 0, result.output
    return result


def weights(path: Path) -> dict[str, Tensor]:
    return load_network(path).network.state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def save_tiny(path: Path, scale: int = 2, **options: Any) -> EDSR:
    torch.manual_seed(3)
    network = EDSR(EDSRConfig(scale, **{"n_resblocks": 1, "n_feats": 8, **options}))
    save_checkpoint(path, network)
    return network


def test_fit_writes_a_checkpoint_that_tells_what_it_is(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "x2.pt"
    val = tmp_path / "val"
    val.mkdir()
    shutil.copy(photographs / "a.png", val)
    result = fitted("--data", photographs, "--val", val, "-o", out, *NEW, "--res-scale", "0.5", "--threads", 1)
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        "network: EDSR x2, 1 blocks of 8 feature maps with a direct tail, residual scaling 0.5, "
    )
    bicubic = mean_psnr(list(evaluate_bicubic(benchmark_pairs(val, 2), 2, PROTOCOLS["paper-y"])))
    assert lines[1] == f"validation: 1 pictures of {val}, bicubic: paper-y {bicubic:.3f} dB"
    assert lines[2] == "data: 2 of 3 pictures have both sides of at least 16 pixels"
    assert [line.partition("  ")[0] for line in lines[3:5]] == ["update 4/6", "update 6/6"]
    assert re.search(r"loss \d+\.\d{4}  \d+\.\d updates/s  paper-y \d+\.\d{3} dB$", lines[4])
    assert lines[5:] == [f"wrote {out}"]
    loaded = load_network(out)
    assert loaded.config == EDSRConfig(2, 1, 8, 0.5, "direct")
    assert loaded.extra["training"]["options"]["lr"] == 0.001
    assert loaded.extra["training"]["updates"] == 6


def test_a_run_that_ctrl_c_cut_ends_as_if_it_had_not_been(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted("--data", photographs, "-o", tmp_path / "whole.pt", *NEW)
    cut = tmp_path / "cut.pt"
    draw, drawn = PatchSampler.batch, []

    def interrupted(self: PatchSampler, size: int) -> tuple[Tensor, Tensor]:
        drawn.append(size)
        if len(drawn) == 3:
            signal.raise_signal(signal.SIGINT)
        return draw(self, size)

    with monkeypatch.context() as patch:
        patch.setattr(PatchSampler, "batch", interrupted)
        stopped = fit("--data", photographs, "-o", cut, *NEW)
    assert stopped.exit_code == 130
    advice, command = stopped.stdout.splitlines()[-2:]
    assert advice == "stopped after update 3 of 6, and saved. Go on with:"
    program, *arguments = shlex.split(command)
    assert program == "edsr-train"

    result = edsr_train(*arguments)
    assert result.exit_code == 0, result.output
    assert f"resumed: {cut} at update 3 of 6" in result.stdout
    assert len(drawn) == 3
    assert same(weights(cut), weights(tmp_path / "whole.pt"))


def test_resuming_a_finished_run_says_so_and_changes_nothing(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "a.pt"
    fitted("--data", photographs, "-o", out, *NEW)
    before = out.read_bytes()
    result = fitted("--data", photographs, "-o", out, "--resume", *NEW)
    assert f"{out}: all 6 updates are done already" in result.stdout
    assert out.read_bytes() == before


def test_a_run_of_the_papers_schedule_can_be_made_longer(tmp_path: Path, photographs: Path) -> None:
    fitted("--data", photographs, "-o", tmp_path / "whole.pt", *NEW)
    short = tmp_path / "short.pt"
    fitted("--data", photographs, "-o", short, *NEW, "--updates", "2")
    fitted("--data", photographs, "-o", short, "--resume", "--updates", "6", "--validate-every", "1")
    assert same(weights(short), weights(tmp_path / "whole.pt"))
    assert load_network(short).extra["training"]["options"]["updates"] == 6
    refused = fit("--data", photographs, "-o", short, "--resume", "--updates", "5")
    assert (refused.exit_code, refused.stderr) == (
        2,
        f"error: {short}: has done 6 updates already, more than --updates 5\n",
    )


@pytest.mark.parametrize(
    ("contradiction", "sentence"),
    [
        (("--lr", "0.002"), "lr is 0.001 there, which --lr 0.002 contradicts"),
        (("--seed", "1"), "seed is 0 there, which --seed 1 contradicts"),
        (("--bf16",), "bf16 is False there, which --bf16 contradicts"),
        (("--scale", "3"), "scale is 2 there, which --scale 3 contradicts"),
        (("--tail", "paper"), "tail is direct there, which --tail paper contradicts"),
        (("--feats", "16"), "n_feats is 8 there, which --feats 16 contradicts"),
        (("--network", "edsr"), "n_resblocks is 1 there, which --network edsr contradicts"),
        (("--updates", "7"), "updates is 6 there, which --updates 7 contradicts"),
    ],
)
def test_options_that_contradict_the_run_are_refused(
    tmp_path: Path, photographs: Path, contradiction: tuple[str, ...], sentence: str
) -> None:
    out = tmp_path / "a.pt"
    fitted("--data", photographs, "-o", out, *NEW, "--schedule", "cosine")
    before = out.read_bytes()
    result = fit("--data", photographs, "-o", out, "--resume", *contradiction)
    assert result.exit_code == 2
    assert result.stderr == f"error: {out}: {sentence}. Leave it away, or begin a new run with --init\n"
    assert out.read_bytes() == before


def test_options_that_repeat_the_run_are_not(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "a.pt"
    fitted("--data", photographs, "-o", out, *NEW, "--updates", "2")
    fitted("--data", photographs, "-o", out, "--resume", *NEW, "--no-bf16")
    assert load_network(out).extra["training"]["updates"] == 6


def test_a_file_without_training_state_cannot_be_resumed(tmp_path: Path, photographs: Path) -> None:
    save_tiny(tmp_path / "a.pt")
    result = fit("--data", photographs, "-o", tmp_path / "a.pt", "--resume")
    assert result.exit_code == 2
    assert "a.pt: holds a network but no training state. Begin a run from it with --init" in result.stderr


@pytest.mark.parametrize(
    ("training", "sentence"),
    [
        ({}, "its training state is damaged"),
        ({"options": {}, "updates": "3"}, "its training state is damaged"),
        ({"options": {"momentum": 0.5}, "updates": 3}, "its training options cannot be read: .*momentum"),
        ({"options": {"lr": "fast"}, "updates": 3}, "its training options cannot be read: .*lr = 'fast'"),
        ({"options": {}, "updates": 3}, "its training state is damaged"),
    ],
)
def test_a_foreign_training_state_cannot_be_resumed(
    tmp_path: Path, photographs: Path, training: dict[str, Any], sentence: str
) -> None:
    network = EDSR(EDSRConfig(2, n_resblocks=1, n_feats=8))
    save_checkpoint(tmp_path / "a.pt", network, {"training": training})
    # No --patch: a file without options is one of the defaults, and the photographs are too small for those.
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(photographs / "large.png")
    result = fit("--data", photographs, "-o", tmp_path / "a.pt", "--resume")
    assert result.exit_code == 2
    assert re.search(f"a\\.pt: {sentence}", result.stderr)


def test_an_existing_file_is_only_replaced_on_request(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "a.pt"
    save_tiny(out)
    before = out.read_bytes()
    result = fit("--data", photographs, "-o", out, *NEW)
    assert (result.exit_code, out.read_bytes()) == (2, before)
    assert (
        result.stderr == f"error: {out}: exists already. Go on from it with --resume, or replace it with --overwrite\n"
    )
    fitted("--data", photographs, "-o", out, *NEW, "--overwrite")
    assert load_network(out).config == EDSRConfig(2, 1, 8, tail="direct")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", "a.safetensors"), r"a\.safetensors: a checkpoint that can be resumed ends in \.pt or \.pth"),
        (("-o", "a.pt", "--resume"), r"a\.pt: there is no such file to go on from"),
        (("-o", "a.pt", "--resume", "--overwrite"), "give one of them"),
        (("-o", "nowhere/a.pt"), r"nowhere/a\.pt: its folder does not exist"),
        (("-o", "a.pt"), "--scale is missing: give 2, 3 or 4"),
        (("-o", "a.pt", "--scale", "2", "--lr", "-1"), "the learning rate is -1"),
        (("-o", "a.pt", "--scale", "2", "--patch", "99"), "no training picture has both sides of at least 198 pixels"),
        (("-o", "a.pt", "--scale", "5"), "'5' is not one of"),
        (("-o", "a.pt", "--scale", "2", "--blocks", "0"), "0 is not in the range x>=1"),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = fit("--data", photographs, *arguments)
    assert result.exit_code == 2
    assert re.search(sentence, result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == [photographs.name]


def test_a_validation_picture_too_small_to_be_scored_is_found_before_training(
    tmp_path: Path, photographs: Path
) -> None:
    result = fit("--data", photographs, "--val", photographs, "-o", tmp_path / "a.pt", *NEW)
    assert (result.exit_code, "tiny: SSIM needs at least 11 pixels" in result.stderr) == (2, True)
    assert not (tmp_path / "a.pt").exists()


def test_compile_without_a_compiler_is_refused(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    result = fit("--data", photographs, "-o", tmp_path / "a.pt", *NEW, "--compile")
    assert (result.exit_code, result.stderr.startswith("error: --compile needs a C++ compiler")) == (4, True)


def test_a_larger_scale_begins_with_the_body_of_a_trained_x2(tmp_path: Path, photographs: Path) -> None:
    x2, x4 = tmp_path / "x2.pt", tmp_path / "x4.pt"
    source = save_tiny(x2, res_scale=0.5)
    # The rate is so small that nothing moves: what is in the file is what the run began with.
    small = ("--patch", "8", "--batch", "1", "--updates", "1", "--lr", "1e-30")
    result = fitted("--data", photographs, "-o", x4, "--init", x2, "--scale", "4", *small)
    assert (
        f"taken from {x2}: sub_mean, head, body, add_mean; fresh: tail (x2 paper there, x4 paper here)" in result.stdout
    )
    loaded = load_network(x4)
    assert loaded.config == EDSRConfig(4, 1, 8, 0.5)
    taken = {key for key, value in loaded.network.state_dict().items() if not key.startswith("tail.")}
    assert all(torch.equal(loaded.network.state_dict()[key], source.state_dict()[key]) for key in taken)
    torch.manual_seed(0)  # the default seed
    fresh = EDSR(EDSRConfig(4, 1, 8, 0.5)).state_dict()
    assert same({k: v for k, v in weights(x4).items() if k not in taken}, {k: fresh[k] for k in fresh.keys() - taken})

    again = tmp_path / "again.pt"
    result = fitted("--data", photographs, "-o", again, "--init", x4, "--scale", "4", *small)
    assert f"taken from {x4}: everything (sub_mean, head, body, tail, add_mean)" in result.stdout
    assert same(weights(again), weights(x4))


def test_init_must_fit_the_options(tmp_path: Path, photographs: Path) -> None:
    save_tiny(tmp_path / "x2.pt")
    init = ("--data", photographs, "-o", tmp_path / "x3.pt", "--init", tmp_path / "x2.pt")
    result = fit(*init, "--scale", "3", "--blocks", "2")
    assert result.exit_code == 2
    assert "x2.pt: n_resblocks is 1 there, which --blocks 2 contradicts. Leave it away" in result.stderr
    refused = fit(*init, "--scale", "3", "--network", "edsr", "--blocks", "1", "--feats", "8")
    assert "x2.pt: res_scale is 1.0 there, which --network edsr contradicts" in refused.stderr
    assert "--scale is missing" in fit(*init).stderr
    assert "give one of them" in fit("--data", photographs, "-o", tmp_path / "x2.pt", *init[4:], "--resume").stderr


def test_init_with_mdsr_is_refused(tmp_path: Path, photographs: Path) -> None:
    save_checkpoint(tmp_path / "m.pt", MDSR(MDSRConfig(n_resblocks=1, n_feats=8)))
    result = fit("--data", photographs, "-o", tmp_path / "a.pt", "--init", tmp_path / "m.pt", "--scale", "2")
    assert (result.exit_code, "m.pt: holds a network of the kind mdsr, expected edsr" in result.stderr) == (2, True)


def test_options_are_those_of_the_configuration_with_its_defaults() -> None:
    command = main.commands["fit"]
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}
    for name, default in vars(TrainConfig()).items():
        assert (options[name].default, name) == (default, name)
    for name in ("n_resblocks", "n_feats", "res_scale", "tail", "scale"):
        assert name in options


def test_presets_are_the_published_sizes() -> None:
    sizes = {name: (p.n_resblocks, p.n_feats, p.res_scale, p.tail) for name, p in PRESETS.items()}
    assert sizes == {
        "edsr-baseline": (16, 64, 1, "paper"),
        "edsr": (32, 256, 0.1, "paper"),
        "edsr-small": (5, 64, 1, "direct"),
    }


@pytest.mark.parametrize("extra", [(), ("-x",), ("--protocol", "paper-div2k")], ids=str)
def test_eval_prints_the_scores_of_every_picture(tmp_path: Path, photographs: Path, extra: tuple[str, ...]) -> None:
    network = save_tiny(tmp_path / "net.pt")
    (photographs / "tiny.png").unlink()
    result = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", photographs, *extra)
    assert result.exit_code == 0, result.output
    header, columns, *rows = result.stdout.splitlines()
    protocol = extra[1] if len(extra) == 2 else "paper-y"
    ensemble = ", self-ensemble x8" if "-x" in extra else ""
    assert header == (f"net.pt on photo graphs, x2, protocol {protocol}{ensemble}; LR: made by MATLAB's bicubic")
    assert columns.split() == ["picture", "PSNR", "dB", "SSIM"]
    scores = list(evaluate(network, benchmark_pairs(photographs, 2), 2, PROTOCOLS[protocol], "-x" in extra))
    expected = [(s.name, f"{s.psnr:.3f}", f"{s.ssim:.4f}") for s in scores]
    mean = (f"{np.mean([s.psnr for s in scores]):.3f}", f"{np.mean([s.ssim for s in scores]):.4f}")
    assert [tuple(row.rsplit(maxsplit=2)) for row in rows] == [*expected, ("mean of 2", *mean)]


def test_eval_uses_stored_lr_pictures_and_says_so(tmp_path: Path) -> None:
    save_tiny(tmp_path / "net.pt")
    lr, hr = np.full((20, 20, 3), 90, np.uint8), np.full((40, 40, 3), 90, np.uint8)
    for folder, name, pixels in (("HR", "a.png", hr), ("LR_bicubic/X2", "ax2.png", lr)):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "set" / folder / name)
    result = edsr_train("eval", "--ckpt", tmp_path / "net.pt", "--data", tmp_path / "set")
    assert result.stdout.splitlines()[0].endswith(f"LR: {tmp_path}/set/LR_bicubic/X2")


def test_eval_of_mdsr_needs_a_scale(tmp_path: Path, photographs: Path) -> None:
    (photographs / "tiny.png").unlink()
    save_checkpoint(tmp_path / "m.pt", MDSR(MDSRConfig(n_resblocks=1, n_feats=8)))
    arguments = ("eval", "--ckpt", tmp_path / "m.pt", "--data", photographs)
    refused = edsr_train(*arguments)
    assert (refused.exit_code, "m.pt: holds the scales 2, 3, 4. Choose one with --scale" in refused.stderr) == (2, True)
    done = edsr_train(*arguments, "--scale", "3")
    assert (done.exit_code, "x3, protocol paper-y" in done.stdout) == (0, True)


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


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_without_pytorch_the_command_says_what_to_install(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = fit("--data", photographs, "-o", tmp_path / "a.pt", *NEW)
    assert result.exit_code == 4
    advice = f"{package} could not be imported. Install it with: pip install 'edsr-toolkit[train]'"
    assert result.stderr == f"error: {advice}\n"
