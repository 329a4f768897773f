"""The upscaler: tiles without seams, every kind of array, alpha, self-ensemble, and never a black picture."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edsr_export.exporting import export_checkpoint
from edsr_runtime import upscaler as upscaler_module
from edsr_runtime.backends.base import NonFiniteError, Precision
from edsr_runtime.backends.choose import BACKENDS
from edsr_runtime.contract import Contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, ModelFileError, NumericalError, ShapeError
from edsr_runtime.upscaler import Upscaler
from tiny_networks import tiny_edsr

Open = Callable[..., Upscaler]
Pixels = NDArray[Any]
RADIUS = 8  # receptive radius of the tiny networks, LR pixels
SMALLEST_TILE = 2 * RADIUS + 1
SEAM = 1e-4  # of 255: sums in another order
has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def opened() -> Iterator[Open]:
    """Upscalers by file and options, each loaded once, in FP32 if nothing else is said."""
    loaded: dict[Any, Upscaler] = {}

    def load(path: Path, backend: str = "onnxruntime", **options: Any) -> Upscaler:
        options = {"precision": "fp32", "threads": 1, **options}
        key = path, backend, *sorted(options.items())
        if key not in loaded:
            loaded[key] = Upscaler(path, backend=backend, **options)
        return loaded[key]

    yield load
    for upscaler in loaded.values():
        upscaler.close()


def picture(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> Pixels:
    random = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return random.random((height, width, channels), dtype)
    return random.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def assert_rounded(result: Pixels, exact: Pixels, within: float = 0.001) -> None:
    """``result`` is ``exact`` rounded and clamped; a half may fall to either side."""
    assert np.issubdtype(result.dtype, np.integer)
    assert result.shape == exact.shape
    assert np.abs(result - np.clip(exact, 0, np.iinfo(result.dtype).max)).max() <= 0.5 + within


def network_output(scale: int, rgb: Pixels, tail: str = "paper") -> Pixels:
    """(H, W, 3) of 0..255 through the unfolded PyTorch network: (scale*H, scale*W, 3), not clamped."""
    lr = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        sr: Pixels = tiny_edsr(scale, tail=tail)(lr)[0].permute(1, 2, 0).numpy()
    return sr


# --- tiles ---


@pytest.mark.parametrize("model", ["edsr-x2", "edsr-x3", "edsr-x4", "vdsr", "fsrcnn"])
@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=6)
@given(st.integers(3, 50), st.integers(3, 50), st.sampled_from([0, 4, 13]), st.booleans(), st.integers(0, 99))
def test_tiles_give_the_whole_picture(
    opened: Open,
    models_of_each_kind: dict[str, Path],
    backend: str,
    model: str,
    height: int,
    width: int,
    larger: int,
    as_float: bool,
    seed: int,
) -> None:
    image = picture(height, width, dtype=np.float32 if as_float else np.uint8, seed=seed)
    whole_upscaler = opened(models_of_each_kind[model], backend, tile=1000)
    contract = whole_upscaler.contract
    tile = 2 * contract.receptive_radius + 1 + larger  # a core of one pixel, and more
    tiled_upscaler = opened(models_of_each_kind[model], backend, tile=tile)
    assert len(whole_upscaler.plan(height, width)) == 1
    assert (len(tiled_upscaler.plan(height, width)) > 1) == (max(height, width) > tile)
    tiled, whole = tiled_upscaler.upscale(image), whole_upscaler.upscale(image)
    assert tiled.shape == (contract.scale * height, contract.scale * width, 3)
    if as_float:
        np.testing.assert_allclose(tiled * 255, whole * 255, rtol=0, atol=SEAM)
        return
    exact = whole_upscaler.upscale(image / np.float32(255)) * 255
    near_half = np.abs(exact - np.floor(exact) - 0.5) < SEAM
    np.testing.assert_array_equal(tiled[~near_half], whole[~near_half])


@pytest.mark.parametrize("file", ["direct_model", "mdsr_model", "plus_model"])
def test_tiles_of_other_networks_have_no_seams_either(opened: Open, file: str, request: pytest.FixtureRequest) -> None:
    path, image = request.getfixturevalue(file), picture(41, 50, dtype=np.float32)
    tile = 2 * opened(path).contract.receptive_radius + 3
    tiled, whole = opened(path, tile=tile), opened(path, tile=1000)
    assert len(tiled.plan(41, 50)) > 4
    np.testing.assert_allclose(tiled.upscale(image) * 255, whole.upscale(image) * 255, rtol=0, atol=SEAM)


def test_a_halo_too_small_shows_seams(opened: Open, tiny_model: Path) -> None:
    # The halo is what keeps the promise above, and can be overruled.
    image = picture(40, 40, dtype=np.float32)
    seams = opened(tiny_model, tile=20, halo=2).upscale(image) - opened(tiny_model, tile=1000).upscale(image)
    assert np.abs(seams).max() * 255 > 100 * SEAM


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_result_is_that_of_the_unfolded_network(
    opened: Open, tiny_models: dict[int, Path], backend: str, scale: int
) -> None:
    image = picture(23, 37)
    result = opened(tiny_models[scale], backend, tile=SMALLEST_TILE + 4).upscale(image)
    assert_rounded(result, network_output(scale, image))


def test_bands_are_the_picture_from_top_to_bottom(opened: Open, tiny_model: Path) -> None:
    upscaler, image = opened(tiny_model, tile=SMALLEST_TILE + 4), picture(40, 30)
    bands = list(upscaler.bands(image))
    plan = upscaler.plan(40, 30)
    assert len(bands) == len(plan.rows) > 2
    assert [len(band) for band in bands] == [2 * (row.core_stop - row.core_start) for row in plan.rows]
    np.testing.assert_array_equal(np.concatenate(bands), upscaler.upscale(image))


def test_a_band_is_computed_when_it_is_asked_for(tiny_model: Path, fake: type["Fake"]) -> None:
    with Upscaler(tiny_model, backend="openvino", tile=SMALLEST_TILE + 4) as upscaler:
        bands = upscaler.bands(picture(200, 10))
        next(bands)
        assert len(fake.calls) == 1  # memory is that of one row of tiles, however high the picture


def test_automatic_tiles_go_by_memory(tiny_model: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def largest(available: int | None) -> int:
        monkeypatch.setattr(upscaler_module, "available_memory", lambda: available)
        plan = opened(tiny_model).plan(100_000, 100_000)
        return plan.rows[0].length

    sides = [largest(gigabytes << 30) for gigabytes in (1, 2, 4)]
    assert sides == sorted(set(sides))  # more with more memory
    assert largest(1 << 50) == largest(None) == sides[-1]  # up to a limit
    assert largest(0) == 64  # never useless ones
    side = largest(1 << 30)
    floats = side**2 * (6 * 8 + 4 * 3 * 2**2)  # six times the feature maps, and the results
    assert 0.9 * 0.25 < 4 * floats / (1 << 30) <= 0.25


def test_a_tile_without_a_core_is_refused_at_once(opened: Open, tiny_model: Path) -> None:
    with pytest.raises(EdsrError, match=r"tile 16 leaves nothing after a halo of 8 .* use a tile of at least 17"):
        opened(tiny_model, tile=2 * RADIUS)
    assert opened(tiny_model, tile=2 * RADIUS + 1).upscale(picture(18, 16)).shape == (36, 32, 3)


def test_a_tile_smaller_than_the_model_takes_is_refused(opened: Open, tiny_model: Path) -> None:
    least = opened(tiny_model).contract.min_side
    with pytest.raises(ShapeError, match=f"tile {least - 1} is smaller than the {least} pixels a side"):
        opened(tiny_model, tile=least - 1, halo=0).upscale(picture(40, 40))
    for length in range(least, 3 * least):
        assert opened(tiny_model, tile=least, halo=0).upscale(picture(length, 7)).shape == (2 * length, 14, 3)


def test_a_side_smaller_than_the_model_takes_is_refused(opened: Open, tiny_model: Path, direct_model: Path) -> None:
    least = opened(tiny_model).contract.min_side
    with pytest.raises(ShapeError, match=rf"the picture is {least - 1}x9 \(HxW\), expected at least {least} "):
        opened(tiny_model).upscale(picture(least - 1, 9))
    with pytest.raises(ShapeError, match=r"the picture is 0x9 \(HxW\)"):
        opened(direct_model).upscale(picture(0, 9))
    assert opened(tiny_model).upscale(picture(least, least)).shape == (2 * least, 2 * least, 3)
    assert opened(direct_model).upscale(picture(1, 2)).shape == (2, 4, 3)


# --- kinds of arrays ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_sixteen_bits_are_the_floating_point_result_rounded(
    opened: Open, tiny_model: Path, backend: str, precision: str
) -> None:
    image = picture(14, 19, dtype=np.uint16)
    upscaler = opened(tiny_model, backend, precision=precision)  # auto must not mean BF16 here
    result = upscaler.upscale(image)
    assert result.dtype == np.uint16
    assert_rounded(result, network_output(2, image / 257) * 257, within=0.05)  # FP32 has 24 bits
    assert len(np.unique(result % 257)) > 200  # the lower byte is in use


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_stays_within_its_range_and_is_not_clamped(opened: Open, tiny_model: Path, dtype: Any) -> None:
    image = (picture(14, 19, dtype=np.float64) * 5).astype(dtype)
    result = opened(tiny_model, "openvino", precision="auto").upscale(image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, network_output(2, image.astype(np.float32) * 255) / 255, atol=1e-5)
    assert result.max() > 1


@pytest.mark.skipif(not has_bf16, reason="this CPU has neither AMX nor AVX512-BF16")
def test_bf16_that_was_asked_for_is_used_for_sixteen_bits_too(opened: Open, tiny_model: Path) -> None:
    image = picture(14, 19, dtype=np.uint16)
    exact = opened(tiny_model, "openvino").upscale(image).astype(int)
    difference = np.abs(opened(tiny_model, "openvino", precision="bf16").upscale(image) - exact)
    assert 2 < difference.max() < 2 * 257  # coarser than FP32, but no more than a level of 8 bits or two


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gray_stays_gray(opened: Open, tiny_model: Path, backend: str, dtype: Any) -> None:
    gray = picture(14, 19, 1, dtype)
    upscaler = opened(tiny_model, backend)
    result = upscaler.upscale(gray)
    assert (result.shape, result.dtype) == ((28, 38, 1), dtype)
    flat = upscaler.upscale(gray[:, :, 0])
    assert flat.shape == (28, 38)
    np.testing.assert_array_equal(flat, result[:, :, 0])
    peak = 1 if dtype is np.float32 else np.iinfo(dtype).max
    exact = network_output(2, np.repeat(gray / peak * 255, 3, axis=2)).mean(axis=2) / 255 * peak
    if dtype is np.float32:
        np.testing.assert_allclose(flat, exact, atol=1e-5)
    else:
        assert_rounded(flat, exact, within=0.05)


def test_the_layout_of_the_memory_does_not_matter_and_the_input_is_left_alone(opened: Open, tiny_model: Path) -> None:
    image = picture(12, 15)
    before = image.copy()
    for backend in BACKENDS:
        upscaler = opened(tiny_model, backend)
        expected = upscaler.upscale(image)
        np.testing.assert_array_equal(upscaler.upscale(np.asfortranarray(image)), expected)
        np.testing.assert_array_equal(upscaler.upscale(image[::-1, :, ::-1][::-1, :, ::-1]), expected)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((9, 9, 2), np.uint8),
        np.zeros((1, 9, 9, 3), np.uint8),
        np.zeros(9, np.uint8),
        np.zeros((9, 9, 3), np.int16),
        np.zeros((9, 9, 3), np.uint32),
        np.zeros((9, 9), bool),
    ],
    ids=lambda image: f"{image.shape}-{image.dtype}",
)
def test_other_arrays_are_refused(opened: Open, tiny_model: Path, image: Pixels) -> None:
    with pytest.raises(ShapeError, match=r"expected \(H, W, 3\) RGB or \(H, W\) gray of uint8, uint16 or floating"):
        opened(tiny_model).upscale(image)


@pytest.mark.parametrize(
    "alpha", [np.zeros((9, 8), np.uint8), np.zeros((9, 9), np.uint16), np.zeros((9, 9, 1), np.uint8)]
)
def test_alpha_of_another_kind_is_refused(opened: Open, tiny_model: Path, alpha: Pixels) -> None:
    with pytest.raises(ShapeError, match=r"^alpha is .*, expected \(9, 9\) uint8 as the picture$"):
        next(opened(tiny_model).bands(picture(9, 9), alpha))


# --- alpha ---


def with_alpha(upscaler: Upscaler, pixels: Pixels, alpha: Pixels) -> tuple[Pixels, Pixels]:
    """Colours and alpha of the whole result."""
    result = np.concatenate(list(upscaler.bands(pixels, alpha)))
    assert result.shape[2] == pixels.shape[2] + 1
    assert result.dtype == pixels.dtype
    return result[..., :-1], result[..., -1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_is_opaque_stays_opaque_and_keeps_its_colours(
    opened: Open, tiny_model: Path, dtype: Any, channels: int
) -> None:
    image = picture(30, 20, channels, dtype)
    peak = 1 if dtype is np.float32 else np.iinfo(dtype).max
    upscaler = opened(tiny_model, tile=SMALLEST_TILE + 4)
    colours, alpha = with_alpha(upscaler, image, np.full((30, 20), peak, dtype))
    assert (alpha == peak).all()
    np.testing.assert_array_equal(colours, upscaler.upscale(image))


def disc(colour: tuple[int, ...], outside: tuple[int, ...], dtype: Any = np.uint8) -> tuple[Pixels, Pixels]:
    """A disc of one colour in the middle; around it nothing is seen of the colour ``outside``."""
    peak = np.iinfo(dtype).max
    rows, columns = np.mgrid[:32, :36]
    coverage = np.clip(11.5 - np.hypot(rows - 16, columns - 17), 0, 1)
    pixels = np.where(coverage[..., None] > 0, colour, outside).astype(float) / 255 * peak
    return np.rint(pixels).astype(dtype), np.rint(coverage * peak).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("colour", "outside"), [((255, 0, 0), (0, 0, 0)), ((200, 60, 30), (0, 255, 255)), ((180,), (0,)), ((40,), (255,))]
)
def test_what_is_transparent_does_not_bleed(
    opened: Open, interpolating_model: Path, colour: tuple[int, ...], outside: tuple[int, ...], dtype: Any
) -> None:
    pixels, alpha = disc(colour, outside, dtype)
    peak = np.iinfo(dtype).max
    sr, sr_alpha = with_alpha(opened(interpolating_model), pixels, alpha)
    edge = (sr_alpha > 0.1 * peak) & (sr_alpha < 0.9 * peak)
    assert edge.sum() > 100
    # The network interpolates between LR pixels, so colour and alpha must agree to a level.
    expected = np.array(colour) / 255 * peak
    assert np.abs(sr[sr_alpha > 0.1 * peak] - expected).max() <= peak / 255
    exact = opened(interpolating_model).upscale(alpha / np.float32(peak)) * peak
    assert_rounded(sr_alpha, exact, within=0.05)
    assert (sr[sr_alpha == 0] == 0).all()


def test_what_is_transparent_does_not_bleed_with_a_trained_network(
    data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("trained")
    (trained,) = export_checkpoint(data_root / "weights/edsr_mobile/edsr_r5f32_x2.pt", folder, res_scale=1)
    pixels, alpha = disc((255, 0, 0), (0, 0, 0))
    with Upscaler(trained.path, precision="fp32", threads=1) as upscaler:
        sr, sr_alpha = with_alpha(upscaler, pixels, alpha)
    edge = sr[(sr_alpha > 32) & (sr_alpha < 224)].astype(int)
    assert len(edge) > 50
    # Colour and alpha go through the network apart, so it is not exact; black that bleeds in gives 130 on average.
    assert edge[:, 0].mean() > 220
    assert edge[:, 0].min() > 180
    assert edge[:, 1:].max() < 40


@pytest.mark.parametrize("backend", BACKENDS)
def test_translucent_pictures_have_no_seams(opened: Open, tiny_model: Path, backend: str) -> None:
    pixels, alpha = picture(40, 31, dtype=np.float32), picture(40, 31, 1, np.float32, seed=1)[..., 0]
    tiled = with_alpha(opened(tiny_model, backend, tile=SMALLEST_TILE + 8), pixels, alpha)
    whole = with_alpha(opened(tiny_model, backend, tile=1000), pixels, alpha)
    for a, b in zip(tiled, whole, strict=True):
        np.testing.assert_allclose(a * 255, b * 255, rtol=0, atol=10 * SEAM)  # divided by alpha


def test_a_picture_of_which_nothing_is_seen_is_upscaled_to_nothing(opened: Open, interpolating_model: Path) -> None:
    sr, sr_alpha = with_alpha(opened(interpolating_model), picture(9, 9), np.zeros((9, 9), np.uint8))
    assert not sr.any()
    assert not sr_alpha.any()


# --- self-ensemble ---


def eight_views(scale: int, image: Pixels, tail: str = "paper") -> Pixels:
    """The paper's self-ensemble in plain PyTorch: four rotations, mirrored and not, turned back and averaged."""
    results = []
    for mirrored in (False, True):
        for quarter_turns in range(4):
            view = np.rot90(image[:, ::-1] if mirrored else image, quarter_turns)
            sr = np.rot90(network_output(scale, view.copy(), tail), -quarter_turns)
            results.append(sr[:, ::-1] if mirrored else sr)
    mean: Pixels = np.mean(results, axis=0)
    return mean


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_self_ensemble_is_that_of_the_paper(
    opened: Open, tiny_models: dict[int, Path], backend: str, scale: int
) -> None:
    image = picture(21, 33)
    expected = eight_views(scale, image)
    assert np.abs(expected - network_output(scale, image)).max() > 5  # the views differ
    whole = opened(tiny_models[scale], backend, self_ensemble=True)
    tiled = opened(tiny_models[scale], backend, self_ensemble=True, tile=SMALLEST_TILE + 4)
    assert len(tiled.plan(21, 33)) > 1
    for upscaler in (whole, tiled):
        assert_rounded(upscaler.upscale(image), expected)
    np.testing.assert_allclose(whole.upscale(image / np.float32(255)) * 255, expected, atol=1e-3)


def test_the_self_ensemble_of_sixteen_bits_gray_and_alpha(opened: Open, tiny_model: Path) -> None:
    upscaler = opened(tiny_model, self_ensemble=True)
    deep = picture(9, 13, dtype=np.uint16)
    assert_rounded(upscaler.upscale(deep), eight_views(2, deep / 257) * 257, within=0.05)
    gray = picture(9, 13, 1)
    assert_rounded(upscaler.upscale(gray)[..., 0], eight_views(2, np.repeat(gray, 3, axis=2)).mean(axis=2))
    alpha = picture(9, 13, 1, seed=1)
    _, sr_alpha = with_alpha(upscaler, picture(9, 13), alpha[..., 0])
    assert_rounded(sr_alpha, eight_views(2, np.repeat(alpha, 3, axis=2)).mean(axis=2))


def test_a_file_that_averages_itself_is_not_averaged_again(opened: Open, plus_model: Path) -> None:
    with pytest.raises(EdsrError, match=r"averages the eight views itself; leave out the self-ensemble option$"):
        Upscaler(plus_model, self_ensemble=True)
    image = picture(9, 13)
    assert_rounded(opened(plus_model).upscale(image), eight_views(2, image, tail="direct"))


# --- numbers that are none ---


class Fake:
    """A backend that enlarges by repetition and gives NaN in the precisions of ``broken``."""

    broken: tuple[str, ...] = ()
    calls: list[str] = []  # noqa: RUF012 - replaced by the fixture

    name = "openvino"
    device = "CPU"

    def __init__(self, precision: Precision | None) -> None:
        self.precision: Precision = precision or "bf16"

    def run_float(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls.append(self.precision)
        if self.precision in self.broken:
            raise NonFiniteError
        return lr.repeat(2, axis=2).repeat(2, axis=3)

    def run_uint8(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.calls.append(self.precision)
        if self.precision in self.broken:
            raise NonFiniteError
        return lr.repeat(2, axis=1).repeat(2, axis=2)

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """``Fake`` in place of all backends."""

    def open_fake(name: str, path: Path, contract: Contract, precision: Precision | None, threads: int | None) -> Fake:
        assert name == "openvino"
        return Fake(precision)

    monkeypatch.setattr(Fake, "calls", [])
    monkeypatch.setattr(upscaler_module, "open_backend", open_fake)
    return Fake


def test_nan_in_bf16_is_computed_again_in_fp32(tiny_model: Path, fake: type[Fake], monkeypatch: Any) -> None:
    monkeypatch.setattr(fake, "broken", ("bf16",))
    image = picture(9, 13)
    with Upscaler(tiny_model, backend="openvino") as upscaler:
        for lr in (image, image[..., :1]):  # the path of uint8, and that of floating point
            np.testing.assert_array_equal(upscaler.upscale(lr), lr.repeat(2, axis=0).repeat(2, axis=1))
    assert fake.calls == ["bf16", "fp32", "bf16", "fp32", "close", "close"]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("self_ensemble", [False, True])
def test_nan_that_persists_is_an_error(
    tiny_model: Path, fake: type[Fake], monkeypatch: pytest.MonkeyPatch, kind: Any, self_ensemble: bool
) -> None:
    monkeypatch.setattr(fake, "broken", ("bf16", "fp32"))
    sentence = "^tiny_x2 gives NaN or infinity for this picture, in FP32 too$"
    with (
        Upscaler(tiny_model, backend="openvino", self_ensemble=self_ensemble) as upscaler,
        pytest.raises(NumericalError, match=sentence) as caught,
    ):
        upscaler.upscale(picture(9, 13, dtype=kind))
    assert caught.value.exit_code == 3


def test_sixteen_bits_are_computed_in_fp32_at_once(tiny_model: Path, fake: type[Fake]) -> None:
    with Upscaler(tiny_model, backend="openvino") as upscaler:
        upscaler.upscale(picture(9, 13, dtype=np.uint16))
        upscaler.upscale(picture(9, 13, dtype=np.float32))
        upscaler.upscale(picture(9, 13))
    assert fake.calls[:3] == ["fp32", "fp32", "bf16"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_that_overflows_is_never_a_black_picture(opened: Open, overflowing_model: Path, backend: str) -> None:
    upscaler = opened(overflowing_model, backend, precision="auto")
    black = np.zeros((20, 20, 3), np.uint8)
    assert not upscaler.upscale(black).any()
    bright = black.copy()
    bright[11, 12] = 255
    for image in (bright, bright.astype(np.uint16) * 257, bright[..., :1]):
        with pytest.raises(NumericalError, match="overflowing_x2 gives NaN or infinity for this picture, in FP32 too"):
            upscaler.upscale(image)
    with pytest.raises(NumericalError):
        list(upscaler.bands(bright, picture(20, 20, 1)[..., 0]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_pixel_that_is_no_number_is_an_error_with_every_backend(
    opened: Open, tiny_model: Path, backend: str, bad: float
) -> None:
    image = picture(20, 20, dtype=np.float32)
    image[10, 10, 1] = bad
    with pytest.raises(NumericalError, match="NaN or infinity"):
        opened(tiny_model, backend).upscale(image)


# --- threads, and the end ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_may_share_an_upscaler(opened: Open, tiny_model: Path, backend: str) -> None:
    images = [picture(20 + 3 * (i % 3), 25, dtype=np.uint16 if i % 2 else np.uint8, seed=i) for i in range(12)]
    with Upscaler(tiny_model, backend=backend, tile=SMALLEST_TILE + 4, threads=1) as shared:
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(shared.upscale, images))
        for image, result in zip(images, results, strict=True):
            np.testing.assert_array_equal(result, shared.upscale(image))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_upscaler_says_so(tiny_model: Path, backend: str) -> None:
    with Upscaler(tiny_model, backend=backend, tile=SMALLEST_TILE, threads=1) as upscaler:
        bands = upscaler.bands(picture(40, 9))
        next(bands)
    upscaler.close()  # twice does no harm
    with pytest.raises(ValueError, match="tiny_x2: this upscaler is closed"):
        upscaler.upscale(picture(9, 9))
    with pytest.raises(ValueError, match="closed"):
        next(bands)


# --- what it says, and what it refuses ---


def test_the_description_says_what_runs_and_why(opened: Open, tiny_model: Path) -> None:
    assert opened(tiny_model, "onnxruntime").description.startswith("tiny_x2: onnxruntime (as asked), fp32 on C")
    assert opened(tiny_model, "openvino").description.startswith("tiny_x2: openvino (as asked), fp32 on CPU, ")
    assert "16-bit" not in opened(tiny_model, "openvino").description


def test_the_description_says_that_sixteen_bits_are_computed_otherwise(tiny_model: Path, fake: type[Fake]) -> None:
    with Upscaler(tiny_model, backend="openvino") as upscaler:
        assert upscaler.description == "tiny_x2: openvino (as asked), bf16 on CPU; fp32 for 16-bit pictures"
    with Upscaler(tiny_model, backend="openvino", precision="bf16") as upscaler:
        assert upscaler.description == "tiny_x2: openvino (as asked), bf16 on CPU"


def test_a_choice_that_nobody_made_is_explained(tiny_model: Path) -> None:
    with Upscaler(tiny_model) as upscaler:
        assert "(auto: " in upscaler.description


def test_a_model_for_uint8_is_refused_at_once(uint8_model: Path) -> None:
    with pytest.raises(EdsrError, match=r"cannot show NaN\. Export it with --io float$"):
        Upscaler(uint8_model)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precision": "int8"}, "unknown precision 'int8': expected auto, bf16 or fp32"),
        ({"backend": "torch"}, "unknown backend 'torch': expected auto, amx, openvino, onnxruntime or tensorrt"),
        ({"halo": -1}, "halo is -1, expected 0 or more LR pixels"),
        ({"threads": 0}, "threads is 0, expected 1 or more"),
    ],
)
def test_other_options_are_refused(tiny_model: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EdsrError, match=f"^{sentence}$"):
        Upscaler(tiny_model, **options)


def test_bf16_with_onnxruntime_is_refused(tiny_model: Path) -> None:
    with pytest.raises(EnvironmentUnfitError, match="precision of the file, fp32, not bf16"):
        Upscaler(tiny_model, backend="onnxruntime", precision="bf16")


def test_a_file_without_contract_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\x3a\x00")
    with pytest.raises(ModelFileError, match=r"x\.onnx: an ONNX file without a contract"):
        Upscaler(tmp_path / "x.onnx")
