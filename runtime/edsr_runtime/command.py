"""What all commands share: errors of users become one line and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from edsr_runtime.errors import DataError, EdsrError, MissingDependencyError
from edsr_runtime.printable import printable, printable_lines

OURS = ("edsr_runtime", "edsr_train", "edsr_export", "benchmarks")


class EdsrCommand(click.Command):
    """A command that turns an ``EdsrError`` into its message on stderr, and so what the system does not permit.

    Anything else is a bug with a traceback.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EdsrError as err:
            fail(err)
        except PermissionError as err:
            fail(EdsrError(f"{err.filename}: {err.strerror}. Let this user use it, or name another"))


class EdsrGroup(click.Group):
    """The same for a command with subcommands."""

    command_class = EdsrCommand


def toolkit_version() -> str:
    """Of this project, as it is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("edsr-toolkit")
    except PackageNotFoundError:
        return "run from its source"


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"edsr-toolkit {toolkit_version()}")
        ctx.exit()


version_option = click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print it and end."
)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn the failure to import a package of others into the sentence that says how to install it.

    Args:
        extra: of this project, which brings the packages that are imported inside.

    Raises:
        MissingDependencyError: one of them is not there.
    """
    try:
        yield
    except ModuleNotFoundError as err:
        package = (err.name or "").partition(".")[0]
        if package in ("", *OURS):
            raise  # a mistake of ours
        raise MissingDependencyError(package, extra=extra) from err


def fail(err: EdsrError) -> NoReturn:
    """Print the sentence and end with the error's exit code."""
    shown = printable_lines if isinstance(err, DataError) else printable  # which lists files, a line for each
    click.echo(shown(f"error: {err}"), err=True)
    raise SystemExit(err.exit_code) from err
