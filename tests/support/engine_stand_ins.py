"""Contracts, descriptions, drivers and a TensorRT that are made up, for tests without a GPU."""

import dataclasses
import hashlib
from types import ModuleType, SimpleNamespace
from typing import Any

from edsr_runtime.contract import Contract, Parity
from edsr_runtime.trt.driver import Driver, Gpu
from edsr_runtime.trt.engine_file import EngineDescription, Flags, Memory, this_platform
from edsr_runtime.trt.flavour import Flavour
from edsr_runtime.trt.precision import Layer, PrecisionReport
from edsr_runtime.trt.profile import Profile, Size

ENGINE = b"these bytes stand for an engine"
ADA = Gpu(0, "NVIDIA GeForce RTX 4090", (8, 9), 24 << 30)


def contract(**changes: Any) -> Contract:
    """EDSR-baseline x4 in FP16 with a collapsed tail."""
    values: dict[str, Any] = {
        "architecture": "edsr",
        "scale": 4,
        "config": {"scale": 4, "n_resblocks": 16, "n_feats": 64, "res_scale": 1.0, "tail": "paper"},
        "n_feats": 64,
        "folds": ("tail into one 5x5 convolution to 48 channels, border ring exact",),
        "range_shift": 0,
        "mean": (114.4, 111.5, 103.0),
        "io": "float",
        "receptive_radius": 38,
        "min_side": 3,
        "precision": "fp16",
        "self_ensemble": False,
        "source_sha256": "ab" * 32,
        "tool_version": "0.1.0",
        "parity": Parity(0.1, 0.01, ((1, 3, 17, 23),)),
    }
    return Contract(**{**values, **changes})


def description(**changes: Any) -> EngineDescription:
    """Of ``ENGINE``, built with TensorRT-RTX 1.7.1 for two kinds of GPUs."""
    values: dict[str, Any] = {
        "contract": contract(),
        "onnx": "model_x4_fp16.onnx",
        "onnx_sha256": "cd" * 32,
        "profile": Profile(Size(1, 3, 3), Size(8, 256, 256), Size(8, 256, 256)),
        "flavour": "rtx",
        "version": "1.7.1.116",
        "targets": ("SM86", "SM120"),
        "gpu": "",
        "capability": (0, 0),
        "driver": "",
        "platform": this_platform(),
        "flags": Flags(None, None),
        "memory": Memory(300_000_000, 250_000_000, 3_000_000),
        "precision": PrecisionReport(
            "fp16", (Layer("conv", "CONVOLUTION", "half", "half"),), {"half": 1}, 1000, 2.0, ("a proof",)
        ),
        "build_seconds": 1.5,
        "tool_version": "0.1.0",
        "engine_sha256": hashlib.sha256(ENGINE).hexdigest(),
    }
    return EngineDescription(**{**values, **changes})


def full_description(**changes: Any) -> EngineDescription:
    """The same for the full TensorRT 11.4 on ``ADA``."""
    values = {"flavour": "trt", "version": "11.4.0", "targets": (), "gpu": ADA.name, "capability": ADA.capability}
    return description(**{**values, "driver": "13.0, 580.65.06", **changes})


def driver(*gpus: Gpu) -> Driver:
    """With ``ADA``, or others."""
    return Driver(13000, gpus or (ADA,), "580.65.06")


def flavour(kind: Any = "rtx", version: str = "1.7.1.116", trt: Any = None) -> Flavour:
    """A TensorRT of which only kind and version are known."""
    return Flavour(kind, trt or ModuleType("none"), version)


class FakeTensorRt:
    """The parts of TensorRT that a build uses, as objects that record calls; ``faults`` make single calls fail.

    ``faults`` name them: ``parse``, ``network``, ``config``, ``profile``, ``target``, ``build``, ``timing_cache``,
    ``runtime``, ``deserialize``.
    """

    def __init__(self, dialect: int = 11, faults: frozenset[str] = frozenset(), conv_type: str = "HALF") -> None:
        self.faults = faults
        self.conv_type = conv_type
        self.calls: list[tuple[Any, ...]] = []
        self.error = "[place::1] Error Code 4: Internal Error (the reason)"
        self.inspected = '{"Layers": []}'
        self.__version__ = {10: "10.16.1.11", 11: "11.4.0.106"}[dialect]
        self.BuilderFlag = _enum(*(("FP16", "TF32") if dialect == 10 else ("TF32",)))
        self.NetworkDefinitionCreationFlag = _enum(*(("EXPLICIT_BATCH",) if dialect == 10 else ()), "STRONGLY_TYPED")
        self.ProfilingVerbosity = _enum("LAYER_NAMES_ONLY", "NONE", "DETAILED")
        self.MemoryPoolType = _enum("WORKSPACE")
        self.ComputeCapability = _enum("NONE", "SM86", "SM89")
        self.LayerInformationFormat = _enum("ONELINE", "JSON")
        self.ILogger = _Base
        self.IProgressMonitor = _Base
        self.IConvolutionLayer = _Convolution

    def log(self, message: str) -> None:
        """What TensorRT does before it answers None."""
        self._logger.log(1, message)

    def fails(self, fault: str) -> bool:
        """Whether this call is to fail; then it says why, as TensorRT does."""
        if fault in self.faults:
            self.log(self.error)
            self.log("[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (cudaError 35)")
        return fault in self.faults

    def Builder(self, logger: Any) -> Any:  # noqa: N802  # TensorRT's name
        """See ``INetworkDefinition``, ``IBuilderConfig``."""
        self._logger = logger
        if self.fails("builder"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return SimpleNamespace(
            create_network=lambda flags: self._note("create_network", flags) or self._network(),
            create_builder_config=lambda: None if self.fails("config") else self._config(),
            create_optimization_profile=lambda: SimpleNamespace(
                set_shape=lambda *shapes: self._note("set_shape", *shapes)
            ),
            build_serialized_network=lambda network, config: None if self.fails("build") else b"engine",
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        """Reads anything."""
        return SimpleNamespace(
            parse=lambda data: not self.fails("parse"),
            num_errors=1,
            get_error=lambda index: SimpleNamespace(desc=lambda: "node_permute: bad type"),
        )

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        """Gives an engine whose inspector prints ``inspected``."""
        self._logger = logger
        inspector = SimpleNamespace(get_engine_information=lambda form: self.inspected)
        engine = SimpleNamespace(create_engine_inspector=lambda: inspector, device_memory_size_v2=123)
        return SimpleNamespace(
            deserialize_cuda_engine=lambda data: None if self.fails("deserialize") else engine,
        )

    def _network(self) -> Any:
        if self.fails("network"):
            return None
        dtype = SimpleNamespace(name="FLOAT")
        tensor = SimpleNamespace(dtype=SimpleNamespace(name=self.conv_type))
        conv = _Layer(tensor)
        return SimpleNamespace(
            num_inputs=1, num_outputs=1, num_layers=1, get_layer=lambda i: conv,
            get_input=lambda i: SimpleNamespace(name="input", dtype=dtype, shape=(-1, 3, -1, -1)),
            get_output=lambda i: SimpleNamespace(name="output", dtype=dtype),
        )  # fmt: skip

    def _config(self) -> Any:
        return SimpleNamespace(
            set_flag=lambda flag: None,
            set_memory_pool_limit=lambda pool, size: self._note("set_memory_pool_limit", pool.name, size),
            set_compute_capability=lambda target, index: not self.fails("target"),
            add_optimization_profile=lambda profile: -1 if self.fails("profile") else 0,
            create_timing_cache=lambda data: self._note("create_timing_cache", data) or SimpleNamespace(),
            set_timing_cache=lambda cache, ignore: not self.fails("timing_cache"),
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"times"),
        )

    def _note(self, *call: Any) -> None:
        self.calls.append(call)


class _Base:
    def __init__(self, *_: Any) -> None:
        pass


class _Layer:
    name, type, num_inputs, kernel, bias = "conv", SimpleNamespace(name="CONVOLUTION"), 1, None, None

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def get_input(self, index: int) -> Any:
        return self._tensor

    get_output = get_input


class _Convolution(_Layer):
    pass


class _Member(int):
    name: str


def _enum(*names: str) -> Any:
    members = {}
    for value, name in enumerate(names):
        members[name] = _Member(value)
        members[name].name = name
    return SimpleNamespace(__members__=members, **members)


def with_capability(gpu: Gpu, major: int, minor: int) -> Gpu:
    """The same GPU of another generation."""
    return dataclasses.replace(gpu, capability=(major, minor))
