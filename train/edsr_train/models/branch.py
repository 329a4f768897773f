"""One scale of a network, as the chain of parts that export works on."""

from torch import Tensor, nn


class Residual(nn.Module):
    """``head``, then ``body`` with a skip connection around it."""

    def __init__(self, head: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, F, H, W)."""
        x = self.head(x)
        return x + self.body(x)


class Branch(nn.Module):
    """``add_mean(tail(features(sub_mean(lr))))``: the same function as the network at this scale, sharing its weights.

    Every network has a ``branch(scale)`` that gives one. Export changes the parts by what they are made of, so a new
    network needs no code there.
    """

    def __init__(
        self, scale: int, sub_mean: nn.Conv2d, features: nn.Module, tail: nn.Sequential, add_mean: nn.Conv2d
    ) -> None:
        super().__init__()
        self.scale = scale
        self.sub_mean = sub_mean
        self.features = features
        self.tail = tail
        self.add_mean = add_mean

    def forward(self, lr: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..255 -> (N, 3, scale*H, scale*W), same range, not clamped."""
        return self.add_mean(self.tail(self.features(self.sub_mean(lr))))
