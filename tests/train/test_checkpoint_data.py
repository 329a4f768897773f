"""Real weights of others give the PSNR that was measured where they came from.

The four networks have EDSR-PyTorch's names; none is of a published size, so residual scaling must be given. Figures:
Set5, ``paper-y``, float32; 37.65 and 37.38 dB are the MLPerf Mobile networks, the others were trained with 0.1.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edsr_runtime.errors import CheckpointError
from edsr_runtime.metrics import psnr_y
from edsr_train.checkpoint import load_network, save_checkpoint
from edsr_train.models import EDSR, EDSRConfig

SET5 = ("baby", "bird", "butterfly", "head", "woman")
WEIGHTS = [
    ("edsr_mobile/edsr_r5f64_x2.pt", EDSRConfig(2, 5, 64, 1.0), 37.65),
    ("edsr_mobile/edsr_r5f32_x2.pt", EDSRConfig(2, 5, 32, 1.0), 37.38),
    ("edsr_small/edsr_r3f32_x2.pt", EDSRConfig(2, 3, 32, 0.1), 36.67),
    ("edsr_small/edsr_r8f32_x4.pt", EDSRConfig(4, 8, 32, 0.1), 30.45),
]


def rgb(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@torch.inference_mode()
def set5_psnr_y(network: torch.nn.Module, scale: int, data_root: Path) -> float:
    values = []
    for name in SET5:
        lr = rgb(data_root / f"benchmark/Set5/LR_bicubic/X{scale}/{name}x{scale}.png")
        hr = rgb(data_root / f"benchmark/Set5/HR/{name}.png")[: lr.shape[0] * scale, : lr.shape[1] * scale]
        sr = network(torch.tensor(lr).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0)
        values.append(psnr_y(sr.round().clamp(0, 255).to(torch.uint8).numpy(), hr, scale))
    return float(np.mean(values))


@pytest.mark.data
@pytest.mark.parametrize(("file", "config", "published"), WEIGHTS)
def test_real_weights_give_the_measured_psnr_with_residual_scaling_and_none_without(
    data_root: Path, file: str, config: EDSRConfig, published: float
) -> None:
    path = data_root / "weights" / file
    with pytest.raises(CheckpointError, match=r"and no stored configuration, so residual scaling is unknown"):
        load_network(path)
    loaded = load_network(path, res_scale=config.res_scale)
    assert (loaded.layout, loaded.config) == ("edsr-pytorch", config)
    assert set5_psnr_y(loaded.network, config.scale, data_root) == pytest.approx(published, abs=0.01)


@pytest.mark.data
def test_real_weights_are_the_same_after_saving_as_ours(data_root: Path, tmp_path: Path) -> None:
    network = load_network(data_root / "weights/edsr_small/edsr_r8f32_x4.pt", res_scale=0.1).network
    assert isinstance(network, EDSR)
    save_checkpoint(tmp_path / "ours.safetensors", network)
    again = load_network(tmp_path / "ours.safetensors")
    assert (again.layout, again.config) == ("edsr-toolkit", network.config)
    assert all(torch.equal(value, again.network.state_dict()[key]) for key, value in network.state_dict().items())


@pytest.mark.data
def test_a_real_tflite_model_is_recognised(data_root: Path) -> None:
    with pytest.raises(CheckpointError, match="is a TensorFlow Lite model"):
        load_network(data_root / "weights/edsr_mobile/edsr_f32b5_fp32.tflite")
