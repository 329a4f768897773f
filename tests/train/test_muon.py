"""Muon: kernels move in orthogonal directions of one size, everything else by Adam."""

import pytest
import torch
from torch import Tensor

from edsr_train.muon import Muon, orthogonalized
from edsr_train.processes import Processes
from edsr_train.updater import Updater
from tiny_networks import tiny_edsr, tiny_mdsr
from tiny_training import options

ALONE = Processes(torch.device("cpu"))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(64, 576), (12, 1600), (64, 27), (256, 576), (1, 9), (9, 1)], ids=str)
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e15], ids=str)
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int], size: float) -> None:
    matrix = random(*shape)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    (made,) = orthogonalized(matrix[None] * size)
    inner = u.T @ made @ v.T
    values = inner.diagonal()
    assert values.min() > 0.6
    assert values.max() < 1.25
    torch.testing.assert_close(inner, values.diag(), atol=1e-4, rtol=0)


def test_of_zeros_nothing_comes() -> None:
    assert torch.equal(orthogonalized(torch.zeros(2, 4, 9)), torch.zeros(2, 4, 9))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_left_of_an_old_momentum_moves_nothing(dtype: torch.dtype) -> None:
    # Squares of 1e-22 are no float32: the norm came out too small, and the iterations went to infinity.
    faded = random(8, 72) * torch.tensor([1e-14, 1e-19, 1e-22, 1e-25, 1e-40])[:, None, None]
    assert orthogonalized(faded, dtype).abs().max() < 0.01


def test_a_kernel_that_gets_no_gradient_any_more_comes_to_rest() -> None:
    kernel = random(16, 8, 3, 3).requires_grad_()
    optimizer = Muon([kernel], lr=0.01)
    for update in range(1000):
        kernel.grad = random(16, 8, 3, 3, seed=1) if update == 0 else torch.zeros(16, 8, 3, 3)
        optimizer.step()
    before = kernel.detach().clone()
    optimizer.step()
    torch.testing.assert_close(kernel.detach(), before, atol=1e-9, rtol=0)


def test_matrices_beside_each_other_do_not_touch() -> None:
    matrices = torch.stack([random(8, 72), 1000 * random(8, 72, seed=1), torch.zeros(8, 72)])
    together = orthogonalized(matrices)
    alone = torch.cat([orthogonalized(matrix[None]) for matrix in matrices])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_bfloat16_is_within_some_percent() -> None:
    matrices = torch.stack([random(64, 576, seed=seed) for seed in range(4)])
    exact, rounded = orthogonalized(matrices), orthogonalized(matrices, torch.bfloat16)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)  # PyTorch's computes in bfloat16
def test_it_agrees_with_pytorch_on_matrices(dtype: torch.dtype) -> None:
    # PyTorch's takes no kernels: theirs is given as a matrix.
    start, gradients = random(16, 8, 3, 3), [random(16, 8, 3, 3, seed=seed) for seed in (1, 2, 3)]
    kernel, matrix = start.clone().requires_grad_(), start.flatten(1).clone().requires_grad_()
    ours = Muon([kernel], lr=0.01, dtype=dtype)
    theirs = torch.optim.Muon([matrix], lr=0.01, weight_decay=0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        kernel.grad, matrix.grad = gradient.clone(), gradient.flatten(1).clone()
        ours.step()
        theirs.step()
    moved, expected = (kernel.detach() - start).flatten(1), matrix.detach() - start.flatten(1)
    assert (moved - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_order_in_memory_does_not_matter(memory_format: torch.memory_format) -> None:
    start, gradient = random(16, 8, 3, 3), random(16, 8, 3, 3, seed=1)
    plain, other = start.clone().requires_grad_(), start.clone(memory_format=memory_format).requires_grad_()
    plain.grad, other.grad = gradient, gradient.clone(memory_format=memory_format)
    for kernel in (plain, other):
        Muon([kernel], lr=0.1).step()
    torch.testing.assert_close(other, plain, atol=1e-6, rtol=0)


def test_only_kernels_are_moved_by_it() -> None:
    networks = {name: tiny_edsr() for name in ("adam", "muon")}
    batch = random(2, 3, 8, 8).abs() * 100, random(2, 3, 16, 16, seed=1).abs() * 100
    for name, network in networks.items():
        Updater(network, options(optimizer=name), ALONE).update(0, *batch, 2)
    adam, muon = (dict(network.named_parameters()) for network in networks.values())
    for name, parameter in adam.items():
        same = torch.equal(parameter, muon[name])
        assert same is (parameter.ndim == 1 or not parameter.requires_grad), name


def test_kernels_of_other_scales_keep_weights_and_momentum() -> None:
    network = tiny_mdsr()
    updater = Updater(network, options(optimizer="muon"), ALONE)

    def batch(scale: int) -> tuple[Tensor, Tensor]:
        return random(2, 3, 8, 8).abs() * 100, random(2, 3, 8 * scale, 8 * scale, seed=1).abs() * 100

    for number, scale in enumerate((2, 3, 4)):
        updater.update(number, *batch(scale), scale)
    kernels = [name for name, p in network.named_parameters() if p.requires_grad and p.ndim == 4]

    def momenta() -> dict[str, Tensor]:
        state = updater.state()["muon"]["state"]
        return {name: state[index]["momentum"].clone() for index, name in enumerate(kernels)}

    before, weights = momenta(), {name: p.detach().clone() for name, p in network.named_parameters()}
    updater.update(3, *batch(3), 3)
    others = ("pre_process.0", "pre_process.2", "upsample.0", "upsample.2")
    after = momenta()
    for name in kernels:
        assert torch.equal(before[name], after[name]) is name.startswith(others), name
        assert torch.equal(weights[name], network.get_parameter(name)) is name.startswith(others), name


def test_fp16_skips_both_optimizers_where_one_overflows() -> None:
    network = tiny_edsr()
    updater = Updater(network, options(optimizer="muon", precision="fp16"), ALONE)
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    network.get_parameter("head.0.bias").register_hook(lambda gradient: gradient * float("inf"))
    lr, hr = random(2, 3, 8, 8).abs() * 100, random(2, 3, 16, 16, seed=1).abs() * 100
    assert not updater.update(0, lr, hr, 2).is_done
    assert all(torch.equal(start[name], p) for name, p in network.named_parameters())


def test_its_precision_is_that_of_the_run() -> None:
    networks = {name: tiny_edsr() for name in ("fp32", "bf16")}
    gradient = random(*tiny_edsr().get_parameter("body.0.body.0.weight").shape)
    for name, network in networks.items():
        updater = Updater(network, options(optimizer="muon", precision=name), ALONE)
        kernel = network.get_parameter("body.0.body.0.weight")
        kernel.register_hook(lambda _: gradient)
        updater.update(0, random(2, 3, 8, 8).abs() * 100, random(2, 3, 16, 16, seed=1).abs() * 100, 2)
    moved = [network.get_parameter("body.0.body.0.weight").detach() for network in networks.values()]
    start = tiny_edsr().get_parameter("body.0.body.0.weight")
    assert 0 < (moved[0] - moved[1]).norm() < 0.03 * (moved[0] - start).norm()
