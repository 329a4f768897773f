"""What a machine without a usable GPU says, each time in a process of its own: one sentence, and never a crash.

TensorRT's own answers are those that were seen without a driver: real ones of TensorRT-RTX, which is installed for the
tests, and for the full TensorRT a stand-in that does what its constructors do there, down to ending the process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edsr_runtime.contract import read_contract
from edsr_runtime.trt.engine_file import write_engine_file
from edsr_runtime.trt.flavour import Flavour
from edsr_runtime.trt.folder import make_private
from edsr_runtime.trt.making import Order, make_engine
from edsr_runtime.trt.profile import tile_profile
from engine_stand_ins import ENGINE, description, full_description

NOBODY_HAS = "libcuda-that-nobody-has.so.1"
NO_DRIVER = (
    f"there is no NVIDIA driver ({NOBODY_HAS}: cannot open shared object file: No such file or directory): install "
    "one, or start the container with access to the GPU"
)
FULL = """
__version__ = "11.4.0.106"
import os
class BuilderFlag: __members__ = {}
class ILogger:
    def __init__(self, *_): pass
"""
ENDS_THE_PROCESS = "def Builder(logger): os.abort()\nRuntime = Builder\n"
GIVES_NOTHING = """
def Builder(logger):
    logger.log(1, "[driver.cpp::init::1] CUDA initialization failure with error: 35")
    raise TypeError("pybind11::init(): factory function returned nullptr")
Runtime = Builder
"""
WITHOUT_LIBRARIES = (
    "raise ImportError('libnvonnxparser.so.11: cannot open shared object file: No such file or directory')"
)
A_DRIVER = """
from edsr_runtime.trt import driver
from edsr_runtime.trt.driver import Driver, Gpu
found = Driver(13000, (Gpu(0, "NVIDIA GeForce RTX 4090", (8, 9), 24 << 30),), "580.65.06")
from edsr_runtime.trt import build, doctor, making
from edsr_runtime.backends import trt as backend
for module in (build, doctor, making, backend):
    module.cuda_driver = lambda: found
"""
"""In place of the preflight, to see what lies behind it."""


def run(*words: str | Path, before: str = "", tensorrt: str | None = None, folder: Path) -> tuple[int, str, str]:
    """``edsr-trt`` in a process of its own: exit code, stdout, stderr.

    Args:
        words: of the command.
        before: code that runs first.
        tensorrt: what is installed under that name.
        folder: for files of this process.
    """
    if tensorrt is not None:
        (folder / "tensorrt.py").write_text(tensorrt)
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        f"from edsr_runtime.trt import driver; driver._LIBRARY = {NOBODY_HAS!r}\n"
        f"{before}\n"
        f"from edsr_runtime.trt import cli; cli.main({list(map(str, words))!r})\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True)
    assert done.returncode >= 0, f"ended by signal {-done.returncode}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def rtx_engine(fp16_model: Path, rtx: Flavour) -> Path:
    """A real one in our folder, for every GPU that TensorRT-RTX knows."""
    order = Order(profile=lambda own: tile_profile(64, 1, own), flavour="rtx", targets=("SM89",))
    return make_engine(fp16_model, order).path


@pytest.fixture
def full_engine(fp16_model: Path, folder: Path) -> Path:
    """One that says it is of the full TensorRT."""
    path = make_private(folder) / "full.engine"
    write_engine_file(path, ENGINE, full_description(contract=read_contract(fp16_model), version="11.4.0.106"))
    return path


# --- no driver ---


def test_doctor_works_without_anything(tmp_path: Path) -> None:
    hidden = "sys.modules.update(tensorrt=None, tensorrt_rtx=None, onnxruntime=None, torch=None)"
    code, out, err = run("doctor", before=hidden, folder=tmp_path)
    assert (code, err) == (0, "")
    assert f"missing  driver: {NO_DRIVER}\n" in out
    assert out.endswith("run      not possible: there is no GPU that could be used\n")


@pytest.mark.parametrize("flavour", ["auto", "rtx", "trt"])
def test_building_for_this_machine_is_refused(flavour: str, fp16_model: Path, rtx: Flavour, tmp_path: Path) -> None:
    """The full TensorRT, which is installed here, would end the process: it is not asked."""
    words = ("build", fp16_model, "--flavour", flavour)
    code, out, err = run(*words, tensorrt=FULL + ENDS_THE_PROCESS, folder=tmp_path)
    assert (code, out) == (4, "")
    if flavour == "trt":
        assert err == (
            f"error: the full TensorRT builds on the GPU that the engine is for, and {NO_DRIVER}. TensorRT-RTX builds "
            "without one: --flavour rtx\n"
        )
    else:
        knows = ", ".join(rtx.targets)
        assert err == (
            f"error: {NO_DRIVER}. Or name the GPUs that the engine is for: --targets SM86,SM89,SM120 ({rtx} knows "
            f"{knows})\n"
        )


@pytest.mark.parametrize("fixture", ["rtx_engine", "full_engine"])
def test_running_is_refused_before_tensorrt_is_asked(
    fixture: str, tiny_model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine = request.getfixturevalue(fixture)
    result = run("verify", engine, "--onnx", tiny_model, tensorrt=FULL + ENDS_THE_PROCESS, folder=tmp_path)
    assert result == (4, "", f"error: {NO_DRIVER}\n")


# --- a driver that is there, and packages that are not satisfied ---


@pytest.mark.parametrize(
    ("package", "source", "sentence"),
    [
        (
            "pycuda",
            "raise ImportError('libcuda.so.1: cannot open shared object file: No such file or directory')",
            "pycuda is installed, but does not load (libcuda.so.1: cannot open shared object file: No such file or "
            "directory)",
        ),
        (
            "cuda/bindings",
            "def cuInit(flags): raise RuntimeError('\"cuda\" is an NVIDIA driver library')",
            'cuda-bindings: "cuda" is an NVIDIA driver library',
        ),
    ],
)
def test_a_package_that_does_not_find_the_driver_is_a_sentence(
    package: str, source: str, sentence: str, full_engine: Path, tiny_model: Path, tmp_path: Path
) -> None:
    modules = tmp_path / package
    modules.mkdir(parents=True)
    for folder in (modules, *modules.parents[: package.count("/")]):
        (folder / "__init__.py").touch()
    (modules / "driver.py").write_text(source)
    other = {"pycuda": ("cuda", "cuda.bindings"), "cuda/bindings": ("pycuda", "pycuda.driver")}[package]
    words = ("verify", full_engine, "--onnx", tiny_model)
    hidden = f"{A_DRIVER}\nsys.modules.update(dict.fromkeys({other}))"
    code, out, err = run(*words, before=hidden, tensorrt=FULL + ENDS_THE_PROCESS, folder=tmp_path)
    assert (code, out) == (4, "")
    assert err.startswith(f"error: {sentence}")


def test_a_full_tensorrt_that_gives_nothing_is_quoted(fp16_model: Path, full_engine: Path, tmp_path: Path) -> None:
    words = ("build", fp16_model, "--tile", "64", "--flavour", "trt")
    code, out, err = run(*words, before=A_DRIVER, tensorrt=FULL + GIVES_NOTHING, folder=tmp_path)
    assert (code, out) == (4, "")
    sentence = "error: TensorRT 11.4.0.106 does not start: CUDA initialization failure with error: 35\n"
    assert err.splitlines(keepends=True)[-1] == sentence


def test_full_bindings_without_their_libraries_are_a_sentence(fp16_model: Path, tmp_path: Path) -> None:
    words = ("build", fp16_model, "--flavour", "trt")
    code, out, err = run(*words, before=A_DRIVER, tensorrt=WITHOUT_LIBRARIES, folder=tmp_path)
    assert (code, out, err) == (
        4,
        "",
        "error: tensorrt is installed, but does not load (libnvonnxparser.so.11: cannot open shared object file: No "
        "such file or directory): install it again with: pip install --force-reinstall 'edsr-toolkit[gpu]'\n",
    )


DESERIALISE = """
from edsr_runtime.backends.trt_engine import TrtEngine
from edsr_runtime.errors import EdsrError
from edsr_runtime.trt.engine_file import read_description
from edsr_runtime.trt.flavour import load_flavour
from pathlib import Path
path = Path({path!r})
for plan in (path.read_bytes(), path.read_bytes()[:-100], b"garbage" * 1000, b""):
    try:
        TrtEngine(load_flavour("rtx"), plan, read_description(path).contract)
    except EdsrError as err:
        print(err.exit_code, err)
raise SystemExit
"""


def test_what_tensorrt_rtx_says_of_an_engine_is_quoted(rtx_engine: Path, rtx: Flavour, tmp_path: Path) -> None:
    """Its real answers: to a good engine without a driver, one cut short, something else, and nothing."""
    # not in this process, where other tests may have loaded an emulated one
    look = "import ctypes; ctypes.CDLL('libcuda.so.1')"
    if subprocess.run([sys.executable, "-c", look], capture_output=True).returncode == 0:
        pytest.skip("there is a driver here, so it answers otherwise")
    code, out, err = run("", before=DESERIALISE.format(path=str(rtx_engine)), folder=tmp_path)
    assert (code, err) == (0, "")
    good, cut, garbage, empty = out.splitlines()
    for line in (good, cut):  # it looks for a GPU before it looks further than the header
        assert line.startswith(f"4 {rtx} does not take the engine: ") and "cudaError 35" in line
    assert garbage == empty == f"4 {rtx} does not take the engine (MALFORMED_ENGINE): build it again on this machine"


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_engine_never_reaches_tensorrt(
    damage: bytes | None, full_engine: Path, tiny_model: Path, tmp_path: Path
) -> None:
    full_engine.write_bytes(full_engine.read_bytes()[:-1] if damage is None else damage)
    words = ("verify", full_engine, "--onnx", tiny_model)
    code, out, err = run(*words, before=A_DRIVER, tensorrt=FULL + ENDS_THE_PROCESS, folder=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {full_engine}: its SHA-256 is ") and "damaged or exchanged" in err


def test_an_engine_from_elsewhere_never_reaches_tensorrt(fp16_model: Path, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.engine"
    write_engine_file(path, ENGINE, full_description(contract=read_contract(fp16_model), version="11.4.0.106"))
    words = ("verify", path, "--onnx", tiny_model)
    code, out, err = run(*words, before=A_DRIVER, tensorrt=FULL + ENDS_THE_PROCESS, folder=tmp_path)
    assert (code, out) == (2, "")
    assert "an engine is code that would be run" in err and "pass --trust-engine" in err


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": "11.3.0"}, "was built for another version of TensorRT: 11.3.0, and here is 11.4.0.106"),
        ({"capability": (8, 6)}, "was built for another compute capability: 8.6, and here is 8.9"),
        ({"gpu": "NVIDIA L4"}, "was built for another GPU: NVIDIA L4, and here is NVIDIA GeForce RTX 4090"),
        ({"platform": "linux-aarch64"}, "was built for another platform: linux-aarch64, and here is "),
    ],
)
def test_an_engine_for_another_machine_never_reaches_tensorrt(
    changes: dict[str, object], sentence: str, fp16_model: Path, tiny_model: Path, folder: Path, tmp_path: Path
) -> None:
    path = make_private(folder) / "other.engine"
    values = {"contract": read_contract(fp16_model), "version": "11.4.0.106", **changes}
    write_engine_file(path, ENGINE, full_description(**values))
    words = ("verify", path, "--onnx", tiny_model)
    code, out, err = run(*words, before=A_DRIVER, tensorrt=FULL + ENDS_THE_PROCESS, folder=tmp_path)
    assert (code, out) == (4, "")
    assert sentence in err
    command = description(contract=read_contract(fp16_model)).rebuild_command("trt")
    assert err.endswith(f". Build one for this machine with: {command}\n")
