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
    folder = engine_folder()
    try:
        real = file.resolve(strict=True)
        status = folder.stat()
        return (
            real.is_relative_to(folder.resolve(strict=True))
            and status.st_uid == os.getuid()
            and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        )
    except OSError:
        return False
