"""Where published sets keep their pictures: HR in ``<prefix>HR``, LR in ``<prefix>LR_<track>/X<scale>`` beside it.

The prefix is empty in benchmark sets (``Set5/HR``), else it names set and part: ``DIV2K_train_``, ``Flickr2K_``.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edsr_runtime.errors import DataError

_HR_NAME = re.compile(r"((?:.*_)?)HR")
_LR_NAME = re.compile(r"(?:.*_)?LR_[^_]+")
_SCALE_NAME = re.compile(r"X[0-9]+")
_PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class HrFolder:
    """A folder of HR pictures."""

    path: Path
    prefix: str | None
    """None: any folder of photographs, with no place for LR files."""

    @property
    def part(self) -> str:
        """``train``, ``valid``, ``test``, or nothing."""
        last = (self.prefix or "").rstrip("_").rpartition("_")[2]
        return last if last in _PARTS else ""

    @property
    def set_name(self) -> str:
        """The prefix without the part: ``DIV2K``."""
        return (self.prefix or "").rstrip("_").removesuffix(self.part).rstrip("_")

    def lr_folder(self, track: str, scale: int) -> Path | None:
        """Where the LR pictures of a track belong, whether there are any or not; None: there is no place for them."""
        if self.prefix is None:
            return None
        return self.path.parent / f"{self.prefix}LR_{track}" / f"X{scale}"

    def tracks(self) -> list[str]:
        """The tracks that are there, at whatever scale."""
        if self.prefix is None:
            return []
        start = f"{self.prefix}LR_"
        folders = (each for each in self.path.parent.iterdir() if each.is_dir())
        return sorted(each.name.removeprefix(start) for each in folders if each.name.startswith(start))


def hr_folders(folder: Path) -> list[HrFolder]:
    """The folder itself if its name is that of an HR folder, else those directly in it; sorted by name."""
    if folder.name in ("", ".."):
        folder = folder.resolve()
    candidates = [folder] if _HR_NAME.fullmatch(folder.name) else sorted(folder.iterdir())
    named = [(path, _HR_NAME.fullmatch(path.name)) for path in candidates if not path.name.startswith(".")]
    return [HrFolder(path, found[1]) for path, found in named if found and path.is_dir()]


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and below, in any order; hidden ones and links to folders are left out.

    Raises:
        DataError: a folder cannot be read.
    """

    def refuse(err: OSError) -> None:
        raise DataError(f"{err.filename}: cannot be read ({err.strerror}). Let this user read it, or move it away")

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = (name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in files if not name.startswith("."))


def set_folder_among(files: Iterable[Path], below: Path) -> Path | None:
    """The first HR or LR folder of a published set that one of the files is in, at or below a folder; or None."""
    known: dict[Path, bool] = {}
    for file in files:
        parent = file.parent
        if parent not in known:
            full = parent.absolute()
            is_lr = bool(_SCALE_NAME.fullmatch(full.name) and _LR_NAME.fullmatch(full.parent.name))
            is_hr = parent != below and bool(_HR_NAME.fullmatch(full.name))
            known[parent] = is_lr or is_hr
        if known[parent]:
            return parent
    return None
