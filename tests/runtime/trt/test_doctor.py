"""The doctor: says what is there, what would be used and why, whatever is missing."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.trt import doctor, making
from edsr_runtime.trt.doctor import Finding, Report, examine
from edsr_runtime.trt.driver import Driver
from edsr_runtime.trt.engine_file import write_engine_file
from edsr_runtime.trt.flavour import Flavour
from edsr_runtime.trt.folder import make_private
from engine_stand_ins import ADA, ENGINE, FakeTensorRt, description, driver, full_description, with_capability


class Machine:
    """What the doctor finds; nothing at first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driver: Driver | None = None
        self.flavours: dict[str, str] = {}
        self.broken: set[str] = set()
        self.distributions: dict[str, str] = {}
        monkeypatch.setattr(doctor, "cuda_driver", self._driver)
        monkeypatch.setattr(doctor, "load_flavour", self._load)
        monkeypatch.setattr(making, "load_flavour", self._load)
        monkeypatch.setattr(doctor, "version", self._version)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in self._modules() or None)

    def _modules(self) -> list[str]:
        return [{"cuda-bindings": "cuda"}.get(name, name) for name in self.distributions]

    def _driver(self) -> Driver:
        if self.driver is None:
            raise EnvironmentUnfitError("there is no NVIDIA driver: install one")
        return self.driver

    def _load(self, name: str) -> Flavour:
        for kind in ("trt", "rtx"):
            if name in ("auto", kind) and kind in self.broken:
                raise EnvironmentUnfitError(f"{kind} does not load")
            if name in ("auto", kind) and kind in self.flavours:
                return Flavour(kind, FakeTensorRt(), self.flavours[kind], "auto: because")  # type: ignore[arg-type]
        raise MissingDependencyError("tensorrt", extra="rtx")

    def _version(self, distribution: str) -> str:
        if distribution not in self.distributions:
            raise PackageNotFoundError(distribution)
        return self.distributions[distribution]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def finding(report: Report, topic: str) -> Finding:
    (found,) = (f for f in report.findings if f.topic == topic)
    return found


def test_an_empty_machine_is_told_what_to_install(machine: Machine) -> None:
    report = examine()
    assert {f.topic: f.state for f in report.findings} == {
        "driver": "missing",
        "TensorRT": "missing",
        "TensorRT-RTX": "missing",
        "CUDA from Python": "missing",
        "onnxruntime": "missing",
        "FP16 model": finding(report, "FP16 model").state,
        "engines": "ok",
    }
    assert finding(report, "TensorRT-RTX").advice == "pip install 'edsr-toolkit[rtx]'"
    assert finding(report, "TensorRT").advice == "pip install 'edsr-toolkit[gpu]'"
    assert report.build.startswith("not possible: tensorrt could not be imported")
    assert report.run == "not possible: there is no GPU that could be used"


def test_a_complete_machine_is_told_what_would_be_used(machine: Machine, folder: Path) -> None:
    machine.driver = driver(ADA)
    machine.flavours = {"trt": "11.4.0", "rtx": "1.7.1.116"}
    machine.distributions = {"pycuda": "2026.1", "onnxruntime-gpu": "1.31.1"}
    write_engine_file(make_private(folder) / "a.engine", ENGINE, description())
    write_engine_file(folder / "b.engine", ENGINE, full_description())
    write_engine_file(folder / "c.engine", ENGINE, description(version="1.6.0"))
    report = examine()
    assert finding(report, "driver").text == "580.65.06, for CUDA up to 13.0"
    assert finding(report, "GPU 0").text == str(ADA)
    assert finding(report, "CUDA from Python").text == "pycuda 2026.1"
    assert finding(report, "engines").text == f"3 in {folder}, 0 MB; 2 can run here"
    assert "--other-versions" in finding(report, "engines").advice
    assert report.build == "with TensorRT 11.4.0 (auto: because)"
    assert report.run == f"engines of TensorRT 11.4.0 and TensorRT-RTX 1.7.1.116 on {ADA}"


def test_without_a_gpu_rtx_still_builds(machine: Machine) -> None:
    machine.flavours = {"rtx": "1.7.1.116", "trt": "11.4.0"}
    report = examine()
    why = "with TensorRT-RTX 1.7.1.116 (auto: only it builds without a GPU)"
    assert report.build == f"{why}, for the GPUs that --targets names: SM86, SM89"
    assert report.run.startswith("not possible")


def test_a_gpu_that_rtx_does_not_know_is_said(machine: Machine) -> None:
    machine.flavours = {"rtx": "1.7.1.116"}
    machine.driver = driver(with_capability(ADA, 9, 0))
    assert examine().run == "not possible: no TensorRT for the NVIDIA GeForce RTX 4090 is installed"
    machine.driver = driver(ADA)
    assert examine().run == "not possible: neither pycuda nor cuda-bindings is installed"


def test_a_driver_older_than_the_packages_is_found(machine: Machine) -> None:
    machine.driver = dataclasses.replace(driver(), version=12040)
    machine.distributions = {"tensorrt-rtx-cu13": "1.7.1.116", "tensorrt-cu12": "10.16"}
    old = finding(examine(), "tensorrt-rtx-cu13")
    assert (old.state, old.text) == ("broken", "it is for CUDA 13, the driver for CUDA up to 12.4")
    assert old.advice == "update the driver to branch 580 or newer, or install tensorrt-rtx-cu12 instead"
    assert not [f for f in examine().findings if f.topic == "tensorrt-cu12"]


def test_what_is_broken_says_why(machine: Machine) -> None:
    machine.broken = {"trt"}
    assert finding(examine(), "TensorRT") == Finding("TensorRT", "broken", "trt does not load")


def test_the_report_is_text_and_data(machine: Machine) -> None:
    report = Report((Finding("driver", "ok", "580"), Finding("GPU", "broken", "hot", "cool it")), "with it", "yes")
    assert report.as_text() == [
        "ok       driver: 580",
        "BROKEN   GPU: hot",
        "           -> cool it",
        "build    with it",
        "run      yes",
    ]
    data: Any = json.loads(json.dumps(report.as_data()))
    assert data["findings"][1] == {"topic": "GPU", "state": "broken", "text": "hot", "advice": "cool it"}


def test_it_works_with_the_base_install_only() -> None:
    blocked = ("tensorrt", "tensorrt_rtx", "pycuda", "cuda", "onnxruntime", "openvino", "torch", "onnx")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "from edsr_runtime.trt import cli\ncli.main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "missing  TensorRT-RTX: tensorrt_rtx is not installed" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("run ")
