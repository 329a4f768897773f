"""Which pictures of a set: by their numbers, as in ``1-800``."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edsr_runtime.errors import EdsrError

_RANGE = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", re.ASCII)


@dataclass(frozen=True)
class Selection:
    """Numbers of pictures, or everything."""

    ranges: tuple[tuple[int, int], ...] | None
    """First and last, ascending and disjoint; None: everything."""

    @classmethod
    def parse(cls, text: str) -> "Selection":
        """``801``, ``1-800``, ``1-800,851-900`` or ``all``.

        Raises:
            EdsrError: something else.
        """
        if text.strip() == "all":
            return ALL
        ranges = []
        for part in text.split(","):
            found = _RANGE.fullmatch(part)
            if found is None:
                raise EdsrError(
                    f"{text!r} are no numbers of pictures: expected such as 801, 1-800, 1-800,851-900 or all"
                )
            first, last = int(found[1]), int(found[2] or found[1])
            if last < first:
                raise EdsrError(f"{text!r}: the range {first}-{last} runs backwards, expected the smaller number first")
            ranges.append((first, last))
        return cls(_disjoint(ranges))

    def __contains__(self, number: int) -> bool:
        return self.ranges is None or any(first <= number <= last for first, last in self.ranges)

    def __str__(self) -> str:
        if self.ranges is None:
            return "all"
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)

    def missing(self, present: set[int]) -> tuple[int, Iterator[int]]:
        """How many numbers are asked for that are not present, and which, ascending."""
        ranges = self.ranges or ()
        count = sum(last - first + 1 for first, last in ranges) - sum(number in self for number in present)
        numbers = itertools.chain.from_iterable(range(first, last + 1) for first, last in ranges)
        return count, (number for number in numbers if number not in present)


ALL = Selection(None)


def number_of(file: Path) -> int | None:
    """The number that a picture's name ends in: 801 for ``0801.png``, 12 for ``img_012.png``; None: there is none."""
    found = re.search(r"[0-9]+$", file.stem)
    return None if found is None else int(found[0])


def _disjoint(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)
