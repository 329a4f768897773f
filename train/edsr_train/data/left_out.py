"""What lies among photographs and is not taken: said, since folders are searched without a list of their files."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from edsr_train.data.pictures import is_picture

_MOST_NAMED = 5


def left_out(roots: Iterable[Path]) -> list[str]:
    """A line for each folder with files or folders that were passed over.

    Args:
        roots: folders that are searched with those below. What is hidden is not spoken of.
    """
    lines = []
    for root in dict.fromkeys(roots):
        kinds, links = _found(root)
        if kinds:
            count = sum(kinds.values())
            lines.append(f"{root}: {count} files are no pictures that are taken: {_listed(kinds)}")
        if links:
            names = ", ".join(links[:_MOST_NAMED]) + (", ..." if len(links) > _MOST_NAMED else "")
            lines.append(f"{root}: links to folders are not followed ({names}). Name what is meant with --data")
    return lines


def _found(root: Path) -> tuple[Counter[str], list[str]]:
    kinds: Counter[str] = Counter()
    links: list[str] = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links += [str(path.relative_to(root)) for name in folders if (path := Path(place, name)).is_symlink()]
        others = (Path(name) for name in files if not name.startswith(".") and not is_picture(Path(name)))
        kinds.update(file.suffix.lower() or "no suffix" for file in others)
    return kinds, links


def _listed(kinds: Counter[str]) -> str:
    named = [f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))]
    more = [f"{len(named) - _MOST_NAMED} more kinds"] if len(named) > _MOST_NAMED else []
    return ", ".join([*named[:_MOST_NAMED], *more])
