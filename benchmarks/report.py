"""Result files for people: ``python benchmarks/report.py FILE.json`` prints tables, ``--folder`` writes everything."""

import sys
from pathlib import Path

if __name__ == "__main__":  # started as a file: the package is beside the folder that Python looks in
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import click

from benchmarks.reporting.compare import DEFAULT_THRESHOLD, compare, nothing_to_judge
from benchmarks.reporting.document import render
from benchmarks.reporting.table import Result
from benchmarks.result_file import read_result
from edsr_runtime.command import EdsrCommand, needs_extra
from edsr_runtime.errors import GateError


@click.command(cls=EdsrCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--folder", type=click.Path(path_type=Path), help="Write Markdown, CSV, plots and the page there.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Benchmark sets, as for run.py: some pictures of Set5 are put on the page, which must then not be passed on.",
)
@click.option("--compare", "old", type=click.Path(path_type=Path), help="An older result to compare with.")
@click.option("--threshold", type=click.FloatRange(min=0), default=DEFAULT_THRESHOLD, show_default=True)
def main(file: Path, folder: Path | None, data: Path | None, old: Path | None, threshold: float) -> None:
    """Print the result in FILE as Markdown.

    With --compare it ends with exit code 5 if something got worse by more than the threshold (a share), and with 2 if
    nothing could be judged.
    """
    if data is not None and folder is None:
        raise click.UsageError("--data is for the page that --folder makes: pass --folder too")
    result = read_result(file)
    click.echo(render(result))
    if folder is not None:
        click.echo(f"written to {write_report(result, folder, data)}", err=True)
    if old is not None:
        show_comparison(read_result(old), result, threshold)


def write_report(result: Result, folder: Path, data: Path | None = None) -> Path:
    """See ``write_folder``.

    Raises:
        DataError: the pictures of the page are not among the data.
        MissingDependencyError: a package of the extra ``bench`` is missing.
    """
    with needs_extra("bench"):
        from benchmarks.reporting.folder import write_folder

        return write_folder(result, folder, data)


def show_comparison(old: Result, new: Result, threshold: float) -> None:
    """Print what changed.

    Raises:
        DataError: nothing could be judged.
        GateError: something is worse by more than the threshold.
    """
    comparison = compare(old, new, threshold)
    click.echo("\n" + comparison.table(threshold).document(3))
    if not comparison.judged:
        raise nothing_to_judge(old, new, comparison.same_machine)
    if worse := comparison.regressions:
        raise GateError(f"{len(worse)} of {len(comparison.judged)} numbers got worse, most of all {worse[0].name}")


if __name__ == "__main__":
    main()
