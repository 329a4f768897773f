"""Everything that is made of a result file, in one folder."""

from pathlib import Path

from benchmarks.reporting.document import render, sections, targets
from benchmarks.reporting.page import make_page
from benchmarks.reporting.photographs import photographs
from benchmarks.reporting.plots import write_plots
from benchmarks.reporting.table import Result
from edsr_runtime.errors import EdsrError

PAGE = "index.html"


def write_folder(result: Result, folder: Path, data: Path | None = None) -> Path:
    """Write ``report.md``, ``tables/*.csv``, ``plots/*.png`` and ``*.svg``, and ``index.html``, which needs no other.

    Args:
        result: as read from a file.
        folder: is made; files of the same names are replaced.
        data: benchmark pictures, some of which then are on the page, which must not be passed on.

    Returns:
        The page.

    Raises:
        DataError: the pictures of the page are not among the data.
        EdsrError: it cannot be written.
    """
    pictures = photographs(data)  # which may not be found: before anything is written
    try:
        tables = folder / "tables"
        tables.mkdir(parents=True, exist_ok=True)
        (folder / "report.md").write_text(render(result) + "\n", encoding="utf-8")
        found = [table for section in sections(result) for table in section.shown]
        for table in [*found, *filter(None, [targets(result)])]:
            (tables / f"{table.id}.csv").write_text(table.csv(), encoding="utf-8")
        plots = write_plots(result, folder / "plots")
        page = folder / PAGE
        page.write_text(make_page(result, plots, pictures), encoding="utf-8")
    except OSError as err:
        raise EdsrError(f"{folder}: cannot be written ({err.strerror})") from err
    return page
