"""The log of a run: one JSON object a line, from which its curves and its summary are made."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edsr_runtime.errors import DataError
from edsr_train.loop import Progress, Record
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.run_folder import write_text


class Journal:
    """Watches a run and writes its log."""

    def __init__(self, path: Path, done: int) -> None:
        """Go on with the log in ``path``; what it says of updates after ``done`` is dropped, it will be said again.

        Raises:
            DataError: the log cannot be read or written to.
        """
        self._path = path
        kept = [line for line in read_journal(path) if line["update"] <= done]
        write_text(path, "".join(map(_as_line, kept)))

    def updated(self, _: Progress) -> None:
        """Nothing: the log has stretches of updates."""

    def recorded(self, record: Record, _: SuperResolutionNetwork) -> None:
        """Add a line; DataError if the disk is full."""
        psnr = None if record.psnr is None else {f"x{scale}": in_json(value) for scale, value in record.psnr.items()}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_as_line({**asdict(record), "psnr": psnr}))
        except OSError as err:
            raise DataError(f"{self._path}: cannot be written ({err.strerror})") from err


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, the oldest first; none if there is no such file. What is no line of a log is left out.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        whole = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err
    lines = []
    for text in whole.splitlines():
        try:
            line = json.loads(text)
            if type(line["update"]) is not int:
                continue
            line["loss"] = None if line["loss"] is None else float(line["loss"])
            line["updates_per_second"], line["skipped"] = float(line["updates_per_second"]), int(line["skipped"])
            if line["psnr"] is not None:
                line["psnr"] = {name: float(value) for name, value in line["psnr"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # cut off by a kill, or edited
            continue
        lines.append(line)
    return lines


def in_json(psnr: float) -> float | str:
    """JSON has no infinity, which is the PSNR of equal pictures: ``float`` reads the text too."""
    return psnr if math.isfinite(psnr) else str(psnr)


def _as_line(entry: Mapping[str, Any]) -> str:
    # JSON has no NaN: a stretch of which every update was skipped has no loss.
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
    return json.dumps(plain, allow_nan=False) + "\n"
