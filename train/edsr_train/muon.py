"""Muon: kernels move by their momentum with all its singular values brought near one.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. The size of an update, by which
learning rates are like Adam's, is that of Liu et al., "Muon is Scalable for LLM Training", arXiv:2502.16982, section
2.2. ``torch.optim.Muon`` is the same for matrices and refuses the kernels of convolutions.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Of x, x^3 and x^5, chosen by Jordan et al.: five rounds bring what is between 0.01 and 1 to between 0.7 and 1.2.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_RMS = 0.2  # of an update at a learning rate of 1, about that of Adam's
# Where no gradient comes any more, as behind a ReLU that is never active, the momentum fades. Its direction alone would
# go on moving the kernel by whole updates, and the square of 1e-22 is no float32. PyTorch has this bound too.
_LEAST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """For kernels of convolutions, (out, in, height, width), each taken as a matrix of out x (in height width)."""

    def __init__(
        self, kernels: Iterable[Tensor], lr: float, momentum: float = 0.95, dtype: torch.dtype = torch.float32
    ) -> None:
        """Weights and momenta stay as they are.

        Args:
            kernels: what is trained.
            lr: learning rate, like Adam's.
            momentum: share of the mean gradient that is kept at every update; with Nesterov's look ahead.
            dtype: see ``orthogonalized``.
        """
        super().__init__(kernels, {"lr": lr, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every kernel that has a gradient; others keep their weights and their momentum."""
        assert closure is None, "gradients are there already"
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for kernel in group["params"]:
                if kernel.grad is not None:
                    alike.setdefault(kernel.flatten(1).shape, []).append(kernel)
            for shape, kernels in alike.items():
                directions = torch.stack([self._direction(kernel, group["momentum"]) for kernel in kernels])
                size = _RMS * max(shape) ** 0.5
                for kernel, change in zip(kernels, orthogonalized(directions, self._dtype), strict=True):
                    kernel.add_(change.view(kernel.shape), alpha=-group["lr"] * size)

    def _direction(self, kernel: Tensor, kept: float) -> Tensor:
        assert kernel.grad is not None
        momentum = self.state[kernel].setdefault("momentum", torch.zeros_like(kernel))
        momentum.lerp_(kernel.grad, 1 - kept)
        return kernel.grad.lerp(momentum, kept).flatten(1)


def orthogonalized(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same singular vectors with singular values near one, by Newton-Schulz iterations.

    Args:
        matrices: (n, rows, columns). The result does not depend on the size of their values, but where the Frobenius
            norm is below 1e-7: there it fades with it.
        dtype: of the iterations. In bfloat16, which is as far as they are rounded in PyTorch's Muon too, the result is
            within some percent, for less time where matrix units multiply it.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if is_tall else matrices
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_LEAST_NORM)).to(dtype)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)
