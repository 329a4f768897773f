"""What all commands share: errors of users become one line and an exit code."""

from typing import Any, NoReturn

import click

from edsr_runtime.errors import EdsrError


class EdsrCommand(click.Command):
    """A command that turns an ``EdsrError`` into its message on stderr; anything else is a bug with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EdsrError as err:
            fail(err)


class EdsrGroup(click.Group):
    """The same for a command with subcommands."""

    command_class = EdsrCommand


def fail(err: EdsrError) -> NoReturn:
    """Print the sentence and end with the error's exit code."""
    click.echo(f"error: {err}", err=True)
    raise SystemExit(err.exit_code) from err
