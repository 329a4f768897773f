"""Decoded pictures in a folder: made once, used again, and made anew when what they were made of has changed."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from edsr_runtime.errors import DataError
from edsr_train.data.in_order import in_order
from edsr_train.data.pictures import Pixels
from edsr_train.data.pixel_file import DamagedFileError, PixelFile, Stamp, Stored, map_pixels, write_pixels

PIXELS_VERSION = 1
"""Raised when the same files give other pixels: decoding, ``imresize``."""
UNUSED_DAYS = 90
"""After so many days without use, a file is removed when another one is made: a photograph is decoded again in no time,
and nobody looks into a cache."""

Report = Callable[[int, int, str], None]
"""Progress: pictures done, all of them, and what is being done to them."""


@dataclass(frozen=True)
class Item:
    """A picture that is to be stored."""

    name: str
    stamps: tuple[Stamp, ...]
    """Of what it is made of; where others are stored, it must be made again."""
    make: Callable[[], Pixels]
    """Its pixels (H, W, 3), or a ``DataError``; called in any thread."""


@dataclass(frozen=True)
class Collection:
    """What one file is to hold."""

    origin: str
    """Where the pictures are from; with the recipe, it decides on the file's name."""
    recipe: Mapping[str, Any]
    """What is done to them: plain types."""
    title: str
    """For people."""
    items: Sequence[Item]

    def place(self, cache: Path) -> Path:
        """The file."""
        digest = hashlib.sha256(json.dumps([self.origin, self.recipe], sort_keys=True).encode()).hexdigest()[:12]
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.title).strip("-")[-80:]
        return cache / f"{slug}-{digest}.pixels"


class NotStoredError(DataError):
    """Pictures of a collection that cannot be used."""

    def __init__(self, problems: Sequence[str], sizes: Sequence[tuple[int, int] | None]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.sizes = sizes
        """(H, W) of every picture of the collection; None where it is not known."""


def default_cache() -> Path:
    """A folder in the user's cache."""
    return platformdirs.user_cache_path("edsr-toolkit") / "train"


def stamp(file: Path) -> Stamp:
    """Of a file as it is now."""
    try:
        status = file.stat()
    except OSError:
        return file.name, -1, -1  # equal to none that is stored: reading it will say what is wrong
    return file.name, status.st_size, status.st_ctime_ns  # copying may keep the time of the last change of its contents


def open_collection(cache: Path, collection: Collection, report: Report) -> tuple[PixelFile, str | None]:
    """The pictures of a collection: stored and verified, made if they are not there, damaged, or of other files.

    Several processes may ask for the same ones at the same time: one makes them, the others wait and use them.

    Returns:
        The file, and a line about it if it had to be made.

    Raises:
        NotStoredError: pictures that cannot be used; all are named, and nothing is stored.
        DataError: the folder cannot be written to.
    """
    path, title = collection.place(cache), collection.title
    try:
        stored, _ = _find(path, collection, report)
        if stored is not None:
            with contextlib.suppress(OSError):  # somebody else's, or on a disk that is read only
                os.utime(path)
            return stored, None
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(path, lambda: report(0, len(collection.items), f"waiting for another process with {title}")):
            stored, why = _find(path, collection, report)  # made by another process meanwhile?
            if stored is not None:
                return stored, None
            again = f" again ({why})" if why else ""
            removed = _remove_unused(cache)
            _make(path, collection, report, f"preparing {title}{again}")
            return map_pixels(path), f"{title}: prepared{again}, kept in {path}{removed}"
    except OSError as err:
        raise DataError(
            f"{cache}: decoded pictures cannot be kept there ({err.strerror or err}). Make room, or name another "
            "folder with --cache"
        ) from err


def _remove_unused(cache: Path) -> str:
    """Files that nobody has used for long; what is to be said about it."""
    since = time.time() - UNUSED_DAYS * 86_400
    removed = 0
    for file in cache.glob("*.pixels"):
        with contextlib.suppress(OSError):
            if file.stat().st_mtime < since:
                file.unlink()  # not its lock: somebody may be waiting for it
                removed += 1
    return f"; {removed} files there were not used for {UNUSED_DAYS} days and are removed" if removed else ""


def problems_of(collection: Collection, report: Report) -> list[str]:
    """What is wrong with the pictures of a collection; nothing is stored."""
    problems: list[str] = []
    for _ in _usable(collection, problems, [], report, f"checking {collection.title}"):
        pass
    return problems


def _find(path: Path, collection: Collection, report: Report) -> tuple[PixelFile | None, str]:
    """The file that is there, or the reason why it cannot be used; no reason if there is none."""
    try:
        found = map_pixels(path)
        if found.recipe != _with_version(collection.recipe):
            return None, "it was made by another version"
        if difference := _difference(collection.items, found.pictures):
            return None, difference
        found.verify(lambda done, total: report(done, total, f"checking {collection.title}"))
        return found, ""
    except FileNotFoundError:
        return None, ""
    except DamagedFileError as err:
        return None, f"{path.name} is damaged: {err}"


def _make(path: Path, collection: Collection, report: Report, what: str) -> None:
    problems: list[str] = []
    sizes: list[tuple[int, int] | None] = []

    def pictures() -> Generator[tuple[str, tuple[Stamp, ...], Pixels], None, None]:
        with closing(_usable(collection, problems, sizes, report, what)) as usable:
            for index, pixels in usable:
                if not problems:
                    yield collection.items[index].name, collection.items[index].stamps, pixels
        if problems:
            raise NotStoredError(problems, sizes)

    with closing(pictures()) as made:
        write_pixels(path, _with_version(collection.recipe), made)


def _usable(
    collection: Collection, problems: list[str], sizes: list[tuple[int, int] | None], report: Report, what: str
) -> Generator[tuple[int, Pixels], None, None]:
    """Number and pixels of those that can be used, in order; the others' problems are noted."""
    total = len(collection.items)
    report(0, total, what)
    with closing(in_order(_made, collection.items)) as results:
        for index, result in enumerate(results):
            if isinstance(result, DataError):
                problems.append(str(result))
                sizes.append(None)
            else:
                sizes.append((result.shape[0], result.shape[1]))
                yield index, result
            report(index + 1, total, what)


def _made(item: Item) -> Pixels | DataError:
    try:
        return item.make()
    except DataError as err:
        return err


def _with_version(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {**recipe, "version": PIXELS_VERSION}


def _difference(wanted: Sequence[Item], stored: Sequence[Stored]) -> str:
    """For people; nothing if there is none."""
    wanted_keys = [(item.name, item.stamps) for item in wanted]
    stored_keys = [(picture.name, picture.stamps) for picture in stored]
    if wanted_keys == stored_keys:
        return ""
    names, stored_names = Counter(name for name, _ in wanted_keys), Counter(name for name, _ in stored_keys)
    if names == stored_names:
        changed = (Counter(wanted_keys) - Counter(stored_keys)).total()
        return f"{changed} of its pictures changed" if changed else "its order changed"
    return f"{(names - stored_names).total()} pictures were added, {(stored_names - names).total()} removed"


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Keep other processes out; the operating system lets go when this one ends, however it does."""
    with path.with_name(f".{path.name}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
