"""Weights that FP16 can hold are stored so, and the graph computes what it did."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from benchmarks.cost.graph import Graph
from edsr_export import exporting
from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_runtime.model_check import check_model
from edsr_runtime.upscaler import Upscaler
from edsr_train.checkpoint import load_network, save_checkpoint
from edsr_train.models import EDSR, EDSRConfig


@pytest.fixture
def half_checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "half.pt"
    save_checkpoint(path, EDSR(EDSRConfig(2, n_resblocks=2, n_feats=16)).eval(), half=True)
    return path


def export(checkpoint: Path, output: Path) -> Path:
    (exported,) = export_checkpoint(checkpoint, output)
    return exported.path


def types(path: Path) -> dict[int, int]:
    """Values by type."""
    found: dict[int, int] = {}
    for weight in onnx.load(path).graph.initializer:
        found[weight.data_type] = found.get(weight.data_type, 0) + numpy_helper.to_array(weight).size
    return found


def kernels_of(path: Path) -> list[list[int]]:
    """Shapes, as the benchmarks count them."""
    graph = Graph.read(path)
    found = [graph.weight(node.input[1]) for node in graph.nodes if node.op_type == "Conv"]
    return [list(weight.dims) for weight in found if weight is not None]


def run(path: Path) -> np.ndarray:
    lr = np.random.default_rng(0).uniform(0, 255, (2, 3, 11, 14)).astype(np.float32)
    return np.asarray(ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": lr})[0])


def test_a_checkpoint_in_half_gives_a_file_of_half_the_size_that_computes_the_same(
    half_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = export(half_checkpoint, half_checkpoint.with_name("small.onnx"))
    monkeypatch.setattr(exporting, "store_in_half", lambda model: None)
    large = export(half_checkpoint, half_checkpoint.with_name("large.onnx"))

    kernels = 5 * 16 * 16 * 9  # of the body; the head is small, the tail is collapsed: sums that FP16 cannot hold
    assert types(small)[TensorProto.FLOAT16] == kernels
    assert large.stat().st_size - small.stat().st_size == pytest.approx(2 * kernels, abs=1000)
    assert np.array_equal(run(small), run(large))
    check_model(small)
    assert kernels_of(small) == kernels_of(large) != []
    lr = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    for backend in ("openvino", "onnxruntime"):
        with (
            Upscaler(small, backend=backend, precision="fp32") as a,
            Upscaler(large, backend=backend, precision="fp32") as b,
        ):
            assert np.array_equal(a.upscale(lr), b.upscale(lr)), backend


def test_weights_that_would_lose_a_bit_stay_as_they_are(edsr_checkpoint: Path) -> None:
    assert set(types(export(edsr_checkpoint, edsr_checkpoint.with_name("plain.onnx")))) <= {
        TensorProto.FLOAT,
        TensorProto.INT64,
    }


def test_fp16_files_have_no_casts_of_weights(half_checkpoint: Path) -> None:
    (exported,) = export_checkpoint(half_checkpoint, options=ExportOptions(precision="fp16"))
    model = onnx.load(exported.path)
    weights = {weight.name for weight in model.graph.initializer}
    assert not [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in weights]


def test_the_rounded_network_is_what_the_file_is_proven_against(half_checkpoint: Path) -> None:
    (exported,) = export_checkpoint(half_checkpoint)
    assert exported.contract.parity.max_difference < 1e-3
    assert exported.contract.source_sha256 == load_network(half_checkpoint).sha256
