"""What is read off a file, and what is refused with a reason."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_runtime.amx.packing import aligned, packed_bias, packed_kernel, to_bf16
from edsr_runtime.amx.program import UnsuitedError, _planes, _Step, read_program
from edsr_runtime.errors import EdsrError
from edsr_runtime.model_check import check_model
from edsr_runtime.onnx_graph import Graph, Node
from edsr_runtime.zoo import shipped_models
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models import EDSR, EDSRConfig
from unsealed import unsealed


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
            assert not (convolution.is_paired and following.target in (convolution.source, convolution.skip))
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


def changed(path: Path, change: Callable[[onnx.ModelProto], object], folder: Path) -> Path:
    model = onnx.load(path)
    change(model)
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"


def put(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> None:
    """New values, of another shape perhaps, for weights."""
    (initializer,) = (each for each in model.graph.initializer if each.name == name)
    initializer.CopyFrom(numpy_helper.from_array(values, name))


def nodes_of(model: onnx.ModelProto, operator: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == operator]


def cut_elsewhere(model: onnx.ModelProto) -> None:
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype == np.int64 and values.tolist() == [-3]:
            initializer.CopyFrom(numpy_helper.from_array(np.array([-4]), initializer.name))


def cut_along_two_axes(model: onnx.ModelProto) -> None:
    node = nodes_of(model, "Slice")[0]
    for place, values in enumerate(([0, 1], [3, 40], [2, 3], [1, 1]), start=1):
        model.graph.initializer.append(numpy_helper.from_array(np.array(values), f"two{place}"))
        node.input[place] = f"two{place}"


def rename(model: onnx.ModelProto, operator: str, to: str) -> None:
    nodes_of(model, operator)[0].op_type = to


CHANGES: dict[str, tuple[str, Callable[[onnx.ModelProto], object], str]] = {
    "strip elsewhere": ("edsr-x2", cut_elsewhere, "cuts elsewhere"),
    "strip of two axes": ("edsr-x2", cut_along_two_axes, "has weights of 2 where these kernels expect 1"),
    "another activation": ("direct-x2", lambda m: rename(m, "Relu", "Tanh"), "has the operator Tanh"),
    "short bias": (
        "direct-x2",
        lambda m: put(m, nodes_of(m, "Conv")[1].input[2], np.zeros(1, np.float32)),
        "has weights of 1 where these kernels expect 64",
    ),
    "short bias of the tail": (
        "direct-x2",
        lambda m: put(m, nodes_of(m, "Conv")[-1].input[2], np.zeros(5, np.float32)),
        "has weights of 5 where these kernels expect 12",
    ),
    "no feature maps": (
        "direct-x2",
        lambda m: put(m, nodes_of(m, "Conv")[0].input[1], np.zeros((0, 3, 3, 3), np.float32)),
        "has 0 feature maps",
    ),
    "NaN": (
        "direct-x2",
        lambda m: put(m, nodes_of(m, "Conv")[1].input[2], np.full(64, np.nan, np.float32)),
        "not finite",
    ),
    "automatic pads": (
        "direct-x2",
        lambda m: nodes_of(m, "Conv")[1].attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER")),
        "with other strides, groups or pads",
    ),
    "bias that is computed": (
        "direct-x2",
        lambda m: nodes_of(m, "Conv")[2].input.__setitem__(2, nodes_of(m, "Relu")[0].output[0]),
        "takes weights from where edsr-export puts none",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_refused_and_not_misread(
    change: str, suited_models: dict[str, Path], tmp_path: Path
) -> None:
    name, how, reason = CHANGES[change]

    def apply(model: onnx.ModelProto) -> None:
        for node in nodes_of(model, "Conv"):  # some of what is changed is in there already
            kept = [attribute for attribute in node.attribute if attribute.name != "auto_pad"]
            del node.attribute[:]
            node.attribute.extend(kept)
        how(model)

    with pytest.raises(UnsuitedError, match=reason):
        read_program(changed(suited_models[name], apply, tmp_path))


def test_no_change_of_a_node_or_of_weights_ends_with_anything_but_a_sentence(
    suited_models: dict[str, Path], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    refused = 0
    for name in ("direct-x2", "edsr-x3"):
        original = onnx.load(suited_models[name])
        for at in range(len(original.graph.node)):
            for kind in range(6):
                model = onnx.ModelProto()
                model.CopyFrom(original)
                node = model.graph.node[at]
                if kind == 0 and node.input:
                    del node.input[-1]
                elif kind == 1:
                    node.input.append("input")
                elif kind == 2 and node.input:
                    node.input[-1] = ""
                elif kind == 3 and node.attribute:
                    del node.attribute[int(random.integers(len(node.attribute)))]
                elif kind == 4:
                    node.op_type = str(random.choice(["Add", "Relu", "Conv", "Slice", "Concat", "Sub", "DepthToSpace"]))
                else:
                    del model.graph.node[at]
                refused += is_refused(model, tmp_path)
        for at, initializer in enumerate(original.graph.initializer):
            values = numpy_helper.to_array(initializer)
            for other in (values[:0], values[..., None], values.ravel()[:-1], values.astype(np.float64)):
                model = onnx.ModelProto()
                model.CopyFrom(original)
                model.graph.initializer[at].CopyFrom(numpy_helper.from_array(other, initializer.name))
                refused += is_refused(model, tmp_path)
    assert refused > 200


def is_refused(model: onnx.ModelProto, folder: Path) -> bool:
    (folder / "mutant.onnx").write_bytes(model.SerializeToString())
    try:
        read_program(folder / "mutant.onnx")
    except EdsrError:
        return True
    return False


def test_a_pair_whose_first_adds_something_leaves_that_alone() -> None:
    """The first's rows beyond a thread's own need what it adds, so the second must not be written there."""
    node = Node("Conv", ["", ""], [""])
    steps = [
        _Step(node, "x0", "x1", None, False),
        _Step(node, "x0", "x2", None, True),
        _Step(node, "x1", "x3", "x2", False, is_paired=True),
        _Step(node, "x3", "x4", None, False),
    ]
    planes = _planes(steps, "x0", "x4")
    assert planes["x4"] not in (planes["x1"], planes["x2"], planes["x3"])


def test_weights_in_another_file_are_left_to_other_backends(suited_models: dict[str, Path], tmp_path: Path) -> None:
    model = unsealed(suited_models["direct-x2"])
    onnx.save(model, tmp_path / "outside.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    check_model(tmp_path / "outside.onnx")
    with pytest.raises(UnsuitedError, match="not stored as edsr-export stores them"):
        read_program(tmp_path / "outside.onnx")


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
