"""Precision: each witness can refute, and none says more than it saw."""

import json
from typing import Any

import pytest

from edsr_runtime.errors import GateError
from edsr_runtime.trt.precision import Definition, Layer, convolution_types, prove

HALF = Layer("conv_1", "CONVOLUTION", "half", "half")
RELU = Layer("relu_1", "ACTIVATION", "half", "half")
SUM = Layer("add_1", "ELEMENTWISE", "float", "float")


def definition(*layers: Layer, kernels: dict[str, int] | None = None) -> Definition:
    return Definition(layers or (HALF, RELU, SUM), {"half": 1} if kernels is None else kernels, 1000)


def test_an_engine_that_is_what_was_asked_for_says_who_saw_it() -> None:
    report = prove("fp16", definition(), 2004, ["half"], "TensorRT 11.4.0")
    assert report.proofs == (
        "network definition, strongly typed: 1 of 1 convolutions half",
        "TensorRT 11.4.0's report: 2.00 bytes for each of 1,000 weights",
        "engine inspector: 1 of 1 convolutions half",
    )
    assert report.count() == {"convolution half": 1, "activation half": 1, "elementwise float": 1}
    assert (report.asked, report.weights, report.bytes_per_weight) == ("fp16", 1000, 2.004)


def test_a_witness_that_saw_nothing_is_no_proof() -> None:
    assert len(prove("fp16", definition(), None, None, "it").proofs) == 1
    assert len(prove("fp16", definition(), None, [], "it").proofs) == 1


def test_more_bytes_than_expected_prove_nothing() -> None:  # kernels may be stored transformed, and larger
    report = prove("fp16", definition(), 4000, None, "it")
    assert len(report.proofs) == 1 and report.bytes_per_weight == 4


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Layer("conv_9", "CONVOLUTION", "float", "float"),
            "conv_9 takes float and gives float, expected half for fp16",
        ),
        (Layer("conv_9", "CONVOLUTION", "half", "float"), "conv_9 takes half and gives float"),
        (Layer("up", "DECONVOLUTION", "float", "float"), "up takes float"),
    ],
)
def test_a_convolution_in_another_type_refutes(layer: Layer, message: str) -> None:
    with pytest.raises(GateError, match=message):
        prove("fp16", definition(HALF, layer), None, None, "it")


def test_kernels_of_another_type_refute() -> None:
    with pytest.raises(GateError, match="kernels of type float, expected half"):
        prove("fp16", definition(kernels={"half": 4, "float": 1}), None, None, "it")


def test_fp32_is_held_to_as_well() -> None:
    single = Layer("conv", "CONVOLUTION", "float", "float")
    report = prove("fp32", definition(single, kernels={"float": 1}), 4000, None, "it")
    assert "4.00 bytes for each" in report.proofs[1]
    with pytest.raises(GateError, match="expected float for fp32"):
        prove("fp32", definition(), None, None, "it")
    with pytest.raises(GateError, match=r"holds 2\.00 bytes for each weight, expected 4 for fp32"):
        prove("fp32", definition(single, kernels={"float": 1}), 2000, None, "it")


def test_the_engine_itself_has_the_last_word() -> None:
    with pytest.raises(GateError, match="1 of the engine's 3 convolutions compute in float, expected half"):
        prove("fp16", definition(), 2000, ["half", "float", "half"], "it")


def test_a_network_without_convolutions_is_not_vouched_for() -> None:
    with pytest.raises(GateError, match="no convolution"):
        prove("fp16", definition(RELU), None, None, "it")


# As TensorRT 10 prints it, and as 11 does, where format and type are two entries.
TEN: dict[str, Any] = {"Name": "conv", "LayerType": "CaskConvolution", "Outputs": [{"Name": "x"}]}
TEN["Outputs"][0] |= {"Location": "Device", "Dimensions": [1, 64, 8, 8], "Format/Datatype": "Half NHWC8 C:8"}


@pytest.mark.parametrize(
    ("layers", "types"),
    [
        ([TEN], ["half"]),
        ([{**TEN, "Outputs": [{"Format/Datatype": "Row major linear FP32"}]}], ["float"]),
        ([{"LayerType": "Convolution", "Outputs": [{"Format": "NHWC8, FP16", "DataType": "Float"}]}], ["float"]),
        ([{**TEN, "LayerType": "Reformat"}, {"LayerType": "Myelin", "Name": "{ForeignNode[a...b]}"}], []),
        (["conv_1", "conv_2"], []),  # built without details: names only
        ([], []),
    ],
)
def test_the_inspectors_json_is_read_in_both_dialects(layers: list[Any], types: list[str]) -> None:
    assert convolution_types(json.dumps({"Layers": layers, "Bindings": ["input", "output"]})) == types
