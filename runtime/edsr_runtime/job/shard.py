"""A share of the pictures for one of several machines that need not know of each other."""

import hashlib
import os
import re
from dataclasses import dataclass

from edsr_runtime.errors import EdsrError

_MAX_COUNT = 100_000


@dataclass(frozen=True)
class Shard:
    """The i-th of n shares.

    Whether a picture belongs to it depends on nothing but the name of its result: files that come or go while the
    machines start one after another change the share of no other picture.
    """

    index: int
    """1 to ``count``."""
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """``3/8``.

        Raises:
            EdsrError: it is not that.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= _MAX_COUNT:
            raise EdsrError(f"{text!r} is not a share such as 1/4, 2/4, 3/4 or 4/4")
        return cls(int(match[1]), int(match[2]))

    def has(self, name: str) -> bool:
        """Whether the picture whose result has this name, seen from the output folder, belongs to this share."""
        number = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big")
        return number % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
