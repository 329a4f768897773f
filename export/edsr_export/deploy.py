"""The module that is written as ONNX: a folded branch with its input and output formats."""

import torch
from torch import Tensor, nn

from edsr_export.fold import Folded
from edsr_runtime.dihedral import VIEWS, View


class Deployed(nn.Module):
    """Folded network; mean, luma and bicubic enlargement in FP32, convolutions in ``precision``, last sum in FP32."""

    shift_in: Tensor | None
    shift_out: Tensor | None

    def __init__(self, folded: Folded, precision: torch.dtype) -> None:
        super().__init__()
        self.scale = folded.scale
        self.gain = 2.0**-folded.range_shift
        self.precision = precision
        self.entry = None if folded.entry is None else folded.entry.float()
        self.base = None if folded.base is None else folded.base.float()
        self.features = folded.features.to(precision)
        self.tail = folded.tail.to(precision)
        self.register_buffer("shift_in", folded.shift_in.float() if bool(folded.shift_in.any()) else None)
        self.register_buffer("shift_out", None if folded.shift_out is None else folded.shift_out.float())
        self.requires_grad_(False)

    def forward(self, lr: Tensor) -> Tensor:
        """(N, 3, H, W) float32 RGB in 0..255 -> (N, 3, scale*H, scale*W) float32, not clamped."""
        x = lr if self.shift_in is None else lr - (-self.shift_in)  # the graph says Sub, as the paper does
        if self.entry is not None:
            x = self.entry(x)
        if self.gain != 1:
            x = x * self.gain
        y: Tensor = self.tail(self.features(x.to(self.precision))).float()
        if self.base is not None:
            y = y + self.base(lr)
        return y if self.shift_out is None else y + self.shift_out


class SelfEnsemble(nn.Module):
    """The paper's x8: eight views, one after the other so that memory is that of one, averaged in FP32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> Tensor:
        """The shapes of the network inside."""
        total = sum((unview(self.network(view(lr, v)), v) for v in VIEWS[1:]), start=self.network(lr))
        return total / len(VIEWS)


class Uint8Pictures(nn.Module):
    """(N, H, W, 3) uint8 in and out. TensorRT wants the casts to be the very first and the very last node."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, scale*H, scale*W, 3) uint8, clamped, rounded half to even."""
        sr: Tensor = self.network(lr.float().permute(0, 3, 1, 2))
        return sr.permute(0, 2, 3, 1).clamp(0, 255).round().to(torch.uint8)


def view(x: Tensor, v: View) -> Tensor:
    """One of the eight views of (N, C, H, W)."""
    x = x.transpose(2, 3) if v.transpose else x
    return _flip(x, v)


def unview(x: Tensor, v: View) -> Tensor:
    """The inverse of ``view``."""
    x = _flip(x, v)
    return x.transpose(2, 3) if v.transpose else x


def _flip(x: Tensor, v: View) -> Tensor:
    axes = [axis for axis, wanted in ((2, v.flip_rows), (3, v.flip_columns)) if wanted]
    return x.flip(axes) if axes else x
