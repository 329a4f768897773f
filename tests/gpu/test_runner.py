"""The runner on a real GPU with PyTorch in TensorRT's place, and with TensorRT where it runs."""

import pytest
import torch

from benchmarks.gpu_backends import measure_onnxruntime, measure_tensorrt
from benchmarks.gpu_networks import BASELINE, folded
from benchmarks.gpu_parity import measure as measure_parity
from benchmarks.gpu_place import Place
from benchmarks.gpu_runner import Work, compare_pixels, overlap
from benchmarks.gpu_sections import NotHereError
from benchmarks.pictures import texture
from edsr_runtime.cuda.device import Device

pytestmark = pytest.mark.gpu

WORK = Work(BASELINE, 128, 12, 1)


@torch.inference_mode()
def test_pixels_are_those_of_the_network_with_and_without_graphs_and_ensemble(device: Device, place: Place) -> None:
    network = place.take(folded(BASELINE.network()))
    rows = list(compare_pixels(place, device, network, WORK, texture(128, 128)[None]))
    assert len(rows) == 6
    assert max(row.largest for row in rows) <= 1


def test_copies_run_while_the_other_worker_computes(device: Device, place: Place) -> None:
    network = place.take(folded(BASELINE.network()))
    tiles = [texture(128, 128, seed)[None] for seed in range(WORK.tiles)]
    alone, together = (overlap(place, device, network, WORK, tiles, workers) for workers in (1, 2))
    assert alone.hidden_share < 0.05
    assert together.hidden_share > 0.5


def test_fp16_stays_within_the_gate() -> None:
    result = _measured(measure_parity)
    assert {target.met for target in result.targets} == {True}  # type: ignore[attr-defined]


@pytest.mark.parametrize("measure", [measure_tensorrt, measure_onnxruntime])
def test_the_product_computes_what_pytorch_does(measure: object, place: Place) -> None:
    assert _measured(measure).rows  # type: ignore[attr-defined]


def _measured(measure: object) -> object:
    assert callable(measure)
    try:
        return measure(False)
    except NotHereError as err:
        pytest.skip(str(err))
