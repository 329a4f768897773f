"""The model files that are compared: what differs between them, and nothing else."""

import numpy as np
import pytest
import torch

from benchmarks.models import Models, plain_tail
from benchmarks.ours import ONNXRUNTIME
from benchmarks.peers.torch_eager import TorchEager
from benchmarks.pictures import noise
from benchmarks.settings import smoke_settings
from edsr_export.deploy import Deployed
from edsr_export.fold import fold


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"), smoke_settings())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_plain_tail_is_right_everywhere_but_in_the_border_ring(models: Models, scale: int) -> None:
    network = models.network(scale)
    exact = fold(network.branch(scale), collapse_tail=True, mean_in_bias=True, range_shift=0)
    lr = torch.from_numpy(noise(9, 12)).permute(2, 0, 1).unsqueeze(0).float()
    difference = (Deployed(plain_tail(exact), torch.float64)(lr) - network.double()(lr.double())).abs().squeeze(0)
    inside = difference[:, scale:-scale, scale:-scale]
    ring = torch.nn.functional.pad(torch.zeros_like(inside), (scale,) * 4, value=1.0) * difference
    assert inside.max() < 1e-4  # grey levels, of FP32 at the ends
    assert ring.max() > 0.01


def test_forms_of_a_network_agree_with_it(models: Models) -> None:
    lr = noise(9, 12)
    reference = TorchEager(models.network(2)).upscale(lr)
    files = {
        "collapsed": models.exported(2),
        "whole": models.exported(2, collapse_tail=False),
        "without ring": models.without_ring(2),
    }
    for name, file in files.items():
        with ONNXRUNTIME.open(file) as upscaler:
            inside = np.abs(upscaler.upscale(lr).astype(int) - reference)[2:-2, 2:-2]
        assert inside.max() <= 1, name  # a value close to one half may be rounded either way
    assert len({file.read_bytes() for file in files.values()}) == 3


def test_a_model_is_exported_once(models: Models) -> None:
    first = models.exported(2)
    written = first.stat().st_mtime_ns
    assert models.exported(2) == first
    assert first.stat().st_mtime_ns == written


def test_torch_eager_rounds_half_to_even_and_clamps() -> None:
    class Ramp(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.is_contiguous()
            return torch.stack([x[:, 0] + 0.5, x[:, 1] + 300, x[:, 2] - 300], dim=1)

    lr = np.array([[[0, 0, 0], [1, 0, 0], [2, 0, 0]]], np.uint8)
    lr.setflags(write=False)
    sr = TorchEager(Ramp()).upscale(lr)
    assert sr.tolist() == [[[0, 255, 0], [2, 255, 0], [2, 255, 0]]]
