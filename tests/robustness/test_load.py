"""Many pictures, many threads, little memory: nothing grows, nothing is wrong, and what does not fit is said."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import commands
from edsr_runtime import upscaler as upscaler_module
from edsr_runtime.cuda.device import DeviceMemoryError
from edsr_runtime.errors import ModelFileError
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import model_path
from photographs import noise, save

ONE_GIB = 1 << 30
REAL = commands.REAL


@pytest.mark.parametrize("threads", [8])
def test_eight_threads_on_one_upscaler_get_what_one_gets(threads: int) -> None:
    pictures = [noise(20 + number, 24, number) for number in range(threads)]
    with Upscaler(model_path("edsr-small", 2), backend="onnxruntime", threads=1) as upscaler:
        expected = [upscaler.upscale(picture) for picture in pictures]
        found: dict[int, list[bool]] = {}

        def work(number: int) -> None:
            results = [upscaler.upscale(pictures[number]) for _ in range(3)]
            found[number] = [np.array_equal(result, expected[number]) for result in results]

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert found == {number: [True] * 3 for number in range(threads)}


def test_with_one_gibibyte_of_address_space_a_picture_is_right_or_there_is_a_sentence(tmp_path: Path) -> None:
    save(noise(300, 260, 1), tmp_path / "in.png")
    words = ["-i", "in.png", "-s", "2", "--backend", "onnxruntime", "--threads", "1"]
    assert commands.run([*words, "-o", "free.png"], tmp_path, program=REAL).returncode == 0
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_AS, ({ONE_GIB}, {ONE_GIB})); "
    done = commands.run([*words, "-o", "tight.png"], tmp_path, program=("-c", limit + REAL[1]))
    assert done.returncode in (0, 3, 4), done.stderr  # a signal would be negative: never the kernel's killer
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        difference = np.abs(
            read_picture(tmp_path / "tight.png").pixels.astype(int) - read_picture(tmp_path / "free.png").pixels
        )
        assert difference.max() <= 1  # of 255; tiles of another size sum up in another order
    else:
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert not (tmp_path / "tight.png").exists()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_tile_that_memory_does_not_suffice_for_is_made_of_smaller_ones(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = noise(150, 120, 3)
    said: list[str] = []
    with Upscaler(model_path("edsr-small", 2), backend, precision="fp32", threads=1, note=said.append) as upscaler:
        expected = upscaler.upscale(picture)
        inner = upscaler._backend
        refused = []

        def lacking(lr: NDArray[Any]) -> NDArray[Any]:
            if max(lr.shape) > 100:
                refused.append(lr.shape)
                raise DeviceMemoryError("there is not enough memory for a tile of (150, 120) (HxW)")
            return run(lr)

        run = inner.run_uint8
        monkeypatch.setattr(inner, "run_uint8", lacking)
        found = upscaler.upscale(picture)
    assert refused
    assert said == [
        "there is not enough memory for a tile of (150, 120) (HxW): going on with tiles of 75 instead of 150"
    ]
    assert np.abs(found.astype(int) - expected).max() <= 1  # of 255; tiles of another size sum up in another order


@pytest.mark.parametrize("error", [RuntimeError("std::bad_alloc"), MemoryError()])
def test_lack_of_memory_is_told_from_other_errors(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with Upscaler(model_path("edsr-small", 2), "openvino", threads=1) as upscaler:
        inner = upscaler._backend

        def failing(io: str) -> None:
            raise error

        monkeypatch.setattr(inner, "_request", failing)
        with pytest.raises(DeviceMemoryError):
            inner.run_uint8(noise(8, 8)[None])
        error = RuntimeError("something else")
        with pytest.raises(ModelFileError, match="OpenVINO cannot run it"):
            inner.run_uint8(noise(8, 8)[None])


def test_a_tile_that_was_chosen_is_kept_until_there_is_no_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    model = model_path("edsr-small", 2)
    with Upscaler(model, "onnxruntime", threads=1, chosen_tile=500, note=said.append) as upscaler:

        def tiles(available: int | None) -> int:
            monkeypatch.setattr(upscaler_module, "available_memory", lambda: available)
            return len(upscaler.plan(500, 500))

        needed = 500**2 * 4 * (6 * upscaler.contract.widest + 4 * 3 * 2**2)
        assert [tiles(available) for available in (None, 64 << 30, 3 * needed, 2 * needed)] == 4 * [1]
        assert said == []
        assert tiles(2 * needed - 1) == 4
        assert tiles(64 << 30) == 4  # not up and down again
    smaller = upscaler_module.automatic_tile(upscaler.contract, upscaler.contract.receptive_radius, 2 * needed - 1)
    assert 300 < smaller < 400  # a quarter of the memory instead of half of it
    assert said == [
        "there is not enough memory for tiles of 500, with which this job began: "
        f"going on with tiles of {smaller}; results may differ in the last bit"
    ]


def test_tiles_are_smaller_where_there_is_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with Upscaler(model_path("edsr-small", 2), backend="onnxruntime", threads=1) as upscaler:
        monkeypatch.setattr(upscaler_module, "available_memory", lambda: 64 << 30)
        large = len(list(upscaler.plan(3000, 3000)))
        monkeypatch.setattr(upscaler_module, "available_memory", lambda: 200 << 20)
        small = len(list(upscaler.plan(3000, 3000)))
    assert small > 2 * large
