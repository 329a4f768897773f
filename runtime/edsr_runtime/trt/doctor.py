"""What this machine has for TensorRT, what would be used and why, and what is missing. Works with nothing installed."""

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from edsr_runtime.errors import EdsrError, MissingDependencyError
from edsr_runtime.trt import cache
from edsr_runtime.trt.driver import Driver, cuda_driver
from edsr_runtime.trt.engine_file import check
from edsr_runtime.trt.flavour import EXTRAS, MODULES, TITLES, Flavour, Kind, load_flavour
from edsr_runtime.trt.folder import engine_folder
from edsr_runtime.trt.making import Order, choose_flavour, shipped_model
from edsr_runtime.trt.memory import megabytes

State = Literal["ok", "missing", "broken"]
_MARKS: dict[State, str] = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}
_CUDA_OF = {f"{package}-cu{major}": (package, major) for package in ("tensorrt", "tensorrt-rtx") for major in (12, 13)}
_DRIVER_BRANCH = {12: 525, 13: 580}  # the first that has that CUDA; NVIDIA, CUDA Compatibility, minor version


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    state: State
    text: str
    advice: str = ""
    """What to do about it; empty if nothing has to be done."""


@dataclass(frozen=True)
class Report:
    """All of it."""

    findings: tuple[Finding, ...]
    build: str
    """What ``edsr-trt build`` would do here."""
    run: str
    """Whether engines run here."""

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def as_text(self) -> list[str]:
        """Lines for people."""
        lines = []
        for finding in self.findings:
            lines.append(f"{_MARKS[finding.state]}  {finding.topic}: {finding.text}")
            if finding.advice:
                lines.append(f"           -> {finding.advice}")
        return [*lines, f"build    {self.build}", f"run      {self.run}"]


_Flavours = dict[Kind, tuple[Flavour | None, Finding]]


def examine() -> Report:
    """Look at everything; nothing is changed and nothing raised."""
    driver, about_driver = _driver()
    flavours: _Flavours = {kind: _flavour(kind) for kind in TITLES}
    findings = [*about_driver]
    for kind in TITLES:
        findings.append(flavours[kind][1])
    findings += _cuda_versions(driver)
    findings += [_cuda_package(), _onnxruntime(), _model(), _engines(driver, flavours)]
    loaded: dict[Kind, Flavour] = {kind: flavour for kind, (flavour, _) in flavours.items() if flavour is not None}
    return Report(tuple(findings), _build(driver), _run(driver, loaded))


def _driver() -> tuple[Driver | None, list[Finding]]:
    try:
        driver = cuda_driver()
    except EdsrError as err:
        return None, [Finding("driver", "missing", str(err), "engines can be built with TensorRT-RTX, but not run")]
    release = f"{driver.release}, " if driver.release else ""
    return driver, [
        Finding("driver", "ok", f"{release}for CUDA up to {driver.cuda}"),
        *(Finding(f"GPU {gpu.index}", "ok", str(gpu)) for gpu in driver.gpus),
    ]


def _flavour(kind: Kind) -> tuple[Flavour | None, Finding]:
    try:
        flavour = load_flavour(kind)
    except MissingDependencyError:
        return None, Finding(
            TITLES[kind], "missing", f"{MODULES[kind]} is not installed", f"pip install 'edsr-toolkit[{EXTRAS[kind]}]'"
        )
    except EdsrError as err:
        return None, Finding(TITLES[kind], "broken", str(err))
    return flavour, Finding(TITLES[kind], "ok", flavour.version)


def _cuda_versions(driver: Driver | None) -> list[Finding]:
    """A flavour built for a CUDA that is newer than the driver's."""
    if driver is None:
        return []
    too_old = []
    for distribution, (package, major) in _CUDA_OF.items():
        if _version(distribution) and driver.version < major * 1000:
            too_old.append(
                Finding(
                    distribution,
                    "broken",
                    f"it is for CUDA {major}, the driver for CUDA up to {driver.cuda}",
                    f"update the driver to branch {_DRIVER_BRANCH[major]} or newer"
                    + (f", or install {package}-cu{major - 1} instead" if major > min(_DRIVER_BRANCH) else ""),
                )
            )
    return too_old


def _cuda_package() -> Finding:
    for distribution in ("pycuda", "cuda-bindings"):
        if found := _version(distribution):
            return Finding("CUDA from Python", "ok", f"{distribution} {found}")
    return Finding(
        "CUDA from Python",
        "missing",
        "neither pycuda nor cuda-bindings is installed",
        "to run engines: pip install 'edsr-toolkit[cuda]' (no compiler needed), or pip install 'edsr-toolkit[gpu]'",
    )


def _onnxruntime() -> Finding:
    for distribution in ("onnxruntime-gpu", "onnxruntime"):
        if found := _version(distribution):
            return Finding("onnxruntime", "ok", f"{distribution} {found}")
    return Finding(
        "onnxruntime", "missing", "not installed", "edsr-trt verify needs it: pip install 'edsr-toolkit[cpu]'"
    )


def _model() -> Finding:
    try:
        return Finding("FP16 model", "ok", shipped_model(Order()).name)
    except EdsrError as err:
        return Finding("FP16 model", "missing", str(err))


def _engines(driver: Driver | None, flavours: _Flavours) -> Finding:
    entries = cache.entries()
    size = megabytes(sum(entry.size for entry in entries))
    text = f"{len(entries)} in {engine_folder()}, {size}"
    if driver is None or not entries:
        return Finding("engines", "ok", text)

    def usable(entry: cache.Entry) -> bool:
        description = entry.description
        flavour = flavours[description.flavour][0] if description is not None else None
        return description is not None and flavour is not None and _passes(lambda: check(description, flavour, driver))

    fitting = sum(usable(entry) for entry in entries)
    advice = "" if fitting == len(entries) else "edsr-trt cache prune --other-versions removes those of other versions"
    return Finding("engines", "ok", f"{text}; {fitting} can run here", advice)


def _build(driver: Driver | None) -> str:
    try:
        flavour = choose_flavour(Order(), driver, "there is no GPU")
    except EdsrError as err:
        return f"not possible: {err}"
    ahead = "" if driver is not None else f", for the GPUs that --targets names: {', '.join(flavour.targets)}"
    return f"with {flavour} ({flavour.reason}){ahead}"


def _run(driver: Driver | None, flavours: dict[Kind, Flavour]) -> str:
    if driver is None:
        return "not possible: there is no GPU that could be used"
    usable = []
    for kind, flavour in flavours.items():
        if kind == "trt" or driver.gpus[0].sm in flavour.targets:
            usable.append(str(flavour))
    if not usable:
        return f"not possible: no TensorRT for the {driver.gpus[0].name} is installed"
    if not any(map(importlib.util.find_spec, ("pycuda", "cuda"))):
        return "not possible: neither pycuda nor cuda-bindings is installed"
    return f"engines of {' and '.join(usable)} on {driver.gpus[0]}"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _passes(question: Callable[[], None]) -> bool:
    try:
        question()
    except EdsrError:
        return False
    return True
