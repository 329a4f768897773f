"""The engine over a TensorRT that is made up: what is called, and every answer that it can refuse with."""

import threading
import weakref
from collections.abc import Iterator
from enum import Enum, IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edsr_runtime.backends.trt_engine import TrtEngine
from edsr_runtime.cuda.device import DeviceMemoryError
from edsr_runtime.cuda.engine import EngineError
from edsr_runtime.trt.flavour import Flavour
from edsr_runtime.trt.profile import Profile, Size
from engine_stand_ins import contract

REASON = "Error Code 2: Internal Error (it does not want to)"


class Invalidity(IntEnum):
    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2
    INSUFFICIENT_GPU_MEMORY = 16


class MadeUp:
    """TensorRT's module. ``answers`` replaces what a method gives; ``calls`` is what was called."""

    __version__ = "1.7.1.116"
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    DataType = Enum("DataType", "FLOAT UINT8 HALF")
    TensorFormat = SimpleNamespace(LINEAR="linear", HWC8="hwc8")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")
    EngineValidity = SimpleNamespace(VALID="valid", INVALID="invalid")
    EngineInvalidityDiagnostics = Invalidity

    def __init__(self, kind: str, io: str = "float") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}
        self.message = REASON
        self.dtype = self.DataType.FLOAT if io == "float" else self.DataType.UINT8
        self.channel = 1 if io == "float" else 3
        self.kind = kind
        self.shape = (1, 1, 1, 1)
        module = self

        class ILogger:
            def __init__(self) -> None:
                module.logger = self

        self.logger: Any = None
        self.ILogger = ILogger

    def dims(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        sizes = [batch, height, width]
        sizes.insert(self.channel, 3)
        return tuple(sizes)

    def answer(self, call: str, *arguments: Any, default: Any = True) -> Any:
        self.calls.append((call, *arguments))
        if call in self.answers:
            self.logger.log(1, self.message)
            if isinstance(self.answers[call], Exception):
                raise self.answers[call]
            return self.answers[call]
        return default

    def Runtime(self, logger: Any) -> Any:  # noqa: N802  # TensorRT's name
        made = SimpleNamespace(
            deserialize_cuda_engine=lambda plan: self.answer("deserialize", plan, default=self.engine())
        )
        if self.kind == "rtx":
            made.get_engine_validity = lambda plan: self.answer("validity", default=("valid", 0))
        return self.answer("Runtime", default=made)

    def engine(self) -> Any:
        names = self.answers.get("names", ["input", "output"])
        return SimpleNamespace(
            num_io_tensors=len(names),
            get_tensor_name=lambda index: names[index],
            get_tensor_mode=lambda name: "in" if name.startswith("in") else "out",
            get_tensor_dtype=lambda name: self.answers.get("dtype", self.dtype),
            get_tensor_format=lambda name: self.answers.get("format", "linear"),
            get_tensor_profile_shape=lambda name, index: self.answers.get(
                "profile", [self.dims(1, 3, 3), self.dims(4, 64, 64), self.dims(8, 64, 64)]
            ),
            create_runtime_config=lambda: self.answer("config", default=self.config()),
            create_execution_context=lambda how: self.answer("context", how, default=self.context()),
        )

    def config(self) -> Any:
        cache = SimpleNamespace(
            deserialize=lambda blob: self.answer("load", blob),
            serialize=lambda: self.answer("save", default=b"kernels"),
        )
        return SimpleNamespace(
            set_execution_context_allocation_strategy=lambda strategy: self.answer("strategy", strategy, default=None),
            create_runtime_cache=lambda: self.answer("cache", default=cache),
            set_runtime_cache=lambda given: self.answer("set_cache"),
            cuda_graph_strategy="none",
        )

    def context(self) -> Any:
        def set_input_shape(name: str, shape: tuple[int, ...]) -> Any:
            batch, height, width = (n for axis, n in enumerate(shape) if axis != self.channel)
            self.shape = self.dims(batch, 4 * height, 4 * width)
            return self.answer("shape", name, shape)

        return SimpleNamespace(
            set_input_shape=set_input_shape,
            infer_shapes=lambda: self.answer("infer", default=[]),
            get_tensor_shape=lambda name: self.answers.get("given", self.shape),
            update_device_memory_size_for_shapes=lambda: self.answer("size", default=4096),
            set_device_memory=lambda address, size: self.answer("memory", address, size, default=None),
            set_tensor_address=lambda name, address: self.answer(f"address {name}", address),
            execute_async_v3=lambda stream: self.answer("execute", stream),
        )


def load(trt: MadeUp, jit_cache: Path | None = None, io: str = "float") -> TrtEngine:
    kind: Any = trt.kind
    return TrtEngine(Flavour(kind, trt, trt.__version__), b"plan", contract(io=io), jit_cache)


@pytest.fixture(params=["trt", "rtx"])
def trt(request: pytest.FixtureRequest) -> Iterator[MadeUp]:
    yield MadeUp(request.param)


@pytest.mark.parametrize("io", ["float", "uint8"])
@pytest.mark.parametrize("kind", ["trt", "rtx"])
def test_a_run_sets_shape_memory_and_addresses(kind: str, io: str) -> None:
    trt = MadeUp(kind, io)
    engine = load(trt, io=io)
    assert engine.profile == Profile(Size(1, 3, 3), Size(4, 64, 64), Size(8, 64, 64))
    assert (engine.io, engine.scale, engine.supports_capture) == (io, 4, kind == "trt")
    context = engine.create_context()
    trt.calls.clear()
    context.set_shape(Size(2, 20, 30))
    context.set_memory(512, context.activation_bytes())
    context.enqueue(77, 1024, 2048)
    assert trt.calls == [
        ("shape", "input", (2, 3, 20, 30) if io == "float" else (2, 20, 30, 3)),
        ("infer",),
        ("size",),
        ("memory", 512, 4096),
        ("address input", 1024),
        ("address output", 2048),
        ("execute", 77),
    ]
    context.close()
    engine.close()


def test_tensorrt_manages_no_memory_and_rtx_makes_its_own_graphs() -> None:
    full, rtx = MadeUp("trt"), MadeUp("rtx")
    load(full).create_context()
    assert full.calls[-1] == ("context", "user managed")
    engine = load(rtx)
    engine.create_context()
    engine.create_context()
    (_, config), (_, same) = (call for call in rtx.calls if call[0] == "context")
    assert config is same
    assert config.cuda_graph_strategy == "whole"
    assert ("strategy", "user managed") in rtx.calls


def test_kernels_that_rtx_compiles_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "one.jit"
    for before in (None, b"kernels"):
        trt = MadeUp("rtx")
        engine = load(trt, file)
        engine.create_context()
        assert [call for call in trt.calls if call[0] == "load"] == ([("load", before)] if before else [])
        engine.close()
        assert file.read_bytes() == b"kernels"
    assert [path.name for path in tmp_path.iterdir()] == ["one.jit"]


@pytest.mark.parametrize(("call", "answer"), [("load", False), ("save", None), ("cache", None)])
def test_without_old_kernels_it_goes_on(tmp_path: Path, call: str, answer: Any) -> None:
    file = tmp_path / "one.jit"
    file.write_bytes(b"of another machine")
    trt = MadeUp("rtx")
    trt.answers[call] = answer
    engine = load(trt, file)
    engine.create_context()
    engine.close()
    assert file.read_bytes() == (b"kernels" if call == "load" else b"of another machine")


@pytest.mark.parametrize(
    ("call", "answer", "sentence"),
    [
        ("Runtime", TypeError("factory function returned nullptr"), f" does not start: {REASON}"),
        ("deserialize", None, f" does not take the engine: {REASON}"),
        ("names", ["input", "input2", "output"], "has not one input and one output in linear memory"),
        ("format", "hwc8", "has not one input and one output in linear memory"),
        ("dtype", MadeUp.DataType.HALF, "the engine has HALF in and out, expected FLOAT or UINT8"),
        ("dtype", MadeUp.DataType.UINT8, "the engine has uint8 in and out, but its description says float"),
        ("profile", [(1, 3, 8, 8)] * 2, "expected three shapes of RGB pictures"),
        ("profile", [(1, 4, 8, 8)] * 3, "expected three shapes of RGB pictures"),
    ],
)
def test_an_engine_that_cannot_be_used_is_one_sentence(trt: MadeUp, call: str, answer: Any, sentence: str) -> None:
    trt.answers[call] = answer
    with pytest.raises(EngineError) as caught:
        load(trt)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("validity", "sentence", "error"),
    [
        (3, r"\(VERSION_MISMATCH, UNSUPPORTED_CC\): build it again on this machine$", EngineError),
        (16, "not enough memory for the engine: so says TensorRT-RTX", DeviceMemoryError),
    ],
)
def test_rtx_tells_what_it_has_against_an_engine(validity: int, sentence: str, error: type[Exception]) -> None:
    trt = MadeUp("rtx")
    trt.answers["validity"] = "invalid", validity
    with pytest.raises(error, match=sentence):
        load(trt)
    assert "deserialize" not in [call[0] for call in trt.calls]


def test_what_rtx_calls_invalid_without_a_reason_is_tried() -> None:
    trt = MadeUp("rtx")
    trt.answers["validity"] = "invalid", 0
    load(trt)


@pytest.mark.parametrize(("call", "answer"), [("context", None), ("config", None), ("set_cache", False)])
def test_a_context_that_is_not_made_is_an_error(tmp_path: Path, call: str, answer: Any) -> None:
    trt = MadeUp("rtx")
    engine = load(trt, tmp_path / "one.jit")
    trt.answers[call] = answer
    with pytest.raises(EngineError, match=r"^TensorRT-RTX 1\.7\.1\.116 .*it does not want to"):
        engine.create_context()


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("shape", False),
        ("infer", ["input"]),
        ("infer", RuntimeError("bad")),
        ("given", (1, 3, 9, 9)),
        ("size", -1),
        ("address input", False),
        ("address output", False),
        ("execute", False),
    ],
)
def test_no_answer_is_overlooked(trt: MadeUp, call: str, answer: Any) -> None:
    context = load(trt).create_context()
    trt.answers[call] = answer
    with pytest.raises(EngineError):
        context.set_shape(Size(1, 8, 8))
        context.set_memory(256, context.activation_bytes())
        context.enqueue(5, 256, 512)


@pytest.mark.parametrize(
    "message",
    [
        "Error Code 1: Cuda Runtime (cudaErrorMemoryAllocation)",
        "[defaultAllocator.cpp::allocate::47] Error Code 1: Cuda Runtime (out of memory)",
        "Error Code 2: OutOfMemory (Requested size was 123 bytes.)",
    ],
)
def test_too_little_memory_is_told_apart(trt: MadeUp, message: str) -> None:
    trt.message = message
    context = load(trt).create_context()
    trt.answers["execute"] = False
    with pytest.raises(DeviceMemoryError, match=r"^the GPU has not enough memory: "):
        context.enqueue(5, 256, 512)
    del trt.answers["execute"]
    trt.answers["shape"], trt.message = False, REASON
    with pytest.raises(EngineError, match="it does not want to"):  # what was said before is not the reason
        context.set_shape(Size(1, 8, 8))
    trt.answers["context"], trt.message = None, message
    with pytest.raises(DeviceMemoryError):
        load(trt).create_context()


def test_workers_do_not_take_one_anothers_reasons(trt: MadeUp) -> None:
    """Two threads, of which one clears the log and succeeds while the other is being refused for lack of memory."""
    engine = load(trt)
    failing, working = engine.create_context(), engine.create_context()
    trt.message = "Error Code 1: Cuda Runtime (out of memory)"
    execute = trt.answer

    def answer(call: str, *arguments: Any, default: Any = True) -> Any:
        given = execute(call, *arguments, default=default)
        if call == "execute" and given is False:
            del trt.answers["execute"]
            other = threading.Thread(target=working.enqueue, args=(6, 256, 512))
            other.start()
            other.join()
        return given

    trt.answer = answer  # type: ignore[method-assign]
    trt.answers["execute"] = False
    with pytest.raises(DeviceMemoryError):
        failing.enqueue(5, 256, 512)
    assert [call for call in trt.calls if call[0] == "execute"] == [("execute", 5), ("execute", 6)]


class Thing(SimpleNamespace):
    """Of TensorRT; one can tell whether it is still there."""


ANSWERS: list[tuple[str, Any]] = [
    ("names", ["input", "input2", "output"]),
    ("format", "hwc8"),
    ("profile", [(1, 3, 8, 8)] * 2),
    ("cache", Thing(deserialize=lambda blob: True, serialize=lambda: None)),
    ("shape", False),
    ("infer", ["input"]),
    ("infer", RuntimeError("bad")),
    ("given", (1, 3, 9, 9)),
    ("size", -1),
    ("address output", False),
    ("execute", False),
]


@pytest.mark.parametrize(("call", "answer"), ANSWERS)
def test_an_error_that_is_kept_keeps_nothing_of_tensorrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, answer: Any
) -> None:
    """What outlives the device's context ends the process when it is destroyed."""
    trt = MadeUp("rtx")
    alive: list[weakref.ref[Thing]] = []

    def watched(make: Any) -> Any:
        def wrapped() -> Any:
            thing = Thing(**vars(make()))
            alive.append(weakref.ref(thing))
            return thing

        return wrapped

    for name in ("engine", "config", "context"):
        monkeypatch.setattr(trt, name, watched(getattr(trt, name)))
    if call == "cache":
        trt.answers["set_cache"] = False
    else:
        trt.answers[call] = answer
    engine = None
    with pytest.raises((EngineError, DeviceMemoryError)) as kept:
        engine = load(trt, tmp_path / "one.jit")
        context = engine.create_context()
        try:
            context.set_shape(Size(1, 8, 8))
            context.set_memory(256, context.activation_bytes())
            context.enqueue(5, 256, 512)
        finally:
            context.close()
    if engine is not None:
        engine.close()
    trt.calls.clear()
    assert kept.value.__traceback__ is not None
    assert alive
    assert [thing() for thing in alive if thing() is not None] == []
