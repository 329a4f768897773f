"""Networks that the AMX kernels compute, exported once, and where these can run."""

from pathlib import Path

import pytest
import torch
from torch import nn

from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_runtime.amx.library import check_machine, load
from edsr_runtime.errors import EnvironmentUnfitError
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig


def lively(network: nn.Module) -> nn.Module:
    """With weights for which layers, border ring and rounding matter: initial ones give a nearly gray picture."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.normal_(0, 0.8 / parameter[0].numel() ** 0.5)
            elif parameter.numel() > 3:
                parameter.normal_(0, 2)
    return network.eval()


@pytest.fixture(scope="session")
def kernels() -> None:
    """The library; skips where it was not compiled."""
    try:
        load()
    except EnvironmentUnfitError as err:
        pytest.skip(str(err))


@pytest.fixture(params=[False, True], ids=["plain-c", "matrix-units"])
def on_matrix_units(kernels: None, request: pytest.FixtureRequest) -> bool:
    """Both ways to compute; the second is skipped where there are no matrix units."""
    if request.param:
        try:
            check_machine()
        except EnvironmentUnfitError as err:
            pytest.skip(str(err))
    return bool(request.param)


@pytest.fixture(scope="session")
def suited_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files by name: both tails, every scale, residual scaling, 5x5 blocks, one to three slices of depth."""
    folder = tmp_path_factory.mktemp("suited")
    networks = {
        "edsr": [EDSR(EDSRConfig(scale, 2, 32, 0.5, "paper")) for scale in (2, 3)],
        "direct": [EDSR(EDSRConfig(scale, 1, 64, 1.0, "direct")) for scale in (2,)],
        "wide": [EDSR(EDSRConfig(3, 1, 96, 0.1, "paper"))],
        "mdsr": [MDSR(MDSRConfig(n_resblocks=1, n_feats=32))],
    }
    files = {}
    for name, several in networks.items():
        for network in several:
            checkpoint = folder / f"{name}-x{'-'.join(map(str, network.scales))}.pt"
            save_checkpoint(checkpoint, lively(network))  # type: ignore[arg-type]
            for exported in export_checkpoint(checkpoint, folder, ExportOptions(scales=network.scales[-1:])):
                files[f"{name}-x{exported.contract.scale}"] = exported.path
    return files
