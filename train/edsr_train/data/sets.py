"""Which photographs a folder holds and where their LR versions are; for validation also their pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from edsr_runtime.errors import DataError
from edsr_train.data.layout import HrFolder, files_below, hr_folders, set_folder_among
from edsr_train.data.left_out import left_out
from edsr_train.data.pictures import (
    SUFFIXES,
    Pair,
    Pixels,
    UnusablePicturesError,
    is_picture,
    make_pair,
    read_lr,
    read_rgb,
)
from edsr_train.data.selection import ALL as ALL
from edsr_train.data.selection import Selection as Selection
from edsr_train.data.selection import number_of

AUTO = "auto"
"""LR files of the track ``bicubic`` where there are any at every scale, else made."""
MADE = "made"
"""LR is made by MATLAB's bicubic, whatever files there are."""
BICUBIC = "bicubic"
"""The track of a published set that is what we make."""

_MOST_NAMED = 10


@dataclass(frozen=True)
class Source:
    """One photograph of a set, and where its LR versions are."""

    name: str
    """The file's name without suffix: ``0801``."""
    hr: Path
    lr: Mapping[int, Path] = field(default_factory=dict)
    """LR file by scale; empty: LR is made by MATLAB's bicubic."""
    track: str = MADE
    """Of the LR files."""
    origin: str = ""
    """The HR folder, and the numbers where they leave some of it out; names its cache. Empty: that of ``hr``."""
    root: Path = Path()
    """The folder that was searched for pictures, with those below."""

    @property
    def can_be_rescaled(self) -> bool:
        """Whether the LR version of a shrunk copy is known."""
        return not self.lr or self.track == BICUBIC


def find_sources(
    folder: Path,
    scales: Sequence[int],
    track: str = AUTO,
    select: Selection = ALL,
    *,
    default_part: str = "train",
    problems: list[str] | None = None,
) -> list[Source]:
    """The photographs of a set, sorted by name.

    Args:
        folder: a set as published (with ``DIV2K_train_HR`` or ``HR`` in it), its HR folder, or any folder of
            photographs, those in folders below included. Hidden files and folders are left out.
        scales: for which LR versions are wanted.
        track: ``auto``, ``made``, or a track of the set, such as ``bicubic`` or ``unknown``, whose files must be there.
        select: by the numbers that the names end in; of all parts of the set. Where two parts have a number, that of
            ``default_part`` counts.
        default_part: of a set with several parts, all of which is meant where nothing is selected.
        problems: takes a line for every LR file that is missing; without it, they are an error at once.

    Raises:
        DataError: no photographs, several sets, numbers that no picture has, or LR files that are missing.
    """
    present = _photographs(folder, default_part, select)
    chosen = _select(folder, present, select)
    tracks = {hr: _track_of(hr, scales, track) for hr in chosen}
    if problems is None:
        lines = [line for hr, files in chosen.items() for line in _missing_lr(hr, files, scales, tracks[hr])]
        if lines:
            raise DataError("\n".join(lines))
    sources: list[Source] = []
    for hr, files in chosen.items():
        origin = str(hr.path.resolve()) + (f" {select}" if len(files) < len(present[hr]) else "")
        for file in files:
            places = {scale: place for scale in scales if (place := _lr_file(hr, file, tracks[hr], scale))}
            lr = {scale: place for scale, place in places.items() if place.is_file()}
            if problems is not None:
                problems += [
                    f"{place}: is missing, the LR of {file}" for place in places.values() if not place.is_file()
                ]
            sources.append(Source(file.stem, file, lr, tracks[hr], origin, hr.path))
    return sources


def lr_origin(sources: Sequence[Source]) -> str:
    """Where LR comes from, for people: files of which folders, or made."""
    folders = dict.fromkeys(str(next(iter(source.lr.values())).parent.parent) for source in sources if source.lr)
    made = any(not source.lr for source in sources)
    said = [f"files of {', '.join(folders)}"] if folders else []
    return "; ".join([*said, *(["made by MATLAB's bicubic"] if made else [])])


def benchmark_sources(folder: Path, scale: int, problems: list[str] | None = None) -> list[Source]:
    """The pictures of a benchmark folder, sorted by name.

    HR is the folder's ``HR`` (of DIV2K, ``DIV2K_valid_HR``), or the folder itself without those below. LR is
    ``LR_bicubic/X<scale>/<name>x<scale>.png`` where there is such a folder, else made as those files were, by MATLAB's
    bicubic.

    Args:
        folder: of the set.
        scale: of the LR versions.
        problems: as for ``find_sources``.

    Raises:
        DataError: no pictures, or LR files that are missing (all are listed).
    """
    _refuse_no_folder(folder)
    if hr_folders(folder):
        return find_sources(folder, (scale,), default_part="valid", problems=problems)
    files = sorted(file for file in folder.iterdir() if is_picture(file) and not file.is_dir())
    if not files:
        raise _no_pictures(folder)
    if set_folder_among(files, folder) is not None:
        raise DataError(f"{folder}: holds the LR pictures of a published set. Name the set, or its HR folder")
    return [Source(file.stem, file, root=folder) for file in files]


def benchmark_pairs(folder: Path, scale: int) -> list[Pair]:
    """The pictures of ``benchmark_sources`` themselves.

    Raises:
        DataError: no pictures, unreadable ones, or LR files that are missing or do not fit (all are listed).
    """
    return pairs_of(benchmark_sources(folder, scale), scale)


def pairs_of(sources: Sequence[Source], scale: int) -> list[Pair]:
    """The pictures themselves, in memory: for validation.

    Args:
        sources: found for this scale.
        scale: of the LR versions.

    Raises:
        DataError: unreadable pictures, or LR files that do not fit (all are listed).
    """
    problems: list[str] = []
    pairs = pairs_by_scale({scale: sources}, problems)
    if problems:
        raise UnusablePicturesError(problems)
    return pairs[scale]


def pairs_by_scale(sources: Mapping[int, Sequence[Source]], problems: list[str]) -> dict[int, list[Pair]]:
    """The pictures of several scales; each HR picture is read, and held, once for all of them.

    Args:
        sources: by scale, found for it.
        problems: takes a line for every picture that cannot be used; it is left out.
    """
    uses: dict[Path, list[tuple[int, Source]]] = {}
    for scale, some in sources.items():
        for source in some:
            uses.setdefault(source.hr, []).append((scale, source))
    pairs: dict[int, list[Pair]] = {scale: [] for scale in sources}
    for file, wanted in uses.items():
        hr = _read(file, problems)
        for scale, source in wanted:
            try:
                if (pair := _pair(source, scale, hr)) is not None:
                    pairs[scale].append(pair)
            except DataError as err:
                problems.append(str(err))
    return pairs


def _read(file: Path, problems: list[str]) -> Pixels | None:
    try:
        return read_rgb(file)
    except DataError as err:
        problems.append(str(err))
        return None


def _pair(source: Source, scale: int, hr: Pixels | None) -> Pair | None:
    """None where HR cannot be read, or LR is known to be missing; what there is of them was looked at."""
    if hr is not None and min(hr.shape[:2]) < scale:
        height, width = hr.shape[:2]
        raise DataError(f"{source.hr}: is {height}x{width} pixels (HxW), expected at least {scale} on each side")
    if source.track == MADE:
        return None if hr is None else make_pair(hr, scale, source.name)
    if scale not in source.lr:
        return None
    lr = read_lr(source.lr[scale], scale, source.hr, None if hr is None else (hr.shape[0], hr.shape[1]))
    if hr is None:
        return None
    height, width = hr.shape[0] // scale, hr.shape[1] // scale
    return Pair(source.name, lr, hr[: height * scale, : width * scale])


def _photographs(folder: Path, default_part: str, select: Selection) -> dict[HrFolder, list[Path]]:
    """Of the HR folders that are meant, the default part first."""
    _refuse_no_folder(folder)
    found = hr_folders(folder)
    if not found:
        files = _pictures_below(folder)
        if not files:
            raise _no_pictures(folder)
        if (inside := set_folder_among(files, folder)) is not None:
            raise DataError(
                f"{folder}: holds folders of published sets ({inside}). Name each set or HR folder by itself"
            )
        return {HrFolder(folder, None): files}
    if len({each.set_name for each in found}) > 1:
        names = ", ".join(each.path.name for each in found)
        raise DataError(f"{folder}: holds several sets ({names}). Name each HR folder by itself")
    found.sort(key=lambda each: each.part != default_part)
    if select.ranges is None and len(found) > 1:
        if found[0].part != default_part:
            names = ", ".join(each.path.name for each in found)
            raise DataError(f"{folder}: holds {names} and no part {default_part}. Name the HR folder that is meant")
        del found[1:]
    files_of = {each: _pictures_below(each.path) for each in found}
    if not any(files_of.values()):
        raise _no_pictures(folder)
    return files_of


def _pictures_below(folder: Path) -> list[Path]:
    return sorted(file for file in files_below(folder) if is_picture(file))


def _select(folder: Path, files_of: dict[HrFolder, list[Path]], select: Selection) -> dict[HrFolder, list[Path]]:
    """Those with the wanted numbers; a later folder gives only numbers that no earlier one has."""
    if select.ranges is None:
        return files_of
    numbers = {file: number_of(file) for files in files_of.values() for file in files}
    if nameless := [file for file, number in numbers.items() if number is None]:
        raise DataError(
            f"{folder}: pictures are chosen by the number that their names end in, and there is none in "
            f"{_some([file.name for file in nameless])}"
        )
    chosen: dict[HrFolder, list[Path]] = {}
    taken: set[int] = set()
    for hr, files in files_of.items():
        wanted = [file for file in files if (n := numbers[file]) is not None and n in select and n not in taken]
        if wanted:
            chosen[hr] = wanted
            taken |= {n for file in wanted if (n := numbers[file]) is not None}
    present = [number for number in numbers.values() if number is not None]
    if not taken:
        raise DataError(f"{folder}: no picture has a number of {select}; there are {min(present)} to {max(present)}")
    count, missing = select.missing(taken)
    if count:
        first = [str(number) for number in islice(missing, _MOST_NAMED)]
        raise DataError(f"{folder}: {count} numbers of {select} have no picture: {_some(first, count)}")
    return chosen


def _track_of(hr: HrFolder, scales: Sequence[int], track: str) -> str:
    """``made``, or a track that has a folder for every scale."""
    if track == MADE:
        return MADE
    folders = [hr.lr_folder(BICUBIC if track == AUTO else track, scale) for scale in scales]
    if track == AUTO:
        return BICUBIC if all(folder is not None and folder.is_dir() for folder in folders) else MADE
    for folder in folders:
        if folder is None:
            raise DataError(
                f"{hr.path}: has no LR pictures of the track {track}, expected a set as published: "
                f"<set>_HR and <set>_LR_{track}/X{scales[0]} beside it"
            )
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder, expected the LR pictures of the track {track}; there are "
                f"{', '.join(hr.tracks()) or 'no tracks'}"
            )
    return track


def _lr_file(hr: HrFolder, file: Path, track: str, scale: int) -> Path | None:
    folder = None if track == MADE else hr.lr_folder(track, scale)
    return None if folder is None else folder / file.relative_to(hr.path).with_name(f"{file.stem}x{scale}.png")


def _missing_lr(hr: HrFolder, files: Sequence[Path], scales: Sequence[int], track: str) -> list[str]:
    """One line for each folder in which some are missing."""
    lines = []
    for scale in scales:
        places = [place for file in files if (place := _lr_file(hr, file, track, scale))]
        if missing := [place.name for place in places if not place.is_file()]:
            folder = hr.lr_folder(track, scale)
            lines.append(f"{folder}: {len(missing)} of {len(files)} LR pictures are missing: {_some(missing)}")
    return lines


def _some(names: Sequence[str], count: int | None = None) -> str:
    """The first few of ``count`` names, and how many there are besides."""
    count = len(names) if count is None else count
    text = ", ".join(names[:_MOST_NAMED])
    return f"{text} and {count - _MOST_NAMED} more" if count > _MOST_NAMED else text


def _refuse_no_folder(folder: Path) -> None:
    if not folder.exists():
        raise DataError(f"{folder}: there is no such folder")
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file, expected a folder of pictures")


def _no_pictures(folder: Path) -> DataError:
    if not any(folder.iterdir()):
        return DataError(f"{folder}: is empty, expected pictures in it")
    there = "".join(f". {line}" for line in left_out([folder]))
    kinds = ", ".join(SUFFIXES)
    return DataError(
        f"{folder}: expected pictures in {folder / 'HR'} or in the folder itself, found none ({kinds}){there}"
    )
