"""From an ONNX file to an engine on disk: the work behind ``edsr-trt build``, and behind ``--build`` elsewhere."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from edsr_runtime.contract import Contract, read_contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, ModelFileError
from edsr_runtime.model_check import check_model
from edsr_runtime.trt import cache
from edsr_runtime.trt.build import BuildOptions, Built, build_engine
from edsr_runtime.trt.build_progress import BuildProgress
from edsr_runtime.trt.default_profile import default_profile, nothing_but_halo
from edsr_runtime.trt.driver import Driver, Gpu, cuda_driver
from edsr_runtime.trt.engine_file import (
    SUFFIX,
    EngineDescription,
    Flags,
    Memory,
    sidecar,
    this_platform,
    write_engine_file,
)
from edsr_runtime.trt.flavour import Flavour, load_flavour
from edsr_runtime.trt.folder import engine_folder, make_private
from edsr_runtime.trt.memory import Budget, Need, check_enough, check_fits, megabytes
from edsr_runtime.trt.precision import Precision
from edsr_runtime.trt.profile import Io, Profile
from edsr_runtime.zoo import DEFAULT_NAME, shipped_models

SHIPPED_SCALE = 4
_EXAMPLE_TARGETS = "SM86,SM89,SM120"  # GeForce RTX 30, 40 and 50


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    precision: Precision = "fp16"
    io: Io | None = None
    """None: that of the file."""
    self_ensemble: bool | None = None
    """Inside the engine; None: as in the file."""
    profile: Callable[[Contract], Profile] = default_profile
    """Makes one for the model."""
    flavour: str = "auto"
    targets: tuple[str, ...] = ()
    """TensorRT-RTX; empty: the GPU of this machine."""
    opt_level: int | None = None
    workspace: int | None = None
    """Bytes."""
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Made:
    """An engine that can be used."""

    path: Path
    description: EngineDescription
    fresh: bool
    """False if it was there already."""
    warnings: tuple[str, ...]
    """Of the builder."""


def make_engine(
    model: Path | None,
    order: Order,
    output: Path | None = None,
    *,
    force: bool = False,
    note: Callable[[str], None] = lambda line: None,
    watch: Callable[[BuildProgress], None] = lambda progress: None,
) -> Made:
    """Build an engine, or find the one that was built of the same.

    Args:
        model: ONNX file; None: the shipped model for scale 4.
        order: see there.
        output: where to write it; default: our folder, under a name made of all that decides what is in it.
        force: build even if it is there, and replace ``output``.
        note: takes lines for the user as they come up.
        watch: see ``build_engine``.

    Raises:
        EdsrError: model, order and machine do not fit together; nothing was written.
        GateError: the engine would not compute in what was asked for; nothing was written.
    """
    if output is not None and output.suffix != SUFFIX:
        raise EdsrError(f"-o {output}: expected a file ending in {SUFFIX}")
    path = model if model is not None else shipped_model(order)
    contract = read_contract(path)
    check_model(path, alone=True)  # TensorRT's parser is given its bytes, and the key of the cache is made of them
    check_file(path, contract, order)
    try:
        driver: Driver | None = cuda_driver()
        without = ""
    except EnvironmentUnfitError as err:
        driver, without = None, str(err)
    flavour = choose_flavour(order, driver, without)
    gpu = driver.gpus[0] if driver is not None else None
    targets = _targets(order, flavour, gpu, without)
    profile = order.profile(contract)
    budgets = _budgets(order, flavour, gpu)
    need = check_fits(contract, profile, budgets)
    note(f"{path.name}: {flavour} ({flavour.reason}), for {_show_target(targets, gpu)}, {profile}")
    note(f"expected memory: up to {megabytes(need.activations)} of activations, {megabytes(need.buffers)} in and out")
    if narrow := nothing_but_halo(contract, profile):
        note(f"warning: {narrow}")
    if flavour.kind == "rtx" and order.opt_level is not None:
        note(f"{flavour} does not heed --opt-level")

    onnx = _read(path)
    key = cache.Key(
        hashlib.sha256(onnx).hexdigest(),
        profile,
        flavour.kind,
        flavour.version,
        targets,
        gpu.name if gpu is not None and flavour.kind == "trt" else "",
        gpu.capability if gpu is not None and flavour.kind == "trt" else (0, 0),
        this_platform() if flavour.kind == "trt" else "",
        Flags(order.opt_level, order.workspace),
    )
    options = BuildOptions(profile, order.precision, targets, order.opt_level, order.workspace, order.timing_cache)

    def build(target: Path) -> Made:
        built = build_engine(onnx, path.name, contract, flavour, options, watch)
        if built.activation_bytes is not None:
            check_enough(built.activation_bytes, need, contract, profile, budgets, measured=True)
        description = _describe(path, contract, key, built, need, driver, gpu)
        write_engine_file(target, built.engine, description)
        return Made(target, description, True, built.warnings)

    target = output or make_private(engine_folder()) / cache.engine_name(path.stem, contract, key)
    with cache.locked(target, lambda: note("somebody else is building this engine; waiting for it")):
        if force:
            return build(target)
        if output is None:
            description = cache.find_intact(target)
            return Made(target, description, False, ()) if description is not None else build(target)
        if target.exists() or sidecar(target).exists():
            raise EdsrError(f"{target} exists: pass --force to replace it, or another -o")
        return build(target)


def shipped_model(order: Order) -> Path:
    """The file of the shipped model for scale 4 that fits the order.

    Raises:
        ModelFileError: it does not come with this installation.
    """
    io, self_ensemble = order.io or "float", order.self_ensemble or False
    models = [m.path for m in shipped_models(order.precision) if (m.name, m.scale) == (DEFAULT_NAME, SHIPPED_SCALE)]
    if models and io == "float" and not self_ensemble:
        return models[0]
    name = f"{DEFAULT_NAME}_x{SHIPPED_SCALE}"
    wanted = name + _suffix(order.precision, io, self_ensemble)
    command = _export(f"{name}.safetensors", order.precision, io, self_ensemble)
    raise ModelFileError(
        f"{wanted}.onnx does not come with the package: make it with: {command} "
        f"(the checkpoint is in the repository, train/checkpoints), then: edsr-trt build {wanted}.onnx"
    )


def check_file(path: Path, contract: Contract, order: Order) -> None:
    """Whether the file is what was asked for: an engine computes in the types of its file, and takes what that takes.

    Raises:
        EdsrError: it is not; with the command that exports one that is.
    """
    io = order.io or contract.io
    ensemble = contract.self_ensemble if order.self_ensemble is None else order.self_ensemble
    command = export_command(contract, order.precision, io, ensemble)
    if contract.precision != order.precision:
        raise EdsrError(
            f"{path}: computes in {contract.precision}, and so would its engine, not in {order.precision}. Export the "
            f"checkpoint again with: {command}, or take it as it is with --precision {contract.precision}"
        )
    if contract.io != io:
        raise EdsrError(f"{path}: takes and gives {contract.io}, not {io}. Export the checkpoint again with: {command}")
    if contract.self_ensemble != ensemble:
        has = "averages the eight views" if contract.self_ensemble else "does not average the eight views"
        raise EdsrError(f"{path}: {has}. Export the checkpoint again with: {command}")


def export_command(contract: Contract, precision: Precision, io: Io, self_ensemble: bool) -> str:
    """What writes this model with other options; the checkpoint is known only by its SHA-256."""
    several = "scales" in contract.config
    uncollapsed = contract.min_side == 1 and contract.config.get("tail") != "direct"
    command = _export("CHECKPOINT", precision, io, self_ensemble)
    command += f" --scale {contract.scale}" if several else ""
    command += " --no-collapse" if uncollapsed else ""
    return f"{command} (its SHA-256 is {contract.source_sha256[:12]}...)"


def choose_flavour(order: Order, driver: Driver | None, without: str) -> Flavour:
    """Which TensorRT builds.

    Args:
        order: what was asked for.
        driver: of this machine.
        without: why there is none.

    Raises:
        MissingDependencyError: the one that is needed is not installed.
        EnvironmentUnfitError: the full TensorRT was asked for, and there is no GPU.
    """
    if order.flavour == "auto" and order.targets:
        return _because(load_flavour("rtx"), "auto: only it builds for targets")
    if order.flavour == "auto" and driver is None:
        return _because(load_flavour("rtx"), "auto: only it builds without a GPU")
    if order.flavour == "trt" and driver is None:
        raise EnvironmentUnfitError(
            f"the full TensorRT builds on the GPU that the engine is for, and {without}. "
            "TensorRT-RTX builds without one: --flavour rtx"
        )
    return load_flavour(order.flavour)


def _because(flavour: Flavour, reason: str) -> Flavour:
    return Flavour(flavour.kind, flavour.trt, flavour.version, reason)


def _targets(order: Order, flavour: Flavour, gpu: Gpu | None, without: str) -> tuple[str, ...]:
    if order.targets or flavour.kind == "trt":
        return order.targets
    if gpu is None:
        raise EnvironmentUnfitError(
            f"{without}. Or name the GPUs that the engine is for: --targets {_EXAMPLE_TARGETS} "
            f"({flavour} knows {', '.join(flavour.targets)})"
        )
    if gpu.sm not in flavour.targets:
        raise EnvironmentUnfitError(
            f"{flavour} is not for the {gpu.name} (compute capability {gpu.capability[0]}.{gpu.capability[1]}): "
            "install the full TensorRT with: pip install 'edsr-toolkit[gpu]', or name --targets for other machines"
        )
    return (gpu.sm,)


def _budgets(order: Order, flavour: Flavour, gpu: Gpu | None) -> list[Budget]:
    """In the full TensorRT, the workspace bounds only what kernels need besides the activations."""
    budgets = []
    if order.workspace is not None and flavour.kind == "rtx":
        budgets.append(Budget(order.workspace, "--workspace", False))
    if gpu is not None and not order.targets:
        budgets.append(Budget(gpu.memory, f"the {gpu.name}", True))
    return budgets


def _describe(
    path: Path, contract: Contract, key: cache.Key, built: Built, need: Need, driver: Driver | None, gpu: Gpu | None
) -> EngineDescription:
    return EngineDescription(
        contract=contract,
        onnx=path.name,
        onnx_sha256=key.onnx_sha256,
        profile=key.profile,
        flavour=key.flavour,
        version=key.version,
        targets=key.targets,
        gpu=gpu.name if gpu is not None else "",
        capability=gpu.capability if gpu is not None else (0, 0),
        driver=", ".join(filter(None, (driver.cuda, driver.release))) if driver is not None else "",
        platform=this_platform(),
        flags=key.flags,
        memory=Memory(need.activations, built.activation_bytes, built.weight_bytes),
        precision=built.precision,
        build_seconds=round(built.seconds, 3),
        tool_version=version("edsr-toolkit"),
        engine_sha256=hashlib.sha256(built.engine).hexdigest(),
    )


def _show_target(targets: tuple[str, ...], gpu: Gpu | None) -> str:
    return ", ".join(targets) if targets or gpu is None else str(gpu)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise ModelFileError(f"{path}: cannot be read ({err.strerror})") from err


def _suffix(precision: Precision, io: Io, self_ensemble: bool) -> str:
    """What edsr-export adds to a file's name."""
    parts: dict[Literal["_fp16", "_u8", "_plus"], bool] = {
        "_fp16": precision == "fp16",
        "_u8": io == "uint8",
        "_plus": self_ensemble,
    }
    return "".join(text for text, wanted in parts.items() if wanted)


def _export(checkpoint: str, precision: Precision, io: Io, self_ensemble: bool) -> str:
    command = f"edsr-export --ckpt {checkpoint} --precision {precision}"
    return command + (f" --io {io}" if io != "float" else "") + (" --self-ensemble" if self_ensemble else "")
