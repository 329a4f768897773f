"""Where a candidate computes, and what that means for copies."""

from typing import Literal

from edsr_runtime.backends.base import Backend, DeviceBackend

Device = Literal["CPU", "GPU"]

COPIES: dict[Device, str] = {
    "CPU": "none: in and out are in main memory",
    "GPU": "in and out: from main memory to the device and back, both in the time",
}
"""Between main memory and a device, and whether they are in the time; before the colon is the short form."""


def device_of(backend: Backend) -> Device:
    """Of our own runtime: engines have a device of their own, and onnxruntime says where it runs."""
    return "GPU" if isinstance(backend, DeviceBackend) or getattr(backend, "on_gpu", False) else "CPU"
