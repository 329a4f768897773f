"""The networks that are measured on a GPU, in the forms in which they run."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edsr_export.cost import PAPER_HR, cost_at_paper_size
from edsr_export.deploy import Deployed
from edsr_export.fold import choose_range_shift, fold
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.models.edsr import EDSR, EDSRConfig

_SEED = 0
_TRAINED = Path(__file__).resolve().parent.parent / "train" / "checkpoints" / "edsr-small_x4.safetensors"


@dataclass(frozen=True)
class Kind:
    """An EDSR with random weights, on which time does not depend."""

    name: str
    n_resblocks: int
    n_feats: int
    res_scale: float = 1.0
    scale: int = 4

    def network(self) -> EDSR:
        """As its authors define it, unfolded; the same weights every time."""
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            config = EDSRConfig(self.scale, self.n_resblocks, self.n_feats, self.res_scale)
            return EDSR(config).eval().requires_grad_(False)


BASELINE = Kind("EDSR-baseline x4", 16, 64)
FULL = Kind("EDSR x4", 32, 256, 0.1)
TINY = Kind("tiny EDSR x4", 1, 8)


def trained() -> SuperResolutionNetwork:
    """The shipped model for scale 4."""
    from edsr_train.checkpoint import load_network

    return load_network(_TRAINED).network


def folded(network: SuperResolutionNetwork, *, scale: int = 4, half: bool = True, collapse: bool = True) -> Deployed:
    """As edsr-export folds it: (N, 3, H, W) float32 in and out, FP16 or FP32 inside."""
    with torch.inference_mode(False), torch.no_grad():  # whatever the caller is about to do with it
        branch = network.branch(scale)
        shift = choose_range_shift(branch) if half else 0
        parts = fold(branch, collapse_tail=collapse, mean_in_bias=not half, range_shift=shift)
        return Deployed(parts, torch.float16 if half else torch.float32).eval()


class Half(nn.Module):
    """A network as it is, in FP16, with float32 in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, lr: Tensor) -> Tensor:
        """The shapes of the network inside."""
        sr: Tensor = self.network(lr.half()).float()
        return sr


def tera_operations(network: nn.Module, scale: int, batch: int, height: int, width: int) -> float:
    """10^12 floating-point operations of the convolutions for one run: two for every multiply-add."""
    per_lr_pixel = cost_at_paper_size(network, scale).mult_adds / (PAPER_HR[0] * PAPER_HR[1] / scale**2)
    return 2 * per_lr_pixel * batch * height * width / 1e12
