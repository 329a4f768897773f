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
    """``add_mean(tail(features(sub_mean(lr)))) + base(lr)``: the network at this scale, sharing its weights.

    Every network has a ``branch(scale)`` that gives one. Export changes the parts by what they are made of, so a new
    network needs no code there.
    """

    def __init__(
        self,
        scale: int,
        sub_mean: nn.Module,
        features: nn.Module,
        tail: nn.Sequential,
        add_mean: nn.Module,
        base: nn.Module | None = None,
    ) -> None:
        """Args:
        scale: enlargement of height and width.
        sub_mean: an affine map of colours, RGB in 0..255 -> the three colours or the luma that ``features`` takes.
        features: all layers with an activation before them; its first convolution alone takes the colours.
        tail: from features to the picture; what is linear in it is made one by export.
        add_mean: an affine map of colours back to RGB in 0..255.
        base: a fixed linear map LR -> SR that the network adds to, such as a bicubic enlargement.
        """
        super().__init__()
        self.scale = scale
        self.sub_mean = sub_mean
        self.features = features
        self.tail = tail
        self.add_mean = add_mean
        self.base = base

    def forward(self, lr: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..255 -> (N, 3, scale*H, scale*W), same range, not clamped."""
        sr: Tensor = self.add_mean(self.tail(self.features(self.sub_mean(lr))))
        return sr if self.base is None else sr + self.base(lr)


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


class ChainNetwork(SuperResolutionNetwork):
    """A network that is defined by its chains of parts, and by nothing beside them."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        """(N, 3, H, W) RGB in 0..255 -> (N, 3, scale*H, scale*W), same range, not clamped.

        ``scale`` may be left away where there is only one.
        """
        if scale is None:
            (scale,) = self.scales
        sr: Tensor = self.branch(scale)(lr)
        return sr

    def check_scale(self, scale: int) -> None:
        """ValueError if there is no such head."""
        if scale not in self.scales:
            raise ValueError(f"this network has the scales {', '.join(map(str, self.scales))}, not {scale}")
