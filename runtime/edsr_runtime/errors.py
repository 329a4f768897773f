"""Errors that a user can cause, each with the exit code its command ends with.

Exit codes of every command: 0 done, 2 wrong usage or input, 3 some pictures failed, 4 the environment lacks
something, 5 a proof (parity, precision, regression) failed. Anything that is not an ``EdsrError`` is a bug and keeps
its traceback.
"""


class EdsrError(Exception):
    """One sentence for the user: what was found, what was expected, what to do."""

    exit_code = 2


class ShapeError(EdsrError):
    """An array, picture or tile has a size that cannot be used."""


class PictureError(EdsrError):
    """A picture file cannot be read or written as asked."""


class DiskFullError(PictureError):
    """There is no room left for an output; the next picture would meet the same."""

    exit_code = 4


class JobError(EdsrError):
    """The journal of a job cannot be used: in use, damaged, or of another job."""


class ModelFileError(EdsrError):
    """A model file is missing, damaged or lacks the contract."""


class CheckpointError(EdsrError):
    """A checkpoint cannot be loaded completely and safely."""


class CheckpointRefusedError(CheckpointError):
    """A checkpoint that may be whole: of a newer version, or not readable by this user."""


class DataError(EdsrError):
    """A data set is incomplete, unreadable or in an unknown layout."""


class NumericalError(EdsrError):
    """A network gave NaN or infinity."""

    exit_code = 3


class MissingDependencyError(EdsrError):
    """An optional package is not installed, or does not load."""

    exit_code = 4

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} could not be imported. Install it with: pip install 'edsr-toolkit[{extra}]'")


class EnvironmentUnfitError(EdsrError):
    """The machine cannot do what was asked (no such backend, precision or device)."""

    exit_code = 4


class GateError(EdsrError):
    """A proof failed, so nothing was written."""

    exit_code = 5
