"""Whether the kernels do what is asked, before anything is loaded."""

from pathlib import Path

from edsr_runtime.amx.library import check_machine
from edsr_runtime.amx.program import UnsuitedError, read_program
from edsr_runtime.errors import EnvironmentUnfitError


def why_not_amx(path: Path) -> str | None:
    """The reason for which the kernels do not run a model here, for people; None if they do.

    Args:
        path: ONNX file that ``check_model`` has let through.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        check_machine()
        read_program(path)
    except UnsuitedError as err:
        return f"our AMX kernels do not compute it, because it {err}"
    except EnvironmentUnfitError as err:
        return str(err)
    return None
