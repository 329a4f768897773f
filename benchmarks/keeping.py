"""Whether what will be measured can be kept: found out before, and not after hours."""

import tempfile
from pathlib import Path

from edsr_runtime.errors import EdsrError


def check_targets(output: Path | None, report: Path | None) -> None:
    """Look at where the JSON file and the report's folder are to be; nothing is left there.

    Args:
        output: the JSON file; None: it is not kept.
        report: the folder; None: there will be none.

    Raises:
        EdsrError: one of them cannot be written, or one would be where the other is.
    """
    if output is not None:
        _check_writable(output, output.parent)
        if output.is_dir():
            raise EdsrError(f"{output} is a folder, expected a JSON file: pass another --output")
    if report is not None:
        if output is not None and output.resolve() in (report.resolve(), *report.resolve().parents):
            raise EdsrError(
                f"{output} would be the JSON file and a folder of the report: pass another --report, or an --output "
                "that ends in .json"
            )
        _check_writable(report, report)


def _check_writable(path: Path, folder: Path) -> None:
    """Make a file without a name in the folder, or where the folder would be made."""
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as err:
        raise EdsrError(f"{path}: cannot be written ({err.strerror}): pass another place") from err
