import pytest
import torch

from edsr_export.deploy import Deployed
from edsr_export.fold import choose_range_shift, fold
from edsr_train.models.branch import Branch
from tiny_networks import tiny_edsr, tiny_mdsr


def folded_difference(branch: Branch, *, collapse_tail: bool, mean_in_bias: bool, range_shift: int) -> float:
    """Largest difference in float64, where only the folds and not rounding can show."""
    lr = torch.rand(2, 3, 7, 9, dtype=torch.float64) * 255
    with torch.no_grad():
        expected = branch.double()(lr)
        folded = fold(branch, collapse_tail=collapse_tail, mean_in_bias=mean_in_bias, range_shift=range_shift)
        deployed = Deployed(folded, torch.float64).double()
        found = folded_output(deployed, lr)
    return float((found - expected).abs().max())


def folded_output(deployed: Deployed, lr: torch.Tensor) -> torch.Tensor:
    """``Deployed.forward`` without its last cast to float32."""
    x = lr if deployed.shift_in is None else lr + deployed.shift_in
    x = (x if deployed.entry is None else deployed.entry(x)) * deployed.gain
    y: torch.Tensor = deployed.tail(deployed.features(x))
    y = y if deployed.base is None else y + deployed.base(lr)
    return y if deployed.shift_out is None else y + deployed.shift_out


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("collapse_tail", [True, False])
@pytest.mark.parametrize("mean_in_bias", [True, False])
@pytest.mark.parametrize("range_shift", [0, 5])
def test_folding_changes_nothing(scale: int, collapse_tail: bool, mean_in_bias: bool, range_shift: int) -> None:
    branch = tiny_edsr(scale).branch(scale)
    difference = folded_difference(
        branch, collapse_tail=collapse_tail, mean_in_bias=mean_in_bias, range_shift=range_shift
    )
    assert difference < 2e-5  # the mean is kept in float32; everything else is float64


def test_folding_changes_nothing_with_a_colour_matrix_in_the_mean_shift() -> None:
    network = tiny_edsr()
    with torch.no_grad():
        for shift in (network.sub_mean, network.add_mean):
            shift.weight.copy_((torch.eye(3) + 0.2 * torch.rand(3, 3)).view(3, 3, 1, 1))
    difference = folded_difference(network.branch(2), collapse_tail=True, mean_in_bias=True, range_shift=0)
    assert difference < 2e-4  # the mean through the inverse of the matrix, float32


def test_folding_leaves_the_network_as_it_was() -> None:
    network = tiny_edsr()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fold(network.branch(2), collapse_tail=True, mean_in_bias=True, range_shift=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.body[0].res_scale == 0.5


def test_every_fold_is_named() -> None:
    folds = fold(tiny_edsr().branch(2), collapse_tail=True, mean_in_bias=True, range_shift=2).folds
    assert folds == (
        "residual scaling 0.5 into the second convolution of 2 blocks",
        "range of the activations times 2^-2",
        "mean into the bias of the last convolution",
        "tail into one 5x5 convolution to 12 channels, border ring exact",
    )


def test_a_direct_tail_stays_as_it_is() -> None:
    folds = fold(tiny_edsr(tail="direct").branch(2), collapse_tail=True, mean_in_bias=True, range_shift=0).folds
    assert not any("5x5" in name for name in folds)


def test_range_shift_follows_the_activations() -> None:
    network = tiny_edsr()
    assert choose_range_shift(network.branch(2)) == 0
    with torch.no_grad():
        network.get_parameter("head.0.weight").mul_(400)
    shift = choose_range_shift(network.branch(2))
    assert shift > 0
    difference = folded_difference(network.branch(2), collapse_tail=True, mean_in_bias=False, range_shift=shift)
    assert difference < 2e-3  # activations 400 times as large, and their rounding


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_mdsr_folds_at_every_scale(scale: int) -> None:
    branch = tiny_mdsr().branch(scale)
    assert folded_difference(branch, collapse_tail=True, mean_in_bias=True, range_shift=0) < 2e-5
