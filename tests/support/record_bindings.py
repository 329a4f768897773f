"""Write down what TensorRT's Python bindings of several versions have: ``bindings.json``, which the tests read.

The bindings are wheels of about a megabyte. Only nine C functions of the libraries are wanted when they are imported,
so libraries that have these and do nothing stand in for the gigabytes of the real ones. Needs ``cc`` and ``readelf``.

    pip download --no-deps --only-binary=:all: -d wheels tensorrt-cu13-bindings==11.4.0.106
    python tests/support/record_bindings.py wheels/*.whl
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[1] / "runtime" / "trt" / "bindings.json"
CLASSES = (
    "Builder",
    "Dims",
    "IBuilderConfig",
    "IConvolutionLayer",
    "ICudaEngine",
    "IDeconvolutionLayer",
    "EngineInspector",
    "IExecutionContext",
    "IHostMemory",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "IRuntimeCache",
    "IRuntimeConfig",
    "ITensor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
)
STUB = """
#define F(n) void *n(void) { return 0; }
F(createInferBuilder_INTERNAL) F(createInferRefitter_INTERNAL) F(createInferRuntime_INTERNAL)
F(createNvOnnxParser_INTERNAL) F(createNvOnnxParserRefitter_INTERNAL) F(getBuilderPluginRegistry)
F(getPluginRegistry) F(initLibNvInferPlugins)
int getNvOnnxParserVersion(void) { return 0; }
"""


def record(trt: Any) -> dict[str, Any]:
    """``names`` of the module, ``enums`` with their members, and ``classes`` with theirs.

    A member of a class is ``property``, or the names of a method's parameters; ``flags=`` may be left out. After an
    arrow stands what the method gives, if that is one of ``CLASSES``; between overloads stands `` | ``.
    """
    names = sorted(name for name in vars(trt) if not name.startswith("_"))
    enums = {name: " ".join(sorted(getattr(trt, name).__members__)) for name in names if _is_enum(getattr(trt, name))}
    classes = {}
    for name in CLASSES:
        cls = getattr(trt, name, None)
        if cls is not None:
            members = {member: _kind(getattr(cls, member)) for member in dir(cls) if _is_public(member)}
            classes[name] = {member: kind for member, kind in members.items() if kind is not None}
    return {"names": " ".join(name for name in names if name[0].isupper()), "enums": enums, "classes": classes}


def _is_enum(value: object) -> bool:
    return isinstance(value, type) and isinstance(getattr(value, "__members__", None), dict)


def _is_public(member: str) -> bool:
    return not member.startswith("_") or member == "__init__"


def _kind(value: object) -> str | None:
    if isinstance(value, property):
        return "property"
    found = signatures(value.__doc__ or "") if callable(value) else []
    return " | ".join(found) if found else None


def signatures(doc: str) -> list[str]:
    """``network, config -> IHostMemory``: from what pybind11 writes into docstrings, without ``self``."""
    found = []
    for line in doc.splitlines():
        match = re.match(r"(?:\d+\. )?\w+\((.*)\) -> (\S+)", line)
        if match:
            names = [part.split(":")[0].strip() + ("=" if "=" in part else "") for part in _split(match[1])]
            gives = match[2].split(".")[-1]
            found.append(
                ", ".join(name for name in names if name not in ("self", ""))
                + (f" -> {gives}" if gives in CLASSES else "")
            )
    return found


def _split(text: str) -> list[str]:
    """At commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def import_wheel(wheel: Path) -> tuple[str, dict[str, Any]]:
    """(``tensorrt 11.4.0.106``, its record), from an interpreter of its own with stand-ins for the libraries."""
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        (binding,) = Path(folder).glob("tensorrt*_bindings/tensorrt*.so")
        source = Path(folder) / "stub.c"
        source.write_text(STUB)
        needed = subprocess.run(["readelf", "-d", binding], check=True, text=True, capture_output=True).stdout
        for library in re.findall(r"\[(lib(?:nv|tensorrt)[^\]]*)\]", needed):
            command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", f"{folder}/{library}", str(source)]
            subprocess.run(command, check=True)
        package = binding.parent.name
        code = (
            f"import json, sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {folder!r}]; import {package} as trt\n"
            "from record_bindings import record; print(json.dumps([trt.__version__, record(trt)]))"
        )
        env = {**os.environ, "LD_LIBRARY_PATH": folder}
        done = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"{wheel.name}: {done.stderr}")
        version, found = json.loads(done.stdout.splitlines()[-1])
    return f"{package.removesuffix('_bindings')} {version}", found


if __name__ == "__main__":
    everything = dict(import_wheel(Path(name)) for name in sys.argv[1:])
    RECORD.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
