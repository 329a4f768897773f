"""Which benchmark sets a folder holds, under which protocol each is measured, and what it is called."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.quality.published import FULL_SETS, RGB_SETS
from benchmarks.settings import Settings
from edsr_runtime.errors import DataError
from edsr_runtime.metrics import PROTOCOLS, Protocol
from edsr_train.data.layout import hr_folders
from edsr_train.data.pictures import Pair, is_picture
from edsr_train.data.sets import benchmark_pairs

_GATHERED = "benchmark"


@dataclass(frozen=True)
class BenchmarkSet:
    """One set of photographs."""

    name: str
    """Of its folder."""
    folder: Path

    @property
    def protocol(self) -> Protocol:
        """How it is measured in papers."""
        return PROTOCOLS["paper-div2k" if self.name.upper().startswith(RGB_SETS) else "paper-y"]

    def shown(self, pictures: int) -> str:
        """Its name, or how many of its pictures there are if some are missing."""
        full = FULL_SETS.get(self.name)
        return self.name if full in (None, pictures) else f"{pictures} of {self.name}"

    def gray_files(self, names: Iterable[str]) -> int:
        """How many of these pictures are stored as gray: papers count those otherwise."""
        folders = [hr.path for hr in hr_folders(self.folder)] or [self.folder]
        files = {file.stem: file for folder in folders for file in folder.iterdir() if is_picture(file)}
        return sum(_is_stored_gray(files[name]) for name in names if name in files)

    def pairs(self, scale: int, settings: Settings) -> list[Pair]:
        """LR and HR, or of each the part that the settings say.

        Raises:
            DataError: pictures are missing or unreadable.
        """
        pairs, side = benchmark_pairs(self.folder, scale)[: settings.quality_pictures], settings.quality_side
        if side is None:
            return pairs
        return [Pair(p.name, p.lr[:side, :side], p.hr[: side * scale, : side * scale]) for p in pairs]


def find_sets(data: Path, wanted: tuple[str, ...] | None = None) -> list[BenchmarkSet]:
    """Sets in ``data/benchmark``, else in ``data``, else ``data`` itself, each in a layout that training knows too.

    Args:
        data: a folder of sets, or a set: with ``HR``, ``DIV2K_valid_HR`` or pictures in it.
        wanted: names of folders; None: all.

    Raises:
        DataError: there are none, or not the wanted ones.
    """
    place = data / _GATHERED if (data / _GATHERED).is_dir() else data
    folders = sorted(child for child in place.iterdir() if child.is_dir() and not child.name.startswith("."))
    sets = [BenchmarkSet(folder.name, folder) for folder in folders if _is_set(folder)]
    if not sets or any(folder.name.endswith("HR") for folder in folders):
        sets = [BenchmarkSet(place.resolve().name, place)] if _is_set(place) else []
    if not sets:
        raise DataError(f"{place}: expected folders of benchmark sets, such as Set5 with HR in it, or pictures")
    if wanted is not None:
        missing = [name for name in wanted if name not in {each.name for each in sets}]
        if len(missing) == len(wanted):
            raise DataError(f"{place}: there is no set {missing[0]}; there are {', '.join(s.name for s in sets)}")
        sets = [each for each in sets if each.name in wanted]
    return sorted(
        sets, key=lambda each: (list(FULL_SETS).index(each.name) if each.name in FULL_SETS else 99, each.name)
    )


def _is_stored_gray(file: Path) -> bool:
    with Image.open(file) as picture:
        return picture.mode in ("1", "L", "LA", "I;16")


def _is_set(folder: Path) -> bool:
    return bool(hr_folders(folder)) or any(is_picture(file) for file in folder.iterdir())
