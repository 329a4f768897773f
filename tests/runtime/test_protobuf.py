"""Metadata of ONNX files: read as the onnx package writes it, and every damage is one sentence."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edsr_runtime.errors import ModelFileError
from edsr_runtime.protobuf import read_metadata

# The file is written anew for every example, so that a shared folder does no harm.
TEXT = st.text(st.characters(codec="utf-8"), max_size=300)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def onnx_model(metadata: dict[str, str], weights: int = 100) -> ModelProto:
    value = numpy_helper.from_array(np.arange(weights, dtype=np.float32), "weights")
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [weights])
    graph = helper.make_graph([helper.make_node("Identity", ["weights"], ["output"])], "g", [], [output], [value])
    model = helper.make_model(graph, producer_name="test", ir_version=10)
    helper.set_model_props(model, metadata)
    return model


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@settings(in_one_folder, max_examples=30)
@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_metadata_is_what_onnx_wrote(tmp_path: Path, metadata: dict[str, str]) -> None:
    assert read_metadata(written(tmp_path / "m.onnx", onnx_model(metadata).SerializeToString())) == metadata


def test_long_values_and_weights_are_passed_over(tmp_path: Path) -> None:
    metadata = {"short": "x", "long": "y" * 70_000}
    path = written(tmp_path / "m.onnx", onnx_model(metadata, weights=500_000).SerializeToString())
    assert read_metadata(path) == metadata


def test_a_file_cut_anywhere_is_refused_or_lacks_the_metadata(tmp_path: Path) -> None:
    data = onnx_model({"key": "value"}, weights=10).SerializeToString()
    outcomes = set()
    for length in range(len(data)):
        try:
            outcomes.add(str(read_metadata(written(tmp_path / "m.onnx", data[:length]))))
        except ModelFileError as err:
            outcomes.add(str(err))
    # Fields are independent: a cut between two of them leaves a message that is complete, but without what follows.
    assert outcomes == {"{}", f"{tmp_path / 'm.onnx'}: not a complete ONNX file. Copy it, or export it again."}


@in_one_folder
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x0a" + b"\xff" * 9 + b"\x01")  # a length of 2^64 - 1
@example(b"\xff" * 12)  # a number that never ends
@example(b"\x3a\x00\x72\x03\x0a\x01\xff")  # a key that is not UTF-8
@example(b"\x3a\x00\x72\x02\x0a\x05")  # an entry longer than its field
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    try:
        read_metadata(written(tmp_path / "m.onnx", data))
    except ModelFileError as err:
        assert str(err).startswith(f"{tmp_path / 'm.onnx'}: not a complete ONNX file")


@in_one_folder
@given(st.data())
def test_a_changed_byte_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(onnx_model({"key": "value"}, weights=4).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_metadata(written(tmp_path / "m.onnx", bytes(content)))
    except ModelFileError as err:
        assert "not a complete ONNX file" in str(err)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5000000\n",
        b"PK\x03\x04" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(1000),
    ],
    ids=["empty", "html", "lfs", "zip", "png", "zeros"],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"m\.onnx: not a complete ONNX file"):
        read_metadata(written(tmp_path / "m.onnx", content))


def test_a_message_without_a_graph_is_no_model(tmp_path: Path) -> None:
    model = onnx_model({"key": "value"})
    model.ClearField("graph")
    with pytest.raises(ModelFileError, match="not a complete ONNX file"):
        read_metadata(written(tmp_path / "m.onnx", model.SerializeToString()))


def test_an_entry_of_megabytes_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", onnx_model({"key": "v" * (1 << 20)}).SerializeToString())
    with pytest.raises(ModelFileError, match="not a complete ONNX file"):
        read_metadata(path)


def test_a_large_file_of_tiny_fields_is_given_up_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", b"\x08\x01" * 20_000_000)
    start = time.process_time()
    with pytest.raises(ModelFileError, match="not a complete ONNX file"):
        read_metadata(path)
    assert time.process_time() - start < 5  # reading it all takes about twenty seconds


def test_a_folder_and_a_missing_file_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot be read \(Is a directory\)"):
        read_metadata(tmp_path)
    with pytest.raises(ModelFileError, match=r"cannot be read \(No such file or directory\)"):
        read_metadata(tmp_path / "none.onnx")
