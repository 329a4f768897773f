"""Where our engines are kept: a folder that only its owner can write to, since an engine is code that is run."""

import os
import stat
from pathlib import Path

import platformdirs

from edsr_runtime.errors import EnvironmentUnfitError


def engine_folder() -> Path:
    """In the user's cache; XDG_CACHE_HOME moves it. It need not exist."""
    return platformdirs.user_cache_path("edsr-toolkit") / "engines"


def make_private(folder: Path) -> Path:
    """Make ``folder``, or take from others the right to it.

    Raises:
        EnvironmentUnfitError: it cannot be made, or belongs to somebody else.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.getuid():
            raise EnvironmentUnfitError(
                f"{folder} belongs to another user (id {found.st_uid}), who could put code there: "
                "set XDG_CACHE_HOME to a folder of your own"
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as err:
        raise EnvironmentUnfitError(f"{folder}, for engines, cannot be made ({err.strerror})") from err
    return folder


def is_ours(file: Path) -> bool:
    """Whether a file lies in our folder, and nobody else could have put it there."""
    return not distrust(file)


def distrust(file: Path) -> str:
    """What speaks against running what is in a file, as the end of a sentence about it; empty if it is ours.

    The file itself must belong to us too: others may have been able to write to the folder before it was made private.
    """
    folder = engine_folder()
    try:
        real = file.resolve(strict=True)
        if not real.is_relative_to(folder.resolve()):
            return "lies outside the folder of engines that were built here"
        for path, what in ((folder, "lies in a folder that"), (real, "is a file that")):
            found = path.stat()
            if found.st_uid != os.getuid():
                return f"{what} belongs to another user (id {found.st_uid})"
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return f"{what} others can write to"
    except OSError as err:
        return f"cannot be looked at ({err.strerror})"
    return ""
