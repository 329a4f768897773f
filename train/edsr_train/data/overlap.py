"""Photographs that are both trained on and validated on: the same files, whatever their names and folders."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def same_files(some: Iterable[Path], others: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Every one of ``some`` whose bytes are those of one of ``others``, with that one.

    Only files of equal size are read. Those that cannot be are passed over: whoever uses them says why.
    """
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in others:
        by_size[_size(file)].append(file)
    hashes: dict[Path, str] = {}
    found = []
    for file in some:
        candidates = by_size.get(_size(file), []) if _size(file) >= 0 else []
        same = next((other for other in candidates if _hash(other, hashes) == _hash(file, hashes) != ""), None)
        if same is not None:
            found.append((file, same))
    return found


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _hash(file: Path, known: dict[Path, str]) -> str:
    if file not in known:
        try:
            with file.open("rb") as opened:
                known[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError:
            known[file] = ""
    return known[file]
