"""A file of decoded pictures that is mapped into memory: their pixels, an index, and a footer that finds the index.

```
pixels of picture 0 (H, W, 3) uint8 | pixels of picture 1 | ... | index, JSON | magic, length and CRC-32 of the index
```
"""

import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from edsr_train.data.pictures import Pixels

_MAGIC = b"EDSRPIX1"
_FOOTER = struct.Struct("<8sQI")

Stamp = tuple[str, int, int]
"""What pixels were made of, to notice a change: name, size in bytes, and the time of the file's last change in
nanoseconds, or the checksum of the pixels."""


class DamagedFileError(Exception):
    """A file that is not, or no longer, what was written; the text says in what."""


@dataclass(frozen=True)
class Stored:
    """One picture in a file."""

    name: str
    stamps: tuple[Stamp, ...]
    """Of what it was made of."""
    height: int
    width: int
    offset: int
    """Of its pixels in the file."""
    crc32: int
    """Of its pixels."""

    @property
    def hw(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return self.height * self.width * 3


@dataclass(frozen=True, eq=False)
class PixelFile:
    """An open file."""

    path: Path
    recipe: Mapping[str, Any]
    """What was done to the pictures: plain types."""
    pictures: tuple[Stored, ...]
    pixels: Pixels
    """Of all pictures, flat; mapped, and not to be written to."""

    def __getitem__(self, index: int) -> Pixels:
        """The pixels of a picture (H, W, 3)."""
        stored = self.pictures[index]
        return self._flat(stored).reshape(stored.height, stored.width, 3)

    def verify(self, report: Callable[[int, int], None]) -> None:
        """Compare all pixels with their checksums.

        Args:
            report: called after each picture, with the number of those verified and of all.

        Raises:
            DamagedFileError: the pixels are not those that were written.
        """
        for number, stored in enumerate(self.pictures):
            if isal_zlib.crc32(self._flat(stored)) != stored.crc32:
                raise DamagedFileError(f"the pixels of {stored.name} have another checksum")
            report(number + 1, len(self.pictures))

    def _flat(self, stored: Stored) -> Pixels:
        return self.pixels[stored.offset : stored.offset + stored.size]


def write_pixels(
    path: Path, recipe: Mapping[str, Any], pictures: Iterable[tuple[str, tuple[Stamp, ...], Pixels]]
) -> None:
    """Write whole or not at all: beside the path, then renamed. By one process at a time.

    Args:
        path: replaced if it exists.
        recipe: kept beside the pixels.
        pictures: name, stamps and pixels (H, W, 3) of each; if the iterable raises, nothing is written.

    Raises:
        OSError: the file cannot be written.
    """
    # Always the same name: what a killed process left is overwritten by the next one.
    partial = path.with_name(f".{path.name}.partial")
    index: list[Stored] = []
    offset = 0
    try:
        with partial.open("wb") as file:
            for name, stamps, pixels in pictures:
                height, width = pixels.shape[:2]
                data = np.ascontiguousarray(pixels).reshape(-1)
                index.append(Stored(name, stamps, height, width, offset, isal_zlib.crc32(data)))
                file.write(data.data)
                offset += data.size
            contents = {"recipe": dict(recipe), "pictures": [asdict(picture) for picture in index]}
            text = json.dumps(contents, separators=(",", ":")).encode()
            file.write(text)
            file.write(_FOOTER.pack(_MAGIC, len(text), isal_zlib.crc32(text)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def map_pixels(path: Path) -> PixelFile:
    """Map a file that ``write_pixels`` wrote; its pixels are not verified yet.

    Raises:
        DamagedFileError: the file is cut off, or its index is not what was written.
        OSError: there is no such file, or it cannot be read.
    """
    contents = _read_index(path)
    pictures = tuple(
        Stored(**{**entry, "stamps": tuple((name, size, mark) for name, size, mark in entry["stamps"])})
        for entry in contents["pictures"]
    )
    # Not mode "c": Linux refuses a private writable mapping that is larger than the memory.
    pixels: Pixels = np.asarray(np.memmap(path, np.uint8, mode="r"))
    return PixelFile(path, contents["recipe"], pictures, pixels[: sum(picture.size for picture in pictures)])


def _read_index(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - _FOOTER.size))
        footer = file.read()
        if len(footer) < _FOOTER.size:
            raise DamagedFileError("it is cut off")
        magic, index_length, crc32 = _FOOTER.unpack(footer)
        start = length - _FOOTER.size - index_length
        if magic != _MAGIC or start < 0:
            raise DamagedFileError("it is cut off, or of another version")
        file.seek(start)
        text = file.read(index_length)
    if isal_zlib.crc32(text) != crc32:
        raise DamagedFileError("its index has another checksum")
    contents: dict[str, Any] = json.loads(text)
    if sum(3 * entry["height"] * entry["width"] for entry in contents["pictures"]) != start:
        raise DamagedFileError("it has another length than its index says")
    return contents
