"""The NVIDIA driver, asked by ctypes before anything else may touch it.

TensorRT's runtime, constructed where there is no driver, returns an object that ends the process with a segmentation
fault. So whoever needs a device asks here first. No context is made, and no package is needed.
"""

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsr_runtime.errors import EnvironmentUnfitError

_LIBRARY = "libcuda.so.1"
_RELEASE = Path("/proc/driver/nvidia/version")
_NAME_BYTES = 256
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute, COMPUTE_CAPABILITY_*
_INIT_REASONS = {
    100: "there is no NVIDIA GPU, or CUDA_VISIBLE_DEVICES hides it",
    101: "CUDA_VISIBLE_DEVICES names a device that does not exist",
    802: "the GPUs of this machine are not ready yet; is nvidia-fabricmanager running?",
    803: "the driver's library and its kernel module are of different versions; restart the machine",
    804: "the CUDA compatibility package does not support this GPU; remove it or update the driver",
    999: "the kernel module does not answer; look at the output of nvidia-smi",
}  # CUresult


@dataclass(frozen=True)
class Gpu:
    """One device, as the driver counts them (CUDA_VISIBLE_DEVICES applies)."""

    index: int
    name: str
    """``NVIDIA GeForce RTX 4090``."""
    capability: tuple[int, int]
    """Compute capability, (8, 9)."""
    memory: int
    """In all, bytes."""

    @property
    def sm(self) -> str:
        """``SM89``, as TensorRT-RTX names its targets."""
        return f"SM{self.capability[0]}{self.capability[1]}"

    def __str__(self) -> str:
        return f"{self.name} ({self.capability[0]}.{self.capability[1]}, {self.memory / 2**30:.1f} GiB)"


@dataclass(frozen=True)
class Driver:
    """An NVIDIA driver with at least one device."""

    version: int
    """Newest CUDA that it supports, as CUDA writes it: 13000 for 13.0."""
    gpus: tuple[Gpu, ...]
    release: str = ""
    """``580.65.06``; empty where the system does not tell."""

    @property
    def cuda(self) -> str:
        """``13.0``."""
        return f"{self.version // 1000}.{self.version % 1000 // 10}"

    def gpu(self, index: int) -> Gpu:
        """One of the devices.

        Raises:
            EnvironmentUnfitError: there are not that many.
        """
        if not 0 <= index < len(self.gpus):
            have = ", ".join(f"{gpu.index}: {gpu.name}" for gpu in self.gpus)
            raise EnvironmentUnfitError(f"there is no GPU {index} on this machine; it has {have}")
        return self.gpus[index]


def cuda_driver() -> Driver:
    """Driver and devices. Starts CUDA in this process, so processes must not be forked from it afterwards.

    Raises:
        EnvironmentUnfitError: no driver, one that does not start, or no device; with the reason.
    """
    try:
        library = _load()
    except OSError as err:
        raise EnvironmentUnfitError(
            f"there is no NVIDIA driver ({err}): install one, or start the container with access to the GPU"
        ) from err
    if code := library.cuInit(0):
        why = _INIT_REASONS.get(code, "see CUresult in CUDA's documentation")
        raise EnvironmentUnfitError(f"the NVIDIA driver does not start (cuInit gave {code}): {why}")
    version, count = ctypes.c_int(), ctypes.c_int()
    _ask(library, "cuDriverGetVersion", ctypes.byref(version))
    _ask(library, "cuDeviceGetCount", ctypes.byref(count))
    if count.value < 1:
        raise EnvironmentUnfitError(f"the NVIDIA driver starts, but finds no device: {_INIT_REASONS[100]}")
    return Driver(version.value, tuple(_gpu(library, index) for index in range(count.value)), _release())


def _load() -> Any:
    return ctypes.CDLL(_LIBRARY)


def _gpu(library: Any, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    _ask(library, "cuDeviceGet", ctypes.byref(device), index)
    _ask(library, "cuDeviceGetName", name, _NAME_BYTES, device)
    _ask(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    _ask(library, "cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    _ask(library, "cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    return Gpu(index, name.value.decode(errors="replace"), (major.value, minor.value), memory.value)


def _ask(library: Any, function: str, *arguments: Any) -> None:
    if code := getattr(library, function)(*arguments):
        raise EnvironmentUnfitError(
            f"the NVIDIA driver starts, but {function} gave {code}: look at the output of nvidia-smi"
        )


def _release() -> str:
    try:
        found = re.search(r"\b(\d{3}(?:\.\d+)+)\b", _RELEASE.read_text())
    except OSError:
        return ""
    return found[1] if found else ""
