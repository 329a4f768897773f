"""Model files that are refused before a session is made, and the seal."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edsr_runtime import model_check
from edsr_runtime.backends import choose
from edsr_runtime.backends.engines import contract_of
from edsr_runtime.errors import ModelFileError
from edsr_runtime.model_check import check_model
from edsr_runtime.seal import SEAL_KEY, sealed
from edsr_runtime.upscaler import Upscaler
from unsealed import unsealed


def first_conv(model: ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == "Conv")


def other_operator(model: ModelProto) -> None:
    first_conv(model).op_type = "Loop"


def other_domain(model: ModelProto) -> None:
    first_conv(model).domain = "com.example"


def own_function(model: ModelProto) -> None:
    model.functions.append(helper.make_function("x", "F", ["a"], ["b"], [], []))


def subgraph(model: ModelProto) -> None:
    graph = helper.make_graph([], "inner", [], [])
    first_conv(model).attribute.append(helper.make_attribute("body", graph))


def outside(model: ModelProto) -> None:
    external(model.graph.initializer[0], "../../etc/passwd")


def absolute(model: ModelProto) -> None:
    external(model.graph.initializer[0], "/etc/passwd")


def through_a_link(model: ModelProto) -> None:
    external(model.graph.initializer[0], "link/passwd")


def nowhere(model: ModelProto) -> None:
    external(model.graph.initializer[0], "weights.bin")


def external(tensor: TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def gigabytes(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.dims[:] = [1 << 15, 1 << 15, 3, 3]


def many_sides(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1] * 100


def negative(model: ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def wrong_length(model: ModelProto) -> None:
    model.graph.initializer[0].raw_data += b"\0\0\0\0"


def missing_weights(model: ModelProto) -> None:
    model.graph.initializer[0].ClearField("raw_data")


def text_weights(model: ModelProto) -> None:
    model.graph.initializer[0].data_type = TensorProto.STRING


def memory_bomb(model: ModelProto) -> None:
    """Every one of forty operators doubles what there is."""
    name = "input"
    doubling = []
    for number in range(40):
        doubling.append(helper.make_node("Concat", [name, name], [f"twice{number}"], axis=1))
        name = f"twice{number}"
    nodes = [*doubling, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def out_of_order(model: ModelProto) -> None:
    """Which would hide from us what a result has, and not from everybody who runs it."""
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


def behind(model: ModelProto, *nodes: onnx.NodeProto) -> None:
    """Put operators behind the last one; they take ``before`` and give ``output``."""
    for node in model.graph.node:
        node.output[:] = ["before" if name == "output" else name for name in node.output]
    model.graph.node.extend(nodes)


def constant_bomb(model: ModelProto) -> None:
    """Of weights alone, which a session computes while it is made."""
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1024, np.float32), "c"))
    for number in range(40):
        name = "c" if not number else f"c{number - 1}"
        model.graph.node.insert(number, helper.make_node("Concat", [name, name], [f"c{number}"], axis=0))


def cast_bomb(model: ModelProto) -> None:
    """Small weights that a session would make into many large ones."""
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1 << 10, 1 << 10), np.uint8), "c"))
    for number in range(200):
        model.graph.node.insert(0, helper.make_node("Cast", ["c"], [f"c{number}"], to=TensorProto.DOUBLE))


def resize_bomb(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 60_000, 60_000]), "sizes"))
    behind(model, helper.make_node("Resize", ["before", "", "", "sizes"], ["output"], mode="nearest"))


def rank_bomb(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones((65_536, 1, 1, 1, 1), np.float32), "more"))
    behind(model, helper.make_node("Add", ["before", "more"], ["output"]))


def product_bomb(model: ModelProto) -> None:
    """As many numbers as the square of the pixels."""
    turn = helper.make_node("Transpose", ["before"], ["turned"], perm=[3, 1, 2, 0])
    behind(model, turn, helper.make_node("Mul", ["turned", "before"], ["output"]))


def mixing(model: ModelProto) -> None:
    turn = helper.make_node("Transpose", ["before"], ["turned"], perm=[0, 2, 3, 1])
    behind(model, turn, helper.make_node("Mul", ["turned", "before"], ["output"]))


def padding_bomb(model: ModelProto) -> None:
    node = first_conv(model)
    for attribute in node.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = 4 * [4000]


def another_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def other_output(model: ModelProto) -> None:
    model.graph.output[0].name = "elsewhere"


def two_graphs(model: ModelProto) -> bytes:
    return model.SerializeToString() + b"\x3a\x00"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (other_operator, "it has the operator 'Loop', which no network of ours has, so it was not opened"),
        (other_domain, "it has an operator of the domain 'com.example', so it was not opened"),
        (own_function, "it defines functions of its own"),
        (subgraph, "its operator 'Conv' has a graph inside"),
        (outside, "lie outside its folder, in '../../etc/passwd'"),
        (absolute, "lie outside its folder, in '/etc/passwd'"),
        (through_a_link, "lie outside its folder, in 'link/passwd'"),
        (nowhere, "are not in 'weights.bin'"),
        (gigabytes, "its weights take more than 1024 MiB"),
        (many_sides, "have the shape 1x1x1x1x1x1x1x1x..., so it was not opened"),
        (negative, "have the shape -1x"),
        (wrong_length, "bytes, not "),
        (missing_weights, "are missing"),
        (text_weights, "are of a kind that no network of ours has"),
        (memory_bomb, "its operator Concat would give "),
        (out_of_order, "takes what no operator before it gives"),
        (constant_bomb, "its operator Concat computes with weights alone"),
        (cast_bomb, "its weights take more than 1024 MiB"),
        (resize_bomb, "it has the operator 'Resize', which no network of ours has"),
        (rank_bomb, "takes weights of the shape 65536x1x1x1x1, expected one for each channel"),
        (product_bomb, "its operator Transpose exchanges other axes"),
        (mixing, "its operator Mul mixes height, width and channels"),
        (padding_bomb, "has pads of 4000x4000x4000x4000"),
        (another_input, "it takes 'input', 'more' and gives 'output', expected input and output"),
        (other_output, "gives 'elsewhere'"),
        (two_graphs, "damaged ONNX file (it has 2 graphs)"),
    ],
)
def test_a_model_that_none_of_ours_would_be_is_refused_before_a_session_is_made(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[ModelProto], bytes | None],
    sentence: str,
) -> None:
    os.symlink("/etc", tmp_path / "link")
    model = unsealed(tiny_model)
    data = change(model) or model.SerializeToString()
    path = tmp_path / "hostile.onnx"
    path.write_bytes(data)

    def opened(*arguments: object) -> None:
        raise AssertionError("a session was made")

    monkeypatch.setattr(choose, "open_backend", opened)
    with pytest.raises(ModelFileError) as caught:
        Upscaler(path, backend="onnxruntime")
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert sentence in message


def test_a_file_of_holes_and_a_file_of_tiny_fields_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(ModelFileError, match="it has 3072 MiB, more than ONNX files can have"):
        check_model(path)
    monkeypatch.setattr(model_check, "_MAX_FIELDS", 1000)
    node = helper.make_node("Conv", [], [], doc_string="")
    nodes = b"".join(b"\x0a" + bytes([len(data)]) + data for data in 600 * [node.SerializeToString()])
    path.write_bytes(b"\x3a" + bytes([len(nodes) & 0x7F | 0x80, len(nodes) >> 7]) + nodes)
    with pytest.raises(ModelFileError, match="it has too many fields"):
        check_model(path)


def test_weights_beside_the_file_are_taken(tiny_model: Path, tmp_path: Path) -> None:
    model = unsealed(tiny_model)
    (tmp_path / "weights.bin").write_bytes(bytes(10) + model.graph.initializer[0].raw_data)
    external(model.graph.initializer[0], "weights.bin")
    model.graph.initializer[0].external_data.add(key="offset", value="10")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    check_model(tmp_path / "m.onnx")
    model.graph.initializer[0].external_data[-1].value = "11"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"are not in 'weights.bin'"):
        check_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("fixture", ["uint8_model", "plus_model", "fp16_model", "uncollapsed_model", "mdsr_model"])
def test_every_kind_of_file_that_is_exported_passes(fixture: str, request: pytest.FixtureRequest) -> None:
    check_model(request.getfixturevalue(fixture))


def test_a_flipped_bit_anywhere_is_noticed(tiny_model: Path, tmp_path: Path) -> None:
    data = tiny_model.read_bytes()
    path = tmp_path / "m.onnx"
    for where in np.random.default_rng(0).integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[where] ^= 4
        path.write_bytes(damaged)
        if SEAL_KEY not in damaged:
            continue  # it is the seal's own name that was hit, and nothing else
        with pytest.raises(ModelFileError):
            contract_of(path)


def test_a_seal_is_one_more_entry_that_every_reader_reads(tiny_model: Path) -> None:
    model = unsealed(tiny_model)
    again = sealed(model.SerializeToString(deterministic=True))
    assert onnx.load_from_string(again).metadata_props[-1].key == SEAL_KEY.decode()
    assert again == tiny_model.read_bytes()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_graph_is_refused_or_passes_and_nothing_else(
    tiny_model: Path, tmp_path: Path, data: st.DataObject
) -> None:
    model = bytearray(unsealed(tiny_model).SerializeToString())
    for _ in range(data.draw(st.integers(1, 5))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.onnx"
    path.write_bytes(model[: data.draw(st.one_of(st.just(len(model)), st.integers(0, len(model))))])
    try:
        check_model(path)
    except ModelFileError as err:
        assert str(err).startswith(f"{path}: ") and "\n" not in str(err)
