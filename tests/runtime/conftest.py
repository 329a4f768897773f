"""Tiny models as files, exported once for all tests of the runtime."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models import EDSR, EDSRConfig
from edsr_train.models.branch import SuperResolutionNetwork
from tiny_field import tiny
from tiny_networks import tiny_edsr, tiny_mdsr
from unsealed import unsealed

FP32 = ExportOptions()


def export(network: SuperResolutionNetwork, folder: Path, name: str, options: ExportOptions = FP32) -> Path:
    """One head of a network as ONNX file ``name``.onnx, with whatever the options add to the name."""
    save_checkpoint(folder / f"{name}.pt", network)
    (exported,) = export_checkpoint(folder / f"{name}.pt", folder, options, overwrite=True)
    return exported.path


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the fixtures below put their files."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny_model(models_folder: Path) -> Path:
    """``tiny_edsr(2)``: FP32, float input and output, collapsed tail."""
    return export(tiny_edsr(2), models_folder, "tiny_x2")


@pytest.fixture(scope="session")
def tiny_models(tiny_model: Path, models_folder: Path) -> dict[int, Path]:
    """``tiny_edsr(scale)`` by scale."""
    return {2: tiny_model} | {scale: export(tiny_edsr(scale), models_folder, f"tiny_x{scale}") for scale in (3, 4)}


@pytest.fixture(scope="session")
def models_of_each_kind(tiny_models: dict[int, Path], models_folder: Path) -> dict[str, Path]:
    """``tiny_models``; bicubic input, corrected in luma, x2; luma at LR and a transposed convolution, x3."""
    others = {"vdsr": 2, "fsrcnn": 3}
    return {f"edsr-x{scale}": path for scale, path in tiny_models.items()} | {
        name: export(tiny(name, scale), models_folder, name, ExportOptions(scales=(scale,)))
        for name, scale in others.items()
    }


@pytest.fixture(scope="session")
def direct_model(models_folder: Path) -> Path:
    """A network of the form that is trained with a 5x5 tail, x2: nothing collapsed, sides from 1 pixel."""
    return export(tiny_edsr(2, tail="direct"), models_folder, "direct_x2")


@pytest.fixture(scope="session")
def mdsr_model(models_folder: Path) -> Path:
    """The x3 head of ``tiny_mdsr()``."""
    return export(tiny_mdsr(), models_folder, "mdsr", ExportOptions(scales=(3,)))


@pytest.fixture(scope="session")
def uint8_model(models_folder: Path) -> Path:
    """``tiny_model`` with uint8 input and output."""
    return export(tiny_edsr(2), models_folder, "tiny_x2", ExportOptions(io="uint8"))


@pytest.fixture(scope="session")
def plus_model(models_folder: Path) -> Path:
    """``direct_model`` with the self-ensemble inside."""
    return export(tiny_edsr(2, tail="direct"), models_folder, "direct_x2", ExportOptions(self_ensemble=True))


@pytest.fixture(scope="session")
def fp16_model(models_folder: Path) -> Path:
    """``tiny_model`` with weights and activations in FP16."""
    return export(tiny_edsr(2), models_folder, "tiny_x2", ExportOptions(precision="fp16"))


@pytest.fixture(scope="session")
def uncollapsed_model(models_folder: Path) -> Path:
    """``tiny_model`` with its tail as the paper has it."""
    return export(tiny_edsr(2), models_folder, "uncollapsed_x2", ExportOptions(collapse_tail=False))


@pytest.fixture(scope="session")
def interpolating_model(models_folder: Path) -> Path:
    """x2, each channel on its own, linear between pixel centres, black outside the picture: known what comes out."""
    return export(interpolating_network(), models_folder, "interpolating_x2")


def interpolating_network() -> EDSR:
    """The network of ``interpolating_model``: the head copies RGB, the body adds nothing, the tail interpolates."""
    network = EDSR(EDSRConfig(scale=2, n_resblocks=1, n_feats=4, tail="direct"))
    near, far = 0.75, 0.25  # HR pixels lie a quarter of an LR pixel beside the centre of an LR pixel
    before, after = torch.zeros(5), torch.zeros(5)
    before[1:3], after[2:4] = torch.tensor((far, near)), torch.tensor((near, far))
    kernels = torch.stack([torch.outer(rows, columns) for rows in (before, after) for columns in (before, after)])
    weights = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
    weights["sub_mean.weight"] += torch.eye(3).view(3, 3, 1, 1)
    weights["add_mean.weight"] += torch.eye(3).view(3, 3, 1, 1)
    for channel in range(3):
        weights["head.0.weight"][channel, channel, 1, 1] = 1
        weights["tail.0.weight"][4 * channel : 4 * channel + 4, channel] = kernels
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="session")
def overflowing_model(interpolating_model: Path, models_folder: Path) -> Path:
    """``interpolating_model`` for black pixels; for all others the body gives infinity, and the tail makes it NaN."""
    model = unsealed(interpolating_model)
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer).copy()
        if values.shape == (4, 4, 3, 3):
            values[:] = 1e30
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    path = models_folder / "overflowing_x2.onnx"
    onnx.save(model, path)
    return path
