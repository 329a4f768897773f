"""Flavours: which is loaded and why, and what TensorRT's messages mean."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edsr_runtime.errors import EdsrError, EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.trt import flavour as flavours
from edsr_runtime.trt.flavour import Flavour, Log, installed_versions, load_flavour
from engine_stand_ins import FakeTensorRt, flavour

SPURIOUS = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at checkMacros.cpp:250 "
    "(cudaError 35: CUDA driver version is insufficient for CUDA runtime version))"
)


def install(monkeypatch: pytest.MonkeyPatch, **packages: str | Exception) -> None:
    """As if these packages were there: a version, or what importing them raises. All others are not."""
    for name in ("tensorrt", "tensorrt_rtx"):
        module = ModuleType(name)
        found = packages.get(name)
        if isinstance(found, str):
            module.__dict__["__version__"] = found
            monkeypatch.setitem(sys.modules, name, module)
        elif found is None:
            monkeypatch.setitem(sys.modules, name, None)
        else:
            monkeypatch.setattr(flavours, f"_import_{'rtx' if name.endswith('rtx') else 'trt'}", _raiser(found))


def _raiser(error: Exception):  # type: ignore[no-untyped-def]
    def load() -> ModuleType:
        raise error

    return load


def test_the_full_tensorrt_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tensorrt="11.4.0.106", tensorrt_rtx="1.7.1.116")
    found = load_flavour("auto")
    assert (found.kind, found.version, found.reason) == ("trt", "11.4.0.106", "auto: it is installed")
    assert str(load_flavour("rtx")) == "TensorRT-RTX 1.7.1.116"
    assert installed_versions() == {("trt", "11.4.0.106"), ("rtx", "1.7.1.116")}


def test_rtx_is_taken_where_the_other_is_missing_or_broken_and_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tensorrt_rtx="1.6.1.120")
    assert load_flavour().reason == "auto: tensorrt is not installed"
    install(monkeypatch, tensorrt=ImportError("libnvinfer.so.10: no such file"), tensorrt_rtx="1.6.1.120")
    assert "tensorrt is installed, but does not load (libnvinfer.so.10: no such file)" in load_flavour().reason


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("auto", r"tensorrt_rtx \(or tensorrt\) could not be imported.*edsr-toolkit\[rtx\]"),
        ("trt", r"tensorrt could not be imported.*edsr-toolkit\[gpu\]"),
        ("rtx", r"tensorrt_rtx could not be imported.*edsr-toolkit\[rtx\]"),
    ],
)
def test_a_missing_flavour_names_its_extra(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    install(monkeypatch)
    with pytest.raises(MissingDependencyError, match=message):
        load_flavour(name)
    assert installed_versions() == frozenset()


def test_an_unknown_flavour_is_refused() -> None:
    with pytest.raises(EdsrError, match="unknown flavour 'cuda': expected auto, trt or rtx"):
        load_flavour("cuda")


@pytest.mark.parametrize(
    ("package", "version", "expected"),
    [
        ("tensorrt", "10.12.0.36", "10.13 or later and below 12.0"),
        ("tensorrt", "12.0.0.1", "10.13 or later and below 12.0"),
        ("tensorrt_rtx", "1.4.0.76", "1.6 or later and below 2.0"),
    ],
)
def test_an_unsupported_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, package: str, version: str, expected: str
) -> None:
    install(monkeypatch, **{package: version})
    with pytest.raises(EnvironmentUnfitError, match=f"{version} is installed, expected {expected}"):
        load_flavour("rtx" if package.endswith("rtx") else "trt")


def test_networks_are_strongly_typed_in_both_dialects() -> None:
    assert flavour("trt", "10.16.1.11", FakeTensorRt(10)).network_flags == 2
    assert flavour("trt", "11.4.0.106", FakeTensorRt(11)).network_flags == 0


def test_the_installed_rtx_is_strongly_typed_and_logs(rtx: Flavour) -> None:
    log = Log()
    logger = rtx.logger(log)
    assert rtx.network_flags == 0
    builder = rtx.trt.Builder(logger)
    network = builder.create_network(rtx.network_flags)  # kept: a parser does not keep it alive, and then crashes
    parser = rtx.trt.OnnxParser(network, logger)
    assert not parser.parse(b"not an ONNX file")
    assert log.errors and log.reason == log.errors[0]


def test_the_first_error_is_the_reason_and_those_of_a_missing_driver_are_no_news() -> None:
    log = Log()
    log.add(4, "verbose")
    log.add(2, "a\nwarning")
    log.add(2, "a warning")
    log.add(1, "[graph_jit.cpp::build::278] [x] Error Code 2: Internal Error\n  (CHECK failed.)")
    log.add(1, SPURIOUS)
    log.add(0, "another")
    assert log.reason == "Error Code 2: Internal Error (CHECK failed.)"
    assert log.errors == [log.reason, "another"]
    assert log.warnings == ["a warning"]
    assert (4, "verbose") not in log.lines


def test_a_missing_driver_that_comes_first_is_the_reason() -> None:
    log = Log()
    assert log.reason == "it gave no reason"
    log.add(1, SPURIOUS)
    assert "cudaError 35" in log.reason


def test_numbers_are_read_from_the_log() -> None:
    log = Log()
    log.add(3, "Total Activation Memory: 118260224 bytes")
    log.add(3, "Total Weights Memory: 12 bytes")
    log.add(3, "Total Activation Memory: 7 bytes")
    assert log.numbers("Total Activation Memory") == [118260224, 7]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "raise ImportError('libnvonnxparser.so.11: cannot open shared object file: No such file or directory')",
            "tensorrt is installed, but does not load (libnvonnxparser.so.11: cannot open shared object file",
        ),
        ("import ctypes; ctypes.CDLL('libnvinfer.so.99')", "does not load (libnvinfer.so.99"),
        ("import tensorrt_bindings_that_are_missing", "does not load (No module named 'tensorrt_bindings_that"),
    ],
)
def test_a_broken_tensorrt_is_a_sentence(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "tensorrt.py").write_text(source)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from edsr_runtime.errors import EdsrError\n"
        "from edsr_runtime.trt.flavour import load_flavour\n"
        "try: load_flavour('trt')\n"
        "except EdsrError as err: print(err.exit_code, err)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 tensorrt is installed, but ") and message in done.stdout
    assert "pip install --force-reinstall 'edsr-toolkit[gpu]'" in done.stdout
