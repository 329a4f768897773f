"""PyCUDA and cuda-bindings themselves, on an emulated driver: that they are called as they want to be."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import emulated
from edsr_runtime.cuda import graphs
from edsr_runtime.cuda.choose import open_device
from edsr_runtime.cuda.device import DeviceError, DeviceMemoryError
from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError

SCRIPT = Path(__file__).with_name("on_emulated_driver.py")


@pytest.mark.parametrize("package", ["pycuda", "cuda.bindings"])
def test_the_runner_works_on_the_package_itself(package: str, tmp_path: Path) -> None:
    user = installed(package)
    if user is None:
        pytest.skip(f"{package} is not installed")
    if not emulated.has_compiler():
        pytest.skip("no C++ compiler: g++ and nm are needed for the emulated driver")
    emulated.build(tmp_path, user)
    env = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, SCRIPT, package], env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all is well\n"
    assert "warning" not in done.stderr.lower()  # PyCUDA's way to say that something was not given back


def installed(package: str) -> Path | None:
    """The extension module that wants libcuda.so.1, or any file of the package where it is found by name."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return next(folder.glob("_driver*.so" if package == "pycuda" else "driver*.so"))


def test_pycuda_is_imported_in_one_place_and_makes_no_context_of_its_own() -> None:
    """``autoinit`` and ``autoprimaryctx`` make one when they are imported."""
    package = Path(graphs.__file__).parent.parent
    found = set()
    for source in package.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names]
            found |= {(source.name, name) for name in names if name.startswith("pycuda")}
    assert found == {("pycuda_device.py", "pycuda.driver")}


def test_without_either_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "pycuda", "pycuda.driver", "cuda", "cuda.bindings")
    with pytest.raises(MissingDependencyError, match=r"^pycuda or cuda-bindings could .* 'edsr-toolkit\[cuda\]'$"):
        open_device(0)


def test_a_package_that_does_not_load_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "cuda", "cuda.bindings")
    monkeypatch.delitem(sys.modules, "pycuda", raising=False)
    monkeypatch.delitem(sys.modules, "pycuda.driver", raising=False)
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text("raise ImportError('libcurand.so.10: cannot open shared object')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentUnfitError) as caught:
        open_device(0)
    assert str(caught.value) == (
        "pycuda is installed, but does not load (libcurand.so.10: cannot open shared object): build it again, or use "
        "the other: pip install 'edsr-toolkit[cuda]'"
    )
    monkeypatch.delitem(sys.modules, "pycuda", raising=False)


@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        (2, DeviceMemoryError, "^the GPU has not enough memory: so says cuGraphLaunch$"),
        (700, DeviceError, "^cuGraphLaunch gave 700$"),
    ],
)
def test_a_graph_that_is_refused_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception], sentence: str
) -> None:
    made_up = SimpleNamespace(cuGraphLaunch=lambda graph, stream: code, cuGetErrorName=lambda code, name: 1)
    monkeypatch.setattr(graphs, "_driver", lambda: made_up)
    with pytest.raises(error, match=sentence) as caught:
        graphs.DriverGraphs().launch_graph(1, 2)
    assert type(caught.value) is error


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if they were not installed."""
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("pycuda_device", "bindings_device"):
        monkeypatch.delitem(sys.modules, f"edsr_runtime.cuda.{name}", raising=False)
