"""From a file to an engine on disk: what is chosen, what is refused before time is spent, what is found again."""

import dataclasses
import hashlib
import re
import shlex
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner

from edsr_runtime import zoo
from edsr_runtime.contract import Contract, read_contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, GateError, MissingDependencyError, ModelFileError
from edsr_runtime.trt import build, cache, cli, making
from edsr_runtime.trt.build import Built
from edsr_runtime.trt.default_profile import default_profile
from edsr_runtime.trt.driver import Driver, Gpu
from edsr_runtime.trt.engine_file import Flags, open_engine_file, sidecar
from edsr_runtime.trt.flavour import Flavour
from edsr_runtime.trt.making import Made, Order, export_command, make_engine, shipped_model
from edsr_runtime.trt.memory import predict
from edsr_runtime.trt.precision import PrecisionReport
from edsr_runtime.trt.profile import Profile, Size, tile_profile
from engine_stand_ins import ADA, ENGINE, FakeTensorRt, contract, driver, with_capability
from unsealed import unsealed

SMALL = Order(profile=lambda own: tile_profile(64, 1, own))
AHEAD = dataclasses.replace(SMALL, targets=("SM89",))
"""What builds without a GPU."""


class Stage:
    """A machine that is made up: its driver, its TensorRTs, and a builder that builds nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driver: Driver | None = None
        self.installed: dict[str, Flavour] = {}
        self.built: list[Any] = []
        self.activations: int | None = 1_000_000
        self.notes: list[str] = []
        self.fail: Exception | None = None
        monkeypatch.setattr(making, "cuda_driver", self._driver)
        monkeypatch.setattr(making, "load_flavour", self._load)
        monkeypatch.setattr(making, "build_engine", self._build)

    def install(self, kind: Any, version: str) -> None:
        self.installed[kind] = Flavour(kind, FakeTensorRt(), version)

    def make(self, model: Path | None, order: Order = SMALL, output: Path | None = None, **options: Any) -> Made:
        return make_engine(model, order, output, note=self.notes.append, **options)

    def _driver(self) -> Driver:
        if self.driver is None:
            raise EnvironmentUnfitError("there is no NVIDIA driver")
        return self.driver

    def _load(self, name: str) -> Flavour:
        for kind in ("trt", "rtx"):
            if name in ("auto", kind) and kind in self.installed:
                return self.installed[kind]
        raise MissingDependencyError(name, extra="rtx")

    def _build(self, onnx: bytes, name: str, own: Contract, flavour: Flavour, options: Any, watch: Any) -> Built:
        if self.fail:
            raise self.fail
        self.built.append(options)
        report = PrecisionReport("fp16", (), {"half": 1}, 10, 2.0, ("seen",))
        return Built(ENGINE, report, self.activations, 20, 1.25, ("a warning",))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Without a GPU, with TensorRT-RTX."""
    made = Stage(monkeypatch)
    made.install("rtx", "1.7.1.116")
    return made


# --- with the real thing ---


def test_an_engine_is_built_once_and_found_again(fp16_model: Path, rtx: Flavour, folder: Path) -> None:
    notes: list[str] = []
    order = dataclasses.replace(AHEAD, flavour="rtx")
    made = make_engine(fp16_model, order, note=notes.append)
    assert made.fresh and made.path.parent == folder
    assert made.path.name.startswith(f"tiny_x2_fp16_sm89_rtx{rtx.version}_") and made.path.suffix == ".engine"
    assert notes[0].startswith(f"tiny_x2_fp16.onnx: TensorRT-RTX {rtx.version} (as asked), for SM89, 1x3x3 .. 1x64x64")

    description = made.description
    assert description.contract == read_contract(fp16_model)
    assert description.onnx_sha256 == hashlib.sha256(fp16_model.read_bytes()).hexdigest()
    assert (description.flavour, description.version, description.targets) == ("rtx", rtx.version, ("SM89",))
    assert description.precision.kernels == {"half": 15}  # head, two blocks of two, body, and nine of the tail
    assert description.memory.predicted == predict(description.contract, Size(1, 64, 64)).activations
    assert open_engine_file(made.path)[1] == description

    again = make_engine(fp16_model, order)
    assert (again.path, again.fresh, again.description) == (made.path, False, description)
    made.path.write_bytes(b"damaged")
    assert make_engine(fp16_model, order).fresh
    assert make_engine(fp16_model, order, force=True).fresh
    assert sorted(folder.iterdir()) == [made.path, sidecar(made.path)]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *sorted(folder.iterdir()))] == [0o700, 0o600, 0o600]


def test_an_fp32_engine_is_built_where_it_is_asked_for(tiny_model: Path, rtx: Flavour, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "a.engine"
    order = dataclasses.replace(AHEAD, precision="fp32", flavour="rtx")
    made = make_engine(tiny_model, order, output)
    assert made.path == output and made.description.precision.asked == "fp32"
    assert set(made.description.precision.kernels) == {"float"}
    with pytest.raises(EdsrError, match=r"a\.engine exists: pass --force"):
        make_engine(tiny_model, order, output)
    assert sorted(output.parent.iterdir()) == [output, sidecar(output)]
    output.write_bytes(b"damaged")
    with pytest.raises(ModelFileError) as damaged:
        open_engine_file(output, trust=True)
    command = shlex.split(str(damaged.value).split("Build it again with: edsr-trt build ")[1])
    words = [str(tiny_model) if word == tiny_model.name else word for word in command]
    result = CliRunner().invoke(cli.main, ["build", *words])  # what it says is what makes it again
    assert (result.exit_code, result.stdout) == (0, f"{output}\n"), result.stderr
    assert dataclasses.replace(open_engine_file(output, trust=True)[1], engine_sha256="", build_seconds=0) == (
        dataclasses.replace(made.description, engine_sha256="", build_seconds=0)
    )


# --- what is refused before anything is built ---


def test_an_fp32_file_is_refused_with_the_command_that_exports_fp16(tiny_model: Path, stage: Stage) -> None:
    checkpoint = read_contract(tiny_model).source_sha256[:12]
    with pytest.raises(EdsrError) as refused:
        stage.make(tiny_model)
    assert str(refused.value) == (
        f"{tiny_model}: computes in fp32, and so would its engine, not in fp16. Export the checkpoint again with: "
        f"edsr-export --ckpt CHECKPOINT --precision fp16 (its SHA-256 is {checkpoint}...), or take it as it is with "
        "--precision fp32"
    )
    assert stage.built == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"io": "uint8"}, r"takes and gives float, not uint8\. Export .*--precision fp16 --io uint8 \(its"),
        ({"self_ensemble": True}, r"does not average the eight views\. Export .* --self-ensemble \(its"),
        ({"precision": "fp32"}, r"computes in fp16, .* --precision fp32 \(its"),
        ({"flavour": "trt"}, r"the full TensorRT builds on the GPU .* and there is no NVIDIA driver\. TensorRT-RTX"),
        ({"workspace": 1000, "targets": ("SM89",)}, r"needs about \d+ MB, but --workspace has 0 MB"),
        ({"profile": lambda own: tile_profile(2, 1, own), "targets": ("SM89",)}, "expected at least 3"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str, fp16_model: Path, stage: Stage) -> None:
    with pytest.raises(EdsrError, match=message):
        stage.make(fp16_model, dataclasses.replace(SMALL, **changes))
    assert stage.built == []


def spoilt(model: Path, folder: Path, spoil: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy that somebody has changed, without the seal that would tell."""
    changed = unsealed(model)
    spoil(changed)
    path = folder / model.name
    path.write_bytes(changed.SerializeToString())
    return path


def elsewhere(location: str) -> Callable[[onnx.ModelProto], None]:
    def spoil(model: onnx.ModelProto) -> None:
        weights = model.graph.initializer[0]
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)

    return spoil


def foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def absurd_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 20, 1]


def giant(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 15, 1 << 15, 3, 3]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (foreign_operator, "it has an operator of the domain 'com.example', so it was not opened"),
        (absurd_shape, "have the shape 1048576x1, so it was not opened"),
        (giant, "its weights take more than 1024 MiB, so it was not opened"),
        (elsewhere("../../etc/passwd"), "lie in another file, '../../etc/passwd', expected all of them in this one"),
        (elsewhere("beside.bin"), "lie in another file, 'beside.bin', expected all of them in this one, so it was not"),
    ],
)
def test_a_file_that_may_do_harm_never_reaches_the_builder(
    spoil: Callable[[onnx.ModelProto], None], message: str, fp16_model: Path, stage: Stage, tmp_path: Path
) -> None:
    path = spoilt(fp16_model, tmp_path, spoil)
    (tmp_path / "beside.bin").write_bytes(bytes(1 << 20))  # TensorRT would look for it where the command runs
    with pytest.raises(ModelFileError, match=re.escape(message)) as refused:
        stage.make(path, AHEAD)
    assert str(refused.value).startswith(f"{path}: ") and stage.built == []


def test_a_damaged_file_never_reaches_the_builder(fp16_model: Path, stage: Stage, tmp_path: Path) -> None:
    data = bytearray(fp16_model.read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"a\.onnx: "):
        stage.make(tmp_path / "a.onnx", AHEAD)
    assert stage.built == []


def test_the_exact_export_command_is_given() -> None:
    sha = "(its SHA-256 is abababababab...)"
    assert export_command(contract(), "fp16", "float", False) == (
        f"edsr-export --ckpt CHECKPOINT --precision fp16 {sha}"
    )
    mdsr = contract(architecture="mdsr", scale=3, min_side=1, config={"scales": (2, 3, 4), "n_feats": 64})
    assert export_command(mdsr, "fp16", "uint8", True) == (
        f"edsr-export --ckpt CHECKPOINT --precision fp16 --io uint8 --self-ensemble --scale 3 --no-collapse {sha}"
    )
    assert "--no-collapse" not in export_command(
        contract(min_side=1, config={"tail": "direct"}), "fp16", "float", False
    )


def test_a_model_that_does_not_ship_is_told_how_to_make(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(
        ModelFileError, match=r"edsr-small_x4_fp16_u8\.onnx does not come .* --io uint8 \(the checkpoint"
    ):
        stage.make(None, dataclasses.replace(SMALL, io="uint8"))
    with pytest.raises(ModelFileError, match=r"edsr-small_x4_fp16_plus\.onnx does not come .* --self-ensemble \("):
        stage.make(None, dataclasses.replace(SMALL, self_ensemble=True))
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    with pytest.raises(ModelFileError, match=r"edsr-small_x4_fp16\.onnx does not come .* --precision fp16 \(the ch"):
        stage.make(None)


def test_without_a_model_the_shipped_one_is_built_for_this_machine(stage: Stage) -> None:
    stage.driver = driver(ADA)
    for precision in ("fp16", "fp32"):
        made = stage.make(None, Order(precision=precision))
        assert (made.description.contract.scale, made.description.contract.precision) == (4, precision)
        assert made.path.name.startswith(f"edsr-small_x4_{precision}_sm89_rtx1.7.1.116_")
        assert made.description.onnx == shipped_model(Order(precision=precision)).name


def test_the_shipped_model_is_built_ahead_of_time_for_several_gpus(rtx: Flavour, folder: Path) -> None:
    made = make_engine(None, Order(targets=("SM86", "SM89", "SM120")))
    assert made.path.parent == folder
    assert made.path.name.startswith(f"edsr-small_x4_fp16_sm86-sm89-sm120_rtx{rtx.version}_")
    assert made.description.profile == Profile(Size(1, 1, 1), Size(8, 256, 256), Size(8, 256, 256))
    activations = made.description.memory.activations
    assert activations == pytest.approx(made.description.memory.predicted, rel=0.003)


@pytest.mark.parametrize("name", ["a.onnx", "a", "a.plan"])
def test_an_output_of_another_suffix_is_refused(name: str, fp16_model: Path, stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(EdsrError, match=r"expected a file ending in \.engine"):
        stage.make(fp16_model, output=tmp_path / name)


# --- what is chosen ---


def test_without_a_gpu_rtx_builds_for_those_that_are_named(fp16_model: Path, stage: Stage) -> None:
    stage.install("trt", "11.4.0.106")
    made = stage.make(fp16_model, AHEAD)
    assert made.description.targets == ("SM89",) == stage.built[0].targets
    assert (made.description.gpu, made.description.driver) == ("", "")
    assert "TensorRT-RTX 1.7.1.116 (auto: only it builds for targets), for SM89, " in stage.notes[0]
    assert made.warnings == ("a warning",)


@pytest.mark.parametrize("flavour", ["auto", "rtx"])
def test_without_a_gpu_they_have_to_be_named(flavour: str, fp16_model: Path, stage: Stage) -> None:
    for model in (None, fp16_model):
        with pytest.raises(EnvironmentUnfitError) as refused:
            stage.make(model, dataclasses.replace(SMALL, flavour=flavour))
        assert str(refused.value) == (
            "there is no NVIDIA driver. Or name the GPUs that the engine is for: --targets SM86,SM89,SM120 "
            "(TensorRT-RTX 1.7.1.116 knows SM86, SM89)"
        )
    assert stage.built == []


def test_engines_that_go_elsewhere_are_for_everybody_to_read_and_never_written_by_two(
    fp16_model: Path, stage: Stage, tmp_path: Path
) -> None:
    output = tmp_path / "a.engine"
    with cache.locked(output):
        thread = threading.Thread(target=lambda: stage.make(fp16_model, AHEAD, output))
        thread.start()
        while not any("waiting" in note for note in stage.notes):
            assert thread.is_alive()
            time.sleep(0.01)
        assert stage.built == []
    thread.join()
    assert len(stage.built) == 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in (output, sidecar(output))} == {0o644}


def test_with_a_gpu_the_full_tensorrt_builds_for_that(fp16_model: Path, stage: Stage) -> None:
    stage.install("trt", "11.4.0.106")
    stage.driver = driver(ADA)
    made = stage.make(fp16_model, dataclasses.replace(SMALL, opt_level=5))
    assert (made.description.flavour, made.description.targets) == ("trt", ())
    assert (made.description.gpu, made.description.capability) == (ADA.name, (8, 9))
    assert made.description.driver == "13.0, 580.65.06"
    assert made.description.flags == Flags(5, None)
    assert "_sm89_trt11.4.0.106_" in made.path.name


def test_targets_choose_rtx(fp16_model: Path, stage: Stage) -> None:
    stage.install("trt", "11.4.0.106")
    stage.driver = driver(ADA)
    made = stage.make(fp16_model, dataclasses.replace(SMALL, targets=("SM86", "SM120")))
    assert (made.description.flavour, made.description.targets) == ("rtx", ("SM86", "SM120"))


def test_rtx_alone_builds_for_the_gpu_that_is_there(fp16_model: Path, stage: Stage) -> None:
    stage.driver = driver(ADA)
    assert stage.make(fp16_model).description.targets == ("SM89",)
    stage.driver = driver(with_capability(ADA, 9, 0))
    with pytest.raises(
        EnvironmentUnfitError, match=r"is not for the NVIDIA GeForce RTX 4090 .*9\.0.* install the full"
    ):
        stage.make(fp16_model)


def test_other_gpus_get_other_engines(fp16_model: Path, stage: Stage) -> None:
    stage.install("trt", "11.4.0.106")
    made = []
    for gpu in (ADA, Gpu(0, "NVIDIA L4", (8, 9), 24 << 30)):
        stage.driver = driver(gpu)
        made.append(stage.make(fp16_model).path)
    assert made[0] != made[1]


def test_an_option_that_does_nothing_is_said_to(fp16_model: Path, stage: Stage) -> None:
    stage.make(fp16_model, dataclasses.replace(AHEAD, opt_level=5))
    assert stage.notes[-1] == "TensorRT-RTX 1.7.1.116 does not heed --opt-level"


def test_tiles_of_nothing_but_halo_are_said_to_be_that(fp16_model: Path, stage: Stage) -> None:
    halo = read_contract(fp16_model).receptive_radius
    narrow = dataclasses.replace(AHEAD, profile=lambda own: tile_profile(2 * halo, 1, own))
    stage.make(fp16_model, narrow)
    assert stage.notes[-1].startswith(f"warning: the engine is for pictures of up to {2 * halo}x{2 * halo} (HxW) only")
    stage.notes.clear()
    stage.make(fp16_model, AHEAD)
    assert not any("warning" in note for note in stage.notes)


# --- memory ---


def test_too_little_memory_on_the_gpu_is_refused_before_the_build(fp16_model: Path, stage: Stage) -> None:
    stage.driver = driver(dataclasses.replace(ADA, memory=20_000_000))
    large = dataclasses.replace(SMALL, profile=default_profile)
    with pytest.raises(EnvironmentUnfitError, match=r"8x256x256 .* but the NVIDIA GeForce RTX 4090 has 20 MB: use"):
        stage.make(fp16_model, large)
    assert stage.built == []
    stage.make(fp16_model, dataclasses.replace(large, targets=("SM89",)))  # for other machines: theirs is unknown


def test_what_an_engine_really_needs_is_looked_at_after_the_build(fp16_model: Path, stage: Stage, folder: Path) -> None:
    stage.driver = driver(dataclasses.replace(ADA, memory=100_000_000))
    stage.activations = 200_000_000
    with pytest.raises(EnvironmentUnfitError, match=r"needs 20\d MB, but the NVIDIA GeForce RTX 4090 has 100 MB: use"):
        stage.make(fp16_model)
    assert len(stage.built) == 1 and list(folder.iterdir()) == []
    stage.activations = None  # not known: nobody is refused
    stage.make(fp16_model)


def test_a_proof_that_fails_leaves_no_file(fp16_model: Path, stage: Stage, folder: Path, tmp_path: Path) -> None:
    stage.fail = GateError("the convolution conv takes float")
    for output in (None, tmp_path / "a.engine"):
        with pytest.raises(GateError) as failed:
            stage.make(fp16_model, AHEAD, output)
        assert failed.value.exit_code == 5
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "a.engine").exists()


def test_the_order_reaches_the_builder(fp16_model: Path, stage: Stage) -> None:
    profile = Profile(Size(1, 8, 8), Size(2, 32, 32), Size(4, 64, 64))
    stage.make(fp16_model, Order(profile=lambda own: profile, targets=("SM86",), opt_level=3, workspace=1 << 30))
    (options,) = stage.built
    assert options == build.BuildOptions(profile, "fp16", ("SM86",), 3, 1 << 30, None)
