"""The networks are the paper's: sizes, names, and functions of nothing but their input."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig

ODD_SIZES = [(1, 1), (1, 7), (5, 3), (9, 2)]


def tiny_edsr(scale: int, **options: Any) -> EDSR:
    torch.manual_seed(0)
    return EDSR(EDSRConfig(scale, n_resblocks=1, n_feats=8, **options))


def tiny_mdsr() -> MDSR:
    torch.manual_seed(0)
    return MDSR(MDSRConfig(n_resblocks=1, n_feats=8))


def lr_picture(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


def everything(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, dict[str, object]]]:
    """Weights, and whatever else the modules keep as attributes."""
    containers = ("_parameters", "_buffers", "_modules")
    attributes = {
        name: {key: value for key, value in vars(module).items() if key not in containers}
        for name, module in network.named_modules()
    }
    return {key: value.clone() for key, value in network.state_dict().items()}, attributes


# Lim et al., arXiv:1707.02921, table 1 (43M, 8.0M), and to these digits in the papers that compare with it.
@pytest.mark.parametrize(
    ("build", "published"),
    [
        (lambda: EDSR(EDSRConfig(2)), "1.370"),
        (lambda: EDSR(EDSRConfig(3)), "1.554"),
        (lambda: EDSR(EDSRConfig(4)), "1.518"),
        (lambda: EDSR(EDSRConfig(2, 32, 256, 0.1)), "40.73"),
        (lambda: EDSR(EDSRConfig(3, 32, 256, 0.1)), "43.68"),
        (lambda: EDSR(EDSRConfig(4, 32, 256, 0.1)), "43.09"),
        (lambda: MDSR(MDSRConfig(n_resblocks=16)), "3.23"),
        (lambda: MDSR(MDSRConfig()), "7.95"),
    ],
    ids=[
        *(f"{name}-x{scale}" for name in ("edsr-baseline", "edsr") for scale in (2, 3, 4)),
        "mdsr-baseline",
        "mdsr",
    ],
)
def test_parameter_counts_are_the_published_ones(build: Callable[[], nn.Module], published: str) -> None:
    with torch.device("meta"):
        network = build()
    millions = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
    digits = len(published.partition(".")[2])
    assert f"{millions:.{digits}f}" == published


@pytest.mark.parametrize("size", ODD_SIZES, ids=str)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_network_upscales_every_size_and_stays_as_it_was(scale: int, size: tuple[int, int]) -> None:
    lr = lr_picture(*size)
    expected = (2, 3, scale * size[0], scale * size[1])
    cases: list[tuple[nn.Module, tuple[int, ...]]] = [
        (tiny_edsr(scale, res_scale=0.1), ()),
        (tiny_edsr(scale, tail="direct"), ()),
        (tiny_mdsr(), (scale,)),
    ]
    for network, arguments in cases:
        weights, attributes = everything(network)
        untouched = lr.clone()
        sr = network(lr, *arguments)
        assert sr.shape == expected
        assert torch.isfinite(sr).all()
        assert torch.equal(network(lr, *arguments), sr)
        assert torch.equal(lr, untouched)
        weights_after, attributes_after = everything(network)
        assert attributes_after == attributes
        assert weights_after.keys() == weights.keys()
        assert all(torch.equal(weights_after[key], weights[key]) for key in weights)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_branch_is_the_network_at_its_scale(scale: int) -> None:
    lr = lr_picture(5, 6)
    for edsr in (tiny_edsr(scale, res_scale=0.1), tiny_edsr(scale, tail="direct")):
        assert torch.equal(edsr.branch(scale)(lr), edsr(lr))
    mdsr = tiny_mdsr()
    assert torch.equal(mdsr.branch(scale)(lr), mdsr(lr, scale))


def test_a_branch_of_mdsr_holds_no_other_scale() -> None:
    mdsr = tiny_mdsr()
    names = {id(parameter): name for name, parameter in mdsr.named_parameters()}
    held = {names[id(parameter)] for parameter in mdsr.branch(3).parameters()}
    others = ("pre_process.0.", "pre_process.2.", "upsample.0.", "upsample.2.")
    assert held == {name for name in names.values() if not name.startswith(others)}


def test_a_branch_of_another_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="this network has scale 2, not 3"):
        tiny_edsr(2).branch(3)
    with pytest.raises(ValueError, match=r"this network has the scales \(2, 3, 4\), not 5"):
        tiny_mdsr().branch(5)


def test_mdsr_has_no_current_scale() -> None:
    mdsr, lr = tiny_mdsr(), lr_picture(4, 4)
    first = mdsr(lr, 2)
    mdsr(lr, 4)
    assert torch.equal(mdsr(lr, 2), first)
    with pytest.raises(TypeError, match="scale"):
        mdsr(lr)


def test_residual_scaling_weighs_the_branch_and_nothing_else() -> None:
    full, tenth = tiny_edsr(2), tiny_edsr(2, res_scale=0.1)
    tenth.load_state_dict(full.state_dict())
    x = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(tenth.body[0](x) - x, (full.body[0](x) - x) * 0.1)


def test_names_are_those_of_the_authors_checkpoints() -> None:
    # Keys of a checkpoint of EDSR-PyTorch, --model EDSR --scale 4 --n_resblocks 2
    convolutions = (
        "sub_mean", "add_mean", "head.0",
        "body.0.body.0", "body.0.body.2", "body.1.body.0", "body.1.body.2", "body.2",
        "tail.0.0", "tail.0.2", "tail.1",
    )  # fmt: skip
    expected = {f"{name}.{kind}" for name in convolutions for kind in ("weight", "bias")}
    assert set(EDSR(EDSRConfig(4, n_resblocks=2, n_feats=8)).state_dict()) == expected


def test_the_mean_colour_of_div2k_leaves_the_head_nothing_to_do() -> None:
    edsr = tiny_edsr(2)
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040])
    picture = mean.view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert edsr.sub_mean(picture).abs().max() < 1e-4  # of 255; float32 rounding
    torch.testing.assert_close(edsr.add_mean(torch.zeros(1, 3, 4, 4)), picture)
    assert not any(p.requires_grad for shift in (edsr.sub_mean, edsr.add_mean) for p in shift.parameters())
