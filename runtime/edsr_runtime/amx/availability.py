"""Whether the kernels do what is asked, before anything is loaded."""

from pathlib import Path

from edsr_runtime.amx.library import check_machine
from edsr_runtime.amx.program import Program, UnsuitedError, read_program
from edsr_runtime.errors import EnvironmentUnfitError


def program_for(path: Path) -> Program:
    """What the kernels compute for an ONNX file that ``check_model`` has let through.

    Raises:
        EnvironmentUnfitError: this machine cannot run them, or they do not compute this network.
        ModelFileError: it cannot be read.
    """
    check_machine()
    try:
        return read_program(path)
    except UnsuitedError as err:
        raise EnvironmentUnfitError(f"our AMX kernels do not compute it, because it {err}") from err


def why_not_amx(path: Path) -> str | None:
    """The reason for which the kernels do not run a model here, for people; None if they do; raises ModelFileError."""
    try:
        program_for(path)
    except EnvironmentUnfitError as err:
        return str(err)
    return None
