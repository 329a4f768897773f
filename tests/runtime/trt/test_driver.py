"""The driver: what it tells, and why it cannot, in one sentence and without ending the process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edsr_runtime.errors import EnvironmentUnfitError
from edsr_runtime.trt import driver
from edsr_runtime.trt.driver import Driver, Gpu, cuda_driver

DEVICES = [("NVIDIA GeForce RTX 4090", (8, 9), 24 << 30), ("NVIDIA H200", (9, 0), 141 << 30)]


class FakeLibrary:
    """libcuda, as far as it is asked; ``codes`` make single functions fail."""

    def __init__(self, devices: list[Any] = DEVICES, **codes: int) -> None:
        self.devices = devices
        self.codes = codes
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def function(*arguments: Any) -> int:
            self.asked.append(name)
            if name in self.codes:
                return self.codes[name]
            answer = vars(FakeLibrary).get(f"_{name}")
            if answer is not None:
                answer(self, *arguments)
            return 0

        return function

    def _cuDriverGetVersion(self, version: Any) -> None:  # noqa: N802  # CUDA's names
        version._obj.value = 13010

    def _cuDeviceGetCount(self, count: Any) -> None:  # noqa: N802
        count._obj.value = len(self.devices)

    def _cuDeviceGet(self, device: Any, index: int) -> None:  # noqa: N802
        device._obj.value = 100 + index

    def _cuDeviceGetName(self, name: Any, size: int, device: Any) -> None:  # noqa: N802
        name.value = self.devices[device.value - 100][0].encode()

    def _cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> None:  # noqa: N802
        memory._obj.value = self.devices[device.value - 100][2]

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> None:  # noqa: N802
        value._obj.value = self.devices[device.value - 100][1][attribute - 75]


def with_library(monkeypatch: pytest.MonkeyPatch, library: FakeLibrary) -> FakeLibrary:
    monkeypatch.setattr(driver, "_load", lambda: library)
    return library


def test_driver_and_devices_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    release = tmp_path / "version"
    release.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 2025\nGCC version: 12\n")
    monkeypatch.setattr(driver, "_RELEASE", release)
    library = with_library(monkeypatch, FakeLibrary())
    found = cuda_driver()
    assert found == Driver(13010, (Gpu(0, *DEVICES[0]), Gpu(1, *DEVICES[1])), "580.65.06")
    assert (found.cuda, found.gpu(1).sm) == ("13.1", "SM90")
    assert str(found.gpus[0]) == "NVIDIA GeForce RTX 4090 (8.9, 24.0 GiB)"
    assert not [name for name in library.asked if "Ctx" in name]  # no context is made


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_library(monkeypatch, FakeLibrary())
    with pytest.raises(EnvironmentUnfitError, match="no GPU 2 on this machine; it has 0: NVIDIA GeForce RTX 4090, 1:"):
        cuda_driver().gpu(2)


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (FakeLibrary(cuInit=100), r"does not start \(cuInit gave 100\): there is no NVIDIA GPU, or CUDA_VISIBLE"),
        (FakeLibrary(cuInit=803), "different versions; restart the machine"),
        (FakeLibrary(cuInit=12345), r"cuInit gave 12345\): see CUresult"),
        (FakeLibrary(devices=[]), "starts, but finds no device: there is no NVIDIA GPU"),
        (FakeLibrary(cuDeviceTotalMem_v2=3), "cuDeviceTotalMem_v2 gave 3: look at the output of nvidia-smi"),
        (FakeLibrary(cuDeviceGetCount=999), "cuDeviceGetCount gave 999"),
    ],
)
def test_every_answer_of_the_driver_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, library: FakeLibrary, message: str
) -> None:
    with_library(monkeypatch, library)
    with pytest.raises(EnvironmentUnfitError, match=message):
        cuda_driver()


def test_without_a_driver_there_is_a_sentence_and_no_crash() -> None:
    code = (
        "from edsr_runtime.trt import driver\n"
        "from edsr_runtime.errors import EnvironmentUnfitError\n"
        "driver._LIBRARY = 'libcuda-that-nobody-has.so.1'\n"
        "try: driver.cuda_driver()\n"
        "except EnvironmentUnfitError as err: print(err.exit_code, err)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "4 there is no NVIDIA driver (libcuda-that-nobody-has.so.1: cannot open shared object file: No such file or "
        "directory): install one, or start the container with access to the GPU\n"
    )
