"""Tests on a real GPU: ``pytest -m gpu``. Skipped, with the reason, where there is none."""

from collections.abc import Iterator

import pytest

from benchmarks.gpu_place import Place, find_place
from benchmarks.gpu_runner import open_any_library
from benchmarks.gpu_sections import NotHereError
from edsr_runtime.cuda.device import Device
from edsr_runtime.errors import EnvironmentUnfitError
from edsr_runtime.trt.driver import Driver, cuda_driver


@pytest.fixture(scope="session")
def driver() -> Driver:
    """Of this machine."""
    try:
        return cuda_driver()
    except EnvironmentUnfitError as err:
        pytest.skip(str(err))


@pytest.fixture(scope="session")
def place(driver: Driver) -> Place:
    """The first GPU, for PyTorch."""
    try:
        return find_place(smoke=False)
    except NotHereError as err:
        pytest.skip(str(err))


@pytest.fixture
def device(driver: Driver) -> Iterator[Device]:
    """The first GPU, by PyCUDA or cuda-bindings."""
    try:
        device = open_any_library()
    except NotHereError as err:
        pytest.skip(str(err))
    yield device
    device.close()
