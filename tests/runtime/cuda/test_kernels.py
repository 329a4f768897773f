"""The kernels: that their PTX belongs to the source, and that the source computes what the fake device does."""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edsr_runtime.cuda import compile_kernels
from edsr_runtime.cuda.compile_kernels import CompilerError
from edsr_runtime.cuda.kernels import PARAMETERS, PTX, SOURCE, launch_mean, launch_views
from fake_device import FakeDevice


def test_the_ptx_was_made_of_this_source() -> None:
    head = PTX.read_text().splitlines()[0]
    again = "after a change, compile again: python -m edsr_runtime.cuda.compile_kernels"
    assert head == f"// {compile_kernels.heading(SOURCE.read_bytes())}", again


def test_the_ptx_is_what_the_compiler_gives() -> None:
    try:
        compiled = compile_kernels.compiled(SOURCE.read_bytes())
    except CompilerError as err:
        pytest.skip(str(err))
    assert PTX.read_text() == compiled


def test_the_ptx_is_for_every_gpu_and_driver_that_is_supported() -> None:
    text = PTX.read_text()
    assert re.findall(r"^\.(?:version|target) (.+)$", text, re.MULTILINE) == ["7.8", "sm_75"]
    entries = re.findall(r"\.visible \.entry (\w+)\((.*?)\)", text, re.DOTALL)
    assert {name: parameters.count(".param .u64") for name, parameters in entries} == PARAMETERS
    assert all(parameters.count(".param") == PARAMETERS[name] for name, parameters in entries)


class OnCpu(FakeDevice):
    """The fake device, with kernels.cu compiled for the CPU in place of numpy."""

    def __init__(self, library: Path) -> None:
        super().__init__()
        self._driver = ctypes.CDLL(str(library))
        context = ctypes.c_void_p()
        self._driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
        self._driver.cuCtxPushCurrent_v2(context)
        self._stream = ctypes.c_void_p()
        assert not self._driver.cuStreamCreate(ctypes.byref(self._stream), 1)

    def launch(self, kernel: str, grid: Any, block: Any, arguments: Any, stream: int) -> None:
        function = ctypes.c_void_p()
        assert not self._driver.cuModuleGetFunction(ctypes.byref(function), None, kernel.encode())
        values = [ctypes.c_uint64(value) for value in arguments]
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        assert not self._driver.cuLaunchKernel(function, *grid, *block, 0, self._stream, pointers, None)


@pytest.fixture(scope="module")
def on_cpu(driver_library: Path) -> Iterator[OnCpu]:
    device = OnCpu(driver_library)
    with device.current():
        yield device


def run_both(on_cpu: OnCpu, launch: Any, size: int, source: NDArray[Any], **options: Any) -> list[NDArray[np.uint8]]:
    """What the kernel writes, flag in front, computed by both; as bytes."""
    results = []
    fake = FakeDevice()
    with fake.current():
        stream, event = fake.open_stream(), fake.open_event()
        lr, out = fake.allocate(source.nbytes), fake.allocate(256 + size)
        fake.view(lr, source.nbytes)[:] = source.reshape(-1).view(np.uint8)
        fake.view(out, 256 + size)[:] = 0
        for name in ("straight", "transposed"):
            if name in options:
                options[name] += lr
        given = {"source": lr} if "straight" not in options else {}
        launch(fake, stream, target=out + 256, flag=out, **given, **options)
        fake.record(event, stream)
        fake.wait_host(event)
        results.append(fake.view(out, 256 + size).copy())
    here, there = np.ascontiguousarray(source), np.zeros(256 + size, np.uint8)
    for name in ("straight", "transposed"):
        if name in options:
            options[name] += here.ctypes.data - lr
    given = {"source": here.ctypes.data} if "straight" not in options else {}
    launch(on_cpu, stream, target=there.ctypes.data + 256, flag=there.ctypes.data, **given, **options)
    return [*results, there]


@pytest.mark.parametrize(("first", "views"), [(0, 1), (0, 4), (4, 4), (6, 2), (3, 1), (0, 8)])
@pytest.mark.parametrize("pixel", ["bytes", "floats"])
@pytest.mark.parametrize("pictures", [1, 2])
def test_views_are_those_of_the_fake(on_cpu: OnCpu, pixel: str, first: int, views: int, pictures: int) -> None:
    hw = (37, 37) if views == 8 else (21, 37)
    random = np.random.default_rng(first)
    shape = (pictures, *hw, 3) if pixel == "bytes" else (pictures, 3, *hw)
    source: NDArray[Any] = random.integers(0, 256, shape, dtype=np.uint8)
    if pixel == "floats":
        source = random.normal(100, 200, shape).astype(np.float32)
    size = pictures * views * 3 * hw[0] * hw[1] * 4
    options = {"pixel": pixel, "pictures": pictures, "hw": hw, "first": first, "views": views}
    fake, real = run_both(on_cpu, launch_views, size, source, **options)
    np.testing.assert_array_equal(real, fake)
    assert real[256:].any()


@pytest.mark.parametrize(("hw", "chunk"), [((32, 32), 8), ((32, 32), 4), ((18, 36), 4), ((18, 36), 2), ((9, 33), 1)])
@pytest.mark.parametrize("pixel", ["bytes", "floats"])
def test_the_mean_of_eight_views_is_that_of_the_fake(
    on_cpu: OnCpu, pixel: str, hw: tuple[int, int], chunk: int
) -> None:
    item, gap = 3 * hw[0] * hw[1], 64
    stride = chunk * item + gap
    source = np.random.default_rng(1).normal(128, 90, 8 * (item + gap)).astype(np.float32)
    half = 4 // chunk * stride if chunk <= 4 else 4 * item
    size = item * (1 if pixel == "bytes" else 4)
    options = {"pixel": pixel, "straight": 0, "transposed": 4 * half, "pictures": 1, "hw": hw, "views": 8}
    fake, real = run_both(on_cpu, launch_mean, size, source, **options, chunk=chunk, stride=stride)
    np.testing.assert_array_equal(real, fake)
    assert not real[:4].any()


def test_bytes_are_clamped_rounded_half_to_even_and_their_flag_is_set_by_what_is_no_number(on_cpu: OnCpu) -> None:
    for bad in (None, np.nan, np.inf, -np.inf):
        source = np.zeros((2, 3, 2, 4), np.float32)
        source[1, 0, 0] = [-3, 0.5, 1.5, 2.5]
        source[1, 0, 1] = [254.4, 254.5, 255.5, 1e30]
        if bad is not None:
            source[0, 2, 1, 3] = bad
        options = {"straight": 0, "transposed": 0, "pictures": 2, "hw": (2, 4), "views": 1, "chunk": 2, "stride": 0}
        fake, real = run_both(on_cpu, launch_mean, 48, source, pixel="bytes", **options)
        np.testing.assert_array_equal(real, fake)
        assert real[:4].view(np.uint32)[0] == (bad is not None)
        assert real[256:].reshape(2, 2, 4, 3)[1, :, :, 0].tolist() == [[0, 0, 2, 2], [254, 254, 255, 255]]
