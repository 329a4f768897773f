"""Which library the GPU is reached by."""

from edsr_runtime.cuda.device import Device
from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError


def open_device(index: int) -> Device:
    """PyCUDA where it is installed, else cuda-bindings. The driver has been looked at before: ``trt.driver``.

    Raises:
        MissingDependencyError: neither is installed.
        EnvironmentUnfitError: one is installed, but does not load.
        DeviceError: there is no such GPU, or it cannot be used.
    """
    broken = ""
    try:
        from edsr_runtime.cuda.pycuda_device import PyCudaDevice
    except MissingDependencyError:
        pass
    except EnvironmentUnfitError as err:
        broken = str(err)
    else:
        return PyCudaDevice(index)
    try:
        from edsr_runtime.cuda.bindings_device import BindingsDevice
    except MissingDependencyError as err:
        if broken:
            raise EnvironmentUnfitError(
                f"{broken}: build it again, or use the other: pip install 'edsr-toolkit[cuda]'"
            ) from err
        raise MissingDependencyError("pycuda or cuda-bindings", extra="cuda") from err
    return BindingsDevice(index)
