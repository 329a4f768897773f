"""Machines where TensorRT or the driver cannot do it, in processes of their own: one sentence, never a crash."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import emulated
from edsr_runtime.contract import read_contract
from edsr_runtime.trt.engine_file import write_engine_file
from edsr_runtime.trt.profile import Profile, Size
from engine_stand_ins import ENGINE, description, full_description
from photographs import noise, save

NO_DRIVER = (
    "there is no NVIDIA driver (libcuda.so.1: cannot open shared object file: No such file or directory): "
    "install one, or start the container with access to the GPU"
)
BUILD = """
import sys
from pathlib import Path
from edsr_runtime.trt.making import Order, make_engine
from edsr_runtime.trt.profile import tile_profile
order = Order(flavour="rtx", targets=("SM80", "SM86", "SM89"), profile=lambda contract: tile_profile(32, 8, contract))
print(make_engine(Path(sys.argv[1]), order).path)
"""


def run(folder: Path, *words: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """A command with a folder of engines of its own."""
    path = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"} | env
    return subprocess.run([sys.executable, *map(str, words)], cwd=folder, env=env, text=True, capture_output=True)


def upscale(folder: Path, *words: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
    command = "import sys; sys.argv[0] = 'edsr-upscale'; from edsr_runtime.cli import main; main()"
    return run(folder, "-c", command, "-i", "a.png", "-o", "b.png", *words, **env)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a picture."""
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    save(noise(20, 24), tmp_path / "a.png")
    return tmp_path


@pytest.fixture(scope="module")
def real_engine(fp16_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of ``tiny_model``, by TensorRT-RTX."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed")
    done = run(tmp_path_factory.mktemp("built"), "-c", BUILD, fp16_model)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_an_engine_without_a_driver_is_refused_before_tensorrt_is_loaded(folder: Path, real_engine: Path) -> None:
    (folder / "tensorrt_rtx.py").write_text("import os; os.abort()")
    done = upscale(folder, "-m", real_engine, "--trust-engine", PYTHONPATH=os.pathsep.join([str(folder), *sys.path]))
    assert (done.returncode, done.stderr) == (4, f"error: {NO_DRIVER}\n")
    assert not (folder / "b.png").exists()


def test_the_full_tensorrt_is_not_even_constructed_without_a_driver(folder: Path, tiny_model: Path) -> None:
    """Its runtime ends the process there."""
    fatal = "import os\n__version__ = '11.4.0'\nRuntime = Builder = ILogger = lambda *a: os.abort()\n"
    (folder / "tensorrt.py").write_text(fatal)
    contract = dataclasses.replace(read_contract(tiny_model), precision="fp16")
    write_engine_file(folder / "x.engine", ENGINE, full_description(contract=contract))
    path = os.pathsep.join([str(folder), *sys.path])
    done = upscale(folder, "-m", "x.engine", "--trust-engine", PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (4, f"error: {NO_DRIVER}\n")


def test_tensorrt_that_is_asked_for_is_not_replaced_in_silence(folder: Path, tiny_model: Path) -> None:
    done = upscale(folder, "-m", tiny_model, "--backend", "tensorrt")
    sentence = "for what is asked: build one with edsr-trt build, or pass --build"
    assert (done.returncode, done.stderr) == (2, f"error: there is no engine of {tiny_model.name} {sentence}\n")
    done = upscale(folder, "-m", tiny_model, "--backend", "tensorrt", "--build")
    assert (done.returncode, done.stderr) == (4, f"error: {NO_DRIVER}\n")


def test_auto_goes_on_without_the_engine_and_says_why(folder: Path, tiny_model: Path) -> None:
    engines = folder / "cache" / "edsr-toolkit" / "engines"
    engines.mkdir(parents=True, mode=0o700)
    contract = dataclasses.replace(read_contract(tiny_model), precision="fp16")
    profile = Profile(Size(1, 3, 3), Size(8, 64, 64), Size(8, 64, 64))
    write_engine_file(engines / "x.engine", ENGINE, description(contract=contract, profile=profile))
    done = upscale(folder, "-m", tiny_model)
    assert done.returncode == 0
    assert f"; its engine cannot be used: {NO_DRIVER}" in done.stderr
    assert (folder / "b.png").exists()
    done = upscale(folder, "-m", tiny_model, "--backend", "tensorrt", "--overwrite")
    assert (done.returncode, done.stderr) == (4, f"error: {NO_DRIVER}\n")


@pytest.mark.parametrize(("gpus", "backend"), [("0", "auto"), ("0,1", "auto"), ("0", "onnxruntime")])
def test_gpus_that_are_asked_for_are_not_replaced_by_the_cpu(
    folder: Path, tiny_model: Path, gpus: str, backend: str
) -> None:
    done = upscale(folder, "-m", tiny_model, "--backend", backend, "--gpus", gpus)
    named = "--gpus 0: " if gpus == "0" else ""
    assert (done.returncode, done.stderr) == (4, f"error: {named}{NO_DRIVER}\n")
    assert not (folder / "b.png").exists()


LOAD = """
import sys
from pathlib import Path
from edsr_runtime.backends.trt_engine import TrtEngine
from edsr_runtime.errors import EdsrError
from edsr_runtime.trt.engine_file import open_engine_file
from edsr_runtime.trt.flavour import load_flavour

plan, described = open_engine_file(Path(sys.argv[1]), trust=True)
for bytes_ in (plan, plan[: len(plan) // 2], b"garbage" * 100, b""):
    try:
        TrtEngine(load_flavour("rtx"), bytes_, described.contract)
    except EdsrError as err:
        print(err.exit_code, err)
"""


def test_what_tensorrt_does_not_take_is_its_first_error(folder: Path, real_engine: Path) -> None:
    done = run(folder, "-c", LOAD, real_engine)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("4 TensorRT-RTX 1.") for line in lines)
    whole, half, garbage, empty = (line.partition(" does not take the engine")[2] for line in lines)
    for reason in (whole, half):  # it looks for a GPU before it looks at the end
        assert reason.startswith(": ")
        assert "CUDA driver" in reason
    assert garbage == empty == " (MALFORMED_ENGINE): build it again on this machine"


def test_a_driver_that_tensorrt_cannot_use_is_one_sentence(folder: Path, real_engine: Path) -> None:
    """The emulated one starts, and then refuses what TensorRT asks of it."""
    spec = importlib.util.find_spec("cuda.bindings") if importlib.util.find_spec("cuda") else None
    if spec is None or not spec.submodule_search_locations or not emulated.has_compiler():
        pytest.skip("cuda-bindings or a C++ compiler is not installed")
    (folder / "driver").mkdir()
    emulated.build(folder / "driver", next(Path(next(iter(spec.submodule_search_locations))).glob("driver*.so")))
    done = upscale(folder, "-m", real_engine, "--trust-engine", LD_LIBRARY_PATH=str(folder / "driver"))
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: TensorRT-RTX 1.")
    assert " does not take the engine: " in line


def test_cuda_bindings_without_a_driver_is_one_sentence(folder: Path) -> None:
    if importlib.util.find_spec("cuda") is None:
        pytest.skip("cuda-bindings is not installed")
    code = (
        "from edsr_runtime.cuda.choose import open_device\n"
        "from edsr_runtime.errors import EdsrError\n"
        "try: open_device(0)\n"
        "except EdsrError as err: print(err.exit_code, err)\n"
    )
    done = run(folder, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 cuda-bindings: ")
