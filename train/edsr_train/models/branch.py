"""One scale of a network, as the chain of parts that export works on."""

import abc
from dataclasses import Field
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn


class NetworkConfig(Protocol):
    """A frozen dataclass such as ``EDSRConfig``; the network is built from nothing else."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


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


class SuperResolutionNetwork(nn.Module, abc.ABC):
    """What every network offers beside being a module: its configuration, and each of its scales as a chain."""

    config: NetworkConfig

    @property
    @abc.abstractmethod
    def scales(self) -> tuple[int, ...]:
        """The scales it has heads for."""

    @abc.abstractmethod
    def branch(self, scale: int) -> Branch:
        """One scale as a chain of parts that share the network's weights; ValueError if it has no such head."""
