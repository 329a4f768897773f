"""What is to be done: which pictures, to which files, in which formats, and what is left alone.

All of it is decided before a model is loaded, so that a mistake in a command costs nothing.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edsr_runtime.errors import PictureError
from edsr_runtime.job.shard import Shard
from edsr_runtime.pictures.formats import (
    HEADER_BYTES,
    PICTURE_SUFFIXES,
    SUFFIXES,
    format_of_suffix,
    output_format,
    sniff_format,
)

FOLDER_FORMAT = "png"
"""What is written to a folder unless something else is asked for."""


@dataclass(frozen=True)
class Job:
    """One picture."""

    source: Path
    target: Path
    """The file to write; its folder need not exist yet."""
    format: str
    """``png``, ``jpg``, ``webp`` or ``tiff``."""
    size_bytes: int
    """Of the source; tells large pictures from small ones before they are decoded."""
    may_replace: bool = False
    """Whether a target that is there is replaced. If not, one that appears meanwhile is left alone."""


@dataclass(frozen=True)
class Work:
    """Everything one command has to do."""

    jobs: tuple[Job, ...]
    existing: tuple[Job, ...] = ()
    """Not to be done: their targets are there."""
    left_out: tuple[Path, ...] = ()
    """Pictures in an input folder that are results of an earlier run."""
    renamed: tuple[Job, ...] = ()
    """Pictures that would have got the name of another's result, and got one with their own suffix in it."""
    planned: tuple[Job, ...] = ()
    """``jobs`` and ``existing`` in one order that depends on nothing but the names."""
    folder: Path = Path()
    """Where the results go; names in a journal are seen from here."""
    is_folder: bool = False
    """A folder or several pictures were asked for, instead of one picture."""

    def key(self, job: Job) -> str:
        """The name of a job's result, seen from ``folder``."""
        return os.path.relpath(job.target, self.folder)


@dataclass(frozen=True)
class _Found:
    source: Path
    below: Path
    """Folder of the picture, seen from the input folder that it was found in; empty for a picture that was named."""
    was_named: bool


def plan_work(
    inputs: Sequence[Path],
    output: str,
    *,
    fmt: str | None = None,
    suffix: str = "",
    recursive: bool = False,
    overwrite: bool = False,
    shard: Shard | None = None,
) -> Work:
    """Find the pictures and name the results.

    Args:
        inputs: pictures and folders. In folders, files are taken by their suffix; hidden files and folders are not
            looked at, nor are links to folders followed, nor the output folder if it lies inside. A picture that is
            named is taken whatever its suffix.
        output: a file, for a single picture that was named, or a folder. It is a folder if it is there as one, ends
            with a slash, has no suffix, or if there may be several pictures.
        fmt: ``png``, ``jpg``, ``webp``, ``tiff``, or ``keep`` for that of each source, found out by its header.
            Default: what the suffix of an output file says, PNG in a folder.
        suffix: added to the names in an output folder, before the dot.
        recursive: look into folders inside the input folders; their structure is kept.
        overwrite: replace files that are there; otherwise such pictures are skipped.
        shard: do only this share of the pictures.

    Two pictures of one folder that differ in nothing but their suffix (``a.jpg``, ``a.png``) would get the same name:
    both get their suffix into it (``a_jpg.png``, ``a_png.png``), so that neither's name depends on the other's order.

    Raises:
        PictureError: no such input, no picture in the folders, a result would replace an input, or two pictures
            would get the same name all the same.
    """
    if os.sep in suffix or "\0" in suffix:
        raise PictureError(f"--suffix {suffix!r} is not part of a file name")
    found = _find(inputs, Path(output), recursive)
    if not found:
        names = ", ".join(map(str, inputs))
        looked = "" if recursive else " (folders inside are looked into with --recursive)"
        raise PictureError(f"no pictures in {names}{looked}")
    folder = _is_folder(inputs, output, fmt)
    if not folder and suffix:
        raise PictureError(f"--suffix names the files in an output folder, but -o {output} is a file: use one of them")
    jobs = []
    for one in found:
        if folder:
            job_format = _format(one.source, fmt or FOLDER_FORMAT)
            target = Path(output) / one.below / _target_name(one.source, suffix, job_format)
        else:
            target = Path(output)
            job_format = format_of_suffix(target) if fmt is None else _format(one.source, fmt)
            if target.suffix.lower() in PICTURE_SUFFIXES and _extension(target, job_format) != target.suffix:
                raise PictureError(f"-o {output} and -f {fmt}, which is {job_format} here, contradict each other")
        jobs.append(Job(one.source, target, job_format, _size(one.source), overwrite))
    left_out: tuple[Path, ...] = ()
    if suffix:
        jobs, left_out = _without_earlier_results(jobs, {one.source for one in found if one.was_named})
    jobs = _without_repetitions(jobs)
    jobs, renamed = _with_names_of_their_own(jobs, suffix)
    _refuse_collisions(jobs)
    _refuse_replacing_inputs(jobs)
    root = Path(output) if folder else Path(output).parent
    if shard is not None:
        jobs = [job for job in jobs if shard.has(os.path.relpath(job.target, root))]
    existing = () if overwrite else tuple(job for job in jobs if os.path.lexists(job.target))
    skipped = set(existing)
    return Work(
        jobs=tuple(job for job in jobs if job not in skipped),
        existing=existing,
        left_out=left_out,
        renamed=tuple(renamed),
        planned=tuple(jobs),
        folder=root,
        is_folder=folder and not (len(inputs) == 1 and found[0].was_named),
    )


def _find(inputs: Sequence[Path], output: Path, recursive: bool) -> list[_Found]:
    found = []
    for path in inputs:
        if os.path.isdir(path):
            found += [
                _Found(picture, picture.parent.relative_to(path), False)
                for picture in _pictures_in(path, output, recursive)
            ]
        elif os.path.lexists(path):
            found.append(_Found(path, Path(), True))
        else:
            raise PictureError(f"{path}: no such file or folder")
    return found


def _pictures_in(folder: Path, output: Path, recursive: bool) -> Iterator[Path]:
    """In an order that does not depend on the file system."""
    real_output = output.resolve()

    def refuse(err: OSError) -> None:
        raise PictureError(f"{err.filename}: cannot be searched for pictures ({err.strerror})") from err

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(
            name
            for name in folders
            if recursive and not name.startswith(".") and Path(parent, name).resolve() != real_output
        )
        for name in sorted(files):
            path = Path(parent, name)
            # hidden files: unfinished ones of ours, and what macOS leaves on foreign disks ("._photo.jpg")
            if path.suffix.lower() in PICTURE_SUFFIXES and not name.startswith("."):
                yield path


def _is_folder(inputs: Sequence[Path], output: str, fmt: str | None) -> bool:
    path = Path(output)
    if os.path.isdir(path) or output.endswith(os.sep):
        return True
    if len(inputs) == 1 and not os.path.isdir(inputs[0]):
        if not path.suffix:
            return True
        if fmt is None:
            try:
                format_of_suffix(path)
            except PictureError as err:  # perhaps a folder called "results.v2": refused, not guessed
                raise PictureError(f"-o {err}. If it is to be a folder, write {output}{os.sep}") from err
        return False
    if os.path.lexists(path):
        raise PictureError(f"-o {output} is a file; several pictures or a folder need a folder to go to")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise PictureError(
            f"-o {output} names a single picture; several pictures or a folder need a folder to go to "
            f"(if it is to be one, write {output}{os.sep})"
        )
    return True


def _format(source: Path, requested: str) -> str:
    return output_format(_source_format(source) if requested == "keep" else "", requested)


def _source_format(path: Path) -> str:
    """By the header. A file without a known one is refused when it is read; until then its suffix has to do."""
    found = None
    if os.path.isfile(path):  # opening a pipe would wait for somebody to write into it
        with contextlib.suppress(OSError), path.open("rb") as file:
            found = sniff_format(file.read(HEADER_BYTES))
    if found is None:
        with contextlib.suppress(PictureError):
            found = format_of_suffix(path)
    return found or "unknown"


def _size(path: Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0  # gone or not to be seen: said when it is read


def _target_name(source: Path, suffix: str, fmt: str) -> str:
    known = source.suffix.lower() in PICTURE_SUFFIXES
    stem = source.stem if known else source.name  # "photo.v2" has no suffix to take away
    return stem + suffix + _extension(source, fmt)


def _extension(source: Path, fmt: str) -> str:
    """``.jpeg`` stays ``.jpeg``; otherwise the usual one of the format."""
    try:
        keeps = format_of_suffix(source) == fmt
    except PictureError:
        keeps = False
    return source.suffix if keeps else SUFFIXES[fmt]


def _without_earlier_results(jobs: list[Job], named: set[Path]) -> tuple[list[Job], tuple[Path, ...]]:
    """Where results go beside their sources (``a.png`` -> ``a_x4.png``), a second run finds both."""
    targets = {_real(job.target) for job in jobs}
    results = {job.source for job in jobs if job.source not in named and _real(job.source) in targets}
    return [job for job in jobs if job.source not in results], tuple(sorted(results))


def _without_repetitions(jobs: list[Job]) -> list[Job]:
    """A picture may be named twice, or be named and lie in a folder that is named too."""
    unique = {(_real(job.source), job.target): job for job in reversed(jobs)}
    return list(reversed(unique.values()))


def _with_names_of_their_own(jobs: list[Job], suffix: str) -> tuple[list[Job], list[Job]]:
    """All jobs, and those among them that got another name."""
    groups: dict[Path, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.target, []).append(job)
    taken = set(groups)
    renamed: dict[Job, Job] = {}
    for group in groups.values():
        own = {job.source.suffix.lower() for job in group}
        if len(group) == 1 or len(own) < len(group) or not own <= PICTURE_SUFFIXES:
            continue  # nothing is to be done, or their suffixes would not tell them apart
        for job in group:
            renamed[job] = replace(job, target=_free_name(job, suffix, taken))
            taken.add(renamed[job].target)
    return [renamed.get(job, job) for job in jobs], list(renamed.values())


def _free_name(job: Job, suffix: str, taken: set[Path]) -> Path:
    for number in itertools.count(1):
        stem = f"{job.source.stem}_{job.source.suffix[1:]}{f'_{number}' if number > 1 else ''}{suffix}"
        target = job.target.with_name(stem + _extension(job.source, job.format))
        if target not in taken:
            return target
    raise AssertionError("numbers do not end")


def _refuse_collisions(jobs: list[Job]) -> None:
    first: dict[Path, Job] = {}
    pairs = [(first[job.target], job) for job in jobs if first.setdefault(job.target, job) is not job]
    if pairs:
        one, other = pairs[0]
        more = f", and {len(pairs) - 1} more such pairs" if len(pairs) > 1 else ""
        raise PictureError(
            f"{one.source} and {other.source} would both become {one.target}{more}: "
            "use another output folder for one of them"
        )


def _refuse_replacing_inputs(jobs: list[Job]) -> None:
    by_file = {_real(job.source): job for job in jobs}
    for job in jobs:
        replaced = by_file.get(_real(job.target))
        if replaced is not None:
            raise PictureError(
                f"{job.source} would become {job.target}, which is an input: give the output another name or folder"
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
