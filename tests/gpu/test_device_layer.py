"""PyCUDA and cuda-bindings on a real GPU: what the benchmark checks, as tests."""

from collections.abc import Callable, Iterator

import pytest

from benchmarks.gpu_layer import CHECKS, LIBRARIES, Library, check_leaks, open_library
from edsr_runtime.cuda.device import Device, DeviceError
from edsr_runtime.errors import MissingDependencyError
from edsr_runtime.trt.driver import Driver

pytestmark = pytest.mark.gpu


@pytest.fixture(params=LIBRARIES)
def layer(driver: Driver, request: pytest.FixtureRequest) -> Iterator[Device]:
    """The first GPU by way of one library."""
    try:
        device = open_library(request.param)
    except MissingDependencyError as err:
        pytest.skip(str(err))
    yield device
    device.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_layer_keeps_its_promises(layer: Device, check: Callable[[Device], None]) -> None:
    check(layer)


def test_a_thousand_pictures_leak_nothing(layer: Device) -> None:
    check_leaks(layer, 1000)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_gpu_that_is_not_there_is_an_error(driver: Driver, library: Library) -> None:
    try:
        with pytest.raises(DeviceError):
            open_library(library, len(driver.gpus))
    except MissingDependencyError as err:
        pytest.skip(str(err))
