"""A fake device that must be left clean, and the driver that is emulated on the CPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import emulated
from fake_device import FakeDevice


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    """Whatever a test does, nothing may be left on it."""
    device = FakeDevice()
    yield device
    device.assert_clean()


@pytest.fixture(scope="session")
def driver_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A libcuda.so.1 with our kernels, on the CPU."""
    if not emulated.has_compiler():
        pytest.skip("no C++ compiler: g++ and nm are needed for the emulated driver")
    return emulated.build(tmp_path_factory.mktemp("driver"))
