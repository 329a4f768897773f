"""Write ``kernels.ptx`` anew after a change of ``kernels.cu``: ``python -m edsr_runtime.cuda.compile_kernels``.

No GPU is needed, only NVIDIA's run-time compiler in the version below, from PyPI. It is an old one on purpose: the
version of PTX goes by the compiler's, and every driver reads those that are older than itself.
"""

import ctypes
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from edsr_runtime.cuda.kernels import PTX, SOURCE

PACKAGE = "nvidia-cuda-nvrtc-cu11==11.8.89"
_MODULE = "nvidia.cuda_nvrtc"
_VERSION = (11, 8)
_OPTIONS = (b"--gpu-architecture=compute_75",)  # Turing, the oldest that TensorRT 10.13 and TensorRT-RTX run on


class CompilerError(Exception):
    """The compiler is not there, is of another version, or refuses the source."""


def main() -> None:
    """Compile, and write the file."""
    PTX.write_text(compiled(SOURCE.read_bytes()))
    print(f"{PTX}: written")


def compiled(source: bytes) -> str:
    """What belongs into ``kernels.ptx``.

    Raises:
        CompilerError: see there.
    """
    library = _library()
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    if (major.value, minor.value) != _VERSION:
        raise CompilerError(f"this is NVRTC {major.value}.{minor.value}: pip install {PACKAGE}")
    program = ctypes.c_void_p()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), source, SOURCE.name.encode(), 0, None, None))
    try:
        options = (ctypes.c_char_p * len(_OPTIONS))(*_OPTIONS)
        if library.nvrtcCompileProgram(program, len(_OPTIONS), options):
            raise CompilerError(_text(library, program, "ProgramLog"))
        ptx = _text(library, program, "PTX")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    return f"// {heading(source)}\n\n" + ptx[ptx.index(".version") :].rstrip() + "\n"


def heading(source: bytes) -> str:
    """The first line of ``kernels.ptx``; tells whether it belongs to this source."""
    version = ".".join(map(str, _VERSION))
    return f"{SOURCE.name}, SHA-256 {hashlib.sha256(source).hexdigest()}, by NVRTC {version}"


def _library() -> Any:
    try:
        spec = importlib.util.find_spec(_MODULE)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise CompilerError(f"NVRTC is not installed: pip install {PACKAGE}")
    (file,) = Path(next(iter(spec.submodule_search_locations)), "lib").glob("libnvrtc.so.*")
    return ctypes.CDLL(str(file))


def _text(library: Any, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    _check(library[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(library[f"nvrtcGet{what}"](program, text))
    return text.value.decode()


def _check(code: int) -> None:
    if code:
        raise CompilerError(f"NVRTC gave nvrtcResult {code}")


if __name__ == "__main__":
    main()
