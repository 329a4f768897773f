"""What FP16 and folding change on a GPU, in grey levels, beside the unfolded network in FP32."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmarks.gpu_networks import BASELINE, FULL, TINY, folded, trained
from benchmarks.gpu_place import Place, exact_fp32, find_place, to_planes
from benchmarks.pictures import texture
from benchmarks.targets import Target, at_most
from edsr_runtime.trt.limits import LARGEST, RMS
from edsr_train.models.branch import SuperResolutionNetwork

_TRAINED = "edsr-small x4, as shipped"


@dataclass(frozen=True)
class ParityRow:
    """One network and one form, beside the unfolded network in FP32 on the same device."""

    network: str
    form: str
    largest: float
    """Grey levels, before rounding."""
    rms: float
    """The same."""
    changed_share: float
    """Of samples, after rounding."""


@dataclass(frozen=True)
class ParityResult:
    """On noise with the spectrum of photographs."""

    lr_hw: tuple[int, int]
    rows: list[ParityRow]
    targets: list[Target]


@torch.inference_mode()
def measure(smoke: bool) -> ParityResult:
    """Compare whole pictures, border ring and all.

    Raises:
        NotHereError: there is no GPU.
    """
    place = find_place(smoke)
    side = 24 if smoke else 192
    networks: dict[str, SuperResolutionNetwork] = (
        {TINY.name: TINY.network()}
        if smoke
        else {_TRAINED: trained(), BASELINE.name: BASELINE.network(), FULL.name: FULL.network()}
    )
    rows = [row for name, network in networks.items() for row in _rows(place, name, network, side)]
    unless = "smoke run" if smoke else ""
    targets = []
    for row in rows:
        if row.network == _TRAINED and row.form == "folded, FP16":
            targets.append(at_most(f"{row.network}: largest difference", LARGEST, row.largest, "levels", unless=unless))
            targets.append(at_most(f"{row.network}: difference, rms", RMS, row.rms, "levels", unless=unless))
    return ParityResult((side, side), rows, targets)


def _rows(place: Place, name: str, network: SuperResolutionNetwork, side: int) -> list[ParityRow]:
    lr = to_planes(np.stack([texture(side, side, seed) for seed in range(2)]), place)
    forms: dict[str, nn.Module] = {
        "folded, FP32": folded(network, half=False),
        "folded, FP16": folded(network, half=True),
    }
    with exact_fp32():
        reference = network.to(place.device)(lr)
        return [_compare(name, form, module.to(place.device)(lr), reference) for form, module in forms.items()]


def _compare(network: str, form: str, sr: torch.Tensor, reference: torch.Tensor) -> ParityRow:
    difference = (sr - reference).double()
    changed = sr.clamp(0, 255).round() != reference.clamp(0, 255).round()
    return ParityRow(
        network,
        form,
        float(difference.abs().max()),
        float(difference.square().mean().sqrt()),
        float(changed.double().mean()),
    )
