"""From photographs to pixel files: HR once for all scales, LR for each, and rescaled copies of both."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edsr_runtime.errors import DataError
from edsr_runtime.resize import imresize
from edsr_train.data.pictures import Pixels, UnusablePicturesError, make_pair, read_lr, read_rgb
from edsr_train.data.pixel_file import PixelFile, Stamp, Stored
from edsr_train.data.sets import MADE, Source
from edsr_train.data.store import Collection, Item, NotStoredError, Report, open_collection, problems_of, stamp

Size = tuple[int, int]


@dataclass(frozen=True)
class Prepared:
    """Photographs of one origin, as they are or rescaled, with their LR versions in the same order."""

    factor: float
    """1: as they are."""
    hr: PixelFile
    """Whole: sides need not be multiples of a scale."""
    lr: Mapping[int, PixelFile]
    """By scale. A picture smaller than the scale is there too, with height or width 0."""


def prepare(
    sources: Sequence[Source],
    scales: Sequence[int],
    rescale: Sequence[float],
    cache: Path,
    report: Report,
    problems: Sequence[str] = (),
) -> tuple[list[Prepared], list[str]]:
    """Open all pixel files, and make those that are missing.

    Args:
        sources: photographs; where LR files are missing, ``problems`` has a line for each.
        scales: of the LR versions.
        rescale: factors of the copies.
        cache: folder of the files.
        report: progress.
        problems: that were found before; they are listed together with those found here.

    Returns:
        The photographs by origin, and after each its copies by factor; lines on what had to be made.

    Raises:
        DataError: pictures that cannot be used (all are listed), copies whose LR versions are not known, or a cache
            that cannot be written to.
    """
    if rescale and (fixed := [source for source in sources if not source.can_be_rescaled]):
        raise DataError(
            f"{fixed[0].hr.parent}: its LR pictures are of the track {fixed[0].track} and cannot be rescaled, their "
            "degradation is unknown. Leave --rescale away, or choose another --track"
        )
    preparation = _Preparation(cache, report, problems)
    read = [preparation.read(origin, scales) for origin in _origins(sources)]
    if preparation.problems:
        raise UnusablePicturesError(preparation.problems)
    prepared = []
    for origin, hr, lr in read:
        assert hr is not None  # else there were problems
        prepared.append(Prepared(1, hr, lr or preparation.made(origin, hr, scales)))
        for factor in rescale:
            copies = preparation.open(origin.copies(hr, factor))
            prepared.append(Prepared(factor, copies, preparation.made(origin, copies, scales, factor)))
    return prepared, preparation.notes


@dataclass(frozen=True)
class _Origin:
    """Photographs of one folder and track, and what can be made of them."""

    name: str
    sources: Sequence[Source]

    @property
    def title(self) -> str:
        return "/".join(Path(self.name).parts[-2:])

    @property
    def has_lr_files(self) -> bool:
        return self.sources[0].track != MADE

    def hr_files(self) -> Collection:
        items = [Item(source.name, (stamp(source.hr),), partial(read_rgb, source.hr)) for source in self.sources]
        return Collection(self.name, {"what": "HR"}, self.title, items)

    def lr_files(self, scale: int, hr: Sequence[Stored] | None, sizes: Sequence[Size | None]) -> Collection:
        """``hr`` None: not all of it can be read. Files that are missing are left out."""
        items = []
        for index, (source, size) in enumerate(zip(self.sources, sizes, strict=True)):
            if scale not in source.lr:
                continue
            stamps = (stamp(source.lr[scale]), *([_stamp_of(hr[index])] if hr else []))
            items.append(Item(source.name, stamps, partial(read_lr, source.lr[scale], scale, source.hr, size)))
        track = self.sources[0].track
        recipe = {"what": "LR", "scale": scale, "track": track}
        return Collection(self.name, recipe, f"{self.title}, {track} x{scale}", items)

    def copies(self, hr: PixelFile, factor: float) -> Collection:
        items = _items(hr, partial(_rescaled, factor=factor))
        return Collection(self.name, {"what": "HR", "rescale": factor}, f"{self.title} at {factor:g}", items)

    def made_lr(self, hr: PixelFile, scale: int, factor: float) -> Collection:
        recipe = {"what": "LR", "scale": scale, "track": MADE, "rescale": factor}
        title = self.title if factor == 1 else f"{self.title} at {factor:g}"
        return Collection(self.name, recipe, f"{title}, bicubic x{scale}", _items(hr, partial(_shrunk, scale=scale)))


class _Preparation:
    """Opens pixel files; collects what is to be said and what is wrong."""

    def __init__(self, cache: Path, report: Report, problems: Sequence[str]) -> None:
        self.notes: list[str] = []
        self.problems = [*problems]
        self._cache, self._report = cache, report

    def open(self, collection: Collection) -> PixelFile:
        store, note = open_collection(self._cache, collection, self._report)
        self.notes += [note] if note else []
        return store

    def read(self, origin: _Origin, scales: Sequence[int]) -> tuple[_Origin, PixelFile | None, dict[int, PixelFile]]:
        """HR, or None where there are problems; LR where there are files."""
        hr: PixelFile | None = None
        lr: dict[int, PixelFile] = {}
        sizes: Sequence[Size | None]
        try:
            hr = self.open(origin.hr_files())
            sizes = [picture.hw for picture in hr.pictures]
        except NotStoredError as err:
            self.problems += err.problems
            sizes = err.sizes
        for scale in scales if origin.has_lr_files else ():
            files = origin.lr_files(scale, hr.pictures if hr else None, sizes)
            if hr is None or len(files.items) < len(origin.sources):
                self.problems += problems_of(files, self._report)
                continue
            try:
                lr[scale] = self.open(files)
            except NotStoredError as err:
                self.problems += err.problems
        return origin, hr, lr

    def made(self, origin: _Origin, hr: PixelFile, scales: Sequence[int], factor: float = 1) -> dict[int, PixelFile]:
        """LR by MATLAB's bicubic."""
        return {scale: self.open(origin.made_lr(hr, scale, factor)) for scale in scales}


def _origins(sources: Iterable[Source]) -> list[_Origin]:
    """In order of their first photographs."""
    members: dict[tuple[str, str], list[Source]] = {}
    for source in sources:
        name = source.origin or str(source.hr.parent.resolve())
        members.setdefault((name, source.track), []).append(source)
    return [_Origin(name, some) for (name, _), some in members.items()]


def _items(hr: PixelFile, change: Callable[[Pixels], Pixels]) -> list[Item]:
    """What is computed from stored pixels."""
    return [
        Item(stored.name, (_stamp_of(stored),), partial(_changed, hr, index, change))
        for index, stored in enumerate(hr.pictures)
    ]


def _stamp_of(stored: Stored) -> Stamp:
    return stored.name, stored.size, stored.crc32


def _changed(stored: PixelFile, index: int, change: Callable[[Pixels], Pixels]) -> Pixels:
    return change(stored[index])


def _rescaled(hr: Pixels, factor: float) -> Pixels:
    return np.asarray(imresize(hr, factor), np.uint8)


def _shrunk(hr: Pixels, scale: int) -> Pixels:
    if min(hr.shape[:2]) < scale:
        return np.empty((hr.shape[0] // scale, hr.shape[1] // scale, 3), np.uint8)
    return make_pair(hr, scale).lr
