"""TensorRT in its two flavours: the full one, and TensorRT-RTX. Nobody else imports either.

One dialect serves TensorRT 10.13 to 11.x and TensorRT-RTX 1.6 and later: strongly typed networks, in which every layer
computes in the type that the ONNX file gives it. There is no other mode in TensorRT 11 and in RTX.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, MissingDependencyError

Kind = Literal["trt", "rtx"]

FLAVOURS = ("auto", "trt", "rtx")
MODULES: dict[Kind, str] = {"trt": "tensorrt", "rtx": "tensorrt_rtx"}
EXTRAS: dict[Kind, str] = {"trt": "gpu", "rtx": "rtx"}
SUPPORTED: dict[Kind, tuple[tuple[int, int], tuple[int, int]]] = {"trt": ((10, 13), (12, 0)), "rtx": ((1, 6), (2, 0))}
"""The first version that is supported and the first that is not."""
TITLES: dict[Kind, str] = {"trt": "TensorRT", "rtx": "TensorRT-RTX"}

_SPURIOUS = "cudaError 35"  # without a driver, an error of this kind follows every other one
_INTERNAL_ERROR, _ERROR, _WARNING, _INFO = 0, 1, 2, 3  # ILogger.Severity, the same in all versions


@dataclass
class Log:
    """What TensorRT said: calls answer None or False, and the reason is only here."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    """(severity, message), from information upwards."""

    def add(self, severity: int, message: str) -> None:
        """Take one message."""
        if severity <= _INFO:
            self.lines.append((severity, message))

    @property
    def errors(self) -> list[str]:
        """In order; of those that a missing driver adds to every other one, only what came first."""
        found = [_tidy(message) for severity, message in self.lines if severity <= _ERROR]
        return found[:1] + [message for message in found[1:] if _SPURIOUS not in message]

    @property
    def warnings(self) -> list[str]:
        """In order, each once."""
        return list(dict.fromkeys(_tidy(message) for severity, message in self.lines if severity == _WARNING))

    @property
    def reason(self) -> str:
        """The first error: those that follow are its consequences."""
        return self.errors[0] if self.errors else "it gave no reason"

    def numbers(self, what: str) -> list[int]:
        """N of each line ``<what>: N bytes``."""
        found = (re.search(rf"{re.escape(what)}: (\d+) bytes", message) for _, message in self.lines)
        return [int(match[1]) for match in found if match]


class Listener(Protocol):
    """Takes what TensorRT says: a ``Log``, or several."""

    def add(self, severity: int, message: str) -> None:
        """Take one message, in the thread that it is said in."""
        ...


@dataclass(frozen=True)
class Flavour:
    """A TensorRT that was imported."""

    kind: Kind
    trt: Any
    """The module."""
    version: str
    """Exact: engines are bound to it."""
    reason: str = "as asked"
    """Why this one, for people."""

    def __str__(self) -> str:
        return f"{TITLES[self.kind]} {self.version}"

    @property
    def network_flags(self) -> int:
        """For ``create_network``: strongly typed.

        TensorRT 10 wants a bit, whose number changed in 11, where it is deprecated because there is no other mode.
        """
        if "FP16" not in self.trt.BuilderFlag.__members__:
            return 0
        return 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    @property
    def targets(self) -> tuple[str, ...]:
        """TensorRT-RTX: compute capabilities that it builds for, ``SM75``, ..."""
        return tuple(name for name in self.trt.ComputeCapability.__members__ if name.startswith("SM"))

    def logger(self, log: Listener) -> Any:
        """An ``ILogger`` that tells ``log``. Keep it for as long as what it was given to."""
        base = self.trt.ILogger

        class Recorder(base):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                log.add(int(severity), message)

        return Recorder()


def load_flavour(name: str = "auto") -> Flavour:
    """Import one; ``auto`` prefers the full TensorRT.

    Args:
        name: ``auto``, ``trt`` or ``rtx``.

    Raises:
        MissingDependencyError: it is not installed.
        EnvironmentUnfitError: it is installed, and does not load or is of an unsupported version.
    """
    if name not in FLAVOURS:
        raise EdsrError(f"unknown flavour {name!r}: expected {', '.join(FLAVOURS[:-1])} or {FLAVOURS[-1]}")
    if name == "trt":
        return _load("trt", "as asked")
    if name == "rtx":
        return _load("rtx", "as asked")
    try:
        return _load("trt", "auto: it is installed")
    except MissingDependencyError:
        why = "tensorrt is not installed"
    except EnvironmentUnfitError as err:
        why = str(err)
    try:
        return _load("rtx", f"auto: {why}")
    except MissingDependencyError as err:
        if why == "tensorrt is not installed":
            raise MissingDependencyError("tensorrt_rtx (or tensorrt)", extra=EXTRAS["rtx"]) from err
        raise EnvironmentUnfitError(f"{why}; and tensorrt_rtx is not installed") from err


def installed_versions() -> frozenset[tuple[Kind, str]]:
    """Those that could be imported here."""
    found: set[tuple[Kind, str]] = set()
    for kind in MODULES:
        try:
            found.add((kind, load_flavour(kind).version))
        except EdsrError:
            continue
    return frozenset(found)


def _load(kind: Kind, reason: str) -> Flavour:
    package = MODULES[kind]
    try:
        trt = _import_trt() if kind == "trt" else _import_rtx()
    except (ImportError, OSError) as err:
        if isinstance(err, ModuleNotFoundError) and err.name == package:
            raise MissingDependencyError(package, extra=EXTRAS[kind]) from err
        # one of its libraries is missing
        raise EnvironmentUnfitError(
            f"{package} is installed, but does not load ({err}): "
            f"install it again with: pip install --force-reinstall 'edsr-toolkit[{EXTRAS[kind]}]'"
        ) from err
    flavour = Flavour(kind, trt, str(trt.__version__), reason)
    first, beyond = SUPPORTED[kind]
    if not first <= _major_minor(flavour.version) < beyond:
        raise EnvironmentUnfitError(
            f"{flavour} is installed, expected {_dotted(first)} or later and below {_dotted(beyond)}: "
            f"pip install 'edsr-toolkit[{EXTRAS[kind]}]'"
        )
    return flavour


def _import_trt() -> Any:
    import tensorrt  # pyright: ignore[reportMissingImports]  # from NVIDIA's index

    return tensorrt


def _import_rtx() -> Any:
    import tensorrt_rtx

    return tensorrt_rtx


def _major_minor(version: str) -> tuple[int, int]:
    major, minor = (int(part) for part in version.split(".")[:2])
    return major, minor


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _tidy(message: str) -> str:
    """One line, without the place in TensorRT's source."""
    return re.sub(r"^(?:\[[^\]]*\]\s*)+", "", " ".join(message.split()))
