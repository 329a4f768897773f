"""An engine on disk, and the JSON beside it that says what it is.

An engine is code: TensorRT runs what it finds in there, and checks little. So one is read only out of our own folder or
when somebody vouches for it, only if its bytes are those that were described, and only by the same TensorRT on the GPU
that it was built for. All of that is looked at before TensorRT sees the first byte.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import tempfile
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edsr_runtime.contract import Contract
from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, ModelFileError
from edsr_runtime.trt.driver import Driver
from edsr_runtime.trt.flavour import TITLES, Flavour, Kind
from edsr_runtime.trt.folder import distrust, is_ours
from edsr_runtime.trt.precision import PrecisionReport
from edsr_runtime.trt.profile import Profile

SUFFIX = ".engine"
SIDECAR_SUFFIX = ".json"  # after the engine's own
SCHEMA = 2
_MODE_ELSEWHERE = 0o644  # in our own folder nobody else reads


@dataclass(frozen=True)
class Flags:
    """Options of the builder that change the engine."""

    opt_level: int | None
    workspace: int | None
    """Bytes."""


@dataclass(frozen=True)
class Memory:
    """Device memory, bytes."""

    predicted: int
    """Activations, before the build."""
    activations: int | None
    """At the profile's largest size, as the builder or the engine says; None if neither does."""
    weights: int | None


@dataclass(frozen=True)
class EngineDescription:
    """What the JSON beside an engine says."""

    contract: Contract
    """Of the ONNX file."""
    onnx: str
    """Its name."""
    onnx_sha256: str
    profile: Profile
    flavour: Kind
    version: str
    """Exact version of TensorRT or TensorRT-RTX; no other reads the engine."""
    targets: tuple[str, ...]
    """TensorRT-RTX: ``SM86``, ...; empty for the full TensorRT."""
    gpu: str
    """Full TensorRT: name of the GPU that it was built on, and runs on. TensorRT-RTX: where it was built, or empty."""
    capability: tuple[int, int]
    """Of that GPU; (0, 0) without one."""
    driver: str
    """``13.0, 580.65.06`` where it was built; empty without one."""
    platform: str
    """``linux-x86_64``."""
    flags: Flags
    memory: Memory
    precision: PrecisionReport
    build_seconds: float
    tool_version: str
    engine_sha256: str

    def to_json(self) -> str:
        """With the contract as its file has it, and a checksum of it all."""
        data = dataclasses.asdict(self)
        data["contract"] = json.loads(self.contract.to_json())
        return json.dumps({"schema": SCHEMA, "sha256": checksum(data), **data}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str) -> "EngineDescription":
        """Parse and check; ``origin`` names the file in messages.

        Raises:
            ModelFileError: not JSON, another schema or checksum, a field missing, unknown or of the wrong type.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as err:
            raise ModelFileError(f"{origin}: not JSON ({err}). Build the engine again.") from err
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise ModelFileError(f"{origin}: not of schema {SCHEMA}. Build the engine again.")
        if data.pop("sha256", None) != checksum(data):
            raise ModelFileError(f"{origin}: its checksum is not that of what is in it. Build the engine again.")
        description = _from_plain(cls, data, origin)
        assert isinstance(description, cls)
        return description

    def rebuild_command(self, flavour: Kind | None = None, same: bool = False) -> str:
        """What makes this engine again.

        Args:
            flavour: another one than it was built with.
            same: for the GPUs that it was built for, and not for the one of the machine that this is typed on.
        """
        profile, contract = self.profile, self.contract
        words = ["edsr-trt", "build", self.onnx, "--flavour", flavour or self.flavour]
        if same and self.targets:
            words += ["--targets", ",".join(self.targets)]
        for which in ("min", "opt", "max"):
            dims = "x".join(map(str, getattr(profile, which).dims(contract.io)))
            words.append(f"--{which}Shapes=input:{dims}")
        if contract.precision != "fp16":
            words += ["--precision", contract.precision]
        if self.flags.opt_level is not None:
            words += ["--opt-level", str(self.flags.opt_level)]
        if self.flags.workspace is not None:
            words += ["--workspace", f"{self.flags.workspace}B"]
        return shlex.join(words)


def checksum(data: dict[str, Any]) -> str:
    """Of a description as plain types: a bit that flipped in the contract would give another picture."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def sidecar(engine: Path) -> Path:
    """Where an engine's description lies."""
    return engine.with_name(engine.name + SIDECAR_SUFFIX)


def write_engine_file(path: Path, engine: bytes, description: EngineDescription) -> None:
    """Write both files, or none; whoever finds both finds them whole.

    Raises:
        EdsrError: the folder cannot be written to.
    """
    assert description.engine_sha256 == hashlib.sha256(engine).hexdigest()
    made: list[Path] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new_engine = _beside(path, engine, made)
        new_sidecar = _beside(sidecar(path), description.to_json().encode(), made)
        made.append(path)  # from here on the old pair is gone
        sidecar(path).unlink(missing_ok=True)  # an old description never lies beside a new engine
        new_engine.replace(path)
        new_sidecar.replace(sidecar(path))
    except BaseException as err:
        for file in made:
            file.unlink(missing_ok=True)
        if isinstance(err, OSError):
            raise EdsrError(f"{path} cannot be written ({err.strerror})") from err
        raise


def read_description(path: Path) -> EngineDescription:
    """The description of an engine, which is not read itself.

    Raises:
        ModelFileError: there is no engine, or no description beside it.
    """
    if not path.is_file():
        raise ModelFileError(f"{path}: no such engine; build one with: edsr-trt build")
    try:
        text = sidecar(path).read_text()
    except FileNotFoundError as err:
        raise ModelFileError(
            f"{path}: there is no {sidecar(path).name} beside it, so what the engine is for is unknown. "
            "Copy both, or build it again with: edsr-trt build"
        ) from err
    except (OSError, UnicodeDecodeError) as err:
        raise ModelFileError(f"{sidecar(path)}: cannot be read ({err}). Build the engine again.") from err
    return EngineDescription.from_json(text, str(sidecar(path)))


def open_engine_file(path: Path, trust: bool = False) -> tuple[bytes, EngineDescription]:
    """The bytes of an engine that may be given to TensorRT, and what they are.

    Args:
        path: the engine.
        trust: it may lie anywhere; otherwise only in our own folder.

    Raises:
        ModelFileError: it does not exist, is not described, not trusted, or not the one that was described.
    """
    description = read_description(path)
    if not trust and (why := distrust(path)):
        raise ModelFileError(
            f"{path}: an engine is code that would be run, and this one {why}. "
            "If you know who built it, pass --trust-engine; or build your own with: edsr-trt build"
        )
    engine = read_engine(path, description)
    if not trust:
        with contextlib.suppress(OSError):  # only `edsr-trt cache prune` would know
            os.utime(path)
    return engine, description


def read_engine(path: Path, description: EngineDescription) -> bytes:
    """The bytes of an engine, if they are those that were described.

    Raises:
        ModelFileError: they are not; with the command that builds it again.
    """
    try:
        engine = path.read_bytes()  # once: what is hashed is what is run
    except OSError as err:
        raise ModelFileError(f"{path}: cannot be read ({err.strerror})") from err
    found = hashlib.sha256(engine).hexdigest()
    if found != description.engine_sha256:
        where = "" if is_ours(path) else f" -o {shlex.quote(str(path))}"
        raise ModelFileError(
            f"{path}: its SHA-256 is {found[:12]}..., but {sidecar(path).name} says "
            f"{description.engine_sha256[:12]}...: damaged or exchanged. Build it again with: "
            f"{description.rebuild_command(same=True)}{where} --force"
        )
    return engine


def check(description: EngineDescription, flavour: Flavour, driver: Driver, device: int = 0) -> None:
    """Whether this TensorRT on this GPU can run the engine.

    Raises:
        EnvironmentUnfitError: no; with the field that differs and the command that builds one that fits.
    """
    gpu = driver.gpu(device)

    def refuse(field: str, found: str, expected: str) -> EnvironmentUnfitError:
        return EnvironmentUnfitError(
            f"the engine of {description.onnx} was built for another {field}: {found}, and here is {expected}. "
            f"Build one for this machine with: {description.rebuild_command(flavour.kind)}"
        )

    if description.flavour != flavour.kind:
        raise refuse("flavour", TITLES[description.flavour], TITLES[flavour.kind])
    if description.version != flavour.version:
        raise refuse(f"version of {TITLES[flavour.kind]}", description.version, flavour.version)
    if description.flavour == "trt":
        if description.platform != this_platform():
            raise refuse("platform", description.platform, this_platform())
        if description.capability != gpu.capability:
            raise refuse("compute capability", _dotted(description.capability), _dotted(gpu.capability))
        if description.gpu != gpu.name:
            raise refuse("GPU", description.gpu, gpu.name)
    elif not any(_serves(target, gpu.capability) for target in description.targets):
        raise refuse("compute capability", ", ".join(description.targets), gpu.sm)


def this_platform() -> str:
    """``linux-x86_64``."""
    system = os.uname()
    return f"{system.sysname.lower()}-{system.machine}"


def _serves(target: str, capability: tuple[int, int]) -> bool:
    """Code for a GPU runs on later ones of the same major number."""
    major, minor = int(target[2:-1]), int(target[-1])
    return major == capability[0] and minor <= capability[1]


def _beside(path: Path, data: bytes, made: list[Path]) -> Path:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        made.append(temporary)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if not is_ours(temporary):
        temporary.chmod(_MODE_ELSEWHERE)
    return temporary


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _from_plain(hint: Any, value: Any, where: str) -> Any:
    """``value`` from JSON as the annotated type, which is one that a description is made of."""
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Contract:
        return Contract.from_json(json.dumps(value), where)
    if dataclasses.is_dataclass(hint) or (isinstance(hint, type) and hasattr(hint, "_fields")):
        assert isinstance(hint, type)
        hints = typing.get_type_hints(hint)
        if isinstance(value, list) and len(value) == len(hints):  # a named tuple
            value = dict(zip(hints, value, strict=True))
        if not isinstance(value, dict) or set(value) != set(hints):
            raise ModelFileError(f"{where}: expected the fields {', '.join(hints)}. Build the engine again.")
        return hint(**{name: _from_plain(hints[name], value[name], f"{where}, {name}") for name in hints})
    if kind is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        return _from_plain(next(argument for argument in arguments if argument is not type(None)), value, where)
    if kind is Literal and value in arguments:
        return value
    if kind is tuple and isinstance(value, list):
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) == len(value):
            return tuple(_from_plain(item, part, where) for item, part in zip(items, value, strict=True))
    if kind is dict and isinstance(value, dict):
        return {name: _from_plain(arguments[1], part, where) for name, part in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is None and type(value) is hint:
        return value
    expected = hint.__name__ if isinstance(hint, type) else str(hint)
    raise ModelFileError(f"{where}: {value!r:.60} is not {expected}. Build the engine again.")
