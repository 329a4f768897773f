"""What all commands share: an error of a user is one sentence and an exit code, a mistake of ours a traceback."""

import click
import pytest
from click.testing import CliRunner

from edsr_runtime.command import EdsrCommand
from edsr_runtime.errors import EnvironmentUnfitError


def command(error: Exception) -> click.Command:
    def run() -> None:
        raise error

    return EdsrCommand("edsr-test", callback=run)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (EnvironmentUnfitError("there is no GPU"), 4, "there is no GPU"),
        (
            PermissionError(13, "Permission denied", "a/b"),
            2,
            "a/b: Permission denied. Let this user use it, or name another",
        ),
    ],
)
def test_errors_of_users_are_one_sentence(error: Exception, code: int, sentence: str) -> None:
    result = CliRunner().invoke(command(error))
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"error: {sentence}\n")


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(FileNotFoundError):
        CliRunner().invoke(command(FileNotFoundError(2, "No such file", "a/b")), catch_exceptions=False)
