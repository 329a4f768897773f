"""Everything a training run is told, with the paper's numbers as defaults."""

import math
from dataclasses import dataclass
from typing import Literal

from edsr_runtime.errors import EdsrError


@dataclass(frozen=True)
class TrainConfig:
    """Options of one run. Defaults: Lim et al., arXiv:1707.02921, section 4.2."""

    patch: int = 48
    """Side of a training patch, LR pixels."""
    batch: int = 16
    """Patches per update."""
    updates: int = 300_000
    """Length of the run."""
    lr: float = 1e-4
    """Adam's learning rate at its peak."""
    schedule: Literal["halving", "cosine"] = "halving"
    """``halving``: the paper's, half the rate every ``halve_every`` updates. ``cosine``: down to zero at the end."""
    halve_every: int = 200_000
    """Updates between two halvings."""
    warmup: int = 0
    """Updates over which the rate grows linearly from zero."""
    loss: Literal["l1", "mse"] = "l1"
    """L1 in the paper; it found MSE worse."""
    ema: float = 0.0
    """Decay of the averaged weights that are validated and saved; 0 keeps the plain weights."""
    bf16: bool = False
    """bfloat16 autocast, channels-last."""
    compile: bool = False
    """``torch.compile`` the network."""
    seed: int = 0
    """Seed of initial weights and patches."""
    validate_every: int = 5_000
    """Updates between two validations, and between two checkpoints."""

    def __post_init__(self) -> None:
        for name in ("patch", "batch", "updates", "halve_every", "validate_every"):
            if getattr(self, name) < 1:
                raise EdsrError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise EdsrError(f"the learning rate is {self.lr:g}, expected a positive number such as 1e-4")
        if not 0 <= self.ema < 1:
            raise EdsrError(f"the EMA decay is {self.ema:g}, expected 0 (off) or a number below 1, such as 0.999")
        if not 0 <= self.warmup < self.updates:
            raise EdsrError(f"warmup is {self.warmup}, expected 0 (off) or fewer than the {self.updates} updates")
        if self.seed < 0:
            raise EdsrError(f"the seed is {self.seed}, expected 0 or a positive number")

    def lr_at(self, update: int) -> float:
        """Learning rate of the update with this number, counted from 0."""
        if update < self.warmup:
            return self.lr * (update + 1) / self.warmup
        if self.schedule == "halving":
            return self.lr * 0.5 ** (update // self.halve_every)
        progress = (update - self.warmup) / max(1, self.updates - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * progress))
