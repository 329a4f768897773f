"""An ONNX file becomes an engine, in memory. Every answer of TensorRT is looked at; its first error is the message."""

import dataclasses
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsr_runtime.contract import Contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, ModelFileError
from edsr_runtime.trt.build_progress import BuildProgress, monitor
from edsr_runtime.trt.driver import cuda_driver
from edsr_runtime.trt.flavour import Flavour, Log
from edsr_runtime.trt.memory import Budget, megabytes, predict, propose
from edsr_runtime.trt.precision import Definition, Precision, PrecisionReport, convolution_types, prove, read_definition
from edsr_runtime.trt.profile import INPUT, Io, Profile
from edsr_runtime.trt.whole_file import write_whole

_OUTPUT = "output"
_TENSOR_TYPES: dict[Io, str] = {"float": "FLOAT", "uint8": "UINT8"}
_POLL_S = 0.1  # between two looks at the progress
_OPT_LEVELS = range(6)


@dataclass(frozen=True)
class BuildOptions:
    """What goes into the engine, apart from the ONNX file."""

    profile: Profile
    precision: Precision = "fp16"
    """What the convolutions must compute in; the file decides, this is checked."""
    targets: tuple[str, ...] = ()
    """TensorRT-RTX only: ``SM86``, ...; empty: its own choice, which is every GPU from 8.0 that it supports."""
    opt_level: int | None = None
    """0 to 5; None: TensorRT's own, 3."""
    workspace: int | None = None
    """Bytes; in TensorRT-RTX all activations are within."""
    timing_cache: Path | None = None
    """Full TensorRT only: a file with measured times of kernels, read and written."""


@dataclass(frozen=True)
class Built:
    """An engine, and what its builder said of it."""

    engine: bytes
    precision: PrecisionReport
    activation_bytes: int | None
    """At the profile's largest size; None if the builder does not say."""
    weight_bytes: int | None
    seconds: float
    warnings: tuple[str, ...]


def build_engine(
    onnx: bytes,
    name: str,
    contract: Contract,
    flavour: Flavour,
    options: BuildOptions,
    watch: Callable[[BuildProgress], None] = lambda progress: None,
) -> Built:
    """Parse, build and prove.

    Args:
        onnx: the file's bytes.
        name: its name, for messages.
        contract: the file's.
        flavour: which TensorRT. TensorRT-RTX needs no GPU for this.
        options: see there.
        watch: is called from this thread about ten times a second. Ctrl-C cancels the build and comes out of here as
            ``KeyboardInterrupt``, once the builder has stopped.

    Raises:
        ModelFileError: TensorRT cannot parse the file, or it is not what its contract says.
        EnvironmentUnfitError: the engine cannot be built here; with TensorRT's first error.
        GateError: the engine would not compute in what was asked for.
    """
    _check_options(flavour, options)
    if flavour.kind == "trt":
        cuda_driver()  # its builder needs one, and may end the process without
    log = Log()
    logger = flavour.logger(log)
    builder = _made(flavour.trt.Builder, log, f"{flavour} does not start", logger)
    network = _made(builder.create_network, log, f"{flavour} made no network", flavour.network_flags)
    parser = _made(flavour.trt.OnnxParser, log, f"{flavour} has no parser", network, logger)
    if not parser.parse(onnx):
        reason = parser.get_error(0).desc() if parser.num_errors else log.reason
        raise ModelFileError(f"{name}: {flavour} cannot read it ({' '.join(reason.split())})")
    _check_ends(network, name, contract)
    definition = read_definition(flavour.trt, network)
    prove(options.precision, definition, None, None, str(flavour))  # before the time is spent
    config = _configured(flavour, builder, contract, options, log)
    progress = BuildProgress()
    config.progress_monitor = monitor(flavour.trt, progress)

    start = time.perf_counter()
    blob = _run(lambda: builder.build_serialized_network(network, config), progress, watch)
    seconds = time.perf_counter() - start
    if blob is None:
        raise _failure(log, name, contract, flavour, options)
    complaints = _write_timing_cache(config, options.timing_cache)
    built = _proven(bytes(blob), definition, flavour, options, log, seconds)
    return dataclasses.replace(built, warnings=(*built.warnings, *complaints))


def _check_options(flavour: Flavour, options: BuildOptions) -> None:
    if options.opt_level is not None and options.opt_level not in _OPT_LEVELS:
        raise EdsrError(f"the optimization level is {options.opt_level}, expected 0 to 5")
    if flavour.kind == "trt" and options.targets:
        raise EdsrError(f"{flavour} builds for the GPU of this machine only: leave --targets out, or use --flavour rtx")
    if flavour.kind == "rtx":
        if options.timing_cache is not None:
            raise EdsrError(f"{flavour} measures nothing and has no timing cache: leave --timing-cache out")
        if unknown := [target for target in options.targets if target not in flavour.targets]:
            raise EdsrError(f"{flavour} has no target {unknown[0]}: expected some of {', '.join(flavour.targets)}")


def _made(make: Callable[..., Any], log: Log, what: str, *arguments: Any) -> Any:
    """pybind raises TypeError where a constructor of TensorRT gives nothing; others answer None."""
    try:
        made = make(*arguments)
    except TypeError as err:
        raise EnvironmentUnfitError(f"{what}: {log.reason if log.errors else err}") from err
    if made is None:
        raise EnvironmentUnfitError(f"{what}: {log.reason}")
    return made


def _check_ends(network: Any, name: str, contract: Contract) -> None:
    if (network.num_inputs, network.num_outputs) != (1, 1):
        raise ModelFileError(
            f"{name}: has {network.num_inputs} inputs and {network.num_outputs} outputs, expected one of each"
        )
    for tensor, expected in ((network.get_input(0), INPUT), (network.get_output(0), _OUTPUT)):
        wanted = _TENSOR_TYPES[contract.io]
        if tensor.name != expected or tensor.dtype.name != wanted:
            raise ModelFileError(
                f"{name}: its {expected} is {tensor.name} of type {tensor.dtype.name}, expected {expected} of type "
                f"{wanted} by its contract. Export the checkpoint again."
            )
    shape = tuple(network.get_input(0).shape)
    free = (0, 2, 3) if contract.io == "float" else (0, 1, 2)
    if len(shape) != 4 or any(shape[axis] != -1 for axis in free):
        raise ModelFileError(f"{name}: its input is {shape}, expected a free batch, height and width. Export it again.")


def _configured(flavour: Flavour, builder: Any, contract: Contract, options: BuildOptions, log: Log) -> Any:
    trt = flavour.trt
    config = _made(builder.create_builder_config, log, f"{flavour} made no configuration")
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector tells types only then
    if options.opt_level is not None:
        config.builder_optimization_level = options.opt_level
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if "REQUIRE_USER_ALLOCATION" in trt.BuilderFlag.__members__:  # fail rather than allocate while it runs
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if options.targets:
        config.num_compute_capabilities = len(options.targets)
        for index, target in enumerate(options.targets):
            if not config.set_compute_capability(trt.ComputeCapability.__members__[target], index):
                raise EnvironmentUnfitError(f"{flavour} refuses the target {target}: {log.reason}")
    if options.timing_cache is not None:
        _read_timing_cache(config, options.timing_cache, log)
    profile = _made(builder.create_optimization_profile, log, f"{flavour} made no profile")
    sizes = (options.profile.min, options.profile.opt, options.profile.max)
    profile.set_shape(INPUT, *(size.dims(contract.io) for size in sizes))
    if config.add_optimization_profile(profile) < 0:
        raise EnvironmentUnfitError(f"{flavour} refuses the profile {options.profile}: {log.reason}")
    return config


def _read_timing_cache(config: Any, path: Path, log: Log) -> None:
    try:
        known = path.read_bytes() if path.exists() else b""
    except OSError as err:
        raise EdsrError(f"{path}: the timing cache cannot be read ({err.strerror})") from err
    times = config.create_timing_cache(known)
    if times is None or not config.set_timing_cache(times, False):
        raise EdsrError(
            f"{path}: this TensorRT on this GPU cannot use the timing cache ({log.reason}). Name another file."
        )


def _write_timing_cache(config: Any, path: Path | None) -> list[str]:
    """What went wrong: the engine is there, after minutes, and is worth more than the times."""
    times = config.get_timing_cache() if path is not None else None
    if path is None or times is None:
        return []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, bytes(times.serialize()))
    except OSError as err:
        return [f"{path}: the timing cache cannot be written ({err.strerror})"]
    return []


def _run(work: Callable[[], Any], progress: BuildProgress, watch: Callable[[BuildProgress], None]) -> Any:
    """The build in a thread of its own, so that this one hears Ctrl-C. TensorRT lets others run meanwhile."""
    outcome: list[Any] = []
    failure: list[BaseException] = []
    ended = threading.Event()  # and not Thread.join, which takes a thread for ended after KeyboardInterrupt

    def build() -> None:
        try:
            outcome.append(work())
        except BaseException as err:
            failure.append(err)
        finally:
            ended.set()

    threading.Thread(target=build, name="TensorRT build").start()
    try:
        while not ended.wait(_POLL_S):
            watch(progress)
        watch(progress)
    except BaseException:
        progress.cancel()
        _outlast(ended)
        raise
    if failure:
        raise failure[0]
    return outcome[0]


def _outlast(ended: threading.Event) -> None:
    """The builder works on objects of this thread, so it is waited for, however often Ctrl-C is pressed."""
    while not ended.is_set():
        try:
            ended.wait()
        except KeyboardInterrupt:
            continue


def _failure(log: Log, name: str, contract: Contract, flavour: Flavour, options: BuildOptions) -> EdsrError:
    text = " ".join(log.errors)
    requested = re.search(r"Requested size was (\d+) bytes", text)
    if "OutOfMemory" in text or "within workspace limit" in text:
        wants = f"asks for {megabytes(int(requested[1]))} at once" if requested else "runs out of memory"
        budget = options.workspace
        smaller, limit = "use a smaller --tile or --batch", ""
        if budget is not None:
            limit = f", allowed are {megabytes(budget)}"
            allowed = Budget(budget, "--workspace", False)
            if not allowed.leaves(predict(contract, options.profile.max).activations, 0):
                smaller = propose(contract, options.profile.max, [allowed])
        return EnvironmentUnfitError(f"{name}: {flavour} {wants} at {options.profile.max} (NxHxW){limit}: {smaller}")
    return EnvironmentUnfitError(f"{name}: {flavour} could not build an engine ({log.reason})")


def _proven(
    engine: bytes, definition: Definition, flavour: Flavour, options: BuildOptions, log: Log, seconds: float
) -> Built:
    activations = max(log.numbers("Total Activation Memory"), default=None)
    weights = max(log.numbers("Total Weights Memory"), default=None)
    inspected = None
    if flavour.kind == "trt":
        inspected, activations = _inspect(engine, flavour)
    report = prove(options.precision, definition, weights, inspected, str(flavour))
    return Built(engine, report, activations, weights, seconds, tuple(log.warnings))


def _inspect(engine_bytes: bytes, flavour: Flavour) -> tuple[list[str], int]:
    """Ask the engine itself; only where its builder ran there is surely a GPU for it."""
    trt, log = flavour.trt, Log()
    logger = flavour.logger(log)
    runtime = _made(trt.Runtime, log, f"{flavour} does not start", logger)
    engine = _made(runtime.deserialize_cuda_engine, log, f"{flavour} cannot read its own engine", engine_bytes)
    inspector = _made(engine.create_engine_inspector, log, f"{flavour} has no inspector")
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        types = convolution_types(text)
    except ValueError as err:
        raise EnvironmentUnfitError(f"{flavour}'s engine inspector gave no JSON ({err})") from err
    return types, int(engine.device_memory_size_v2)
