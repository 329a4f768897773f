"""The house: commands that start light, imports that run one way, files that get into the wheel."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMPONENTS = ("train", "export", "runtime")
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMMANDS: dict[str, str] = PYPROJECT["project"]["scripts"]

# Each takes a noticeable part of a second to import, or is missing from the base install.
HEAVY = (
    "PIL",
    "hypothesis",
    "imagecodecs",
    "isal",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "pycuda",
    "safetensors",
    "tensorrt",
    "tensorrt_rtx",
    "tifffile",
    "torch",
)

# Asks a command and all its subcommands for help, then prints which commands and which modules that took.
SHOW_ALL_HELP = """
import contextlib, importlib, io, json, sys
import click

module, _, attribute = sys.argv[1].partition(":")
main = getattr(importlib.import_module(module), attribute)
shown = {}

def show(command, path):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = main.main([*path, "--help"], prog_name="command", standalone_mode=False)
    assert code == 0, f"--help ended with {code}"
    shown[" ".join(path)] = text.getvalue()
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            show(child, [*path, name])

show(main, [])
print(json.dumps({"shown": shown, "modules": sorted(name for name in sys.modules if sys.modules[name])}))
"""


def package_files(component: str) -> list[Path]:
    """The files of a component's package, without what tools leave behind (caches, ``*.so``)."""
    folder = ROOT / component / f"edsr_{component}"
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".so")
    caches = ("__pycache__", ".")
    return sorted(path for path in files if not any(p.startswith(caches) for p in path.relative_to(folder).parts))


def fresh_interpreter(code: str, *args: str) -> str:
    """Run ``code`` in a new interpreter that finds this tree's packages; what it printed on stdout."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in COMPONENTS)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *args], env=env, text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_none_of_the_heavy_packages(command: str) -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
    shown = json.loads(fresh_interpreter(block + SHOW_ALL_HELP, COMMANDS[command]))["shown"]
    assert shown[""].startswith("Usage: command")
    for subcommand, text in shown.items():
        assert text.startswith(f"Usage: command {subcommand}".rstrip()), subcommand


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_none_of_the_heavy_packages(command: str) -> None:
    modules = json.loads(fresh_interpreter(SHOW_ALL_HELP, COMMANDS[command]))["modules"]
    assert "click" in modules
    assert [name for name in modules if name.partition(".")[0] in HEAVY] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_version(command: str) -> None:
    module, _, attribute = COMMANDS[command].partition(":")
    told = fresh_interpreter(f"import {module}\n{module}.{attribute}(['--version'])\n")
    assert told == f"edsr-toolkit {PYPROJECT['project']['version']}\n"


def test_exporting_without_pytorch_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "net.pt").touch()
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'safetensors')))\n"
        "from edsr_export.cli import main\n"
        "sys.stderr = sys.stdout\n"
        "try:\n"
        f"    main(['--ckpt', {str(tmp_path / 'net.pt')!r}])\n"
        "except SystemExit as end:\n"
        "    print(end.code)\n"
    )
    sentence, exit_code = fresh_interpreter(code).splitlines()
    assert sentence.endswith("could not be imported. Install it with: pip install 'edsr-toolkit[export]'")
    assert exit_code == "4"


@pytest.mark.parametrize("package", ["edsr_runtime", "edsr_train", "edsr_export"])
def test_a_package_by_itself_loads_nothing_heavy(package: str) -> None:
    code = f"import sys, json, {package}; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(fresh_interpreter(code))
    assert package in modules
    assert [name for name in modules if name.partition(".")[0] in HEAVY] == []


def runtime_modules() -> list[str]:
    base = ROOT / "runtime"
    paths = (path.relative_to(base).with_suffix("") for path in (base / "edsr_runtime").rglob("*.py"))
    return sorted(".".join(path.parts) for path in paths if path.name not in ("__init__", "__main__"))


@pytest.mark.parametrize("module", runtime_modules())
def test_runtime_modules_start_without_torch_onnx_and_the_other_packages(module: str) -> None:
    # A backend imports its own engine, and says in one sentence if that is missing: that is its business, not torch.
    blocked = ("torch", "onnx", "onnxscript", "safetensors", "tensorrt", "edsr_train", "edsr_export")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "from edsr_runtime.errors import MissingDependencyError\n"
        "try:\n"
        f"    import {module}\n"
        "except MissingDependencyError as error:\n"
        f"    assert 'backends' in {module!r} or {module!r}.endswith(('_device', '_executor')), error\n"
    )
    fresh_interpreter(code)


def lint_imports(tree: Path) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).parent / "lint-imports"
    assert program.exists(), "import-linter is not installed in this environment: pip install -e '.[dev]'"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(tree / name) for name in COMPONENTS), "NO_COLOR": "1"}
    return subprocess.run(
        [program, "--no-cache", "--no-logo", "--config", "pyproject.toml"],
        cwd=tree,
        env=env,
        text=True,
        capture_output=True,
        timeout=120,
    )


def test_imports_keep_their_contracts() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(PYPROJECT['tool']['importlinter']['contracts'])} kept, 0 broken" in done.stdout


def test_contracts_notice_imports_that_run_the_wrong_way(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for component, package in (("train", "edsr_train"), ("export", "edsr_export"), ("runtime", "edsr_runtime")):
        folder = tmp_path / component / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "cli.py").touch()
    engines = tmp_path / "runtime/edsr_runtime/trt"
    engines.mkdir()
    for name in ("__init__.py", "cli.py"):
        (engines / name).touch()
    (tmp_path / "runtime/edsr_runtime/upscaler.py").write_text("def load():\n    import torch\n")
    (tmp_path / "train/edsr_train/loop.py").write_text("import edsr_export\nimport benchmarks\n")
    (tmp_path / "export/edsr_export/fold.py").write_text("from edsr_runtime.cli import main\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Contracts: 0 kept, 4 broken" in done.stdout
    assert "edsr_runtime.upscaler -> torch" in done.stdout


def test_installed_version_is_the_one_in_pyproject() -> None:
    assert metadata.version("edsr-toolkit") == PYPROJECT["project"]["version"]
    installed = {
        point.name: point.value for point in metadata.entry_points(group="console_scripts") if point.name in COMMANDS
    }
    assert installed == COMMANDS


def test_version_stands_in_the_changelog() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    released = headings[1:]
    assert not released or released[0] == PYPROJECT["project"]["version"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_file_of_a_package_gets_into_the_wheel(component: str) -> None:
    package = f"edsr_{component}"
    folder = ROOT / component / package
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"][package]
    left_out = []
    for path in package_files(component):
        if path.suffix == ".py":
            parents = (path.parent, *path.parent.parents)
            packaged = all((p / "__init__.py").exists() for p in parents if p.is_relative_to(folder))
        else:
            relative = path.relative_to(folder)
            packaged = any(path.match(p) and len(relative.parts) == len(Path(p).parts) for p in patterns)
        if not packaged:
            left_out.append(path.relative_to(folder).as_posix())
    assert left_out == []
    assert (folder / "py.typed").exists()


def light_files() -> list[Path]:
    """Command lines and tops of packages; a sub-package such as edsr_train.models may need what it is made of."""
    packages = [ROOT / component / f"edsr_{component}" for component in COMPONENTS]
    packages.append(ROOT / "runtime" / "edsr_runtime" / "trt")
    return [path for package in packages for name in ("__init__.py", "cli.py") if (path := package / name).exists()]


@pytest.mark.parametrize("path", light_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_command_lines_and_package_files_import_heavy_packages_late(path: Path) -> None:
    """Even where an ``except ImportError`` would hide it from the tests that block those packages."""
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        name.partition(".")[0]
        for node in imports
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert names.isdisjoint(HEAVY)


def test_wheel_and_source_distribution_hold_the_product_and_its_tests(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "results"
    )
    shutil.copytree(ROOT, source, ignore=ignore)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(source)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    stem = f"edsr_toolkit-{PYPROJECT['project']['version']}"

    (path,) = (tmp_path / "dist").glob(f"{stem}-*.whl")
    with zipfile.ZipFile(path) as wheel:
        in_wheel = {name for name in wheel.namelist() if not name.startswith(f"{stem}.dist-info/")}
    expected = {
        path.relative_to(ROOT / component).as_posix() for component in COMPONENTS for path in package_files(component)
    }
    compiled = {name for name in in_wheel if name.endswith(".so")}
    assert in_wheel - compiled == expected
    assert [name.split(".")[0] for name in compiled] == ["edsr_runtime/amx/_convolutions"] * (
        shutil.which("gcc") is not None
    )

    with tarfile.open(tmp_path / "dist" / f"{stem}.tar.gz") as archive:
        in_sdist = set(archive.getnames())
    for name in ("LICENSE", "README.md", "Makefile", "constraints.txt", "tests/test_house.py", "tests/conftest.py"):
        assert f"{stem}/{name}" in in_sdist
