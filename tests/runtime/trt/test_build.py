"""Engines that TensorRT-RTX really builds, without a GPU, of every kind of model; and every way a build can end."""

import contextlib
import io
import itertools
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_runtime.contract import Contract, read_contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, GateError, ModelFileError
from edsr_runtime.trt import build as building
from edsr_runtime.trt.build import BuildOptions, Built, build_engine
from edsr_runtime.trt.build_bar import BuildBar
from edsr_runtime.trt.build_progress import BuildProgress
from edsr_runtime.trt.flavour import Flavour
from edsr_runtime.trt.memory import predict
from edsr_runtime.trt.profile import Profile, Size, tile_profile
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig
from engine_stand_ins import FakeTensorRt, contract, driver

TINY: dict[str, Any] = {"n_resblocks": 1, "n_feats": 8}
FP16: dict[str, Any] = {"precision": "fp16"}
FP32: dict[str, Any] = {"precision": "fp32"}
UINT8: dict[str, Any] = {"io": "uint8"}
PLUS: dict[str, Any] = {"self_ensemble": True}
PAPER: dict[str, Any] = {"collapse_tail": False}
HEARS_CTRL_C = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # also where the tests run in the background

EXPORTED = (
    "tiny_model", "uncollapsed_model", "direct_model", "uint8_model", "plus_model", "fp16_model", "mdsr_model"
)  # fmt: skip
"""Fixtures that all tests of the runtime share: all FP32 but one."""

VARIANTS: list[tuple[str, int, dict[str, Any]]] = [
    ("edsr", 4, {**FP16, **UINT8}),
    ("direct", 3, FP16),
    ("mdsr", 4, {**FP16, **PAPER}),
    ("mdsr", 2, {**UINT8, **PAPER}),
    ("mdsr", 3, {**FP16, **UINT8, **PAPER, **PLUS}),
    ("edsr", 4, PLUS),
]
"""With the fixtures, every two choices that an export has, together; ``COMBINATIONS`` are all of them."""
COMBINATIONS = [
    (network, scale, {**precision, **tail, **io, **plus})
    for network in ("edsr", "mdsr")
    for scale in (2, 3, 4)
    for precision in (FP16, FP32)
    for tail in ({}, PAPER)
    for io in ({}, UINT8)
    for plus in ({}, PLUS)
]


def export(kind: str, scale: int, options: dict[str, Any], folder: Path) -> Path:
    if kind == "mdsr":
        network: EDSR | MDSR = MDSR(MDSRConfig(**TINY))
    else:
        network = EDSR(EDSRConfig(scale, **TINY, tail="direct" if kind == "direct" else "paper"))
    save_checkpoint(folder / f"{kind}.pt", network.eval())
    scales = (scale,) if kind == "mdsr" else ()
    (exported,) = export_checkpoint(folder / f"{kind}.pt", folder, ExportOptions(scales=scales, **options))
    return exported.path


def build_of(path: Path, flavour: Flavour, tile: int = 64, batch: int = 1, **changes: Any) -> Built:
    own = read_contract(path)
    options = {"profile": tile_profile(tile, batch, own), "precision": own.precision, **changes}
    return build_engine(path.read_bytes(), path.name, own, flavour, BuildOptions(**options))


def prove_build(path: Path, rtx: Flavour) -> None:
    """Build, and look at precision and memory."""
    own = read_contract(path)
    built = build_of(path, rtx)
    assert built.weight_bytes is not None and len(built.engine) > built.weight_bytes
    assert set(built.precision.kernels) == {"half" if own.precision == "fp16" else "float"}
    assert len(built.precision.proofs) == 2, "the definition, and the bytes of the weights"
    assert built.precision.bytes_per_weight == pytest.approx({"fp16": 2, "fp32": 4}[own.precision], rel=0.25)
    need = predict(own, Size(1, 64, 64))
    assert built.activation_bytes is not None
    assert need.at_least <= 1.05 * built.activation_bytes  # of eight feature maps: what is left out counts for more
    if not own.self_ensemble:
        assert built.activation_bytes <= 1.05 * need.activations


@pytest.mark.parametrize("fixture", EXPORTED)
def test_every_kind_of_exported_model_builds(fixture: str, rtx: Flavour, request: pytest.FixtureRequest) -> None:
    prove_build(request.getfixturevalue(fixture), rtx)


def test_every_scale_builds(tiny_models: dict[int, Path], rtx: Flavour) -> None:
    for scale in (3, 4):
        prove_build(tiny_models[scale], rtx)


@pytest.mark.parametrize(("kind", "scale", "options"), VARIANTS)
def test_every_choice_builds_beside_every_other(
    kind: str, scale: int, options: dict[str, Any], rtx: Flavour, tmp_path: Path
) -> None:
    prove_build(export(kind, scale, options, tmp_path), rtx)


def test_every_two_choices_are_built_together(request: pytest.FixtureRequest, tiny_models: dict[int, Path]) -> None:
    files = [*map(request.getfixturevalue, EXPORTED), *tiny_models.values()]
    built = [choices(*of_contract(read_contract(path))) for path in files]
    built += [choices(kind, scale, options) for kind, scale, options in VARIANTS if kind != "direct"]
    every = [choices(kind, scale, options) for kind, scale, options in COMBINATIONS]
    wanted = {pair for one in every for pair in itertools.combinations(one, 2)}
    assert wanted - {pair for one in built for pair in itertools.combinations(one, 2)} == set()


def choices(kind: str, scale: int, options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    usual = {"precision": "fp32", "collapse_tail": True, "io": "float", "self_ensemble": False}
    return ("kind", kind), ("scale", scale), *((name, options.get(name, value)) for name, value in usual.items())


def of_contract(own: Contract) -> tuple[str, int, dict[str, Any]]:
    kind = "direct" if own.config.get("tail") == "direct" else own.architecture
    options = {"precision": own.precision, "io": own.io, "self_ensemble": own.self_ensemble}
    return kind, own.scale, {**options, "collapse_tail": own.min_side > 1}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "scale", "options"), COMBINATIONS)
def test_every_combination_builds(kind: str, scale: int, options: dict[str, Any], rtx: Flavour, tmp_path: Path) -> None:
    prove_build(export(kind, scale, options, tmp_path), rtx)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """EDSR-baseline x4 in FP16, collapsed or not, with 2 of its 16 blocks: they take turns with the same memory."""
    folder = tmp_path_factory.mktemp("baseline")
    save_checkpoint(folder / "baseline.pt", EDSR(EDSRConfig(4, n_resblocks=2)).eval())

    def path(collapse_tail: bool) -> Path:
        options = ExportOptions(precision="fp16", collapse_tail=collapse_tail)
        output = folder / f"{collapse_tail}.onnx"
        if not output.exists():
            export_checkpoint(folder / "baseline.pt", output, options)
        return output

    return path


def test_activation_memory_of_the_baseline_is_what_was_foretold_and_falls_with_the_tail_collapse(
    baseline: Callable[[bool], Path], rtx: Flavour
) -> None:
    memory = {}
    for collapsed in (False, True):
        path = baseline(collapsed)
        built = build_of(path, rtx, tile=256, batch=8)
        need = predict(read_contract(path), Size(8, 256, 256))
        assert built.activation_bytes is not None
        assert need.at_least <= 1.003 * built.activation_bytes <= 1.006 * need.activations
        memory[collapsed] = built.activation_bytes
    assert memory[False] == pytest.approx(8 * 256**2 * 2 * 2 * 64 * 17, rel=0.01)  # two tensors of F*(S^2+1) halves
    assert memory[False] > 6.5 * memory[True]  # 8.5 times without what is constant


@pytest.mark.slow
def test_activation_memory_of_the_baseline_at_other_sizes(baseline: Callable[[bool], Path], rtx: Flavour) -> None:
    for collapsed in (False, True):
        path = baseline(collapsed)
        for size in (Size(1, 128, 128), Size(1, 1080, 1920), Size(16, 128, 96), Size(2, 512, 512)):
            profile = Profile(Size(1, 8, 8), size, size)
            built = build_of(path, rtx, profile=profile)
            need = predict(read_contract(path), size)
            assert built.activation_bytes is not None
            assert need.at_least <= 1.003 * built.activation_bytes <= 1.006 * need.activations, size


def test_targets_are_built_for_and_unknown_ones_refused(fp16_model: Path, rtx: Flavour) -> None:
    assert build_of(fp16_model, rtx, targets=("SM75", "SM120")).engine
    with pytest.raises(EdsrError, match=r"has no target SM99: expected some of SM75, .*SM120"):
        build_of(fp16_model, rtx, targets=("SM99",))


def test_an_fp32_file_is_no_fp16_engine(tiny_model: Path, rtx: Flavour) -> None:
    with pytest.raises(GateError, match="takes float and gives float, expected half for fp16"):
        build_of(tiny_model, rtx, precision="fp16")


def test_a_workspace_that_is_too_small_is_a_sentence(fp16_model: Path, rtx: Flavour) -> None:
    with pytest.raises(EnvironmentUnfitError, match=r"1x64x64 \(NxHxW\), allowed are 1 MB: use (--tile|another)"):
        build_of(fp16_model, rtx, workspace=1_000_000)


@pytest.mark.parametrize(
    ("length", "message"),
    [(-100, r"odd\.onnx: TensorRT-RTX [\d.]+ cannot read it \(.+\)"), (0, r"odd\.onnx: has 0 inputs and 0 outputs")],
)
def test_a_file_that_tensorrt_cannot_read_is_named(length: int, message: str, fp16_model: Path, rtx: Flavour) -> None:
    options = BuildOptions(tile_profile(64, 1, contract()))
    with pytest.raises(ModelFileError, match=message):
        build_engine(fp16_model.read_bytes()[:length], "odd.onnx", contract(), rtx, options)


def test_a_file_that_is_not_what_its_contract_says_is_refused(fp16_model: Path, rtx: Flavour) -> None:
    options = BuildOptions(tile_profile(64, 1, contract()))
    with pytest.raises(ModelFileError, match="its input is input of type FLOAT, expected input of type UINT8"):
        build_engine(fp16_model.read_bytes(), "a.onnx", contract(io="uint8"), rtx, options)


def test_a_timing_cache_is_refused_where_nothing_is_timed(fp16_model: Path, rtx: Flavour, tmp_path: Path) -> None:
    with pytest.raises(EdsrError, match="has no timing cache: leave --timing-cache out"):
        build_of(fp16_model, rtx, timing_cache=tmp_path / "times")


# --- progress, and the end before that ---


def test_progress_rises_from_nought_to_one() -> None:
    progress = BuildProgress()
    seen = [progress.fraction]

    def step(name: str, index: int) -> None:
        assert progress.step(name, index)
        seen.append(progress.fraction)

    progress.start("Building", None, 2)
    step("Building", 0)
    progress.start("Timing", "Building", 4)
    for index in range(4):
        step("Timing", index)
    assert progress.phase == "Timing"
    progress.finish("Timing")
    assert progress.phase == "Building"
    progress.start("Again", "Building", 0)  # a phase without steps, after one that was over
    seen.append(progress.fraction)
    progress.finish("Again")
    progress.finish("never started")
    step("Building", 1)
    progress.finish("Building")
    assert seen == [0, 0.5, 0.625, 0.75, 0.875, 1, 1, 1]
    assert progress.fraction == 1


def test_the_bar_shows_phase_and_share_and_keeps_lines_whole() -> None:
    screen = io.StringIO()
    progress = BuildProgress()
    progress.start("Timing [it]", None, 4)
    progress.step("Timing [it]", 1)
    with BuildBar(Console(file=screen, force_terminal=True, width=80, color_system=None)) as bar:
        bar.watch(progress)
        bar.say("od\x1b[31md.onnx: " + 30 * "long ")
        assert bar._progress.tasks[0].percentage == 50
    shown = screen.getvalue()
    assert "Timing [it] 0:00:00" in shown
    assert "\x1b[2Kod\\x1b[31md.onnx: " + 30 * "long " + "\n" in shown  # on a line that was emptied first


def test_on_a_terminal_the_command_shows_the_bar_and_says_what_it_says_without(
    fp16_model: Path, rtx: Flavour, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", "from edsr_runtime.trt.cli import main; main()"]
    words += ["build", str(fp16_model), "--targets", "SM89", "--tile", "64", "--batch", "1", "--force"]
    plain = subprocess.run(words, text=True, capture_output=True)
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while piece := os.read(ours, 1 << 16):
                shown += piece
        assert process.stdout is not None
        assert process.stdout.read().decode() == plain.stdout
    os.close(ours)
    assert process.returncode == plain.returncode == 0, plain.stderr
    text = shown.decode()
    assert "preparing" in text and "Building" in text
    first = plain.stderr.splitlines()[0]
    assert first.startswith("tiny_x2_fp16.onnx: TensorRT-RTX ") and f"\x1b[2K{first}\r\n" in text


def test_cancelling_is_heard_at_the_next_step() -> None:
    progress = BuildProgress()
    progress.start("Building", None, 2)
    progress.cancel()
    assert not progress.step("Building", 0)
    progress.finish("Building")
    assert progress.cancelled and progress.fraction == 0.5


def test_a_real_build_reports_progress_and_can_be_cancelled(fp16_model: Path, rtx: Flavour) -> None:
    own = read_contract(fp16_model)
    data, options = fp16_model.read_bytes(), BuildOptions(tile_profile(64, 1, own))
    reports: list[float] = []
    build_engine(data, "a.onnx", own, rtx, options, lambda progress: reports.append(progress.fraction))
    assert reports == sorted(reports) and reports[-1] == 1

    kept: list[BuildProgress] = []

    def interrupt(progress: BuildProgress) -> None:
        kept.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(data, "a.onnx", own, rtx, options, interrupt)
    assert kept[0].cancelled


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ctrl_c_and_kill_end_the_command_and_leave_nothing(
    name: str, plus_model: Path, rtx: Flavour, folder: Path
) -> None:
    """In an interpreter of its own: one that holds all native libraries of the tests may not survive SIGINT."""
    code = (
        f"import os, signal, sys; {HEARS_CTRL_C}\n"
        "from edsr_runtime.trt import cli, making\n"
        "real = making.build_engine\n"
        "def build(*arguments):\n"
        f"    return real(*arguments[:-1], lambda progress: os.kill(os.getpid(), signal.{name}))\n"
        "making.build_engine = build\n"
        f"cli.main(['build', {str(plus_model)!r}, '--precision', 'fp32', '--tile', '64', '--targets', 'SM89'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=300)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "interrupted; nothing was written"
    assert list(folder.iterdir()) == []


# --- every answer of TensorRT, from one that is made up ---


def fake_build(fake: FakeTensorRt, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Built:
    monkeypatch.setattr(building, "cuda_driver", driver)
    kind = changes.pop("kind", "trt")
    options = BuildOptions(tile_profile(64, 1, contract()), **changes)
    return build_engine(b"onnx", "a.onnx", contract(), Flavour(kind, fake, fake.__version__), options)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("builder", r"TensorRT 11\.4\.0\.106 does not start: Error Code 4: Internal Error \(the reason\)"),
        ("network", "made no network: Error Code 4: Internal Error"),
        ("parse", r"a\.onnx: TensorRT 11\.4\.0\.106 cannot read it \(node_permute: bad type\)"),
        ("config", "made no configuration: Error Code 4"),
        ("profile", r"refuses the profile 1x3x3 \.\. 1x64x64 \(NxHxW\): Error Code 4"),
        ("build", r"a\.onnx: TensorRT 11\.4\.0\.106 could not build an engine \(Error Code 4: Internal Error \(the re"),
        ("deserialize", "cannot read its own engine: Error Code 4"),
    ],
)
def test_every_none_false_and_minus_one_becomes_tensorrts_first_error(
    fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EdsrError, match=message) as raised:
        fake_build(FakeTensorRt(faults=frozenset({fault})), monkeypatch)
    assert "cudaError 35" not in str(raised.value)
    assert raised.value.exit_code == (2 if fault == "parse" else 4)


def test_a_target_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorRt(faults=frozenset({"target"}))
    with pytest.raises(EnvironmentUnfitError, match="refuses the target SM86: Error Code 4"):
        fake_build(fake, monkeypatch, kind="rtx", targets=("SM86",))


@pytest.mark.parametrize("dialect", [10, 11])
def test_both_dialects_get_what_they_want(dialect: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeTensorRt(dialect)
    times = tmp_path / "new" / "times"
    times.parent.mkdir()
    times.write_bytes(b"old times")
    built = fake_build(fake, monkeypatch, workspace=1 << 30, timing_cache=times, opt_level=5)
    assert built.engine == b"engine" and built.activation_bytes == 123
    assert ("create_network", {10: 2, 11: 0}[dialect]) in fake.calls
    assert ("set_shape", "input", (1, 3, 3, 3), (1, 3, 64, 64), (1, 3, 64, 64)) in fake.calls
    assert ("set_memory_pool_limit", "WORKSPACE", 1 << 30) in fake.calls
    assert ("create_timing_cache", b"old times") in fake.calls
    assert times.read_bytes() == b"times"
    assert [path.name for path in times.parent.iterdir()] == ["times"]


def test_a_timing_cache_of_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeTensorRt(faults=frozenset({"timing_cache"}))
    with pytest.raises(EdsrError, match="cannot use the timing cache"):
        fake_build(fake, monkeypatch, timing_cache=tmp_path / "times")


def test_an_engine_is_not_lost_because_its_times_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    built = fake_build(FakeTensorRt(), monkeypatch, timing_cache=tmp_path / "file" / "times")
    assert built.engine == b"engine"
    assert built.warnings[-1].endswith("times: the timing cache cannot be written (File exists)")


def test_the_engine_is_asked_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorRt()
    fake.inspected = '{"Layers": [{"LayerType": "CaskConvolution", "Outputs": [{"Format/Datatype": "Half NHWC8"}]}]}'
    assert fake_build(fake, monkeypatch).precision.proofs[-1] == "engine inspector: 1 of 1 convolutions half"
    fake.inspected = fake.inspected.replace("Half NHWC8", "Row major linear FP32")
    with pytest.raises(GateError, match="1 of the engine's 1 convolutions compute in float"):
        fake_build(fake, monkeypatch)
    fake.inspected = "nonsense"
    with pytest.raises(EnvironmentUnfitError, match="inspector gave no JSON"):
        fake_build(fake, monkeypatch)


def test_a_definition_in_fp32_is_refused_before_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorRt(conv_type="FLOAT", faults=frozenset({"build"}))
    with pytest.raises(GateError, match="takes float"):
        fake_build(fake, monkeypatch)


def test_options_that_do_not_fit_the_flavour_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EdsrError, match="builds for the GPU of this machine only: leave --targets out"):
        fake_build(FakeTensorRt(), monkeypatch, targets=("SM86",))
    with pytest.raises(EdsrError, match="optimization level is 6, expected 0 to 5"):
        fake_build(FakeTensorRt(), monkeypatch, opt_level=6)


def test_an_exception_in_the_builders_thread_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(work: Contract) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        building._run(lambda: broken(contract()), BuildProgress(), lambda progress: None)


def test_ctrl_c_again_and_again_does_not_leave_the_builder_alone() -> None:
    """The thread works on objects of its caller; SIGALRM stands for SIGINT, which pytest would hear."""
    code = (
        f"import os, signal, threading; {HEARS_CTRL_C}\n"
        "from edsr_runtime.trt.build import _run\n"
        "from edsr_runtime.trt.build_progress import BuildProgress\n"
        "progress, go = BuildProgress(), threading.Event()\n"
        "def work():\n"
        "    while not progress.cancelled: go.wait(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    go.wait(0.3)\n"
        "    print('the builder has stopped', flush=True)\n"
        "try: _run(work, progress, lambda p: os.kill(os.getpid(), signal.SIGINT))\n"
        "except KeyboardInterrupt: print('then the command')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=60)
    assert done.stdout.splitlines() == ["the builder has stopped", "then the command"], done.stderr


def test_without_a_driver_the_full_tensorrt_is_not_even_constructed(tmp_path: Path) -> None:
    """Its builder and its runtime end the process where there is no driver; these do so everywhere."""
    (tmp_path / "tensorrt.py").write_text(
        "import os\n__version__ = '11.4.0.106'\n"
        "class BuilderFlag: __members__ = {}\n"
        "class ILogger:\n  def __init__(self, *_): pass\n"
        "def Builder(logger): os.abort()\n"
        "Runtime = Builder\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from edsr_runtime.trt import driver\n"
        "driver._LIBRARY = 'libcuda-that-nobody-has.so.1'\n"
        "from engine_stand_ins import contract\n"
        "from edsr_runtime.errors import EdsrError\n"
        "from edsr_runtime.trt.build import BuildOptions, build_engine\n"
        "from edsr_runtime.trt.flavour import load_flavour\n"
        "from edsr_runtime.trt.profile import tile_profile\n"
        "options = BuildOptions(tile_profile(64, 1, contract()))\n"
        "try: build_engine(b'', 'a.onnx', contract(), load_flavour('trt'), options)\n"
        "except EdsrError as err: print(err.exit_code, err)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, timeout=60)
    assert done.returncode != -signal.SIGABRT
    assert done.stdout.startswith("4 there is no NVIDIA driver (libcuda-that-nobody-has.so.1"), done.stderr
