"""The command edsr-trt, on real files with TensorRT-RTX."""

import json
import os
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

from edsr_runtime.backends import trt as backend_module
from edsr_runtime.backends.ort import OnnxRuntimeBackend
from edsr_runtime.contract import read_contract
from edsr_runtime.trt import cli, making
from edsr_runtime.trt.engine_file import EngineDescription, sidecar, write_engine_file
from edsr_runtime.trt.flavour import Flavour
from edsr_runtime.trt.folder import make_private
from edsr_runtime.trt.making import Made, Order
from edsr_runtime.trt.profile import Profile, Size
from engine_stand_ins import ENGINE, contract, description, full_description


def run(*words: str | Path | int) -> click.testing.Result:
    """The command in this process; a bug keeps its traceback."""
    return click.testing.CliRunner().invoke(cli.main, list(map(str, words)), catch_exceptions=False)


def ordered(monkeypatch: pytest.MonkeyPatch, *words: str | Path | int) -> tuple[Order, dict[str, Any]]:
    """What ``edsr-trt build`` with these words asks for."""
    seen: list[Any] = []

    def make_engine(model: Path | None, order: Order, output: Path | None, **options: Any) -> Made:
        seen.extend([order, {"model": model, "output": output, **options}])
        return Made(Path("made.engine"), description(), False, ())

    monkeypatch.setattr(making, "make_engine", make_engine)
    result = run("build", *words)
    assert (result.exit_code, result.stdout) == (0, "made.engine\n"), result.stderr
    return seen[0], seen[1]


# --- build ---


def test_an_engine_is_built_shown_listed_proven_and_removed(fp16_model: Path, rtx: Flavour, folder: Path) -> None:
    built = run("build", fp16_model, "--tile", 64, "--batch", 2, "--flavour", "rtx", "--targets", "SM89")
    assert built.exit_code == 0, built.stderr
    path = Path(built.stdout.strip())
    assert path.parent == folder and path.is_file()
    assert "14 convolution half" not in built.stderr and "15 convolution half" in built.stderr

    again = run("build", fp16_model, "--tile", 64, "--batch", 2, "--flavour", "rtx", "--targets", "SM89")
    assert again.stdout == built.stdout and "it is there already" in again.stderr

    info = run("info", path)
    assert info.stdout.splitlines()[0] == "edsr x2, fp16, float in and out"
    assert "  profile: 1x3x3 .. 2x64x64 (NxHxW)" in info.stdout.splitlines()
    assert f"for: TensorRT-RTX {rtx.version} on SM89" in info.stdout
    assert info.stdout.splitlines()[-1].endswith(", as described")
    assert "shown by network definition, strongly typed: 15 of 15 convolutions half" in info.stdout
    layers = run("info", path, "--layers").stdout.splitlines()
    assert len([line for line in layers if line.endswith(": convolution, half")]) == 15
    assert EngineDescription.from_json(run("info", path, "--json").stdout, "it").flavour == "rtx"

    assert run("cache", "ls").stdout.startswith(f"{path.name}  ")
    assert run("cache", "verify").exit_code == 0
    path.write_bytes(b"damaged")
    info = run("info", path)
    assert info.exit_code == 2 and "damaged or exchanged. Build it again with: edsr-trt build" in info.stderr
    damaged = run("cache", "verify")
    assert damaged.exit_code == 5 and "1 of 1 engines are damaged or cannot be trusted" in damaged.stderr
    assert run("cache", "prune", "--all", "--dry-run").stdout == f"{path}\n" and path.exists()
    assert run("cache", "prune", "--all").stdout == f"{path}\n"
    assert list(folder.iterdir()) == []


def test_an_fp32_file_is_refused_with_exit_code_2(tiny_model: Path, folder: Path) -> None:
    result = run("build", tiny_model)
    assert result.exit_code == 2
    assert "Export the checkpoint again with: edsr-export --ckpt CHECKPOINT --precision fp16" in result.stderr
    assert not folder.exists()


def test_the_words_become_an_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    order, options = ordered(
        monkeypatch, "a.onnx", "-o", "b.engine", "--precision", "fp32", "--io", "uint8", "--self-ensemble", "--tile",
        96, "--batch", 4, "--flavour", "rtx", "--targets", "sm120, SM86,SM86", "--opt-level", 5, "--workspace", "1.5G",
        "--timing-cache", tmp_path / "times", "--force",
    )  # fmt: skip
    assert order.profile(contract()) == Profile(Size(1, 3, 3), Size(4, 96, 96), Size(4, 96, 96))
    assert (order.precision, order.io, order.self_ensemble) == ("fp32", "uint8", True)
    assert (order.flavour, order.targets, order.opt_level) == ("rtx", ("SM86", "SM120"), 5)
    assert (order.workspace, order.timing_cache) == (3 << 29, tmp_path / "times")
    assert (options["model"], options["output"], options["force"]) == (Path("a.onnx"), Path("b.engine"), True)


def test_without_words_the_shipped_model_is_ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    order, options = ordered(monkeypatch)
    assert (options["model"], options["output"], options["force"]) == (None, None, False)
    assert order.profile(contract()) == Profile(Size(1, 3, 3), Size(8, 256, 256), Size(8, 256, 256))
    assert order.profile(contract(receptive_radius=172)).max == Size(8, 688, 688)
    assert (order.precision, order.io, order.self_ensemble, order.targets) == ("fp16", None, None, ())


@pytest.mark.parametrize(
    "words",
    [
        ("--minShapes=input:1x3x8x8", "--optShapes=input:2x3x64x64", "--maxShapes=input:4x3x64x96"),
        ("--min-shapes", "input:1x3x8x8", "--opt-shapes", "input:2x3x64x64", "--max-shapes", "input:4x3x64x96"),
    ],
)
def test_shapes_are_given_as_to_trtexec(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    order, _ = ordered(monkeypatch, "a.onnx", *words)
    assert order.profile(contract()) == Profile(Size(1, 8, 8), Size(2, 64, 64), Size(4, 64, 96))


def test_other_options_are_named_as_trtexec_names_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    order, _ = ordered(monkeypatch, "--builderOptimizationLevel=5", f"--timingCacheFile={tmp_path / 'times'}")
    assert (order.opt_level, order.timing_cache) == (5, tmp_path / "times")


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512 << 20), ("512M", 512 << 20), ("4G", 4 << 30), ("4GiB", 4 << 30), ("900B", 900)]
)
def test_sizes_are_read_as_trtexec_reads_them(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ordered(monkeypatch, "--workspace", text)[0].workspace == size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tile", 64, "--maxShapes=input:1x3x64x64"), "but not both"),
        (("--tile", 0), "0 is not in the range"),
        (("--targets", "8.6"), "'8.6' is not a list such as SM86,SM89"),
        (("--targets", ""), "is not a list such as"),
        (("--workspace", "lots"), "'lots' is not a size such as 4G or 512M"),
        (("--workspace", "0"), "is not a size"),
        (("--flavour", "cuda"), "'cuda' is not one of"),
        (("--opt-level", 6), "6 is not in the range"),
    ],
)
def test_wrong_words_are_refused(words: tuple[str | int, ...], message: str) -> None:
    result = run("build", "a.onnx", *words)
    assert result.exit_code == 2 and message in result.stderr


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    assert "a.onnx: no such file" in run("build", "a.onnx").stderr
    assert "a.engine: no such engine" in run("info", "a.engine").stderr


# --- info and cache ---


def test_info_shows_an_engine_of_the_full_tensorrt_and_does_not_ask_for_trust(tmp_path: Path) -> None:
    path = tmp_path / "a.engine"
    write_engine_file(path, ENGINE, full_description(contract=contract(io="uint8", self_ensemble=True)))
    lines = run("info", path).stdout.splitlines()
    assert lines[0] == "edsr x4, fp16, uint8 in and out, averages the eight views"
    assert any(line.startswith("  for: TensorRT 11.4.0 on NVIDIA GeForce RTX 4090 (8.9); ") for line in lines)
    assert "  built: on NVIDIA GeForce RTX 4090, driver 13.0, 580.65.06, in 1.5 s by edsr-toolkit 0.1.0" in lines


def test_what_a_stranger_wrote_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "od\x1b[31md\udcff.engine"
    write_engine_file(path, ENGINE, full_description(gpu="GPU\x1b]0;title\x07"))
    result = run("info", path, "--layers")
    assert result.exit_code == 0, result.stderr
    assert "GPU\\x1b]0;title\\x07" in result.stdout and "\x1b" not in result.stdout
    path.write_bytes(b"damaged")
    result = run("info", path)
    assert result.exit_code == 2 and "od\\x1b[31md\\udcff.engine: its SHA-256" in result.stderr


def test_prune_takes_its_choices(folder: Path) -> None:
    for name, what in (("rtx", description()), ("odd", description(version="1.5.0")), ("full", full_description())):
        write_engine_file(make_private(folder) / f"{name}.engine", ENGINE, what)
    os.utime(folder / "rtx.engine", (0, 0))
    assert run("cache", "prune", "--unused-for", 10, "--dry-run").stdout == f"{folder / 'rtx.engine'}\n"
    assert run("cache", "prune", "--max-size", "1G").stdout == ""
    sidecar(folder / "full.engine").unlink()
    listed = run("cache", "ls").stdout
    assert "rtx.engine  0 MB, used " in listed and "full.engine" in listed and "UNUSABLE: " in listed
    assert run("cache", "prune").stdout == f"{folder / 'full.engine'}\n"
    assert run("cache", "prune", "--max-size", "1B").stderr == "2 removed\n"


def test_other_versions_are_those_that_are_not_installed(folder: Path, rtx: Flavour) -> None:
    for version in (rtx.version, "1.6.0"):
        path = make_private(folder) / f"{version}.engine"
        write_engine_file(path, ENGINE, description(version=version))
    assert run("cache", "prune", "--other-versions").stdout == f"{folder / '1.6.0.engine'}\n"


def test_doctor_prints_text_or_data() -> None:
    assert run("doctor").stdout.splitlines()[-1].startswith("run ")
    assert {"findings", "build", "run"} == set(json.loads(run("doctor", "--json").stdout))


# --- verify ---


class Engine(OnnxRuntimeBackend):
    """An FP16 ONNX file that is run as the engine."""

    error = 0.0

    def run_float(self, lr: Any) -> Any:
        return super().run_float(lr) + np.float32(self.error)


@pytest.fixture
def engine(folder: Path, fp16_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own = read_contract(fp16_model)
    path = make_private(folder) / "a.engine"
    write_engine_file(path, ENGINE, description(contract=own))
    monkeypatch.setattr(backend_module, "open_tensorrt", lambda *_, **__: Engine(fp16_model, own, None, 1))
    return path


def test_verify_says_how_close_the_engine_is(engine: Path, tiny_model: Path) -> None:
    result = run("verify", engine, "--onnx", tiny_model)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("differs from onnxruntime FP32 by 0.") and "(allowed 0.05)" in result.stdout
    assert "on 1 pictures (paper-y)" in result.stdout


def test_verify_fails_an_engine_that_is_too_far_off(
    engine: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "error", 0.7)
    result = run("verify", engine, "--onnx", tiny_model)
    assert result.exit_code == 5
    assert "grey levels at most, allowed 0.5: do not use this engine" in result.stderr
    assert "differs from onnxruntime FP32 by 0.7" in result.stdout  # the figures come first


def test_verify_wants_the_same_network(engine: Path, fp16_model: Path) -> None:
    result = run("verify", engine, "--onnx", fp16_model)
    assert result.exit_code == 2 and "its precision is fp16, expected fp32" in result.stderr


def test_verify_on_a_set_wants_the_set(engine: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run("verify", engine, "--onnx", tiny_model, "--data", tmp_path)
    assert result.exit_code == 2 and "expected pictures in" in result.stderr
