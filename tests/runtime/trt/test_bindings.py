"""Every name of TensorRT that our code uses, and how it is called, against the bindings of every dialect.

``bindings.json`` holds what ``record_bindings.py`` found in the real bindings of the first and the last supported
versions. What our code uses is collected from its source: objects of TensorRT are followed from ``trt`` through calls,
whose results the record knows, and through variables; a parameter that may be one has a name in ``PARAMETERS``.
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edsr_runtime.trt.flavour import Flavour
from record_bindings import RECORD, record, signatures

PACKAGE = Path(__file__).resolve().parents[3] / "runtime" / "edsr_runtime"
BINDINGS: dict[str, dict[str, Any]] = json.loads(RECORD.read_text())

MODULE = "module"
MODULE_NAMES = ("trt", "_trt")
"""What ``flavour.trt`` is called."""
PARAMETERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "tensor": "ITensor",
    "context": "IExecutionContext",
    "trt": MODULE,
}
"""Of type Any."""
OTHER_PARAMETERS = {
    # of type Any too, and nothing of TensorRT
    "arguments", "arg0", "library", "hint", "value", "array", "dtype", "severity", "frame", "make", "strategy",
}  # fmt: skip
CAST = {("ILayer", "kernel"): "IConvolutionLayer", ("ILayer", "bias"): "IConvolutionLayer"}
"""After ``layer.__class__`` was set."""
NOT_THEIRS = {"__class__", "__version__", "__members__"}
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


class Uses:
    """Those of one source file."""

    def __init__(self, name: str, source: str) -> None:
        self.found: list[Use] = []
        self.unknown: list[str] = []
        """Parameters that may be anything, and are in no list."""
        self._file = name
        self._fields: dict[str, str] = {}
        tree = ast.parse(source)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and not node.keywords]
        self._arguments = {id(call.func): call.args for call in calls}
        self._arguments |= {id(call.args[0]): call.args[3:] for call in calls if _is_made(call)}
        for node in tree.body:
            self._read(node)

    def _read(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ClassDef):
            functions = [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
            self._fields = {}
            before = len(self.found), len(self.unknown)
            for _ in range(2):  # a method may use what one further down sets
                del self.found[before[0] :], self.unknown[before[1] :]
                for function in functions:
                    self._function(function, {})
            for inner in node.body:
                if isinstance(inner, ast.ClassDef):
                    self._read(inner)
        elif isinstance(node, ast.FunctionDef):
            self._function(node, {})

    def _function(self, function: ast.FunctionDef, outer: dict[str, str]) -> None:
        scope = dict(outer)
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            scope.pop(argument.arg, None)
            if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any":
                if argument.arg in PARAMETERS:
                    scope[argument.arg] = PARAMETERS[argument.arg]
                elif argument.arg not in OTHER_PARAMETERS:
                    self.unknown.append(f"{self._file}:{function.lineno}: {argument.arg}")
        for statement in function.body:
            self._statement(statement, scope)

    def _statement(self, statement: ast.stmt, scope: dict[str, str]) -> None:
        """Uses within, then what it assigns."""
        if isinstance(statement, ast.FunctionDef):
            self._function(statement, scope)
            return
        if isinstance(statement, ast.ClassDef):
            for inner in statement.body:
                self._statement(inner, scope)
            return
        nested = [node for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt | ast.ExceptHandler)]
        if isinstance(statement, ast.For):
            self._assign(statement.target, self._iterated(statement.iter, scope), scope)
        for part in ast.iter_child_nodes(statement):
            if part not in nested:
                self._expression(part, scope)
        for part in nested:
            for inner in part.body if isinstance(part, ast.ExceptHandler) else [part]:
                self._statement(inner, scope)
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                self._assign(target, self._types(statement.value, scope), scope)
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            self._assign(statement.target, self._types(statement.value, scope), scope)
        elif isinstance(statement, ast.With):
            for item in statement.items:
                if item.optional_vars is not None:
                    self._assign(item.optional_vars, None, scope)

    def _assign(self, target: ast.expr, given: Any, scope: dict[str, str]) -> None:
        if isinstance(target, ast.Tuple):
            parts = given if isinstance(given, list) else [None] * len(target.elts)
            for inner, part in zip(target.elts, parts, strict=True):
                self._assign(inner, part, scope)
        elif isinstance(target, ast.Name):
            scope.pop(target.id, None)
            if isinstance(given, str):
                scope[target.id] = given
        elif isinstance(given, str) and isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
            self._fields[target.attr] = given

    def _types(self, value: ast.expr, scope: dict[str, str]) -> Any:
        if isinstance(value, ast.Tuple):
            return [self._types(part, scope) for part in value.elts]
        return self._type(value, scope)

    def _iterated(self, value: ast.expr, scope: dict[str, str]) -> Any:
        """Of each item of a tuple of tuples, where all are of the same types."""
        if isinstance(value, ast.Tuple) and value.elts:
            kinds = [self._types(item, scope) for item in value.elts]
            return kinds[0] if all(kind == kinds[0] for kind in kinds) else None
        return None

    def _expression(self, node: ast.AST, scope: dict[str, str]) -> None:
        for part in ast.walk(node):  # variables of comprehensions are never objects of TensorRT here
            if not isinstance(part, ast.Attribute):
                continue
            owner = self._type(part.value, scope)
            if owner is not None:
                self.found.append(self._use(part, owner))

    def _use(self, node: ast.Attribute, owner: str) -> Use:
        given = self._arguments.get(id(node), [])
        called = id(node) in self._arguments and not any(isinstance(part, ast.Starred) for part in given)
        arguments = len(given) if called else None
        if arguments is not None and owner.startswith("type "):
            arguments -= 1  # ``base.__init__(self)``
        owner = CAST.get((owner, node.attr), owner)
        return Use(owner.removeprefix("type "), node.attr, arguments, f"{self._file}:{node.lineno}")

    def _type(self, node: ast.expr, scope: dict[str, str]) -> str | None:
        """A class, ``module``, or ``type X`` for a member of the module; None if it is not of TensorRT."""
        if isinstance(node, ast.Name):
            return scope.get(node.id)
        if isinstance(node, ast.Attribute):
            if node.attr in MODULE_NAMES:
                return MODULE
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                return self._fields.get(node.attr)
            return f"type {node.attr}" if self._type(node.value, scope) == MODULE else None
        if isinstance(node, ast.Call):
            function = node.func
            if _is_made(node):
                function = node.args[0]
            kind = self._type(function, scope)
            if kind is not None and kind.startswith("type "):
                return kind.removeprefix("type ")
            if isinstance(function, ast.Attribute):
                return _given(self._type(function.value, scope), function.attr)
        return None


def _is_made(call: ast.Call) -> bool:
    """``_made(builder.create_network, log, "...", flags)`` calls its first argument with those after the third."""
    return isinstance(call.func, ast.Name) and call.func.id == "_made"


def _given(owner: str | None, method: str) -> str | None:
    """What a method gives, if that is a class of TensorRT."""
    if owner is None or (owner, method) in RETURNS:
        return RETURNS.get((owner or "", method))
    for bindings in BINDINGS.values():
        signature = bindings["classes"].get(owner, {}).get(method, "")
        if " -> " in signature:
            return str(signature.split(" | ")[0].split(" -> ")[1])
    return None


RETURNS = {("IRuntimeConfig", "create_runtime_cache"): "IRuntimeCache", ("OnnxParser", "get_error"): "ParserError"}
"""What the signatures do not tell."""

SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "trt" in path.read_text()]
READ = {path: Uses(path.name, path.read_text()) for path in SOURCES}
USES = [use for uses in READ.values() for use in uses.found]


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


def missing(uses: list[Use], version: str) -> list[str]:
    """What these bindings do not have."""
    bindings, found = BINDINGS[version], []
    other = ONLY_FULL if version.startswith("tensorrt_rtx") else ONLY_RTX
    for use in uses:
        if (use.owner, use.member) in other:
            continue
        if use.owner == MODULE:
            known = use.member in (*bindings["names"].split(), *NOT_THEIRS, *(owner for owner, _ in other))
            made = Use(use.member, "__init__", use.arguments, use.where)
            if use.arguments is not None and use.member in bindings["classes"] and not takes(bindings, made):
                found.append(f"{use.where}: {use.member} does not take {use.arguments} arguments")
        elif use.member in NOT_THEIRS:
            known = use.owner in bindings["enums"] or use.owner in bindings["classes"]
        elif use.owner in bindings["enums"]:
            known = use.member in bindings["enums"][use.owner].split()
        else:
            known = use.member in bindings["classes"].get(use.owner, {})
            if known and use.arguments is not None and not takes(bindings, use):
                found.append(f"{use.where}: {use.owner}.{use.member} does not take {use.arguments} arguments")
        if not known:
            found.append(f"{use.where}: there is no {use.owner}.{use.member}")
    return found


@pytest.mark.parametrize("version", BINDINGS)
def test_every_name_and_every_call_exists(version: str) -> None:
    assert missing(USES, version) == []


def test_nothing_that_may_be_of_tensorrt_is_overlooked() -> None:
    assert [line for uses in READ.values() for line in uses.unknown] == []


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("trt.Bilder(log)", "there is no module.Bilder"),
        ("trt.BuilderFlag.FP61", "there is no BuilderFlag.FP61"),
        ("trt.Runtime(log).deserialise(plan)", "there is no Runtime.deserialise"),
        ("made = _made(trt.Builder, log, 'x', log)\n    made.create_netwrok(0)", "there is no Builder.create_netwrok"),
        ("n = builder.create_network(0)\n    x = n.get_layer(1).get_outputs(0)", "there is no ILayer.get_outputs"),
        ("builder.build_serialized_network(1)", "Builder.build_serialized_network does not take 1 arguments"),
        ("a, b = trt.Runtime(log), 1\n    if b:\n        a.unload()", "there is no Runtime.unload"),
        ("f(*(config.set_flagg(n) for n in names))", "there is no IBuilderConfig.set_flagg"),
        ("builder.logger()", "Builder.logger does not take 0 arguments"),
        ("trt.OnnxParser(builder)", "OnnxParser does not take 1 arguments"),
        ("_made(trt.OnnxParser, log, 'x', builder)", "OnnxParser does not take 1 arguments"),
    ],
)
def test_a_name_that_is_not_there_is_found_whatever_the_variable_is_called(code: str, complaint: str) -> None:
    uses = Uses("a.py", f"def work(trt: Any, builder: Any, config: Any):\n    {code}\n")
    for version in BINDINGS:
        assert [line for line in missing(uses.found, version) if complaint in line], uses.found


def test_a_parameter_that_may_be_anything_has_to_be_classified() -> None:
    assert Uses("a.py", "class A:\n    def work(self, mystery: Any): pass\n").unknown == ["a.py:2: mystery"]


def test_names_of_one_version_only_are_missed_in_the_others() -> None:
    for code, there in (("BuilderFlag.FP16", "tensorrt 10."), ("ComputeCapability.SM86", "tensorrt_rtx ")):
        uses = Uses("a.py", f"def work(trt: Any):\n    trt.{code}\n").found
        for version in BINDINGS:
            assert bool(missing(uses, version)) != version.startswith(there), version


def takes(bindings: dict[str, Any], use: Use) -> bool:
    """Whether one of the overloads takes as many positional arguments."""
    found = bindings["classes"][use.owner][use.member]
    if found == "property":
        return False
    for overload in found.split(" | "):
        names = [name for name in overload.split(" -> ")[0].split(", ") if name.strip()]
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
    ("Builder", "create_network"): "flags= -> INetworkDefinition",
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
        ("f(self: trt.Builder) -> tensorrt_bindings.tensorrt.IBuilderConfig", [" -> IBuilderConfig"]),
        ("No signature.", []),
    ],
)
def test_signatures_are_read_out_of_docstrings(doc: str, expected: list[str]) -> None:
    assert signatures(doc) == expected
