import pytest
import torch
from torch import nn

from edsr_export.tail import MIN_SIDE, collapse
from edsr_train.models.blocks import Upsampler, conv
from edsr_train.models.linear_tail import is_collapsible, is_linear

FEATS = 6


def linear_tail(scale: int) -> nn.Sequential:
    torch.manual_seed(scale)
    return nn.Sequential(Upsampler(scale, FEATS), conv(FEATS, 3)).double()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(16, 24), (9, 13), (5, 7), (4, 4), (3, 3), (3, 11), (8, 3)])
def test_collapsed_tail_is_equal_at_every_pixel(scale: int, size: tuple[int, int]) -> None:
    tail = linear_tail(scale)
    features = torch.randn(2, FEATS, *size, dtype=torch.float64)
    with torch.no_grad():
        difference = (collapse(tail, scale)(features) - tail(features)).abs()
    assert float(difference.max()) < 1e-13  # float64 rounding


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_one_plain_convolution_would_be_wrong_in_the_ring_and_only_there(scale: int) -> None:
    tail = linear_tail(scale)
    features = torch.randn(1, FEATS, 12, 12, dtype=torch.float64)
    inner = next(conv for *sides, conv in collapse(tail, scale).regions() if sides == ["inner", "inner"])
    with torch.no_grad():
        cells = nn.functional.conv2d(features, inner.weight, inner.bias, padding=2)
        difference = (nn.functional.pixel_shuffle(cells, scale) - tail(features)).abs().amax(dim=(0, 1))
    ring = torch.ones_like(difference, dtype=torch.bool)
    ring[scale:-scale, scale:-scale] = False
    assert float(difference[ring].max()) > 1e-3
    assert float(difference[~ring].max()) < 1e-13


def test_the_smallest_side_is_the_one_that_is_promised() -> None:
    collapsed = collapse(linear_tail(2), 2)
    with pytest.raises(RuntimeError), torch.no_grad():
        collapsed(torch.zeros(1, FEATS, MIN_SIDE - 1, 8, dtype=torch.float64))


def test_an_activation_makes_a_tail_nonlinear() -> None:
    assert is_linear(linear_tail(4))
    assert not is_linear(nn.Sequential(Upsampler(2, FEATS), nn.PReLU(), conv(FEATS, 3)))


def test_a_direct_tail_has_nothing_to_collapse() -> None:
    assert not is_collapsible(nn.Sequential(conv(FEATS, 12, 5), nn.PixelShuffle(2)))
    assert is_collapsible(linear_tail(2))
