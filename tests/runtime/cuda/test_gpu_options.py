"""What ``edsr-upscale`` has for GPUs; the upscaler itself is made up here."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

from doubler import Doubler
from edsr_runtime import cli
from edsr_runtime import upscaler as upscaler_module
from edsr_runtime.contract import read_contract
from edsr_runtime.cuda import processes
from edsr_runtime.cuda.processes import VISIBLE
from edsr_runtime.jobs import Job
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.pipeline import Options, Seconds, Watcher, upscale_files
from edsr_runtime.trt import driver as driver_module
from edsr_runtime.trt.engine_file import write_engine_file
from engine_stand_ins import ADA, ENGINE, description, driver
from photographs import noise, save


class Recorder(Doubler):
    """Takes an upscaler's arguments, and remembers them with what it sees."""

    made: list[tuple[Path, dict[str, Any], str | None]] = []  # noqa: RUF012 - replaced by the fixture

    def __init__(self, path: Path, *, note: Callable[[str], None], **options: Any) -> None:
        self.made.append((path, options, os.environ.get(VISIBLE)))
        note("something is otherwise")


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(upscaler_module, "Upscaler", Recorder)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(driver_module, "cuda_driver", lambda: driver(*(replace(ADA, index=i) for i in range(4))))
    yield Recorder.made
    os.environ.pop(VISIBLE, None)


def run(*words: str | Path) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.main, list(map(str, words)), catch_exceptions=False)


def test_options_reach_the_upscaler(tiny_model: Path, made: list[Any]) -> None:
    save(noise(5, 4), Path("a.png"))
    words = ("-i", "a.png", "-o", "b.png", "-m", tiny_model)
    result = run(*words, "--backend", "tensorrt", "--build", "--trust-engine", "--gpus", "3")
    assert result.exit_code == 0
    assert "something is otherwise" in result.stderr
    ((path, options, visible),) = made
    assert path == tiny_model
    assert (options["backend"], options["build"], options["trust_engine"]) == ("tensorrt", True, True)
    assert options["needs_gpu"]
    assert visible == "3"
    os.environ.pop(VISIBLE)
    assert run(*words, "--overwrite").exit_code == 0
    _, options, visible = made[1]
    assert (options["backend"], options["build"], options["trust_engine"]) == ("auto", False, False)
    assert not options["needs_gpu"]
    assert visible is None


def test_an_engine_is_a_model(tmp_path: Path, made: list[Any]) -> None:
    save(noise(5, 4), Path("a.png"))
    engine = tmp_path / "my.engine"
    write_engine_file(engine, ENGINE, description())
    result = run("-i", "a.png", "-o", "b.png", "-m", engine, "-s", "2")
    assert result.exit_code == 2
    assert result.stderr == (f"error: {engine} enlarges 4 times, but -s says 2: leave -s out, or use another model\n")
    assert made == []
    assert run("-i", "a.png", "-o", "b.png", "-m", engine).exit_code == 0
    assert made[0][0] == engine


def test_several_gpus_are_several_processes(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, made: list[Any]) -> None:
    seen: list[tuple[Sequence[Job], Sequence[int]]] = []

    def here(
        jobs: Sequence[Job],
        gpus: Sequence[int],
        open_engine: Any,
        options: Options,
        watcher: Watcher,
        say: Callable[[str], None],
    ) -> Seconds:
        assert isinstance(open_engine, partial)
        seen.append((jobs, gpus))
        with open_engine(note=say) as engine:
            return upscale_files(jobs, engine, options, watcher)

    monkeypatch.setattr(processes, "upscale_on_gpus", here)
    for name in ("a", "b"):
        save(noise(5, 4), Path("in", f"{name}.png"))
    result = run("-i", "in", "-o", "out", "-m", tiny_model, "--gpus", "1, 0")
    assert result.exit_code == 0
    ((jobs, gpus),) = seen
    assert [job.source.name for job in jobs] == ["a.png", "b.png"]
    assert gpus == (1, 0)
    assert made[0][2] is None  # each process chooses for itself
    assert "2 pictures upscaled in " in result.stderr
    np.testing.assert_array_equal(
        read_picture(Path("out/a.png")).pixels, noise(5, 4).repeat(2, axis=0).repeat(2, axis=1)
    )
    assert read_contract(tiny_model).scale == 2


@pytest.mark.parametrize("value", ["", "a", "0,", "0,0", "-1", "0;1", "\u0661"])
def test_other_lists_of_gpus_are_refused(tiny_model: Path, value: str, made: list[Any]) -> None:
    result = run("-i", "a.png", "-o", "b.png", "-m", tiny_model, "--gpus", value)
    assert result.exit_code == 2
    assert f"{value!r} is not a list of different GPUs such as 0,1." in result.stderr
    assert made == []


def test_a_gpu_that_is_not_there_is_named_before_anything_begins(tiny_model: Path, made: list[Any]) -> None:
    save(noise(5, 4), Path("a.png"))
    result = run("-i", "a.png", "-o", "b.png", "-m", tiny_model, "--gpus", "1,7")
    assert result.exit_code == 4
    assert result.stderr.startswith("error: there is no GPU 7 on this machine; it has 0: NVIDIA GeForce RTX 4090, 1: ")
    assert made == []


def test_gpus_and_openvino_exclude_one_another(tiny_model: Path, made: list[Any]) -> None:
    result = run("-i", "a.png", "-o", "b.png", "-m", tiny_model, "--gpus", "0", "--backend", "openvino")
    assert result.exit_code == 2
    assert "--gpus: --backend openvino runs on the CPU" in result.stderr
