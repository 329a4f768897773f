"""Which library the GPU is reached by."""

from edsr_runtime.cuda.device import Device
from edsr_runtime.errors import MissingDependencyError


def open_device(index: int) -> Device:
    """PyCUDA where it is installed, else cuda-bindings. The driver has been looked at before: ``trt.driver``.

    Raises:
        MissingDependencyError: neither is installed.
        DeviceError: there is no such GPU, or it cannot be used.
    """
    try:
        from edsr_runtime.cuda.pycuda_device import PyCudaDevice

        return PyCudaDevice(index)
    except MissingDependencyError:
        pass
    try:
        from edsr_runtime.cuda.bindings_device import BindingsDevice

        return BindingsDevice(index)
    except MissingDependencyError as err:
        raise MissingDependencyError("pycuda or cuda-bindings", extra="cuda") from err
