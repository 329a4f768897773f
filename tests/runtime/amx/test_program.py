"""What is read off a file, and what is refused with a reason."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_runtime.amx.packing import aligned, packed_bias, packed_kernel, to_bf16
from edsr_runtime.amx.program import UnsuitedError, read_program
from edsr_runtime.onnx_graph import Graph
from edsr_runtime.zoo import shipped_models
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models import EDSR, EDSRConfig


def test_every_shipped_fp32_model_is_suited() -> None:
    paths = [model.path for model in shipped_models()]
    assert len(paths) >= 6
    for path in paths:
        program = read_program(path)
        assert program.features == 64
        # the first features, for the long skip, and the stream before and after a block; one inside it
        assert (len(program.planes_used(in_pairs=True)), len(program.planes_used(in_pairs=False))) == (3, 4)


def test_the_tail_has_nine_regions_and_each_convolution_its_place(suited_models: dict[str, Path]) -> None:
    program = read_program(suited_models["edsr-x3"])
    tail = [c for c in program.convolutions if c.target is None]
    sides = ("first", "inner", "last")
    assert [(c.vertical, c.horizontal) for c in tail] == [(v, h) for v in sides for h in sides]
    for convolution in tail:
        rows = np.abs(convolution.kernel).sum(axis=(0, 1, 3)) > 0
        expected = {"first": [0, 0, 1, 1, 1], "inner": [1] * 5, "last": [1, 1, 1, 0, 0]}[convolution.vertical or ""]
        assert rows.tolist() == [bool(each) for each in expected]
    direct = [c for c in read_program(suited_models["direct-x2"]).convolutions if c.target is None]
    assert [(c.vertical, c.horizontal) for c in direct] == [(None, None)]


def test_no_plane_is_written_while_it_is_read(suited_models: dict[str, Path]) -> None:
    for path in suited_models.values():
        convolutions = read_program(path).convolutions
        for convolution, following in pairwise(convolutions):
            assert convolution.source != convolution.target
            assert not (convolution.is_paired and following.target == convolution.source)
            assert not (convolution.is_paired and following.is_paired)


@pytest.mark.parametrize(
    ("feats", "options", "reason"),
    [
        (8, ExportOptions(), "has 8 feature maps, and these kernels take multiples of 32"),
        (32, ExportOptions(collapse_tail=False), "has Conv where these kernels expect DepthToSpace"),
        (32, ExportOptions(precision="fp16"), "has Add where these kernels expect DepthToSpace"),
    ],
)
def test_other_networks_are_refused_with_the_reason(
    feats: int, options: ExportOptions, reason: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "x2.pt", EDSR(EDSRConfig(2, 1, feats, 1.0, "paper")))
    (exported,) = export_checkpoint(tmp_path / "x2.pt", tmp_path, options)
    with pytest.raises(UnsuitedError, match=reason):
        read_program(exported.path)


def test_an_ensemble_inside_is_refused(plus_model: Path) -> None:
    with pytest.raises(UnsuitedError, match="where these kernels expect DepthToSpace"):
        read_program(plus_model)


def test_a_strip_that_is_cut_elsewhere_is_refused(suited_models: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(suited_models["edsr-x2"])
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype == np.int64 and values.tolist() == [-3]:
            initializer.CopyFrom(numpy_helper.from_array(np.array([-4]), initializer.name))
    onnx.save(model, tmp_path / "cut.onnx")
    with pytest.raises(UnsuitedError, match="cuts elsewhere"):
        read_program(tmp_path / "cut.onnx")


def test_a_reader_of_an_inner_value_is_refused(suited_models: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(suited_models["direct-x2"])
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Tanh"
    onnx.save(model, tmp_path / "tanh.onnx")
    with pytest.raises(UnsuitedError, match="has the operator Tanh"):
        read_program(tmp_path / "tanh.onnx")


def test_the_graph_is_what_onnx_reads() -> None:
    for path in [model.path for model in shipped_models()[:4]]:
        graph, model = Graph(path), onnx.load(path)
        stored = {initializer.name: numpy_helper.to_array(initializer) for initializer in model.graph.initializer}
        for name, values in stored.items():
            np.testing.assert_array_equal(graph.array(name), values, strict=True)
        casts = [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in stored]
        for node in casts:
            np.testing.assert_array_equal(
                graph.array(node.output[0]), stored[node.input[0]].astype(np.float32), strict=True
            )
        others = [n for n in model.graph.node if n not in casts]
        assert [(n.operator, n.inputs, n.outputs) for n in graph.nodes] == [
            (n.op_type, list(n.input), list(n.output)) for n in others
        ]


def test_rounding_to_bf16_is_pytorchs() -> None:
    values = np.random.default_rng(0).normal(0, 100, 10_000).astype(np.float32)
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 0.0, -0.0, 2.0**-140], np.float32)
    for each in (values, ties):
        expected = torch.from_numpy(each).bfloat16().view(torch.uint16).numpy()
        np.testing.assert_array_equal(to_bf16(each), expected)


def test_packing_is_a_permutation_with_whole_tiles() -> None:
    kernel = np.arange(48 * 32 * 9, dtype=np.float32).reshape(48, 32, 3, 3) % 251  # exact in BF16
    packed = packed_kernel(kernel)
    assert packed.size == kernel.size
    # the first tile: results 0 to 15, values in 0 to 31, the kernel's first place
    first = packed[:512].reshape(16, 16, 2)
    expected = to_bf16(kernel[:16, :, 0, 0]).T.reshape(16, 2, 16).transpose(0, 2, 1)
    np.testing.assert_array_equal(first, expected)
    assert packed_kernel(kernel[:12]).size == 16 * 32 * 9, "filled up"
    assert packed_bias(np.ones(27, np.float32)).tolist() == [1.0] * 27 + [0.0] * 5
    for _ in range(20):
        assert aligned(packed).ctypes.data % 64 == 0
