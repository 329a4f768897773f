"""The other networks of the field go through the same export as EDSR: folds, halo, costs, files, tiles, engines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edsr_export.cost import cost_at, cost_at_paper_size
from edsr_export.deploy import Deployed
from edsr_export.exporting import Exported, ExportOptions, export_checkpoint
from edsr_export.fold import Folded, choose_range_shift, fold
from edsr_export.receptive_field import receptive_radius
from edsr_export.transposed import as_convolution
from edsr_export.verify import ensemble
from edsr_runtime.contract import read_contract
from edsr_runtime.upscaler import Upscaler
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models import (
    CARN,
    FSRCNN,
    LESRCNN,
    SRCNN,
    VDSR,
    CARNConfig,
    FSRCNNConfig,
    LESRCNNConfig,
    SRCNNConfig,
    SRResNet,
    SRResNetConfig,
    VDSRConfig,
)
from edsr_train.models.bicubic import Bicubic
from edsr_train.models.branch import Branch, SuperResolutionNetwork
from tiny_field import FIELD, tiny

SEAM = 1e-3  # grey levels: sums in another order


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as small as these only lose time on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def folded_of(branch: Branch, *, half: bool = False, collapse_tail: bool = True, range_shift: int = 0) -> Folded:
    return fold(branch, collapse_tail=collapse_tail, mean_in_bias=not half, range_shift=range_shift)


def in_float64(folded: Folded, lr: torch.Tensor) -> torch.Tensor:
    """``Deployed.forward`` without its casts."""
    x = lr + folded.shift_in
    x = (x if folded.entry is None else folded.entry(x)) * 2.0**-folded.range_shift
    y: torch.Tensor = folded.tail(folded.features(x))
    y = y if folded.base is None else y + folded.base(lr)
    return y if folded.shift_out is None else y + folded.shift_out


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", FIELD)
def test_folding_changes_nothing(name: str, scale: int) -> None:
    branch = tiny(name, scale).branch(scale).double()
    lr = torch.rand(2, 3, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 255
    with torch.no_grad():
        expected = branch(lr)
        for half in (False, True):
            shift = 0 if "espcn" in name else 3  # tanh does not scale
            found = in_float64(folded_of(branch, half=half, range_shift=shift if half else 0), lr)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


FOLDS = {
    "srcnn": ("mean into the bias of the last convolution",),
    "vdsr": (),
    "vdsr-rgb": ("colour matrix of the mean shift into the head",),
    "fsrcnn": (
        "mean into the bias of the last convolution",
        "transposed convolution into a convolution at LR and a pixel shuffle",
    ),
    "srresnet": (
        "batch norm into the convolution before it, 5 times",
        "mean into the bias of the last convolution",
        "tail into one 5x5 convolution to 12 channels, border ring exact",
    ),
    "srresnet-original": (
        "batch norm into the convolution before it, 5 times",
        "mean into the bias of the last convolution",
    ),
    "carn-m": ("colour matrix of the mean shift into the head", "mean into the bias of the last convolution"),
    "lesrcnn": (
        "two upsamplings with the same weights into one, of the sum",
        "colour matrix of the mean shift into the head",
        "mean into the bias of the last convolution",
    ),
    "lesrcnn-ieeb": (
        "colour matrix of the mean shift into the head",
        "mean into the bias of the last convolution",
        "tail into one 5x5 convolution to 12 channels, border ring exact",
    ),
}


@pytest.mark.parametrize("name", FOLDS)
def test_every_network_has_the_folds_that_what_it_is_made_of_allows(name: str) -> None:
    folded = folded_of(tiny(name).branch(2))
    assert folded.folds == FOLDS[name]
    left = {type(m) for part in (folded.features, folded.tail) for m in part.modules()}
    assert not left & {nn.BatchNorm2d, nn.ConvTranspose2d}


@pytest.mark.parametrize("name", ["srcnn", "srcnn-rgb", "vdsr", "vdsr-rgb"])
def test_enlargement_stays_before_what_is_computed_in_fp16(name: str) -> None:
    folded = folded_of(tiny(name).branch(2), half=True)
    assert folded.entry is not None
    assert any(isinstance(m, Bicubic) for m in folded.entry.modules())
    assert not any(isinstance(m, Bicubic) for m in (*folded.features.modules(), *folded.tail.modules()))


def test_folding_leaves_the_network_as_it_was() -> None:
    for name in ("srresnet", "fsrcnn", "lesrcnn"):
        network = tiny(name)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        folded_of(network.branch(2), half=True, range_shift=2)
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("kernel", "padding"), [(9, 4), (5, 2), (8, 3)])
def test_a_transposed_convolution_is_a_convolution_and_a_pixel_shuffle(scale: int, kernel: int, padding: int) -> None:
    torch.manual_seed(0)
    extra = scale - kernel + 2 * padding
    if not 0 <= extra < scale:
        padding += -1 if extra >= scale else 1
        extra = scale - kernel + 2 * padding
    layer = nn.ConvTranspose2d(3, 2, kernel, scale, padding, output_padding=extra, dtype=torch.float64)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(as_convolution(nn.Sequential(layer))(x), layer(x), rtol=0, atol=1e-12)


def test_range_shift_is_for_what_scales() -> None:
    for name, shifts in (("fsrcnn", True), ("lesrcnn", True), ("espcn", False)):
        network = tiny(name)
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d) and m.weight.requires_grad)
        with torch.no_grad():
            first.weight.mul_(1e6)
        assert (choose_range_shift(network.branch(2)) > 0) == shifts


# LR pixels: reach at LR, plus reach at HR in LR cells, plus 2 for bicubic before it
RADII = [
    (lambda: SRCNN(SRCNNConfig(2, n_feats=(4, 4))), 2, 2 + (4 + 2 + 2) // 2),
    (lambda: SRCNN(SRCNNConfig(4, (9, 1, 5), n_feats=(4, 4))), 4, 2 + -(-6 // 4)),
    (lambda: VDSR(VDSRConfig(n_feats=4)), 2, 2 + 20 // 2),
    (lambda: VDSR(VDSRConfig(n_feats=4)), 3, 2 + -(-20 // 3)),
    (lambda: FSRCNN(FSRCNNConfig(2, 8, 4)), 2, 2 + 4 + 2),
    (lambda: FSRCNN(FSRCNNConfig(4, 8, 4)), 4, 2 + 4 + 1),
    (lambda: tiny("espcn", 3), 3, 2 + 1 + 1),
    (lambda: SRResNet(SRResNetConfig(2, n_feats=4)), 2, 1 + 2 * 16 + 1 + 2),
    (lambda: tiny("srresnet-original", 2), 2, 4 + 5 + 1 + 2),  # 9x9 at LR, five, upsampler, 9x9 at HR
    (lambda: CARN(CARNConfig(n_feats=4)), 2, 1 + 18 + 1 + 1),
    (lambda: CARN(CARNConfig(n_feats=4, groups=2)), 4, 1 + 18 + 1 + 1),
    (lambda: LESRCNN(LESRCNNConfig((2,), n_feats=4, n_refine=4)), 2, 9 + 1 + 3),  # five 3x3 at HR: 2.5 cells
]


@pytest.mark.parametrize(("build", "scale", "radius"), RADII)
def test_receptive_radius_of_the_published_depths(build: Any, scale: int, radius: int) -> None:
    assert receptive_radius(build().branch(scale).eval(), scale) == radius


# 10^9 at HR 1280x720 for x2, x3, x4: Ahn et al., "CARN", ECCV 2018, table 1
PUBLISHED: list[tuple[Any, tuple[str, str, str]]] = [
    (lambda scale: SRCNN(SRCNNConfig(scale)), ("52.7", "52.7", "52.7")),
    (lambda scale: FSRCNN(FSRCNNConfig(scale)), ("6.0", "5.0", "4.6")),
    (lambda _: VDSR(VDSRConfig()), ("612.6", "612.6", "612.6")),
    (lambda _: CARN(CARNConfig()), ("222.8", "118.8", "90.9")),
    (lambda _: CARN(CARNConfig(groups=4)), ("91.2", "46.1", "32.5")),
]


@pytest.mark.parametrize(("build", "published"), PUBLISHED, ids=["srcnn", "fsrcnn", "vdsr", "carn", "carn-m"])
def test_published_mult_adds_are_reproduced_to_the_last_digit(build: Any, published: tuple[str, str, str]) -> None:
    counted = []
    for scale in (2, 3, 4):
        with torch.device("meta"):
            branch = build(scale).branch(scale)
        counted.append(f"{cost_at_paper_size(branch, scale).mult_adds / 1e9:.1f}")
    assert tuple(counted) == published


def test_published_mult_adds_for_128x128_are_reproduced() -> None:
    # Tian et al., arXiv:2007.04344, table 9: VDSR 10.90G
    with torch.device("meta"):
        vdsr, lesrcnn = VDSR(VDSRConfig()), LESRCNN(LESRCNNConfig((4,)))
    assert cost_at((128, 128), vdsr.branch(4), 4).mult_adds / 1e9 == pytest.approx(10.90, rel=0.005)
    # LESRCNN 3.08G: at x4, and of the two sub-pixel convolutions only the one that enlarges 32x32 to 64x64
    second = lesrcnn.upsample.head(4)[2]
    assert isinstance(second, nn.Conv2d)
    counted = cost_at((128, 128), lesrcnn.branch(4), 4).mult_adds - 2 * second.weight.numel() * 64 * 64
    assert counted / 1e9 == pytest.approx(3.08, rel=0.005)


def test_batch_norm_and_slopes_count_as_parameters_and_fixed_maps_do_not() -> None:
    network = tiny("srresnet")
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert cost_at_paper_size(network.branch(2), 2).parameters == trained
    luma_network = tiny("srcnn")
    assert cost_at_paper_size(luma_network.branch(2), 2).parameters == sum(p.numel() for p in luma_network.parameters())


def test_the_layer_that_takes_most_is_known_per_lr_pixel() -> None:
    def largest(network: SuperResolutionNetwork, scale: int) -> int:
        deployed = Deployed(folded_of(network.branch(scale)), torch.float32)
        return cost_at_paper_size(deployed, scale).floats_per_pixel

    assert largest(tiny("vdsr", 4), 4) == 8 * 16  # eight feature maps at HR
    assert largest(tiny("espcn", 2), 2) == 8
    assert largest(tiny("carn"), 2) == 8 * 4
    assert largest(tiny("carn"), 3) == 8 * 9
    assert largest(tiny("srresnet", 4), 4) == 8  # collapsed


EXPORTED = {"vdsr": 2, "fsrcnn": 3}
"""Of these, a file is made in every run; of all others, in slow ones."""


def export(name: str, scale: int, folder: Path, options: ExportOptions | None = None) -> Exported:
    save_checkpoint(folder / f"{name}.pt", tiny(name, scale))
    options = options or ExportOptions()
    (exported,) = export_checkpoint(
        folder / f"{name}.pt", options=ExportOptions(**{**vars(options), "scales": (scale,)}), overwrite=True
    )
    return exported


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    folder = tmp_path_factory.mktemp("networks")
    return {name: export(name, scale, folder) for name, scale in EXPORTED.items()}


def run_onnx(path: Path, lr: np.ndarray) -> np.ndarray:
    return np.asarray(ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": lr})[0])


def check_file(exported: Exported, name: str, scale: int) -> None:
    """Equal to PyTorch at sizes that the gate has not seen; tiles are the whole; symbolic axes."""
    network = tiny(name, scale)
    least = exported.contract.min_side
    for size in ((least, least + 3), (19, 13)):
        lr = np.random.default_rng(1).uniform(0, 255, (2, 3, *size)).astype(np.float32)
        with torch.no_grad():
            expected = network.branch(scale)(torch.from_numpy(lr)).numpy()
        np.testing.assert_allclose(run_onnx(exported.path, lr), expected, rtol=0, atol=1e-3)  # grey levels
    dims = [d.dim_param or d.dim_value for d in onnx.load(exported.path).graph.output[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, f"{scale}*height", f"{scale}*width"]
    radius = exported.contract.receptive_radius
    image = np.random.default_rng(2).uniform(0, 1, (4 * radius + 7, 3 * radius + 5, 3)).astype(np.float32)
    whole, tiled = (
        Upscaler(exported.path, backend="onnxruntime", tile=tile, threads=1) for tile in (1000, 2 * radius + 3)
    )
    with whole, tiled:
        assert len(tiled.plan(*image.shape[:2])) > 4
        np.testing.assert_allclose(tiled.upscale(image) * 255, whole.upscale(image) * 255, rtol=0, atol=SEAM)


@pytest.mark.parametrize(("name", "scale"), EXPORTED.items())
def test_a_file_computes_what_the_network_computes_in_tiles_too(
    files: dict[str, Exported], name: str, scale: int
) -> None:
    check_file(files[name], name, scale)


@pytest.mark.parametrize("name", EXPORTED)
def test_a_halo_of_one_less_would_show(files: dict[str, Exported], name: str) -> None:
    radius = files[name].contract.receptive_radius
    lr = np.zeros((1, 3, 2 * radius + 1, 2 * radius + 1), np.float32)
    lr[:] = np.random.default_rng(3).uniform(0, 255, lr.shape)
    scale = EXPORTED[name]
    middle = slice(scale * radius, scale * radius + scale)
    changed = lr.copy()
    changed[..., 0, :] = 255 - changed[..., 0, :]
    changed[..., -1, :] = 255 - changed[..., -1, :]
    difference = run_onnx(files[name].path, changed) - run_onnx(files[name].path, lr)
    assert np.abs(difference[..., middle, middle]).max() > 0  # the outermost pixels do matter


@pytest.mark.parametrize(("name", "scale"), EXPORTED.items())
def test_the_contract_says_what_the_network_needs(files: dict[str, Exported], name: str, scale: int) -> None:
    contract = read_contract(files[name].path)
    assert contract == files[name].contract
    assert contract.config["pixel_range"] == 1.0
    assert (contract.colors, contract.enlarged_first) == {
        "vdsr": ("y", True),
        "fsrcnn": ("y", False),
    }[name]
    assert (contract.min_side, contract.mean) == (1, (0.0, 0.0, 0.0))
    assert contract.floats_per_pixel == {"vdsr": 8 * 4, "fsrcnn": 8}[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_every_network_computes_the_same_in_a_file_and_in_tiles(tmp_path: Path, name: str) -> None:
    for scale in (2, 3, 4):
        check_file(export(name, scale, tmp_path), name, scale)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_self_ensemble_fp16_and_uint8_need_no_further_code(tmp_path: Path, name: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (Linux x86-64 only)")
    network = tiny(name)
    with torch.no_grad():  # as small as what a trained network adds, by which the gate's tolerance for FP16 goes
        *_, last = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        last.weight *= 0.1
    save_checkpoint(tmp_path / "net.pt", network)
    half = ExportOptions(scales=(2,), precision="fp16")
    (exported,) = export_checkpoint(tmp_path / "net.pt", options=half)
    assert build_in_tensorrt(trt, exported.path.read_bytes()) > 10_000
    plus = ExportOptions(scales=(2,), self_ensemble=True)
    (exported,) = export_checkpoint(tmp_path / "net.pt", options=plus)
    lr = np.random.default_rng(2).uniform(0, 255, (1, 3, 6, 9)).astype(np.float32)
    with torch.no_grad():
        expected = ensemble(network.branch(2), torch.from_numpy(lr)).numpy()
    np.testing.assert_allclose(run_onnx(exported.path, lr), expected, rtol=0, atol=1e-3)
    (exported,) = export_checkpoint(tmp_path / "net.pt", options=ExportOptions(scales=(2,), io="uint8"))
    assert exported.contract.io == "uint8"


def build_in_tensorrt(trt: Any, onnx_bytes: bytes) -> int:
    """Parse and build ahead of time, which needs no GPU; size of the engine in bytes."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(onnx_bytes), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    profile = builder.create_optimization_profile()
    profile.set_shape("input", (1, 3, 8, 8), (1, 3, 64, 64), (2, 3, 128, 96))
    config = builder.create_builder_config()
    assert config.add_optimization_profile(profile) >= 0
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    return len(bytes(engine))
