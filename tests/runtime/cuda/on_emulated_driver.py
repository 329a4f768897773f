"""Run in a process of its own, with the emulated driver in place of NVIDIA's: the runner on a real package."""

import ctypes
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.backends.base import NonFiniteError, to_uint8
from edsr_runtime.cuda.device import Device, DeviceError, DeviceMemoryError
from edsr_runtime.cuda.runner import Runner
from edsr_runtime.dihedral import VIEWS, View
from edsr_runtime.trt.profile import Profile, Size

SCALE = 2
KINDS = ("memory", "pinned", "streams", "events", "modules", "graphs", "contexts")

emulated = ctypes.CDLL("libcuda.so.1")


def network(lr: NDArray[np.float32]) -> NDArray[np.float32]:
    sr = lr.repeat(SCALE, axis=2).repeat(SCALE, axis=3)
    rows, columns = (np.arange(n, dtype=np.float32) for n in sr.shape[2:])
    return np.asarray(sr + rows[:, None] / 8 + columns / 4, np.float32)


class Context:
    """Computes at once, where the device's memory is the host's."""

    def set_shape(self, size: Size) -> None:
        self.size = size

    def activation_bytes(self) -> int:
        return 1000

    def set_memory(self, address: int, size: int) -> None:
        assert address % 256 == 0

    def enqueue(self, stream: int, lr: int, sr: int) -> None:
        batch, height, width = self.size
        at(sr, batch, 3, SCALE * height, SCALE * width)[:] = network(at(lr, batch, 3, height, width))

    def close(self) -> None:
        pass


class Engine:
    io: Any = "float"
    scale = SCALE
    supports_capture = False  # it computes on the host, which no graph notes
    profile = Profile(Size(1, 1, 1), Size(8, 64, 64), Size(8, 64, 64))

    def create_context(self) -> Context:
        return Context()

    def close(self) -> None:
        pass


def at(address: int, *shape: int) -> NDArray[np.float32]:
    return np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shape))).from_address(address)).reshape(shape)


def mean(lr: NDArray[np.float32]) -> NDArray[np.float32]:
    def flip(x: NDArray[np.float32], view: View) -> NDArray[np.float32]:
        return x[:, :, :: -1 if view.flip_rows else 1, :: -1 if view.flip_columns else 1]

    results = []
    for view in VIEWS:
        sr = flip(network(flip(lr.swapaxes(2, 3) if view.transpose else lr, view)), view)
        results.append(sr.swapaxes(2, 3) if view.transpose else sr)
    return np.asarray(sum(results) / np.float32(len(VIEWS)), np.float32)


def pictures(runner: Runner, seed: int) -> None:
    random = np.random.default_rng(seed)
    for batch, height, width in ((1, 9, 13), (3, 9, 13), (1, 20, 20), (1, 40, 7)):
        lr = random.normal(128, 90, (batch, 3, height, width)).astype(np.float32)
        whole = random.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
        planar = whole.transpose(0, 3, 1, 2).astype(np.float32)
        np.testing.assert_array_equal(runner.run(lr), network(lr))
        np.testing.assert_array_equal(runner.run(whole), to_uint8(network(planar)))
        if batch == 1:
            np.testing.assert_allclose(runner.run(lr, ensemble=True), mean(lr), atol=1e-4)
            np.testing.assert_array_equal(runner.run(whole, ensemble=True), to_uint8(mean(planar)))
            lr[0, 1, 2, 3] = np.nan
            for ensemble in (False, True):
                try:
                    runner.run(lr, ensemble)
                except NonFiniteError:
                    continue
                raise AssertionError("NaN was not seen")


def graph(device: Device) -> None:
    """Capture, launch twice, and a capture that fails."""
    with device.current():
        stream, event = device.open_stream(), device.open_event()
        up, down, address = device.pin(512, write_only=True), device.pin(512), device.allocate(512)

        def enqueue() -> None:
            device.copy_up(address, up, stream)
            device.copy_down(down, address, stream)

        device.begin_capture(stream)
        enqueue()
        made = device.end_capture(stream)
        for value in (3, 4):
            up[:], down[:] = value, 0
            device.launch_graph(made, stream)
            device.record(event, stream)
            device.wait_host(event)
            assert (down == value).all()
        device.close_graph(made)
        device.begin_capture(stream)
        emulated.emulated_spoil(ctypes.c_void_p(stream))
        refused(DeviceError, "CAPTURE_INVALIDATED", lambda: device.end_capture(stream))
        enqueue()  # and the stream works again
        device.record(event, stream)
        device.wait_host(event)
        device.free(address)
        device.unpin(up)
        device.unpin(down)
        device.close_event(event)
        device.close_stream(stream)


def memory(device: Device) -> None:
    with device.current():
        emulated.emulated_limit(ctypes.c_uint64(4 << 20))
        address = device.allocate(1 << 20)
        assert address % 256 == 0
        assert device.free_memory() == (3 << 20, 4 << 20)
        sentence = "the GPU has not enough memory: 5 MiB more were needed, 3 MiB of 4 MiB are free"
        refused(DeviceMemoryError, sentence, lambda: device.allocate(5 << 20))
        device.free(address)
        emulated.emulated_limit(ctypes.c_uint64(1 << 30))


def refused(error: type[Exception], sentence: str, call: Any) -> None:
    try:
        call()
    except error as err:
        assert sentence in str(err), err
    else:
        raise AssertionError(sentence)


def live() -> dict[str, int]:
    return {kind: emulated.emulated_live(number) for number, kind in enumerate(KINDS) if emulated.emulated_live(number)}


def open_real(package: str, index: int = 0) -> Device:
    if package == "pycuda":
        from edsr_runtime.cuda.pycuda_device import PyCudaDevice

        return PyCudaDevice(index)
    from edsr_runtime.cuda.bindings_device import BindingsDevice

    return BindingsDevice(index)


def main(package: str) -> None:
    refused(DeviceError, "", lambda: open_real(package, 7))
    device = open_real(package)
    assert device.name == "Emulated"
    graph(device)
    memory(device)
    runner = Runner(device, Engine())
    threads = [threading.Thread(target=pictures, args=(runner, seed)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pictures(runner, 3)
    runner.close()
    assert live() == {"modules": 1, "contexts": 1}, live()
    device.close()
    assert live() == {}, live()
    assert emulated.emulated_depth() == 0
    print("all is well")


if __name__ == "__main__":
    main(sys.argv[1])
