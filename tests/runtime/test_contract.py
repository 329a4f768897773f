"""The contract: comes back as it went, and nothing that is not one gets through."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edsr_runtime.contract import METADATA_KEY, Contract, Parity, read_contract
from edsr_runtime.errors import ModelFileError

CONTRACT = Contract(
    architecture="mdsr",
    scale=3,
    config={"scales": (2, 3, 4), "n_resblocks": 16, "n_feats": 64, "res_scale": 1.0},
    n_feats=64,
    folds=("residual scaling", "collapsed tail"),
    range_shift=4,
    mean=(114.444, 111.4605, 103.02),
    io="float",
    receptive_radius=44,
    min_side=3,
    precision="fp32",
    self_ensemble=False,
    source_sha256="0" * 64,
    tool_version="0.1.0",
    parity=Parity(6e-5, 1e-5, ((1, 3, 3, 3), (2, 3, 17, 23))),
    colors="y",
    enlarged_first=True,
    floats_per_pixel=576,
)
FIELDS = [field.name for field in dataclasses.fields(Contract)]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def plain() -> dict[str, Any]:
    data = json.loads(CONTRACT.to_json())
    assert isinstance(data, dict)
    return data


def parse(data: object) -> Contract:
    return Contract.from_json(json.dumps(data), "x.onnx")


def test_a_contract_comes_back() -> None:
    assert Contract.from_json(CONTRACT.to_json(), "x.onnx") == CONTRACT


def test_the_same_contract_gives_the_same_line() -> None:
    data = dataclasses.asdict(CONTRACT)
    backwards = Contract(**{**dict(reversed(data.items())), "parity": CONTRACT.parity})
    assert backwards.to_json() == CONTRACT.to_json()
    assert "\n" not in CONTRACT.to_json()
    assert list(plain()) == sorted(plain())


def test_whole_numbers_of_json_are_taken_where_fractions_belong() -> None:
    contract = parse({**plain(), "mean": [0, 0, 0], "parity": {**plain()["parity"], "max_difference": 0}})
    assert contract.mean == (0.0, 0.0, 0.0)
    assert all(type(value) is float for value in (*contract.mean, contract.parity.max_difference))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "not json", "\x00", '{"scale": NaN}'])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"^x\.onnx: its contract is not JSON .*Export the checkpoint again\.$"):
        Contract.from_json(text, "x.onnx")


@pytest.mark.parametrize(
    "data", [None, [], 1, "x", {}, *({**plain(), "schema": schema} for schema in (0, 3, "2", 2.0, True, [2], None))]
)
def test_another_schema_is_refused(data: object) -> None:
    with pytest.raises(
        ModelFileError, match=r"^x\.onnx: its contract is not of schema 2\. Export the checkpoint again"
    ):
        parse(data)


def test_a_contract_of_the_first_schema_is_read() -> None:
    later = ("colors", "enlarged_first", "floats_per_pixel")
    first = {name: value for name, value in plain().items() if name not in later} | {"schema": 1}
    contract = parse(first)
    assert (contract.colors, contract.enlarged_first, contract.widest) == ("rgb", False, contract.n_feats)
    assert contract == dataclasses.replace(CONTRACT, colors="rgb", enlarged_first=False, floats_per_pixel=0)
    with pytest.raises(ModelFileError, match=r"missing: 'colors', 'enlarged_first'; unknown: none"):
        parse({**first, "floats_per_pixel": 64})


def test_memory_goes_by_the_layer_that_takes_most() -> None:
    assert dataclasses.replace(CONTRACT, floats_per_pixel=1024).widest == 1024


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named(name: str) -> None:
    data = plain()
    del data[name]
    with pytest.raises(ModelFileError, match=rf"missing: '{name}'; unknown: none"):
        parse(data)


def test_unknown_fields_are_named_but_not_all_of_them() -> None:
    data = {**plain(), **{f"new_{i}": 1 for i in range(1000)}}
    with pytest.raises(ModelFileError, match=r"missing: none; unknown: 'new_0', 'new_1', 'new_10'\)\. Export"):
        parse(data)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("architecture", 3, "str"),
        ("scale", "2", "int"),
        ("scale", 2.0, "int"),
        ("scale", True, "int"),
        ("n_feats", None, "int"),
        ("config", [1], r"dict\[str, Any\]"),
        ("folds", "tail", r"tuple\[str, \.\.\.\]"),
        ("folds", [1], "str"),
        ("mean", [1, 2], r"tuple\[float, float, float\]"),
        ("mean", ["a", 2, 3], "float"),
        ("mean", [10**400, 2, 3], "float"),
        ("mean", [1e999, 2, 3], "float"),
        ("io", "int8", r"Literal\['float', 'uint8'\]"),
        ("precision", "bf16", r"Literal\['fp32', 'fp16'\]"),
        ("self_ensemble", 1, "bool"),
        ("self_ensemble", "false", "bool"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: object, expected: str) -> None:
    text = json.dumps({**plain(), name: value}).replace("Infinity", "1e999")
    with pytest.raises(ModelFileError, match=rf"^x\.onnx: its contract, field {name} is .*, expected {expected}\."):
        Contract.from_json(text, "x.onnx")


def test_fields_of_the_parity_are_checked_too() -> None:
    with pytest.raises(ModelFileError, match=r"field parity does not have the fields .*missing: 'max_difference'"):
        parse({**plain(), "parity": {"rms_difference": 0.0, "shapes": []}})
    with pytest.raises(ModelFileError, match=r"field parity, field shapes is 3, expected tuple"):
        parse({**plain(), "parity": {**plain()["parity"], "shapes": [3]}})


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("scale", 0, "1 to 16"),
        ("scale", 17, "1 to 16"),
        ("n_feats", 0, "1 to 100000"),
        ("n_feats", -64, "1 to 100000"),
        ("range_shift", -1, "0 to 100"),
        ("receptive_radius", -1, "0 to 100000"),
        ("min_side", 0, "1 to 100000"),
        ("min_side", 10**400, "1 to 100000"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(name: str, value: int, limits: str) -> None:
    with pytest.raises(ModelFileError, match=rf"^x\.onnx: its contract says {name} = .*, expected {limits}$"):
        parse({**plain(), name: value})


@given(st.sampled_from([*FIELDS, "schema", "other"]), PLAIN)
@example("mean", [1, 2, 10**400])
@example("config", {"\ud800": float("nan")})
def test_any_value_in_any_field_is_taken_or_refused_in_a_short_sentence(name: str, value: object) -> None:
    try:
        contract = parse({**plain(), name: value})
    except ModelFileError as err:
        assert str(err).startswith("x.onnx: its contract")
        assert len(str(err)) < 400
    else:
        assert Contract.from_json(contract.to_json(), "x.onnx") == contract


@given(st.data())
def test_a_damaged_line_is_taken_or_refused(data: st.DataObject) -> None:
    text = list(CONTRACT.to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 5))] = data.draw(st.text(max_size=3))
    try:
        Contract.from_json("".join(text), "x.onnx")
    except ModelFileError as err:
        assert str(err).startswith("x.onnx: its contract")


def test_the_contract_of_an_exported_file_says_what_it_is(tiny_model: Path, mdsr_model: Path) -> None:
    contract = read_contract(tiny_model)
    assert (contract.architecture, contract.scale, contract.n_feats) == ("edsr", 2, 8)
    assert contract.config == {"scale": 2, "n_resblocks": 2, "n_feats": 8, "res_scale": 0.5, "tail": "paper"}
    assert (contract.io, contract.precision, contract.self_ensemble) == ("float", "fp32", False)
    assert contract.receptive_radius == 1 + 2 * 2 + 1 + 2  # head, blocks, end of the body, tail
    assert contract.parity.max_difference < 1e-3
    contract = read_contract(mdsr_model)
    assert (contract.architecture, contract.scale, contract.config["scales"]) == ("mdsr", 3, (2, 3, 4))


def test_weights_are_not_read(tiny_model: Path, tmp_path: Path) -> None:
    # A hole of three gigabytes in front: whoever reads it all does not get far.
    path = tmp_path / "large.onnx"
    hole = 3 << 30
    with path.open("wb") as file:
        file.write(b"\x3a" + bytes([hole >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)]) + bytes([hole >> 28]))
        file.seek(hole, os.SEEK_CUR)
        file.write(tiny_model.read_bytes())
    assert read_contract(path) == read_contract(tiny_model)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path, tmp_path / "none" / "x.onnx"):
        with pytest.raises(
            ModelFileError, match=f"^{path}: no such file; expected an ONNX file written by edsr-export$"
        ):
            read_contract(path)


def test_a_path_that_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot be read \(File name too long\)"):
        read_contract(tmp_path / ("x" * 300 + ".onnx"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelFileError, match="no such file"):
        read_contract(tmp_path / "pipe.onnx")


def test_a_truncated_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(tiny_model.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="not a complete ONNX file"):
        read_contract(path)


def test_a_model_of_others_is_refused_with_advice(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    model = onnx.load(tiny_model)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=r"without a contract.*edsr-export --ckpt CHECKPOINT$"):
        read_contract(path)


def test_a_damaged_contract_is_refused_under_the_name_of_its_file(tiny_model: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(tiny_model, tmp_path / "damaged.onnx"))
    model = onnx.load(path)
    entry = next(p for p in model.metadata_props if p.key == METADATA_KEY)
    entry.value = entry.value[:-1]
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=f"^{path}: its contract is not JSON"):
        read_contract(path)
