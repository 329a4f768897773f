"""What the pixels of a job depend on besides its inputs: changed settings mean other outputs."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edsr_runtime.errors import ModelFileError
from edsr_runtime.job.digest import digest_of
from edsr_runtime.jobs import Job

_LOSSY = ("jpg", "webp")


@dataclass(frozen=True)
class Settings:
    """As asked for: ``auto`` is a setting of its own, whatever it chooses. What it has chosen for the tile is kept in
    the journal, since it depends on the memory that was free then."""

    model_sha256: str
    """Of the model's file."""
    backend: str
    precision: str
    tile: int | str
    halo: int | None
    self_ensemble: bool
    quality: int
    """Of JPEG and WebP; the other formats do not depend on it."""

    def hash_for(self, job: Job) -> str:
        """Of what one picture depends on, as 64 hexadecimal digits."""
        found = asdict(self) | {"format": job.format}
        if job.format not in _LOSSY:
            del found["quality"]
        return _hash(found)

    def hash_for_tiles(self) -> str:
        """Of what the automatic choice of a tile depends on besides the memory there is."""
        return _hash({"model_sha256": self.model_sha256, "halo": self.halo})


def _hash(found: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def model_sha256(path: Path) -> str:
    """Of a model's file.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        return digest_of(path).sha256
    except OSError as err:
        raise ModelFileError(f"{path}: cannot be read ({err.strerror})") from err
