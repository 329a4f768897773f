"""Builds ``emulated_driver.cpp`` as a libcuda.so.1 for tests; needs a C++ compiler."""

import re
import shutil
import subprocess
from pathlib import Path

from edsr_runtime.cuda.kernels import SOURCE

_HERE = Path(__file__).parent
NAME = "libcuda.so.1"


def has_compiler() -> bool:
    """Whether ``build`` can work here."""
    return shutil.which("g++") is not None and shutil.which("nm") is not None


def build(folder: Path, user: Path | None = None) -> Path:
    """The library, in ``folder``. Of what ``user``, another library, needs besides, every function gives an error."""
    driver = _HERE / "emulated_driver.cpp"
    missing = _needed(user) - set(re.findall(r"\bcu[A-Z]\w*(?=\()", driver.read_text())) if user is not None else set()
    rest = folder / "rest.cpp"
    not_supported = 801
    rest.write_text("".join(f'extern "C" int {name}(void) {{ return {not_supported}; }}\n' for name in sorted(missing)))
    library = folder / NAME
    options = ["-std=c++17", "-O1", "-fPIC", "-shared", f"-Wl,-soname,{NAME}", f'-DKERNELS="{SOURCE}"']
    subprocess.run(["g++", *options, "-o", str(library), str(driver), str(rest), "-ldl"], check=True)
    return library


def _needed(library: Path) -> set[str]:
    listed = subprocess.run(["nm", "-D", "--undefined-only", str(library)], check=True, text=True, capture_output=True)
    return set(re.findall(r"\bcu[A-Z]\w*", listed.stdout))
