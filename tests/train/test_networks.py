"""The other networks of the field are what their papers say: sizes, names, formulas, and what stands around them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edsr_runtime.errors import EdsrError
from edsr_runtime.metrics import LUMA_OFFSET, LUMA_RGB
from edsr_runtime.metrics import luma as luma_of
from edsr_runtime.resize import imresize
from edsr_train.models import (
    CARN,
    ESPCN,
    FSRCNN,
    LESRCNN,
    SRCNN,
    VDSR,
    CARNConfig,
    ESPCNConfig,
    FSRCNNConfig,
    LESRCNNConfig,
    SRCNNConfig,
    SRResNet,
    SRResNetConfig,
    VDSRConfig,
)
from edsr_train.models.bicubic import Bicubic
from edsr_train.models.colours import chroma, grey, luma, to_range
from tiny_field import FIELD, tiny

State = dict[str, Tensor]


def lr_picture(height: int, width: int, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def weights(network: nn.Module) -> int:
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    return sum(m.weight.numel() for m in convs if m.weight.requires_grad)


# Thousands, as published: in Ahn et al., ECCV 2018, table 1 (the first four by weights alone, CARN with biases), in
# Lim et al., arXiv:1707.02921, table 1.
@pytest.mark.parametrize(
    ("build", "count", "published"),
    [
        (lambda: SRCNN(SRCNNConfig(2)), weights, "57K"),
        (lambda: FSRCNN(FSRCNNConfig(3)), weights, "12K"),
        (lambda: VDSR(VDSRConfig()), weights, "665K"),
        (lambda: CARN(CARNConfig(groups=4)), weights, "412K"),
        (lambda: CARN(CARNConfig()), parameters, "1592K"),
        (lambda: SRResNet(SRResNetConfig(4)), parameters, "1.5M"),
        (lambda: SRResNet(SRResNetConfig(4, form="original")), parameters, "1.5M"),
    ],
)
def test_parameter_counts_are_the_published_ones(
    build: Callable[[], nn.Module], count: Callable[[nn.Module], int], published: str
) -> None:
    with torch.device("meta"):
        network = build()
    unit = {"K": 1e3, "M": 1e6}[published[-1]]
    digits = len(published[:-1].partition(".")[2])
    assert f"{count(network) / unit:.{digits}f}" == published[:-1]


def test_the_published_516_thousand_of_lesrcnn_count_its_sub_pixel_path_as_a_plain_convolution() -> None:
    def counted(config: LESRCNNConfig) -> int:
        with torch.device("meta"):
            network = LESRCNN(config)
        plain = 9 * config.n_feats**2 + config.n_feats
        return parameters(network) - parameters(network.upsample) + plain

    assert counted(LESRCNNConfig((2,))) == 478_592 + 36_928
    # the readings of the enlarged network's 707K
    assert counted(LESRCNNConfig((2,), n_refine=109)) == 707_490
    assert counted(LESRCNNConfig((2,), n_feats=75, n_refine=75)) == 707_250


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3), (9, 12)], ids=str)
def test_bicubic_is_matlabs_to_the_border(scale: int, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (*size, 3))
    enlarged = Bicubic(scale)(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(enlarged.numpy(), imresize(picture, scale), rtol=0, atol=1e-11)


def test_luma_is_that_of_the_metrics_and_grey_and_chroma_make_up_the_picture() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    x = torch.from_numpy(rgb.astype(np.float64)).permute(2, 0, 1)[None]
    y = luma(pixel_range=1.0)(x)
    np.testing.assert_allclose(y[0, 0] * 255, luma_of(rgb), rtol=0, atol=1e-12)
    torch.testing.assert_close(chroma()(x) + grey(pixel_range=1.0)(y), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(luma(1.0)(chroma()(x)) * 255, torch.full_like(y, 16.0), rtol=0, atol=1e-12)
    torch.testing.assert_close(luma(255.0)(x), y * 255)


def test_maps_of_colours_are_not_rounded_by_autocast() -> None:
    rgb = lr_picture(6, 7)
    for colour_map, x in ((luma(1.0), rgb), (grey(1.0), luma(1.0)(rgb)), (chroma(), rgb), (to_range(1.0), rgb)):
        with torch.autocast("cpu", torch.bfloat16):
            found = colour_map(x)
        assert torch.equal(found, colour_map(x))


@pytest.mark.parametrize("name", FIELD)
def test_every_network_upscales_every_size_and_stays_as_it_was(name: str) -> None:
    for scale, (height, width) in ((2, (1, 1)), (3, (1, 5)), (4, (4, 3))):
        network = tiny(name, scale)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        lr = lr_picture(height, width, count=2)
        untouched = lr.clone()
        with torch.no_grad():
            sr = network(lr, scale)
            assert sr.shape == (2, 3, scale * height, scale * width)
            assert torch.isfinite(sr).all()
            assert torch.equal(network(lr, scale), sr)
            torch.testing.assert_close(network(lr[:1], scale), sr[:1], rtol=0, atol=1e-3)  # grey levels
        assert torch.equal(lr, untouched)
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_scale_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="this network has the scales 2, not 3"):
        tiny("lesrcnn", 2).branch(3)
    with pytest.raises(ValueError, match="this network has the scales 2, 3, 4, not 5"):
        tiny("carn").branch(5)


@pytest.mark.parametrize("name", ["carn", "carn-m", "lesrcnn-s"])
def test_a_branch_holds_the_head_of_its_scale_and_no_other(name: str) -> None:
    network = tiny(name)
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    held = {names[id(parameter)] for parameter in network.branch(3).parameters()}
    assert held == {key for key in names.values() if not key.startswith(("upsample.up2.", "upsample.up4."))}


@pytest.mark.parametrize(("name", "white"), [("carn", 1), ("lesrcnn", 1), ("srresnet", 255)])
def test_a_new_network_takes_the_mean_of_div2k_away_and_gives_it_back(name: str, white: int) -> None:
    state = tiny(name).state_dict()
    for end, sign in (("sub_mean", -1), ("add_mean", 1)):
        (bias,) = (value for key, value in state.items() if key.startswith(end) and key.endswith("bias"))
        # EDSR-PyTorch, src/model/common.py; the other two have the same
        torch.testing.assert_close(bias, sign * white * torch.tensor([0.4488, 0.4371, 0.4040]))


@pytest.mark.parametrize("name", ["srcnn", "srcnn-915", "espcn", "fsrcnn", "vdsr"])
def test_a_network_for_luma_enlarges_chroma_bicubically(name: str) -> None:
    network, lr = tiny(name, 3), lr_picture(6, 5)
    with torch.no_grad():
        sr = network.branch(3)(lr)[0].permute(1, 2, 0).double().numpy()
    added = sr - imresize(lr[0].permute(1, 2, 0).double().numpy(), 3)
    assert np.abs(added).max() > 1  # grey levels: the layers do something
    np.testing.assert_allclose(added[..., :1].repeat(3, axis=2), added, rtol=0, atol=1e-3)  # the same for all colours


def test_vdsr_that_corrects_nothing_is_bicubic_also_with_autocast() -> None:
    network, lr = tiny("vdsr", 2), lr_picture(6, 5)
    nn.init.zeros_(network.get_parameter("output.weight"))
    expected = imresize(lr[0].permute(1, 2, 0).numpy(), 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        in_bf16 = network(lr)
    with torch.no_grad():
        found = network(lr)
    for sr in (found, in_bf16):  # bfloat16 would be off by half a grey level
        np.testing.assert_allclose(sr[0].permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("name", "layers"), [("srcnn", "conv3"), ("espcn", "last_part.0"), ("fsrcnn", "last_part")])
def test_the_range_inside_is_zero_to_one_of_luma(name: str, layers: str) -> None:
    network = tiny(name, 2)
    nn.init.zeros_(network.get_parameter(f"{layers}.weight"))
    nn.init.constant_(network.get_parameter(f"{layers}.bias"), 235 / 255)  # white in MATLAB's luma
    with torch.no_grad():
        sr = network(torch.zeros(1, 3, 4, 4))
    torch.testing.assert_close(sr, torch.full_like(sr, 255.0), rtol=0, atol=1e-3)


def conv(state: State, name: str, x: Tensor, groups: int = 1) -> Tensor:
    weight, bias = state[f"{name}.weight"].double(), state.get(f"{name}.bias")
    return F.conv2d(x, weight, None if bias is None else bias.double(), padding=weight.shape[-1] // 2, groups=groups)


def shifted(state: State, name: str, x: Tensor) -> Tensor:
    return conv(state, f"{name}.shifter", x)


def upsampled(state: State, name: str, x: Tensor, activation: Callable[[Tensor], Tensor], groups: int = 1) -> Tensor:
    for step in sorted(key.removesuffix(".weight") for key in state if key.startswith(name) and key.endswith("weight")):
        x = activation(conv(state, step, x, groups))
        x = F.pixel_shuffle(x, 3 if state[f"{step}.weight"].shape[0] % 9 == 0 else 2)
    return x


def reference_carn(state: State, lr: Tensor, scale: int, groups: int) -> Tensor:
    """Figures 2 and 3 of the paper, from the authors' keys, on 0..1."""

    def block(name: str, x: Tensor) -> Tensor:
        y = conv(state, f"{name}.body.0", x, groups).relu()
        y = conv(state, f"{name}.body.2", y, groups)
        if groups > 1:
            y = conv(state, f"{name}.body.4", y.relu())
        return (x + y).relu()

    def cascade(name: str, x: Tensor, step: Callable[[int, Tensor], Tensor]) -> Tensor:
        outputs = [x]
        for number in (1, 2, 3):
            outputs.append(step(number, x))
            x = conv(state, f"{name}c{number}.body.0", torch.cat(outputs, 1)).relu()
        return x

    def cascading_block(number: int, x: Tensor) -> Tensor:
        return cascade(f"b{number}.", x, lambda inner, y: block(f"b{number}.b{1 if groups > 1 else inner}", y))

    x = conv(state, "entry", shifted(state, "sub_mean", lr))
    x = upsampled(state, f"upsample.up{scale}", cascade("", x, cascading_block), torch.relu, groups)
    return shifted(state, "add_mean", conv(state, "exit", x))


def reference_lesrcnn(state: State, lr: Tensor, head: str, reconstruct: bool, refine: bool) -> Tensor:
    """Section 3 of the paper with the sums after ReLU, from the authors' keys, on 0..1."""
    first = last = conv(state, "conv1.0", shifted(state, "sub_mean", lr)).relu()
    for odd in range(3, 18, 2):
        last = (last + conv(state, f"conv{odd}.0", conv(state, f"conv{odd - 1}.0", last).relu())).relu()
    x = upsampled(state, head, last, lambda y: y)
    if reconstruct:
        x = (x + upsampled(state, head, first, lambda y: y)).relu()
    for number in range(1, 5) if refine else ():
        x = conv(state, f"conv17_{number}.0", x).relu()
    return shifted(state, "add_mean", conv(state, "conv18.0", x))


def enlarged(x: Tensor, scale: int) -> Tensor:
    """A single picture, bicubically."""
    return torch.from_numpy(imresize(x[0].permute(1, 2, 0).numpy(), scale)).permute(2, 0, 1)[None]


def reference_srcnn(state: State, x: Tensor, scale: int) -> Tensor:
    """Equations 1 to 3 of the paper, with borders that are padded."""
    x = conv(state, "conv2", conv(state, "conv1", enlarged(x, scale)).relu()).relu()
    return conv(state, "conv3", x)


def reference_vdsr(state: State, x: Tensor, scale: int) -> Tensor:
    """Figure 2 of the paper."""
    x = enlarged(x, scale)
    y = conv(state, "input", x).relu()
    for number in range(sum(key.startswith("residual_layer.") for key in state)):
        y = conv(state, f"residual_layer.{number}.conv", y).relu()
    return x + conv(state, "output", y)


def reference_espcn(state: State, x: Tensor, scale: int) -> Tensor:
    """Equations 1 to 4 of the paper."""
    for number in (0, 2):
        x = conv(state, f"first_part.{number}", x).tanh()
    return F.pixel_shuffle(conv(state, "last_part.0", x), scale)


def reference_fsrcnn(state: State, x: Tensor, scale: int) -> Tensor:
    """Figure 2 of the paper: the HR picture has a pixel exactly where each LR pixel is, and the rest after it."""

    def activated(part: str, number: int, y: Tensor) -> Tensor:
        return F.prelu(conv(state, f"{part}.{number}", y), state[f"{part}.{number + 1}.weight"].double())

    x = activated("first_part", 0, x)
    for number in range(0, sum(key.startswith("mid_part.") for key in state) // 3 * 2, 2):
        x = activated("mid_part", number, x)
    between = x.new_zeros(*x.shape[:2], scale * x.shape[2], scale * x.shape[3])
    between[..., ::scale, ::scale] = x
    kernel = state["last_part.weight"].double().transpose(0, 1).flip(2, 3)
    return F.conv2d(between, kernel, state["last_part.bias"].double(), padding=4)


def reference_srresnet(state: State, lr: Tensor, scale: int) -> Tensor:
    """Figure 4 of the paper, or the reproduced form in EDSR's, from the keys of EDSR's checkpoints, on 0..255."""

    def slope(name: str, x: Tensor) -> Tensor:
        return F.prelu(x, state[f"{name}.weight"].double())

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{key}"].double()[:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    x = first = slope("head.1", conv(state, "head.0", conv(state, "sub_mean", lr)))
    n_blocks = sum(key.endswith(".body.0.weight") for key in state)
    for block in (f"body.{number}.body" for number in range(n_blocks)):
        y = slope(f"{block}.2", norm(f"{block}.1", conv(state, f"{block}.0", x)))
        x = x + norm(f"{block}.4", conv(state, f"{block}.3", y))
    x = first + norm(f"body.{n_blocks + 1}", conv(state, f"body.{n_blocks}", x))
    is_original = state["head.0.weight"].shape[-1] == 9
    for step, factor in enumerate({2: (2,), 3: (3,), 4: (2, 2)}[scale]):
        index = (3 if is_original else 2) * step
        x = conv(state, f"tail.0.{index}", x)
        x = F.pixel_shuffle(slope(f"tail.0.{index + 1}", x) if is_original else x, factor)
    return conv(state, "add_mean", conv(state, "tail.1", x))


def on_luma(rgb: Tensor, scale: int, layers: Callable[[Tensor], Tensor]) -> Tensor:
    """The bicubically enlarged picture, RGB of 0..1, with the luma that ``layers`` make of its luma."""

    def luma_plane(x: Tensor) -> Tensor:
        return torch.einsum("nchw,c->nhw", x, torch.from_numpy(LUMA_RGB))[:, None] + LUMA_OFFSET / 255

    picture = enlarged(rgb, scale)
    return picture + (layers(luma_plane(rgb)) - luma_plane(picture)) / LUMA_RGB.sum()


def assert_equal(
    network: nn.Module, scale: int, reference: Callable[[State, Tensor], Tensor], white: float = 1.0
) -> None:
    lr = lr_picture(7, 6).double()
    state = network.state_dict()
    with torch.no_grad():
        found = network(lr.float(), scale)
        expected = reference(state, lr * white / 255) * 255 / white
    assert expected.std() > 0.5
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)  # grey levels, float32


ON_LUMA_OR_RGB = {
    "srcnn": reference_srcnn,
    "vdsr": reference_vdsr,
    "espcn": reference_espcn,
    "fsrcnn": reference_fsrcnn,
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", [name for name in FIELD if name.partition("-")[0] in ON_LUMA_OR_RGB])
def test_networks_for_luma_and_their_rgb_forms_are_the_papers(name: str, scale: int) -> None:
    layers, network = ON_LUMA_OR_RGB[name.partition("-")[0]], tiny(name, scale)

    def reference(state: State, rgb: Tensor) -> Tensor:
        if name.endswith("-rgb"):
            return layers(state, rgb, scale)
        return on_luma(rgb, scale, lambda y: layers(state, y, scale))

    assert_equal(network, scale, reference, white=vars(network.config)["pixel_range"])


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["srresnet", "srresnet-original"])
def test_srresnet_is_the_papers_in_both_forms(name: str, scale: int) -> None:
    assert_equal(tiny(name, scale), scale, lambda state, lr: reference_srresnet(state, lr, scale), white=255.0)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "groups"), [("carn", 1), ("carn-m", 4)])
def test_carn_is_the_papers(name: str, groups: int, scale: int) -> None:
    network = tiny(name)
    nn.init.normal_(network.get_parameter("exit.weight"))
    assert_equal(network, scale, lambda state, lr: reference_carn(state, lr, scale, groups))


@pytest.mark.parametrize(
    ("name", "reconstruct", "refine"),
    [
        ("lesrcnn", True, True),
        ("lesrcnn-s", True, True),
        ("lesrcnn-ieeb", False, False),
        ("lesrcnn-ieeb-rb", True, False),
    ],
)
@pytest.mark.parametrize("scale", [2, 4])
def test_lesrcnn_and_its_ablations_are_the_papers(name: str, reconstruct: bool, refine: bool, scale: int) -> None:
    network = tiny(name, scale)
    nn.init.normal_(network.get_parameter("conv18.0.weight"))
    head = f"upsample.up{scale if name == 'lesrcnn-s' else ''}."
    assert_equal(network, scale, lambda state, lr: reference_lesrcnn(state, lr, head, reconstruct, refine))


def test_names_are_those_of_other_peoples_checkpoints() -> None:
    def names(network: nn.Module) -> set[str]:
        return {key.rpartition(".")[0] for key in network.state_dict()}

    assert names(SRCNN(SRCNNConfig(2))) == {"conv1", "conv2", "conv3"}
    assert names(ESPCN(ESPCNConfig(2))) == {"first_part.0", "first_part.2", "last_part.0"}
    mid = {f"mid_part.{index}" for index in range(12)}
    assert names(FSRCNN(FSRCNNConfig(2))) == {"first_part.0", "first_part.1", *mid, "last_part"}
    layers = {f"residual_layer.{index}.conv" for index in range(18)}
    assert names(VDSR(VDSRConfig())) == {"input", *layers, "output"}


def test_kernels_and_feature_maps_are_the_published_ones() -> None:
    def layers(network: nn.Module) -> list[tuple[int, int, int]]:
        convs = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in convs if m.weight.requires_grad]

    assert layers(SRCNN(SRCNNConfig(2))) == [(1, 64, 9), (64, 32, 5), (32, 1, 5)]
    assert layers(SRCNN(SRCNNConfig(2, (9, 1, 5)))) == [(1, 64, 9), (64, 32, 1), (32, 1, 5)]
    assert layers(ESPCN(ESPCNConfig(3))) == [(1, 64, 5), (64, 32, 3), (32, 9, 3)]
    between = [(12, 12, 3)] * 4
    assert layers(FSRCNN(FSRCNNConfig(3))) == [(1, 56, 5), (56, 12, 1), *between, (12, 56, 1), (56, 1, 9)]
    slopes = [m.num_parameters for m in FSRCNN(FSRCNNConfig(3)).modules() if isinstance(m, nn.PReLU)]
    assert slopes == [56, 12, *[12] * 4, 56]  # one for each feature map, section 3.2 of the paper
    assert layers(VDSR(VDSRConfig())) == [(1, 64, 3), *[(64, 64, 3)] * 18, (64, 1, 3)]
    for config, ends in ((SRResNetConfig(2), 3), (SRResNetConfig(2, form="original"), 9)):
        expected = [(3, 64, ends), *[(64, 64, 3)] * (2 * 16 + 1), (64, 256, 3), (64, 3, ends)]
        assert layers(SRResNet(config)) == expected
    wide = layers(LESRCNN(LESRCNNConfig((2,), n_refine=109)))
    information = [(64, 64, 1 if number % 2 else 3) for number in range(2, 18)]
    refinement = [(64, 109, 3), (109, 109, 3), (109, 109, 3), (109, 64, 3), (64, 3, 3)]
    assert wide == [(3, 64, 3), *information, *refinement, (64, 256, 3)]


def test_vdsr_begins_with_a_signal_that_keeps_its_size() -> None:
    torch.manual_seed(0)
    network = VDSR(VDSRConfig((2,), colors="rgb"))
    hidden = nn.Sequential(network.input, nn.ReLU(), network.residual_layer)
    with torch.no_grad():
        x = torch.randn(1, 3, 32, 32)
        first = network.input(x).relu()
        last = hidden(x)
    assert 1 / 3 < last.std() / first.std() < 3  # over 18 layers; the default of PyTorch would leave 10^-7 of it


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: SRCNNConfig(2, kernels=(9, 4, 5)), r"kernels is \(9, 4, 5\), expected odd numbers"),
        (lambda: SRCNNConfig(2, kernels=(9, 5)), r"kernels is \(9, 5\), expected 3 positive numbers"),
        (lambda: ESPCNConfig(2, n_feats=(8, 0)), r"n_feats is \(8, 0\), expected 2 positive numbers"),
        (lambda: VDSRConfig(n_layers=1), "n_layers is 1, expected at least 2"),
        (lambda: CARNConfig(groups=3), "groups is 3, expected a divisor of the 64 feature maps"),
        (lambda: LESRCNNConfig(pixel_range=0.0), "pixel_range is 0, expected a positive number"),
    ],
)
def test_what_cannot_be_built_is_refused(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises(EdsrError, match=sentence):
        build()
