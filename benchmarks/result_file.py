"""Results as JSON: what is in a file, and how it is written and read."""

import json
import os
from pathlib import Path
from types import UnionType
from typing import Any

from benchmarks.settings import MEASUREMENTS
from edsr_runtime.errors import DataError, EdsrError

SCHEMA_VERSION = 2
"""Raised when a reader of the old files would misunderstand the new ones."""

_OF_A_RUN: dict[str, type | UnionType] = {
    "date": str,
    "commit": dict | None,
    "machine": dict,
    "versions": dict,
    "load_before": list,
    "load_after": list | None,
    "others_share": float | None,
    "loaded": str,
    "quick": bool,
    "smoke": bool,
    "arguments": dict,
    "skipped": dict,
    "results": dict,
}
"""What tables and comparisons take from every result."""


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write whole or not at all; an existing file is replaced.

    Raises:
        EdsrError: it cannot be written.
    """
    text = json.dumps({"schema_version": SCHEMA_VERSION, **result}, indent=1, allow_nan=False) + "\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as err:
        raise EdsrError(f"{path}: cannot be written ({err.strerror})") from err


def read_result(path: Path) -> dict[str, Any]:
    """What ``benchmarks/run.py`` wrote.

    Raises:
        DataError: there is none, or it is something else or of another schema.
    """
    result = read_stored(path)
    lacking = [name for name, kind in _OF_A_RUN.items() if not isinstance(result.get(name, ()), kind)]
    if lacking:
        raise DataError(f"{path}: lacks {lacking[0]!r}, which every result of benchmarks/run.py has: pass one of those")
    if unknown := sorted(result["results"].keys() - set(MEASUREMENTS)):
        raise DataError(f"{path}: has the measurement {unknown[0]!r}, expected those of this version's run.py")
    return result


def read_stored(path: Path) -> dict[str, Any]:
    """A file that ``write_result`` wrote, for whichever command.

    Raises:
        DataError: there is none, or it is something else or of another schema.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err
    except (ValueError, RecursionError) as err:
        raise DataError(f"{path}: is not JSON that can be read ({err}), expected a result of a benchmark") from err
    found = stored.get("schema_version") if isinstance(stored, dict) else None
    if found != SCHEMA_VERSION:
        raise DataError(f"{path}: has schema version {found}, expected {SCHEMA_VERSION}: measure again")
    return dict(stored)
