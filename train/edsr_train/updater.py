"""One update of the weights: forward, backward, Adam or Muon, and the average; nothing that is not finite gets in."""

import contextlib
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError
from edsr_train.compiling import check_compiler, compiler_errors_said
from edsr_train.config import TrainConfig
from edsr_train.memory import memory_for
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.models.linear_tail import CollapsedBranch, can_collapse
from edsr_train.muon import Muon
from edsr_train.processes import Processes
from edsr_train.tf32 import tf32

_CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "half-mse": lambda sr, hr: F.mse_loss(sr, hr) / 2,
}
_AUTOCAST = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_TF32_CAPABILITY = (8, 0)  # Ampere
_KERNEL_DIMENSIONS = 4  # of a convolution
_MOMENTS = {"optimizer": ("exp_avg", "exp_avg_sq"), "muon": ("momentum",)}
# The loss is scaled by 2^16 at first, and by half of it after every overflow. Gradients that overflow even here are
# those of a run that diverged.
_SMALLEST_SCALE = 2.0**-14


class Step(NamedTuple):
    """What became of one update."""

    loss: float
    """Mean over all processes."""
    is_done: bool
    """Whether the weights were changed: not if the loss or a gradient was not finite, in any process."""
    is_rescaled: bool = False
    """It was not done, but all there is to it is that fp16's range was too small: the next one has a smaller scale."""


class Updater:
    """Holds what an update changes: weights, the optimizers' moments, the scale of the loss, the averaged weights."""

    def __init__(self, network: SuperResolutionNetwork, config: TrainConfig, processes: Processes) -> None:
        """Move ``network`` to the device of ``processes`` and train it in place.

        Raises:
            EnvironmentUnfitError: the device cannot do what ``config`` asks for.
            EdsrError: the network cannot.
        """
        device = processes.device
        check_device(config, device)
        check_tail(network, config)
        network.to(device)
        if config.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network, self._config, self._processes = network, config, processes
        self._averaged = copy.deepcopy(network).requires_grad_(False) if config.ema else None
        self._trained = [p for p in network.parameters() if p.requires_grad]
        self._forward = processes.share(_AtScale(network, config), has_unused=len(network.scales) > 1)
        self._optimizers = _optimizers(self._trained, config)
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self._criterion = _CRITERIA[config.loss]

    @property
    def delivered(self) -> SuperResolutionNetwork:
        """The network to be validated and saved: the average, if there is one."""
        return self._network if self._averaged is None else self._averaged

    def update(self, number: int, lr: Tensor, hr: Tensor, scale: int) -> Step:
        """Do the update with this number, counted from 0.

        Parameters that the scale does not use are not touched, nor are their moments.

        Args:
            number: decides the learning rate.
            lr: this process's part of the batch, (n, 3, h, w) float32 in 0..255.
            hr: (n, 3, scale*h, scale*w).
            scale: of this batch; the same in all processes.

        Raises:
            EnvironmentUnfitError: too little memory, or a compiler that fails.
        """
        what = f"an update with {len(lr)} patches of {lr.shape[-2]}x{lr.shape[-1]} LR pixels at x{scale}"
        advice = "Choose a smaller --batch or --patch, or --precision bf16"
        with memory_for(what, advice), compiler_errors_said() if self._config.compile else contextlib.nullcontext():
            return self._update(number, lr, hr, scale)

    def _update(self, number: int, lr: Tensor, hr: Tensor, scale: int) -> Step:
        config = self._config
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(number)
        if config.channels_last:
            lr = lr.contiguous(memory_format=torch.channels_last)
        dtype = _AUTOCAST[config.precision]
        before = [buffer.clone() for buffer in self._network.buffers()]  # batch norm's, which a forward pass changes
        with tf32(config.precision == "tf32"):
            with torch.autocast(lr.device.type, dtype, enabled=dtype is not None):
                sr = self._forward(lr, scale)
            loss = self._criterion(sr.float(), _inner(hr, sr))
            self._network.zero_grad(set_to_none=True)
            self._scaler.scale(loss).backward()
        for optimizer in self._optimizers.values():
            self._scaler.unscale_(optimizer)
        gradients = [p.grad for p in self._trained if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        own_loss, length = torch.stack([loss.detach(), norm]).tolist()  # together: a GPU is waited for once
        (mean_loss,) = self._processes.mean([own_loss])
        is_finite = math.isfinite(mean_loss) and math.isfinite(length)
        is_rescaled = False
        if is_finite:
            if config.clip:
                nn.utils.clip_grads_with_norm_(self._trained, config.clip, norm)
            for optimizer in self._optimizers.values():
                self._scaler.step(optimizer)
            self._average(number)
        else:
            for buffer, kept in zip(self._network.buffers(), before, strict=True):
                buffer.copy_(kept)
            if self._scaler.is_enabled():
                is_rescaled = math.isfinite(mean_loss) and self._scaler.get_scale() > _SMALLEST_SCALE
        self._scaler.update()
        return Step(mean_loss, is_finite, is_rescaled)

    def idle_kernels(self) -> int:
        """Kernels that the last update used and that got no gradient: all zeros, in this process."""
        kernels = [p.grad for p in self._trained if p.ndim == _KERNEL_DIMENSIONS and p.grad is not None]
        return sum(not gradient.any() for gradient in kernels)

    def state(self) -> dict[str, Any]:
        """All that ``restore`` needs beside the weights that are delivered."""
        return {
            "weights": None if self._averaged is None else dict(self._network.state_dict()),
            **{name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to where ``state`` was taken; the network this was made with has the weights that were delivered.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: the state is damaged, or of another network.
        """
        if self._averaged is not None:
            self._network.load_state_dict(state["weights"])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state[name])
            for parameter, moments in optimizer.state.items():
                if any(moments[moment].shape != parameter.shape for moment in _MOMENTS[name]):
                    raise ValueError("the optimizer is of another network")
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])

    @torch.no_grad()
    def _average(self, number: int) -> None:
        if self._averaged is None:
            return
        # Young averages have a short memory, or the random initial weights would stay in them for long.
        decay = min(self._config.ema, (1 + number) / (10 + number))
        for mean, newest in zip(self._averaged.parameters(), self._network.parameters(), strict=True):
            if newest.requires_grad:
                mean.lerp_(newest, 1 - decay)
        for kept, latest in zip(self._averaged.buffers(), self._network.buffers(), strict=True):
            kept.copy_(latest)


def _optimizers(trained: Sequence[nn.Parameter], config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
    """By their name in a checkpoint: Adam for everything, or Muon for kernels and Adam for what is left."""
    kernels = [p for p in trained if p.ndim == _KERNEL_DIMENSIONS and config.optimizer == "muon"]
    others = [p for p in trained if not any(p is kernel for kernel in kernels)]
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if others:  # VDSR has nothing but kernels
        optimizers["optimizer"] = torch.optim.Adam(others, lr=config.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)
    if kernels:
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        optimizers["muon"] = Muon(kernels, config.lr, dtype=dtype)
    return optimizers


def _inner(hr: Tensor, sr: Tensor) -> Tensor:
    """The part of ``hr`` that ``sr`` is of: all of it, or all but a ring."""
    ring = (hr.shape[-1] - sr.shape[-1]) // 2
    return hr[..., ring : hr.shape[-2] - ring, ring : hr.shape[-1] - ring]


def check_device(config: TrainConfig, device: torch.device) -> None:
    """EnvironmentUnfitError if the device cannot do what ``config`` asks for."""
    if config.precision == "tf32" and (
        device.type != "cuda" or torch.cuda.get_device_capability(device) < _TF32_CAPABILITY
    ):
        raise EnvironmentUnfitError("--precision tf32 needs an NVIDIA GPU since Ampere. Choose fp32")
    if config.compile:
        check_compiler(device)


def check_tail(network: SuperResolutionNetwork, config: TrainConfig) -> None:
    """EdsrError if ``config`` wants a tail collapsed that cannot be."""
    if config.collapse_tail and not all(can_collapse(network.branch(scale)) for scale in network.scales):
        raise EdsrError(
            "--collapse-tail: the tail of this network is one convolution already, or not linear. Leave it away"
        )


class _AtScale(nn.Module):
    """The network at a scale that is an argument: what is compiled, and shared between processes."""

    def __init__(self, network: SuperResolutionNetwork, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        branches: dict[int, nn.Module] = {scale: network.branch(scale) for scale in network.scales}
        if config.collapse_tail:
            branches = {scale: CollapsedBranch(network.branch(scale)) for scale in network.scales}
        # In a plain dict, since the parameters are the network's own already.
        self._branches = {s: torch.compile(branch) if config.compile else branch for s, branch in branches.items()}

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        return self._branches[scale](lr)
