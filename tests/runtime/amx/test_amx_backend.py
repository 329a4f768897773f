"""Which networks and machines ``auto`` gives to the kernels, and that an upscaler runs on them as on any backend."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edsr_runtime.amx import availability, library
from edsr_runtime.backends import choose
from edsr_runtime.backends.base import NonFiniteError
from edsr_runtime.backends.choose import Choice, Model, exact_backend, open_backend
from edsr_runtime.backends.engines import Wish
from edsr_runtime.contract import read_contract
from edsr_runtime.cpu import CpuFlags, usable_processors
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, NumericalError
from edsr_runtime.upscaler import Upscaler


@pytest.fixture
def with_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with AMX, as far as the choice goes."""
    monkeypatch.setattr(choose, "cpu_flags", lambda: CpuFlags("new", frozenset({"amx_bf16"})))
    monkeypatch.setattr(availability, "check_machine", lambda: None)
    monkeypatch.setattr(choose, "_onnxruntime_has_gpu", lambda: False)


@pytest.fixture(scope="session")
def needs_amx() -> None:
    try:
        library.check_machine()
    except EnvironmentUnfitError as err:
        pytest.skip(str(err))


def model(path: Path, precision: str | None = None) -> Model:
    return Model(path, Wish(read_contract(path), precision, False))  # type: ignore[arg-type]


def test_auto_takes_the_kernels_for_what_they_compute(with_amx: None, suited_models: dict[str, Path]) -> None:
    expected = Choice("amx", "auto: kernels of our own, the fastest on this CPU")
    assert choose.choose("auto", model(suited_models["edsr-x2"])) == expected
    assert choose.choose("auto", model(suited_models["edsr-x2"], "bf16")) == expected
    assert choose.choose("auto", model(suited_models["edsr-x2"], "fp32")).name == "openvino"


def test_auto_says_why_another_network_is_not_for_them(with_amx: None, tiny_model: Path) -> None:
    choice = choose.choose("auto", model(tiny_model))
    assert choice.name == "openvino"
    assert choice.reason == (
        "auto: the fastest on CPUs; our AMX kernels do not compute it, "
        "because it has 8 feature maps, and these kernels take multiples of 32"
    )


def test_auto_says_why_a_machine_with_amx_cannot(
    suited_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "cpu_flags", lambda: CpuFlags("new", frozenset({"amx_bf16"})))
    monkeypatch.setattr(choose, "_onnxruntime_has_gpu", lambda: False)
    monkeypatch.setattr(library, "cpu_flags", lambda: CpuFlags("new", library._NEEDED))
    monkeypatch.setattr(library, "_NAME", "edsr_runtime.amx._not_compiled")
    library.load.cache_clear()
    try:
        choice = choose.choose("auto", model(suited_models["edsr-x2"]))
    finally:
        library.load.cache_clear()
    assert choice.name == "openvino"
    assert "our AMX kernels were not compiled when edsr-toolkit was installed: install gcc" in choice.reason


def test_a_machine_without_amx_is_spared_the_explanation(
    suited_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "cpu_flags", lambda: CpuFlags("old", frozenset({"avx2"})))
    monkeypatch.setattr(choose, "_onnxruntime_has_gpu", lambda: False)
    choice = choose.choose("auto", model(suited_models["edsr-x2"]))
    assert choice == Choice("openvino", "auto: the fastest on CPUs")


def test_asked_for_what_it_cannot_do_it_is_an_error(tiny_model: Path, suited_models: dict[str, Path]) -> None:
    path = suited_models["edsr-x2"]
    with pytest.raises(EnvironmentUnfitError, match="compute in bf16, not in fp32: use --precision auto"):
        Upscaler(path, backend="amx", precision="fp32")
    with pytest.raises(EdsrError, match="amx runs on the CPU here, and a GPU was asked for"):
        Upscaler(path, backend="amx", needs_gpu=True)


def test_another_network_is_refused(tiny_model: Path, needs_amx: None) -> None:
    with pytest.raises(
        EnvironmentUnfitError, match=r"tiny_x2\.onnx: our AMX kernels do not compute it, because it has"
    ):
        Upscaler(tiny_model, backend="amx")


def test_the_exact_result_comes_from_another_backend() -> None:
    assert exact_backend("amx") == ("openvino", "fp32")
    assert exact_backend("openvino") == ("openvino", "fp32")
    assert exact_backend("onnxruntime") == ("onnxruntime", None)


def test_pictures_of_all_kinds(suited_models: dict[str, Path], needs_amx: None) -> None:
    path = suited_models["edsr-x3"]
    rng = np.random.default_rng(0)
    lr = rng.integers(0, 256, (25, 33, 3), dtype=np.uint8)
    with Upscaler(path, backend="amx") as fast, Upscaler(path, backend="openvino", precision="fp32") as slow:
        assert fast.description.startswith("edsr-x3: amx (as asked), bf16 on CPU, AMX, ")
        assert fast.description.endswith("; fp32 for 16-bit pictures")
        for picture, tolerance in (
            (lr, 6),
            (lr[:, :, 0], 6),
            (lr.astype(np.uint16) * 257, 0),
            (lr.astype(np.float32) / 255, 0),
        ):
            difference = np.abs(fast.upscale(picture).astype(float) - slow.upscale(picture).astype(float))
            assert difference.max() <= tolerance, picture.dtype


def test_there_are_no_more_threads_than_processors(suited_models: dict[str, Path], needs_amx: None) -> None:
    # A hundred thousand that wait for each other take minutes for a picture.
    with Upscaler(suited_models["edsr-x2"], backend="amx", threads=100_000) as upscaler:
        assert f"on CPU, AMX, {usable_processors()} thread" in upscaler.description
        upscaler.upscale(np.zeros((20, 20, 3), np.uint8))


def test_tiles_change_no_bit(suited_models: dict[str, Path], needs_amx: None) -> None:
    """Sums are taken in the same order wherever a pixel lies in its tile."""
    for name in ("edsr-x2", "mdsr-x4", "direct-x2"):
        path = suited_models[name]
        lr = np.random.default_rng(1).integers(0, 256, (61, 83, 3), dtype=np.uint8)
        halo = read_contract(path).receptive_radius
        with Upscaler(path, backend="amx") as whole, Upscaler(path, backend="amx", tile=2 * halo + 9) as tiled:
            assert len(tiled.plan(61, 83)) > 4
            np.testing.assert_array_equal(tiled.upscale(lr), whole.upscale(lr))


def test_the_self_ensemble_averages_before_rounding(suited_models: dict[str, Path], needs_amx: None) -> None:
    path = suited_models["edsr-x2"]
    lr = np.random.default_rng(2).integers(0, 256, (14, 19, 3), dtype=np.uint8)
    with (
        Upscaler(path, backend="amx", self_ensemble=True) as fast,
        Upscaler(path, backend="openvino", precision="fp32", self_ensemble=True) as slow,
    ):
        assert np.abs(fast.upscale(lr).astype(int) - slow.upscale(lr)).max() <= 4


def test_a_nan_of_the_network_is_an_error_and_no_picture(suited_models: dict[str, Path], needs_amx: None) -> None:
    path = suited_models["edsr-x2"]
    with closing(open_backend("amx", path, read_contract(path), None, 1)) as backend, pytest.raises(NonFiniteError):
        backend.run_float(np.full((1, 3, 9, 9), np.nan, np.float32))
    with Upscaler(path, backend="amx") as upscaler, pytest.raises(NumericalError, match="in FP32 too"):
        upscaler.upscale(np.full((9, 9, 3), np.nan, np.float32))
