"""Results as JSON: what is in a file, and how it is written and read."""

import json
import os
from pathlib import Path
from typing import Any

from edsr_runtime.errors import DataError, EdsrError

SCHEMA_VERSION = 2
"""Raised when a reader of the old files would misunderstand the new ones."""


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
    """A file that ``write_result`` wrote.

    Raises:
        DataError: there is none, or it is something else or of another schema.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err
    except ValueError as err:
        raise DataError(f"{path}: is not JSON ({err}), expected what benchmarks/run.py wrote") from err
    found = result.get("schema_version") if isinstance(result, dict) else None
    if found != SCHEMA_VERSION:
        raise DataError(f"{path}: has schema version {found}, expected {SCHEMA_VERSION}: measure again")
    return dict(result)
