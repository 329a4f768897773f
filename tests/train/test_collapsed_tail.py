"""A tail that is computed as one convolution is the same function of the same weights, gradients included."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edsr_runtime.errors import EdsrError
from edsr_train.models import EDSR, EDSRConfig
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.models.linear_tail import CollapsedBranch, can_collapse
from edsr_train.models.srresnet import SRResNet, SRResNetConfig
from edsr_train.processes import Processes
from edsr_train.updater import Updater
from tiny_networks import tiny_edsr, tiny_mdsr
from tiny_training import options

ALONE = Processes(torch.device("cpu"))


def network_of(kind: str, scale: int) -> SuperResolutionNetwork:
    return tiny_mdsr() if kind == "mdsr" else tiny_edsr(scale)


class WithoutRing(nn.Module):
    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        return self.whole(lr, scale)[..., scale:-scale, scale:-scale]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 255


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", ["edsr", "mdsr"])
@pytest.mark.parametrize("hw", [(3, 3), (3, 9), (8, 11)], ids=str)
def test_inside_the_ring_outputs_and_gradients_are_equal(kind: str, scale: int, hw: tuple[int, int]) -> None:
    network = network_of(kind, scale).double()
    branch = network.branch(scale)
    lr = random(2, 3, *hw)
    whole, collapsed = branch(lr)[..., scale:-scale, scale:-scale], CollapsedBranch(branch)(lr)
    torch.testing.assert_close(collapsed, whole, atol=1e-10, rtol=0)
    trained = [p for p in branch.parameters() if p.requires_grad]
    weight = random(*whole.shape, seed=1)
    gradients = (torch.autograd.grad((sr * weight).sum(), trained) for sr in (whole, collapsed))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, atol=1e-9 * one.abs().max().item(), rtol=0)


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon", "ema": 0.5}, {"precision": "bf16"}], ids=str)
def test_an_update_is_that_of_a_loss_without_the_ring(changes: dict[str, Any]) -> None:
    lr, hr = random(2, 3, 9, 9).float(), random(2, 3, 27, 27, seed=1).float()
    networks = {flag: tiny_edsr(3) for flag in (False, True)}
    ends = {}
    for flag, network in networks.items():
        updater = Updater(network, options(patch=9, collapse_tail=flag, **changes), ALONE)
        if not flag:
            updater._forward = WithoutRing(updater._forward)
        ends[flag] = [updater.update(number, lr, hr, 3).loss for number in range(3)]
    # Adam and Muon divide by the size of the gradient, so rounding may show
    tolerance = 0.02 if changes.get("precision") == "bf16" else 1e-4
    assert ends[True] == pytest.approx(ends[False], rel=tolerance)
    for one, other in zip(networks[False].parameters(), networks[True].parameters(), strict=True):
        assert (one - other).abs().max() < (5e-3 if changes.get("precision") == "bf16" else 5e-4)


def test_tails_that_cannot_be_are_refused() -> None:
    direct = EDSR(EDSRConfig(2, n_resblocks=1, n_feats=8, tail="direct"))
    original = SRResNet(SRResNetConfig(2, n_resblocks=1, n_feats=8, form="original"))
    for network in (direct, original):
        assert not can_collapse(network.branch(2))
        with pytest.raises(EdsrError, match="the tail of this network is one convolution already, or not linear"):
            Updater(network, options(collapse_tail=True), ALONE)
    with pytest.raises(EdsrError, match="patch is 2, expected at least 3 with --collapse-tail"):
        options(patch=2, collapse_tail=True)
