"""Backends: which one is chosen and why, and that all compute the network that was exported."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from numpy.typing import NDArray

from edsr_runtime.backends import choose
from edsr_runtime.backends.base import Backend, NonFiniteError, Precision, to_uint8
from edsr_runtime.backends.choose import BACKENDS, Choice, open_backend
from edsr_runtime.contract import read_contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, MissingDependencyError, ModelFileError
from tiny_networks import tiny_edsr, tiny_mdsr

Open = Callable[..., Backend]
has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bf16 = pytest.mark.skipif(not has_bf16, reason="this CPU has neither AMX nor AVX512-BF16")


@pytest.fixture(scope="module")
def opened() -> Iterator[Open]:
    """Backends by name, file and precision, each loaded once, with one thread."""
    loaded: dict[Any, Backend] = {}

    def load(name: str, path: Path, precision: Precision | None = "fp32") -> Backend:
        key = name, path, precision
        if key not in loaded:
            loaded[key] = open_backend(name, path, read_contract(path), precision, threads=1)
        return loaded[key]

    yield load
    for backend in loaded.values():
        backend.close()


def pictures(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def as_float(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) -> (N, 3, H, W)."""
    return pictures.transpose(0, 3, 1, 2).astype(np.float32)


def unfolded(path: Path, lr: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the PyTorch network behind a fixture's file gives."""
    contract = read_contract(path)
    network = tiny_mdsr() if contract.architecture == "mdsr" else None
    network = network or tiny_edsr(contract.scale, tail=contract.config["tail"])
    with torch.no_grad():
        sr: NDArray[np.float32] = network.branch(contract.scale)(torch.from_numpy(lr)).numpy()
    return sr


# --- the choice ---


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if they were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else find(name))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_onnxruntime_has_gpu", lambda: False)


def test_openvino_is_chosen_where_it_is_installed() -> None:
    assert choose.choose("auto") == Choice("openvino", "auto: the fastest on CPUs")


def test_onnxruntime_is_chosen_where_openvino_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "openvino")
    assert choose.choose("auto") == Choice("onnxruntime", "auto: openvino, which is faster on CPUs, is not installed")


def test_a_gpu_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_onnxruntime_has_gpu", lambda: True)
    assert choose.choose("auto").name == "onnxruntime"
    assert choose.choose("openvino") == Choice("openvino", "as asked")


@pytest.mark.parametrize("missing", ["package", "driver", None])
def test_a_gpu_counts_if_package_and_driver_are_there(monkeypatch: pytest.MonkeyPatch, missing: str | None) -> None:
    monkeypatch.undo()

    def version(package: str) -> str:
        assert package == "onnxruntime-gpu"
        if missing == "package":
            raise PackageNotFoundError
        return "1.22"

    def library(name: str) -> object:
        assert name == "libcuda.so.1"
        if missing == "driver":
            raise OSError
        return object()

    monkeypatch.setattr("importlib.metadata.version", version)
    monkeypatch.setattr("ctypes.CDLL", library)
    assert choose.choose("auto").name == ("openvino" if missing else "onnxruntime")


def test_without_any_backend_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, *BACKENDS)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edsr-toolkit\[cpu\]'") as caught:
        choose.choose("auto")
    assert caught.value.exit_code == 4


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(EdsrError, match="unknown backend 'tensorflow': expected auto, amx, openvino, onnxruntime"):
        choose.choose("tensorflow")


@pytest.mark.parametrize(("name", "module"), [("openvino", "ov"), ("onnxruntime", "ort")])
def test_a_backend_that_was_asked_for_and_is_missing_is_an_error(
    name: str, module: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"edsr_runtime.backends.{module}", raising=False)
    with pytest.raises(MissingDependencyError, match=f"^{name} could not be imported. Install it with"):
        open_backend(name, tiny_model, read_contract(tiny_model), None, None)


# --- precision ---


def test_bf16_is_refused_where_the_cpu_cannot(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov.Core, "get_property", lambda self, device, name: ["FP32", "INT8"])
    contract = read_contract(tiny_model)
    with pytest.raises(EnvironmentUnfitError, match=r"neither AMX nor AVX512-BF16.*use --precision fp32") as caught:
        open_backend("openvino", tiny_model, contract, "bf16", None)
    assert caught.value.exit_code == 4
    with closing(open_backend("openvino", tiny_model, contract, None, None)) as backend:
        assert backend.precision == "fp32"


def test_onnxruntime_computes_in_the_precision_of_the_file_only(tiny_model: Path, fp16_model: Path) -> None:
    cases: list[tuple[Path, Precision]] = [(tiny_model, "bf16"), (fp16_model, "fp32")]
    for path, wrong in cases:
        contract = read_contract(path)
        sentence = f"precision of the file, {contract.precision}, not {wrong}: use --precision auto"
        with pytest.raises(EnvironmentUnfitError, match=sentence):
            open_backend("onnxruntime", path, contract, wrong, None)
        with closing(open_backend("onnxruntime", path, contract, None, None)) as backend:
            assert backend.precision == contract.precision


@needs_bf16
def test_openvino_takes_bf16_where_the_cpu_has_it(opened: Open, tiny_model: Path) -> None:
    assert opened("openvino", tiny_model, None).precision == "bf16"
    assert opened("openvino", tiny_model, "fp32").precision == "fp32"


# --- the numbers ---

FILES = ("tiny_model", "direct_model", "mdsr_model", "uncollapsed_model")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", BACKENDS)
def test_floating_point_is_that_of_the_unfolded_network(
    name: str, file: str, opened: Open, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(file)
    backend = opened(name, path)
    for shape in ((2, 13, 18, 3), (1, 3, 4, 3)):
        lr = as_float(pictures(*shape))
        np.testing.assert_allclose(backend.run_float(lr), unfolded(path, lr), atol=1e-3)  # grey levels


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", BACKENDS)
def test_uint8_is_the_network_rounded(name: str, file: str, opened: Open, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(file)
    lr = pictures(2, 13, 18, 3)
    sr = opened(name, path).run_uint8(lr)
    assert sr.dtype == np.uint8
    exact = unfolded(path, as_float(lr)).transpose(0, 2, 3, 1).clip(0, 255)
    assert np.abs(sr - exact).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("name", BACKENDS)
def test_the_ensemble_inside_a_file_is_run(name: str, opened: Open, plus_model: Path) -> None:
    lr = pictures(1, 9, 12, 3)
    x = torch.from_numpy(as_float(lr))
    network = tiny_edsr(2, tail="direct")
    with torch.no_grad():
        turned = [torch.rot90(network(torch.rot90(x, k, (2, 3))), -k, (2, 3)) for k in range(4)]
        y = x.flip(3)
        turned += [torch.rot90(network(torch.rot90(y, k, (2, 3))), -k, (2, 3)).flip(3) for k in range(4)]
    mean = torch.stack(turned).mean(0).numpy()
    np.testing.assert_allclose(opened(name, plus_model).run_float(as_float(lr)), mean, atol=1e-3)
    assert np.abs(opened(name, plus_model).run_uint8(lr) - mean.transpose(0, 2, 3, 1)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("name", BACKENDS)
def test_a_file_in_fp16_is_run(name: str, opened: Open, tiny_model: Path, fp16_model: Path) -> None:
    lr = pictures(1, 60, 80, 3)  # large enough for a sum over it to leave the range of FP16
    backend = opened(name, fp16_model, None if name == "onnxruntime" else "fp32")
    exact = unfolded(tiny_model, as_float(lr))
    assert np.abs(backend.run_float(as_float(lr)) - exact).max() < 0.5  # what export allows
    assert np.abs(backend.run_uint8(lr) - exact.transpose(0, 2, 3, 1).clip(0, 255)).max() < 1


def test_openvino_agrees_with_onnxruntime(opened: Open, tiny_models: dict[int, Path]) -> None:
    for path in tiny_models.values():
        lr = as_float(pictures(1, 21, 26, 3))
        difference = opened("openvino", path).run_float(lr) - opened("onnxruntime", path).run_float(lr)
        assert np.abs(difference).max() < 1e-3  # grey levels; sums in another order


@needs_bf16
@pytest.mark.parametrize("file", FILES)
def test_bf16_stays_near_fp32(file: str, opened: Open, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(file)
    lr = pictures(1, 40, 50, 3)
    exact = unfolded(path, as_float(lr))
    difference = opened("openvino", path, "bf16").run_float(as_float(lr)) - exact
    assert np.sqrt(np.mean(difference**2)) < 0.3  # grey levels: half the step of BF16 between 128 and 255
    rounded = opened("openvino", path, "bf16").run_uint8(lr) - np.rint(exact.transpose(0, 2, 3, 1).clip(0, 255))
    assert np.sqrt(np.mean(rounded**2)) < 0.5


@pytest.mark.parametrize("name", BACKENDS)
def test_a_channel_is_not_mixed_with_another(name: str, opened: Open, interpolating_model: Path) -> None:
    lr = np.zeros((1, 8, 9, 3), np.uint8)
    lr[..., 0] = 200
    for sr in (
        opened(name, interpolating_model).run_uint8(lr)[0],
        opened(name, interpolating_model).run_float(as_float(lr))[0].transpose(1, 2, 0),
    ):
        inner = sr[1:-1, 1:-1]
        np.testing.assert_allclose(inner, np.broadcast_to((200, 0, 0), inner.shape), atol=1e-3)


@pytest.mark.parametrize("name", BACKENDS)
def test_infinity_inside_is_found_before_it_becomes_a_colour(name: str, opened: Open, overflowing_model: Path) -> None:
    backend = opened(name, overflowing_model)
    black, bright = np.zeros((1, 12, 14, 3), np.uint8), np.zeros((1, 12, 14, 3), np.uint8)
    bright[0, 5, 6] = 255
    assert set(backend.run_uint8(black).flat) == {0}
    with pytest.raises(NonFiniteError):
        backend.run_uint8(bright)
    with pytest.raises(NonFiniteError):
        backend.run_float(as_float(bright))
    assert set(backend.run_uint8(black).flat) == {0}  # and nothing of it stays


def test_rounding_is_half_to_even_and_clamped() -> None:
    sr = np.array([-3, 0.5, 1.5, 2.5, 254.4, 254.5, 255.5, 1e30], np.float32).reshape(1, 1, 1, 8).repeat(3, axis=1)
    assert to_uint8(sr)[0, 0, :, 0].tolist() == [0, 0, 2, 2, 254, 254, 255, 255]


@pytest.mark.parametrize("name", BACKENDS)
def test_results_do_not_change_when_the_next_picture_comes(name: str, opened: Open, tiny_model: Path) -> None:
    backend, lr = opened(name, tiny_model), pictures(1, 10, 11, 3)
    first, first_uint8 = backend.run_float(as_float(lr)), backend.run_uint8(lr)
    kept, kept_uint8 = first.copy(), first_uint8.copy()
    backend.run_float(as_float(255 - lr))
    backend.run_uint8(255 - lr)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(first_uint8, kept_uint8)


@pytest.mark.parametrize(("name", "says"), [("openvino", "OpenVINO"), ("onnxruntime", "onnxruntime")])
def test_a_graph_that_cannot_be_read_is_one_sentence(name: str, says: str, tiny_model: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_model)
    next(node for node in model.graph.node if node.op_type == "Conv").op_type = "NoSuchOperator"
    path = tmp_path / "strange.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=rf"strange\.onnx: {says} cannot read it"):
        open_backend(name, path, read_contract(path), "fp32", None)
