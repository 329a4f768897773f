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


class Muon(torch.optim.Optimizer):
    """For kernels of convolutions, (out, in, height, width), each taken as a matrix of out x (in height width)."""

    def __init__(self, kernels: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        """``momentum``: share of the mean gradient that is kept at every update; with Nesterov's look ahead."""
        super().__init__(kernels, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every kernel that has a gradient; others keep their weights and their momentum."""
        assert closure is None, "gradients are there already"
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                momentum = self.state[kernel].setdefault("momentum", torch.zeros_like(kernel))
                momentum.lerp_(kernel.grad, 1 - group["momentum"])
                direction = kernel.grad.lerp(momentum, group["momentum"]).flatten(1)
                size = _RMS * max(direction.shape) ** 0.5
                kernel.add_(orthogonalized(direction).view(kernel.shape), alpha=-group["lr"] * size)


def orthogonalized(matrix: Tensor) -> Tensor:
    """The same singular vectors with singular values near one, by Newton-Schulz iterations.

    Args:
        matrix: (m, n), of any size of values. Zeros stay zeros.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if is_tall else matrix
    x = x / x.norm().clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x
