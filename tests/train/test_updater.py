"""One update: Adam's own arithmetic, and nothing else of the network is touched."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edsr_runtime.errors import EnvironmentUnfitError
from edsr_train.compiling import check_compiler
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.models.srresnet import SRResNet, SRResNetConfig
from edsr_train.models.vdsr import VDSR, VDSRConfig
from edsr_train.processes import Processes
from edsr_train.tf32 import allow_tf32, is_tf32_allowed, tf32
from edsr_train.updater import Updater
from tiny_networks import tiny_edsr, tiny_mdsr
from tiny_training import options

ALONE = Processes(torch.device("cpu"))


def batch(scale: int, seed: int = 0, size: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lr, hr = ((size, 3, side, side) for side in (8, 8 * scale))
    return torch.rand(lr, generator=generator) * 255, torch.rand(hr, generator=generator) * 255


def copied(network: SuperResolutionNetwork) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("loss", ["l1", "mse", "half-mse"])
@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_updates_are_those_of_adam_on_the_chosen_loss(loss: str, clip: float) -> None:
    config = options(loss=loss, clip=clip, schedule="cosine", warmup=1)
    network, reference = tiny_edsr(), tiny_edsr()
    updater = Updater(network, config, ALONE)
    parameters = [p for p in reference.parameters() if p.requires_grad]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    for step in range(3):
        lr, hr = batch(2, step)
        found, is_done, _ = updater.update(step, lr, hr, 2)
        difference = reference(lr) - hr
        squared = difference.square().mean()
        error = {"l1": difference.abs().mean(), "mse": squared, "half-mse": squared / 2}[loss]
        assert (found, is_done) == (pytest.approx(error.item(), rel=1e-5), True)
        gradients = torch.autograd.grad(error, parameters)
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        shortened = min(1.0, clip / norm.item()) if clip else 1.0
        with torch.no_grad():
            for p, g, (first, second) in zip(parameters, gradients, moments, strict=True):
                first.mul_(0.9).add_(0.1 * shortened * g)
                second.mul_(0.999).add_(0.001 * (shortened * g) ** 2)
                rate = config.lr_at(step) / (1 - 0.9 ** (step + 1))
                p -= rate * first / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(network.state_dict()[key], value, rtol=1e-4, atol=2e-6, msg=key)


def test_mean_shifts_are_not_trained() -> None:
    network = tiny_edsr()
    start = copied(network)
    Updater(network, options(), ALONE).update(0, *batch(2), 2)
    unchanged = {key for key in start if torch.equal(start[key], network.state_dict()[key])}
    assert unchanged == {"sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias"}


@pytest.mark.parametrize("changes", [{}, {"ema": 0.5, "clip": 1.0}, {"precision": "fp16"}], ids=str)
def test_mdsr_updates_one_scale_and_leaves_weights_and_moments_of_the_others(changes: dict[str, Any]) -> None:
    network = tiny_mdsr()
    updater = Updater(network, options(**changes), ALONE)
    for number, scale in enumerate((2, 3, 4)):  # now every head has moments
        settle(updater, number, scale)
    names = [name for name, p in network.named_parameters() if p.requires_grad]
    before, moments = copied(network), state_of(updater, names)

    assert updater.update(3, *batch(3, 1), 3).is_done

    others = ("pre_process.0", "pre_process.2", "upsample.0", "upsample.2")
    after = state_of(updater, names)
    for name in names:
        changed = not torch.equal(before[name], network.state_dict()[name])
        assert changed is not name.startswith(others), name
        assert all(torch.equal(moments[name][k], after[name][k]) for k in moments[name]) is name.startswith(others), (
            name
        )


def settle(updater: Updater, number: int, scale: int) -> None:
    """Do an update; in fp16 the first ones are skipped until the scale of the loss is low enough."""
    assert any(updater.update(number, *batch(scale), scale).is_done for _ in range(8))


def state_of(updater: Updater, names: list[str]) -> dict[str, dict[str, Tensor]]:
    """Adam's moments and step by parameter."""
    state = updater.state()["optimizer"]["state"]
    return {name: {k: v.clone() for k, v in state[i].items()} for i, name in enumerate(names)}


def test_kernels_without_gradient_are_counted() -> None:
    network = tiny_mdsr()
    updater = Updater(network, options(), ALONE)
    updater.update(0, *batch(2), 2)
    assert updater.idle_kernels() == 0, "those of other scales were not asked"
    network.get_parameter("body.0.body.0.bias").data.fill_(-1e6)  # its ReLU is never active again
    updater.update(1, *batch(2), 2)
    assert updater.idle_kernels() == 2, "on both sides of the ReLU"


def test_fp16_scales_the_loss_and_lowers_the_scale_when_it_overflows() -> None:
    network = tiny_edsr()
    updater = Updater(network, options(precision="fp16"), ALONE)
    settle(updater, 0, 2)
    scale = updater.state()["scaler"]["scale"]
    start = copied(network)
    network.get_parameter("head.0.bias").register_hook(lambda gradient: gradient * float("inf"))
    assert updater.update(1, *batch(2), 2)[1:] == (False, True)
    assert updater.state()["scaler"]["scale"] == scale / 2
    assert all(torch.equal(start[key], value) for key, value in network.state_dict().items())


def test_a_loss_that_is_nan_is_not_put_down_to_the_scale() -> None:
    updater = Updater(tiny_edsr(), options(precision="fp16"), ALONE)
    lr, hr = batch(2)
    assert updater.update(0, lr, hr * float("nan"), 2)[1:] == (False, False)


def test_what_overflows_at_any_scale_is_put_down_to_the_run() -> None:
    network = tiny_edsr()
    updater = Updater(network, options(precision="fp16"), ALONE)
    network.get_parameter("head.0.bias").register_hook(lambda gradient: gradient * float("inf"))
    steps = [updater.update(number, *batch(2), 2) for number in range(40)]
    rescaled = [step.is_rescaled for step in steps]
    assert rescaled == sorted(rescaled, reverse=True)  # first all of the one kind, then all of the other
    assert (sum(rescaled), any(step.is_done for step in steps)) == (30, False)  # 2^16 to 2^-14


def test_fp32_knows_no_scale() -> None:
    network = tiny_edsr()
    updater = Updater(network, options(), ALONE)
    network.get_parameter("head.0.bias").register_hook(lambda gradient: gradient * float("inf"))
    assert updater.update(0, *batch(2), 2)[1:] == (False, False)


def test_fp16_with_mse_gets_going() -> None:
    # Its gradients are about a hundred times those of L1: many halvings come before the first update.
    network = tiny_edsr()
    updater = Updater(network, options(precision="fp16", loss="mse"), ALONE)
    steps = [updater.update(number, *batch(2), 2) for number in range(30)]
    assert steps[-1].is_done
    assert all(step.is_done or step.is_rescaled for step in steps)


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(EnvironmentUnfitError, match="--precision tf32 needs an NVIDIA GPU since Ampere"):
        Updater(tiny_edsr(), options(precision="tf32"), ALONE)


def test_tf32_is_on_only_where_it_is_wanted() -> None:
    before = is_tf32_allowed()
    allow_tf32(False)
    try:
        with tf32(True):
            assert is_tf32_allowed()
        assert not is_tf32_allowed()
        with tf32(False):
            assert not is_tf32_allowed()
    finally:
        allow_tf32(before)


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "the GPU's memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "memory"),
    ],
)
def test_too_little_memory_is_one_sentence(error: RuntimeError, place: str) -> None:
    network = tiny_edsr()
    updater = Updater(network, options(), ALONE)

    def full(*_: object) -> None:
        raise error

    network.head.register_forward_pre_hook(full)
    what = f"an update with 2 patches of 8x8 LR pixels at x2 does not fit into {place}"
    with pytest.raises(EnvironmentUnfitError, match=f"^{what}\\. Choose a smaller --batch or --patch, or --precision"):
        updater.update(0, *batch(2), 2)


def test_other_runtime_errors_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        Updater(tiny_edsr(), options(), ALONE).update(0, batch(2)[0][:, :2], batch(2)[1], 2)


def test_a_compiler_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def broken(*_: object, **__: object) -> None:
        raise TorchDynamoException("CppCompileError: C++ compile error\n\nCommand:\ng++ ...")

    monkeypatch.setattr(torch, "compile", lambda branch: branch)
    monkeypatch.setattr(Updater, "_update", broken)
    updater = Updater(tiny_edsr(), options(compile=True), ALONE)
    with pytest.raises(EnvironmentUnfitError) as caught:
        updater.update(0, *batch(2), 2)
    expected = "--compile: PyTorch's compiler failed (CppCompileError: C++ compile error). Leave it away"
    assert str(caught.value) == expected


@pytest.mark.parametrize(("device", "language"), [("cpu", r"C\+\+"), ("cuda", "C")])
def test_compile_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, language: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CXX", "CC"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(EnvironmentUnfitError, match=f"--compile needs a {language} compiler"):
        check_compiler(torch.device(device))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_stay_fp32_and_the_loss_is_near_that_of_fp32(precision: str) -> None:
    losses = []
    for chosen in ("fp32", precision):
        network = tiny_edsr()
        updater = Updater(network, options(precision=chosen, channels_last=True), ALONE)
        losses.append(updater.update(0, *batch(2), 2)[0])
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)  # 8 bits of mantissa


@pytest.mark.slow  # the compiler takes half a minute
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")  # PyTorch's own use of it
def test_a_compiled_network_gets_the_same_update() -> None:
    networks = [tiny_edsr(), tiny_edsr()]
    for network, compiled in zip(networks, (False, True), strict=True):
        Updater(network, options(compile=compiled), ALONE).update(0, *batch(2), 2)
    for key, value in networks[0].state_dict().items():
        torch.testing.assert_close(networks[1].state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_muon_trains_a_network_that_has_nothing_but_kernels() -> None:
    network = VDSR(VDSRConfig((2,), n_layers=3, n_feats=8))
    updater = Updater(network, options(optimizer="muon"), ALONE)
    before = copied(network)
    assert updater.update(0, *batch(2), 2).is_done
    assert any(not torch.equal(value, before[key]) for key, value in network.state_dict().items())
    again = Updater(VDSR(VDSRConfig((2,), n_layers=3, n_feats=8)), options(optimizer="muon"), ALONE)
    again.restore(updater.state())
    assert set(updater.state()) == {"weights", "muon", "scaler"}


def test_a_skipped_update_leaves_the_statistics_of_batch_norm_as_they_were() -> None:
    network = SRResNet(SRResNetConfig(2, n_resblocks=1, n_feats=8)).train()
    updater = Updater(network, options(ema=0.9), ALONE)
    assert updater.update(0, *batch(2), 2).is_done
    before, delivered = copied(network), copied(updater.delivered)
    assert any("running_mean" in key and value.any() for key, value in before.items())
    lr, hr = batch(2)
    assert not updater.update(1, torch.full_like(lr, torch.inf), hr, 2).is_done
    for key, value in before.items():
        assert torch.equal(network.state_dict()[key], value), key
        assert torch.equal(updater.delivered.state_dict()[key], delivered[key]), key
    assert updater.update(2, *batch(2), 2).is_done
