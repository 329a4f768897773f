"""Every name of TensorRT that our code uses, and how it is called, against the bindings of every dialect.

``bindings.json`` holds what ``record_bindings.py`` found in the real bindings of the first and the last supported
versions. What our code uses is collected from its source by the names of its variables, so these must keep to the
names in ``RECEIVERS``.
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edsr_runtime.trt.flavour import Flavour
from record_bindings import RECORD, parameters, record

PACKAGE = Path(__file__).resolve().parents[3] / "runtime" / "edsr_runtime"
SOURCES = sorted([*(PACKAGE / "trt").glob("*.py"), *(PACKAGE / "backends").glob("trt*.py")])
BINDINGS: dict[str, dict[str, Any]] = json.loads(RECORD.read_text())

RECEIVERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "layer": "ILayer",
    "tensor": "ITensor",
    "config": "IBuilderConfig",
    "inspector": "EngineInspector",
    "times": "ITimingCache",
    "runtime": "Runtime",
    "_runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
}
"""Variable, or last part of an attribute -> class."""
IN_FILE = {("trt_engine.py", "config"): "IRuntimeConfig", ("trt_engine.py", "_jit"): "IRuntimeCache"}
OURS = {
    # of other things with these names: a layer and an engine of ours, dictionaries out of JSON
    ("layer", "name"), ("layer", "kind"), ("layer", "takes"), ("layer", "gives"), ("layer", "get"),
    ("engine", "profile"), ("engine", "close"), ("_engine", "close"), ("_engine", "refused"), ("engine", "refused"),
    ("engine", "log"), ("engine", "input"), ("engine", "output"), ("engine", "io"), ("engine", "scale"),
    ("engine", "name"), ("engine", "with_name"), ("engine", "is_file"), ("engine", "exists"), ("_engine", "log"),
    ("layer", "__class__"), ("tensor", "items"), ("config", "get"), ("trt", "__version__"),
}  # fmt: skip
CONVOLUTION = {("layer", "kernel"), ("layer", "bias")}  # after the layer was cast to one
ONLY_RTX = {
    ("ComputeCapability", "__members__"), ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"), ("Runtime", "get_engine_validity"), ("EngineValidity", "INVALID"),
    ("EngineInvalidityDiagnostics", "__members__"), ("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"),
    ("IRuntimeConfig", "cuda_graph_strategy"), ("IRuntimeConfig", "create_runtime_cache"),
    ("IRuntimeConfig", "set_runtime_cache"), ("IRuntimeCache", "serialize"), ("IRuntimeCache", "deserialize"),
    ("BuilderFlag", "REQUIRE_USER_ALLOCATION"),
}  # fmt: skip
"""Used where the flavour is known to be RTX, or after a look whether it is there."""
ONLY_FULL = {("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")}  # after a look


@dataclass(frozen=True)
class Use:
    """One name that our code takes from TensorRT."""

    owner: str
    member: str
    arguments: int | None
    """How many positional ones it is called with; None if it is not called, or with ``*arguments``."""
    where: str


def uses() -> list[Use]:
    """All of them."""
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            owner = _owner(node, path.name)
            if owner is None:
                continue
            call = calls.get(id(node))
            plain = call is not None and not any(isinstance(a, ast.Starred) for a in call.args) and not call.keywords
            arguments = len(call.args) if call is not None and plain else None
            found.append(Use(owner, node.attr, arguments, f"{path.name}:{node.lineno}"))
    return found


def _owner(node: ast.Attribute, file: str) -> str | None:
    """``trt.BuilderFlag.TF32`` is of BuilderFlag, ``builder.create_network`` of Builder, ``trt.Builder`` of itself."""
    receiver = node.value
    name = receiver.attr if isinstance(receiver, ast.Attribute) else getattr(receiver, "id", None)
    if (name, node.attr) in OURS:
        return None
    if name in ("trt", "_trt"):
        return "module"
    if isinstance(receiver, ast.Attribute):
        inner = receiver.value
        inner_name = inner.attr if isinstance(inner, ast.Attribute) else getattr(inner, "id", None)
        if inner_name in ("trt", "_trt"):
            return receiver.attr
    if name is None:
        return None
    if (name, node.attr) in CONVOLUTION:
        return "IConvolutionLayer"
    return IN_FILE.get((file, name)) or RECEIVERS.get(name)


USES = uses()


def test_the_collection_sees_what_it_should() -> None:
    seen = {(use.owner, use.member) for use in USES}
    assert seen >= {
        ("module", "Builder"),
        ("Builder", "build_serialized_network"),
        ("Builder", "create_network"),
        ("OnnxParser", "parse"),
        ("INetworkDefinition", "get_layer"),
        ("ILayer", "get_output"),
        ("IConvolutionLayer", "kernel"),
        ("IBuilderConfig", "set_memory_pool_limit"),
        ("MemoryPoolType", "WORKSPACE"),
        ("BuilderFlag", "REQUIRE_USER_ALLOCATION"),
        ("ICudaEngine", "create_engine_inspector"),
        ("IExecutionContext", "execute_async_v3"),
        ("Runtime", "deserialize_cuda_engine"),
    }
    assert ("Builder", 2) in {(u.owner, u.arguments) for u in USES if u.member == "build_serialized_network"}


@pytest.mark.parametrize("version", BINDINGS)
def test_every_name_and_every_call_exists(version: str) -> None:
    missing = []
    bindings = BINDINGS[version]
    other = ONLY_FULL if version.startswith("tensorrt_rtx") else ONLY_RTX
    for use in USES:
        if (use.owner, use.member) in other:
            continue
        if use.owner == "module":
            known = use.member in bindings["names"].split() or use.member in {owner for owner, _ in other}
        elif use.member == "__members__":
            known = use.owner in bindings["enums"]
        elif use.owner in bindings["enums"]:
            known = use.member in bindings["enums"][use.owner].split()
        else:
            known = use.member in bindings["classes"].get(use.owner, {})
            if known and use.arguments is not None and not takes(bindings, use):
                missing.append(f"{use.where}: {use.owner}.{use.member} does not take {use.arguments} arguments")
        if not known:
            missing.append(f"{use.where}: there is no {use.owner}.{use.member}")
    assert missing == []


def takes(bindings: dict[str, Any], use: Use) -> bool:
    """Whether one of the overloads takes as many positional arguments."""
    found = bindings["classes"][use.owner][use.member]
    if found == "property":
        return False
    for overload in found.split(" | "):
        names = [name for name in overload.split(", ") if name]
        required = sum(not name.endswith("=") for name in names)
        if required <= (use.arguments or 0) <= len(names):
            return True
    return False


CALLED_BY_TENSORRT = {
    "ILogger": {"log": "severity, msg"},
    "IProgressMonitor": {
        "phase_start": "phase_name, parent_phase, num_steps",
        "step_complete": "phase_name, step",
        "phase_finish": "phase_name",
    },
}
CONSTRUCTED = {"Builder": "logger", "Runtime": "logger", "OnnxParser": "network, logger"}
CALLED_BY_NAME = {
    ("Builder", "create_network"): "flags=",
    ("IOptimizationProfile", "set_shape"): "input, min, opt, max",
    ("IBuilderConfig", "add_optimization_profile"): "profile",
    ("ParserError", "desc"): "",
}
"""Calls whose receiver or arguments have no name of their own in our source."""


@pytest.mark.parametrize("version", BINDINGS)
def test_constructors_and_callbacks_are_as_we_have_them(version: str) -> None:
    classes = BINDINGS[version]["classes"]
    for name, signature in CONSTRUCTED.items():
        assert classes[name]["__init__"] == signature
    for name, methods in CALLED_BY_TENSORRT.items():
        for method, signature in methods.items():
            assert classes[name].get(method) == signature, (name, method)
    for (name, method), signature in CALLED_BY_NAME.items():
        assert classes[name][method] == signature


@pytest.mark.parametrize("version", BINDINGS)
def test_the_dialects_are_told_apart_by_a_flag_that_is_gone(version: str) -> None:
    is_ten = version.startswith("tensorrt 10.")
    assert ("FP16" in BINDINGS[version]["enums"]["BuilderFlag"].split()) == is_ten
    if is_ten:
        assert "STRONGLY_TYPED" in BINDINGS[version]["enums"]["NetworkDefinitionCreationFlag"].split()


def test_first_and_last_supported_versions_are_recorded() -> None:
    found = {tuple(name.replace(" ", ".").split(".")[:3]) for name in BINDINGS}
    assert found >= {
        ("tensorrt", "10", "13"),
        ("tensorrt", "10", "16"),
        ("tensorrt", "11", "0"),
        ("tensorrt", "11", "4"),
        ("tensorrt_rtx", "1", "6"),
        ("tensorrt_rtx", "1", "7"),
    }


def test_a_recording_over_stand_ins_is_that_of_the_real_libraries(rtx: Flavour) -> None:
    name = f"tensorrt_rtx {rtx.version}"
    if name not in BINDINGS:
        pytest.skip(f"{name} is not recorded")
    assert record(rtx.trt) == BINDINGS[name]


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        (
            "f(self: trt.Builder, a: typing.Sequence[int], b: dict[str, int] = {}) -> None\n\nText (f(x) -> y).",
            ["a, b="],
        ),
        ("f(*args, **kwargs)\nOverloaded function.\n\n1. f(self: T, a: int) -> int\n\n2. f(self: T) -> T", ["a", ""]),
        ("No signature.", []),
    ],
)
def test_signatures_are_read_out_of_docstrings(doc: str, expected: list[str]) -> None:
    assert parameters(doc) == expected
