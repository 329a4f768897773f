"""TensorRT behind the upscaler, on the fake device: which engine, which pictures, too little memory, no numbers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from edsr_runtime import cli
from edsr_runtime.backends import choose, engines
from edsr_runtime.backends import trt as backend_module
from edsr_runtime.backends.base import Backend, DeviceBackend
from edsr_runtime.backends.trt import TensorRtBackend
from edsr_runtime.contract import Contract, read_contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, ModelFileError, NumericalError, ShapeError
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.trt import making
from edsr_runtime.trt.engine_file import EngineDescription, sidecar, write_engine_file
from edsr_runtime.trt.folder import engine_folder, make_private
from edsr_runtime.trt.making import Made, Order
from edsr_runtime.trt.profile import Profile, Size
from edsr_runtime.upscaler import Upscaler
from engine_stand_ins import ENGINE, description, driver, flavour
from fake_device import FakeDevice
from fake_engine import ACTIVATION_BYTES, FakeEngine, Network
from photographs import noise, save

Pixels = NDArray[Any]
RADIUS = 8  # receptive radius of the tiny networks, LR pixels
MOST = Size(8, 24, 24)
SEAM = 1e-3  # of 255: sums in another order


@dataclass
class Gpu:
    """The fakes behind every upscaler that a test opens."""

    devices: list[FakeDevice] = field(default_factory=list)
    engines: list[FakeEngine] = field(default_factory=list)
    opened: list[Path] = field(default_factory=list)
    trusted: list[bool] = field(default_factory=list)
    capacity: int = 1 << 30
    network: Network | None = None
    workers: int = 2

    @property
    def device(self) -> FakeDevice:
        return self.devices[-1]

    @property
    def engine(self) -> FakeEngine:
        return self.engines[-1]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where engines are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_private(engine_folder())


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Gpu:
    """A machine with a GPU and TensorRT-RTX 1.7.1; engines compute what the model does that they are of."""
    gpu = Gpu()
    models = {read_contract(path).source_sha256: path for path in map(request.getfixturevalue, MODELS)}

    def open_fake(path: Path, trust: bool = False, *, note: Callable[[str], None]) -> TensorRtBackend:
        described = EngineDescription.from_json(path.with_name(path.name + ".json").read_text(), "")
        contract, profile = described.contract, described.profile
        device = FakeDevice(gpu.capacity)
        network = gpu.network or network_of(models[contract.source_sha256])
        engine = FakeEngine(device, network, contract.scale, contract.io, profile.max, profile.min)
        gpu.devices.append(device)
        gpu.engines.append(engine)
        gpu.opened.append(path)
        gpu.trusted.append(trust)
        return TensorRtBackend(device, engine, contract, "TensorRT-RTX 1.7.1", gpu.workers, note)

    monkeypatch.setattr(backend_module, "open_tensorrt", open_fake)
    monkeypatch.setattr(engines, "cuda_driver", driver)
    monkeypatch.setattr(engines, "load_flavour", flavour)
    monkeypatch.setattr(choose, "cuda_driver", driver)
    return gpu


MODELS = ("tiny_model", "overflowing_model")


def network_of(path: Path) -> Network:
    """What a model computes, on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda lr: np.asarray(session.run(None, {"input": lr})[0], np.float32)


def described(contract: Contract, most: Size = MOST, least: Size | None = None, **changes: Any) -> EngineDescription:
    least = least or Size(1, contract.min_side, contract.min_side)
    values = {"contract": contract, "profile": Profile(least, most, most), "targets": ("SM89",)}
    return description(**{**values, **changes})


def put(model: Path, name: str = "one", most: Size = MOST, least: Size | None = None, **of_contract: Any) -> Path:
    """An engine of a model in our folder."""
    fields = {field: value for field, value in of_contract.items() if field in Contract.__dataclass_fields__}
    others = {field: value for field, value in of_contract.items() if field not in fields}
    contract = Contract(**{**read_contract(model).__dict__, "precision": "fp16", **fields})
    path = engine_folder() / f"{name}.engine"
    write_engine_file(path, ENGINE, described(contract, most, least, **others))
    return path


def picture(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> Pixels:
    random = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return random.random((height, width, channels), dtype)
    return random.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def assert_agree(ours: Pixels, theirs: Pixels) -> None:
    """But for halves that fall to the other side."""
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    if ours.dtype == np.float32:
        np.testing.assert_allclose(ours * 255, theirs * 255, rtol=0, atol=SEAM)
        return
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 1
    assert (difference > 0).mean() < (0.01 if ours.dtype == np.uint8 else 0.2)


@pytest.fixture(scope="module")
def on_cpu(tiny_model: Path) -> Callable[..., Upscaler]:
    """The tiny model with onnxruntime, loaded once."""
    loaded: dict[bool, Upscaler] = {}

    def load(self_ensemble: bool = False) -> Upscaler:
        if self_ensemble not in loaded:
            loaded[self_ensemble] = Upscaler(tiny_model, "onnxruntime", self_ensemble=self_ensemble, threads=1)
        return loaded[self_ensemble]

    return load


def test_the_backend_is_one_with_a_device(device: FakeDevice, tiny_model: Path) -> None:
    backend: Backend = TensorRtBackend(device, FakeEngine(device, most=MOST), read_contract(tiny_model), "TensorRT")
    assert isinstance(backend, DeviceBackend)
    assert (backend.largest_hw, backend.smallest_side, backend.workers) == ((24, 24), 3, 2)
    assert backend.device == "Fake, TensorRT, numpy"
    backend.close()
    assert device.is_closed


def test_more_pictures_than_a_batch_are_several(device: FakeDevice, tiny_model: Path) -> None:
    engine = FakeEngine(device, most=Size(2, 24, 24))
    backend = TensorRtBackend(device, engine, read_contract(tiny_model), "TensorRT")
    lr = np.random.default_rng(0).random((5, 3, 7, 9), np.float32)
    np.testing.assert_array_equal(backend.run_float(lr), engine.network(lr))
    backend.close()
    assert [size.batch for size in engine.runs] == [2, 2, 1]


def test_a_backend_that_cannot_be_made_leaves_nothing(device: FakeDevice, tiny_model: Path) -> None:
    device.refuse = lambda what: what == "create_context"
    with pytest.raises(EdsrError):
        TensorRtBackend(device, FakeEngine(device), read_contract(tiny_model), "TensorRT")


def test_an_engine_is_opened_with_the_kernels_that_were_compiled_for_it_here(
    device: FakeDevice, tiny_model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are code too: not from elsewhere, and not if others could have put them there."""
    given: list[Path | None] = []

    def load(flavour: Any, plan: bytes, contract: Contract, jit_cache: Path | None) -> FakeEngine:
        assert plan == ENGINE
        given.append(jit_cache)
        return FakeEngine(device)

    monkeypatch.setattr(backend_module, "cuda_driver", driver)
    monkeypatch.setattr(backend_module, "load_flavour", flavour)
    monkeypatch.setattr(backend_module, "open_device", lambda index: FakeDevice())
    monkeypatch.setattr(backend_module, "TrtEngine", load)
    path = put(tiny_model)
    kernels = folder / "one.engine.fake.jit"
    backend_module.open_tensorrt(path).close()
    kernels.write_bytes(b"kernels")
    backend_module.open_tensorrt(path).close()
    kernels.chmod(0o666)
    backend_module.open_tensorrt(path).close()
    elsewhere = tmp_path / "one.engine"
    for file in (path, sidecar(path)):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    backend_module.open_tensorrt(elsewhere, trust=True).close()
    assert given == [kernels, kernels, None, None]


# --- pictures ---


def test_an_engine_of_nothing_but_halo_runs_pictures_that_fit_and_says_what_others_need(
    gpu: Gpu, tiny_model: Path, on_cpu: Callable[..., Upscaler]
) -> None:
    put(tiny_model, most=Size(8, 2 * RADIUS, 2 * RADIUS))
    with Upscaler(tiny_model, "tensorrt") as upscaler:
        image = picture(2 * RADIUS, RADIUS)
        assert_agree(upscaler.upscale(image), on_cpu().upscale(image))
        with pytest.raises(ShapeError) as refused:
            upscaler.plan(2 * RADIUS + 1, 9)
        assert str(refused.value) == (
            "the picture is 17x9 (HxW), the engine takes tiles of up to 16, and those are nothing but halo, which is 8 "
            "on each side: build one with: edsr-trt build --tile 256"
        )


@pytest.mark.parametrize("self_ensemble", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_those_of_the_cpu(
    gpu: Gpu, tiny_model: Path, on_cpu: Callable[..., Upscaler], dtype: Any, channels: int, self_ensemble: bool
) -> None:
    put(tiny_model)
    with Upscaler(tiny_model, "tensorrt", self_ensemble=self_ensemble) as upscaler:
        for height, width in ((24, 24), (11, 17), (41, 30)):
            image = picture(height, width, channels, dtype)
            assert_agree(upscaler.upscale(image), on_cpu(self_ensemble).upscale(image))
        alpha = picture(30, 28, 1, dtype, seed=1)[..., 0]
        image = picture(30, 28, channels, dtype)
        ours, theirs = (np.concatenate(list(u.bands(image, alpha))) for u in (upscaler, on_cpu(self_ensemble)))
        assert_agree(ours[..., -1], theirs[..., -1])  # colours are divided by it, and differ more
    gpu.device.assert_clean()


def test_the_command_does_and_says_what_it_does_and_says_on_the_cpu(
    gpu: Gpu, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of several formats, one that is broken, and one that is too small for the model."""
    monkeypatch.chdir(tmp_path)
    put(tiny_model)
    Path("in").mkdir()
    rgb = noise(41, 30)
    save(rgb, Path("in/a.png"))
    save(rgb, Path("in/b.jpg"))
    save(np.dstack([rgb, noise(41, 30)[..., :1]]), Path("in/c.png"))
    save(rgb[..., 0].astype(np.uint16) * 257, Path("in/d.png"))
    save(rgb[:2], Path("in/e.png"))
    Path("in/f.png").write_bytes(Path("in/a.png").read_bytes()[:-100])
    outcomes = []
    for backend in ("tensorrt", "onnxruntime"):
        words = ["-i", "in", "-o", f"on-{backend}", "-m", str(tiny_model), "--backend", backend, "-f", "png"]
        result = CliRunner().invoke(cli.main, words, catch_exceptions=False)
        complaints = sorted(line for line in result.stderr.splitlines() if "in/" in line)
        files = sorted(path.name for path in Path(f"on-{backend}").glob("*.png"))
        outcomes.append((result.exit_code, complaints, files))
    assert outcomes[0] == outcomes[1]
    code, complaints, files = outcomes[0]
    assert (code, len(complaints), files) == (3, 2, ["a.png", "b.png", "c.png", "d.png"])
    for name in files:
        ours, theirs = (read_picture(Path(f"on-{backend}", name)) for backend in ("tensorrt", "onnxruntime"))
        assert_agree(ours.pixels, theirs.pixels)
        assert (ours.alpha is None) == (theirs.alpha is None) == (name != "c.png")


def test_the_next_tile_is_on_its_way_before_the_last_one_is_fetched(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model)
    image = picture(60, 70)
    with Upscaler(tiny_model, "tensorrt") as upscaler:
        device, tiles = gpu.device, len(upscaler.plan(60, 70))
        overlapping: list[bool] = []

        def wait_for_the_next() -> None:
            fetched = device.count("wait_host")
            if fetched + 1 < tiles:
                overlapping.append(comes(lambda: device.count("record") >= fetched + 2))

        device.before_wait = wait_for_the_next
        upscaler.upscale(image)
        device.before_wait = lambda: None
    assert tiles > 20
    assert len(overlapping) >= tiles - 1
    assert all(overlapping)
    assert gpu.engine.most_contexts == 2
    device.assert_clean()


def comes(condition: Callable[[], bool]) -> bool:
    """Whether it is fulfilled before long; other threads work meanwhile."""
    for _ in range(3000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_picture_that_fits_is_run_whole(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model, most=Size(1, 20, 60))
    with Upscaler(tiny_model, "tensorrt") as upscaler:
        assert len(upscaler.plan(20, 60)) == 1
        assert upscaler.plan(21, 60).rows[0].length <= 20
        upscaler.upscale(picture(20, 60))
        assert gpu.engine.runs == [Size(1, 20, 60)]
    with Upscaler(tiny_model, "tensorrt", self_ensemble=True) as upscaler:
        assert len(upscaler.plan(20, 60)) > 1  # its views would be 60 high


def test_what_the_engine_does_not_take_is_refused(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model, least=Size(1, 10, 6))
    with Upscaler(tiny_model, "tensorrt") as upscaler, pytest.raises(ShapeError) as caught:
        upscaler.upscale(picture(9, 40))
    assert str(caught.value) == (
        "the picture is 9x40 (HxW), expected at least 10 pixels a side, or an engine built with smaller --minShapes"
    )
    with pytest.raises(EdsrError, match=r"^tile 32 is larger than the engine takes, which is 24: .* --tile 32$"):
        Upscaler(tiny_model, "tensorrt", tile=32)
    with Upscaler(tiny_model, "tensorrt", tile=20) as upscaler:
        assert upscaler.plan(100, 100).rows[0].length <= 20


def test_an_abandoned_picture_leaves_nothing(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model)
    upscaler = Upscaler(tiny_model, "tensorrt")
    bands = upscaler.bands(picture(90, 50))
    next(bands)
    del bands
    other = upscaler.bands(picture(90, 50))
    next(other)
    upscaler.close()
    with pytest.raises(ValueError, match="closed"):
        next(other)
    gpu.device.assert_clean()
    assert gpu.device.is_closed


def test_a_picture_meets_the_end_of_its_upscaler_in_one_sentence(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model)
    upscaler = Upscaler(tiny_model, "tensorrt")
    tiles = upscaler._tiles(picture(90, 50), None, 255, upscaler.plan(90, 50))
    next(tiles)
    upscaler.close()  # by another thread, after this one has looked whether it is closed
    with pytest.raises(ValueError, match=r"^tiny_x2: this upscaler is closed$"):
        list(tiles)
    gpu.device.assert_clean()


# --- numbers that are none ---


@pytest.mark.parametrize("self_ensemble", [False, True])
def test_a_network_that_overflows_is_never_a_black_picture(
    gpu: Gpu, overflowing_model: Path, self_ensemble: bool
) -> None:
    put(overflowing_model)
    black = np.zeros((20, 20, 3), np.uint8)
    bright = black.copy()
    bright[11, 12] = 255
    with Upscaler(overflowing_model, "tensorrt", self_ensemble=self_ensemble) as upscaler:
        for _ in range(2):
            assert not upscaler.upscale(black).any()
            for image in (bright, bright.astype(np.uint16) * 257, bright[..., :1]):
                with pytest.raises(NumericalError, match=r"for this picture in FP16: run it with --precision fp32$"):
                    upscaler.upscale(image)
    gpu.device.assert_clean()


# --- too little memory ---


@pytest.mark.parametrize("self_ensemble", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_with_too_little_memory_tiles_are_halved_and_the_picture_is_the_same(
    gpu: Gpu,
    tiny_model: Path,
    on_cpu: Callable[..., Upscaler],
    monkeypatch: pytest.MonkeyPatch,
    dtype: Any,
    self_ensemble: bool,
) -> None:
    put(tiny_model, most=Size(8, 64, 64))
    notes: list[str] = []
    per_pixel = ACTIVATION_BYTES + 3 * 4 * (1 + 2**2)  # and the network's input and output
    gpu.capacity = (8 if self_ensemble else 1) * per_pixel * 45**2 * 3 // 2  # too little for 64, enough for twice 32
    with Upscaler(tiny_model, "tensorrt", self_ensemble=self_ensemble, note=notes.append) as upscaler:
        image = picture(64, 100, dtype=dtype)
        assert upscaler.plan(64, 100).rows[0].length == 64
        assert_agree(upscaler.upscale(image), on_cpu(self_ensemble).upscale(image))
        assert upscaler.plan(64, 100).rows[0].length <= 32  # the next picture is cut so at once
        before = len(notes)
        assert_agree(upscaler.upscale(image), on_cpu(self_ensemble).upscale(image))
        assert len(notes) == before
    halved = [note for note in notes if note.endswith("going on with tiles of 32 instead of 64")]
    assert len(halved) == 1
    assert halved[0].startswith("the GPU has not enough memory: ")
    assert {note for note in notes if note not in halved} <= {"the GPU's memory is enough for 1 worker only"}
    gpu.device.assert_clean()


def test_where_no_tile_is_small_enough_it_is_an_error(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model)
    gpu.capacity = 5000
    with Upscaler(tiny_model, "tensorrt") as upscaler, pytest.raises(EnvironmentUnfitError) as caught:
        upscaler.upscale(picture(30, 30))
    assert str(caught.value).startswith("the GPU has not enough memory: ")
    assert str(caught.value).endswith("; tiles smaller than 23 would be little else than halo, which is 8 on each side")
    assert caught.value.exit_code == 4
    gpu.device.assert_clean()


# --- which engine ---


def test_auto_takes_the_engine_that_was_built_of_the_model(gpu: Gpu, tiny_model: Path) -> None:
    path = put(tiny_model)
    with Upscaler(tiny_model) as upscaler:
        assert upscaler.description == (
            "tiny_x2: tensorrt (auto: there is an engine of it for this GPU), fp16 on Fake, TensorRT-RTX 1.7.1, numpy"
            "; 16-bit pictures too"
        )
        assert upscaler.contract.precision == "fp16"
    assert gpu.opened == [path]
    assert gpu.trusted == [False]


def test_auto_does_not_look_for_a_driver_without_an_engine(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        raise AssertionError

    monkeypatch.setattr(engines, "cuda_driver", never)
    with Upscaler(tiny_model) as upscaler:
        assert "tensorrt" not in upscaler.description


def test_an_engine_that_cannot_be_used_is_named_when_auto_goes_on_without(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model, version="1.6.0.1")
    with Upscaler(tiny_model) as upscaler:
        assert "; its engine cannot be used: the engine of " in upscaler.description
        assert "built for another version of TensorRT-RTX: 1.6.0.1, and here is 1.7.1.116" in upscaler.description
    with pytest.raises(EnvironmentUnfitError, match=r"another version of TensorRT-RTX: 1\.6\.0\.1"):
        Upscaler(tiny_model, "tensorrt")


def test_without_an_engine_tensorrt_says_how_to_get_one(gpu: Gpu, tiny_model: Path, interpolating_model: Path) -> None:
    put(interpolating_model)
    put(tiny_model, "uint8", io="uint8")
    put(tiny_model, "plus", self_ensemble=True)
    put(tiny_model, "eight", least=Size(8, 3, 3))
    with pytest.raises(ModelFileError, match=r"^there is no engine of tiny_x2\.onnx for what is asked: .*--build$"):
        Upscaler(tiny_model, "tensorrt")


def test_the_best_engine_is_taken(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model, "small", most=Size(8, 20, 20))
    put(tiny_model, "large", most=Size(8, 40, 30))
    put(tiny_model, "full", most=Size(8, 60, 60), precision="fp32")
    put(tiny_model, "other", most=Size(8, 60, 60), targets=("SM120",))
    (engine_folder() / "broken.engine").write_bytes(b"")
    Upscaler(tiny_model, "tensorrt").close()
    Upscaler(tiny_model, "tensorrt", precision="fp32").close()
    assert [path.stem for path in gpu.opened] == ["large", "full"]


def test_an_engine_with_the_ensemble_inside_serves_where_it_is_wanted(gpu: Gpu, tiny_model: Path) -> None:
    put(tiny_model, "plus", self_ensemble=True)
    with Upscaler(tiny_model, "tensorrt", self_ensemble=True) as upscaler:
        upscaler.upscale(picture(10, 12))
    assert gpu.engine.runs == [Size(1, 10, 12)]


def test_an_engine_is_built_where_that_is_allowed(
    gpu: Gpu, tiny_model: Path, fp16_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[tuple[Path, Order]] = []

    def make(model: Path, order: Order, note: Callable[[str], None]) -> Made:
        orders.append((model, order))
        note("building")
        return Made(put(tiny_model, "made"), description(), True, ())

    monkeypatch.setattr(making, "make_engine", make)
    notes: list[str] = []
    for backend in ("tensorrt", "auto", "tensorrt"):
        Upscaler(tiny_model, backend, build=True, note=notes.append).close()
    # once, of the FP16 file beside the FP32 one
    assert [(path, order.precision) for path, order in orders] == [(fp16_model, "fp16")]
    assert notes == ["building"]
    put(tiny_model, "made", version="1.6.0.1")  # of no use any more
    Upscaler(tiny_model, build=True).close()
    assert len(orders) == 2
    assert gpu.opened[-1].stem == "made"


def test_auto_goes_on_without_a_gpu_to_build_for(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise EnvironmentUnfitError("there is no NVIDIA driver")

    monkeypatch.setattr(choose, "cuda_driver", none)
    with Upscaler(tiny_model, build=True) as upscaler:
        assert "; no engine was built: there is no NVIDIA driver" in upscaler.description
    with pytest.raises(EnvironmentUnfitError, match="there is no NVIDIA driver"):
        monkeypatch.setattr(engines, "cuda_driver", none)
        Upscaler(tiny_model, "tensorrt", build=True)


# --- on a GPU or not at all ---


def test_a_gpu_that_is_asked_for_is_used_or_missed(gpu: Gpu, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(backend: str) -> str:
        with pytest.raises(EnvironmentUnfitError) as caught:
            Upscaler(tiny_model, backend, needs_gpu=True)
        return str(caught.value)

    assert refused("auto") == (
        "nothing here runs tiny_x2.onnx on a GPU: there is no engine of it: build one with edsr-trt build, or pass "
        "--build; and onnxruntime-gpu is not installed"
    )
    put(tiny_model, version="1.6.0.1")
    assert "on a GPU: its engine cannot be used: the engine of " in refused("auto")
    assert "onnxruntime is installed for the CPU only: install onnxruntime-gpu" in refused("onnxruntime")
    assert "openvino runs on the CPU here" in refused("openvino")
    monkeypatch.setattr(choose, "_onnxruntime_has_gpu", lambda: True)  # but its CUDA does not start
    for backend in ("auto", "onnxruntime"):
        assert refused(backend).startswith("a GPU was asked for, and onnxruntime runs on CPU, ")
    put(tiny_model)
    for backend in ("auto", "tensorrt"):
        Upscaler(tiny_model, backend, needs_gpu=True).close()
    assert len(gpu.opened) == 2


# --- an engine that is named ---


def test_an_engine_can_be_named(gpu: Gpu, tiny_model: Path, tmp_path: Path, on_cpu: Callable[..., Upscaler]) -> None:
    path = put(tiny_model)
    image = picture(30, 20)
    with Upscaler(path, trust_engine=True) as upscaler:
        assert upscaler.description.startswith("one: tensorrt (as asked), fp16 on Fake")
        assert_agree(upscaler.upscale(image), on_cpu().upscale(image))
    assert gpu.trusted == [True]
    with pytest.raises(EdsrError, match=r"an engine is run by TensorRT, not by openvino: leave --backend out$"):
        Upscaler(path, "openvino")
    with pytest.raises(
        EnvironmentUnfitError, match=r"^the engine computes in fp16, not in fp32: use --precision auto$"
    ):
        Upscaler(path, precision="fp32")


def test_an_engine_of_uint8_takes_rgb_of_eight_bits_only(gpu: Gpu, tiny_model: Path) -> None:
    path = put(tiny_model, io="uint8")
    with Upscaler(path) as upscaler:
        assert upscaler.description.endswith("; rounds inside, where NaN cannot be seen")
        image = picture(20, 20)
        with Upscaler(tiny_model, "onnxruntime", threads=1) as other:
            assert_agree(upscaler.upscale(image), other.upscale(image))
        for wrong in (image[..., :1], image.astype(np.uint16)):
            with pytest.raises(ShapeError, match="neither 16-bit nor gray nor translucent"):
                upscaler.upscale(wrong)
    with pytest.raises(EdsrError, match=r"its views would be rounded before they are averaged\."):
        Upscaler(path, self_ensemble=True)
