"""What would be done with a picture, without doing it."""

from pathlib import Path
from typing import Protocol

from edsr_runtime.jobs import Job
from edsr_runtime.pictures.read import read_picture
from edsr_runtime.pipeline import Options, Read, open_target
from edsr_runtime.tiling import Plan


class Planner(Protocol):
    """What cuts pictures into tiles: an ``Upscaler``."""

    @property
    def scale(self) -> int: ...

    def plan(self, height: int, width: int) -> Plan: ...


def describe_job(job: Job, planner: Planner, options: Options, read: Read = read_picture) -> str:
    """Sizes, tiles and output of one picture, in one line. The picture is decoded: only then are its size (EXIF may
    turn it), alpha and depth certain. Nothing is written.

    Raises:
        EdsrError: the same that the run itself would meet before inference.
    """
    picture = read(job.source, options.max_pixels)
    plan = planner.plan(picture.height, picture.width)
    # the folder need not exist yet, but what the format can hold is checked as for the file itself
    probe = _existing_parent(job.target) / job.target.name
    open_target(job, picture, planner.scale, options.quality, probe)
    height, width = planner.scale * picture.height, planner.scale * picture.width
    return f"{job.source}: {plan} -> {job.target}: {height}x{width} (HxW) {job.format}"


def _existing_parent(path: Path) -> Path:
    return next((parent for parent in path.parents if parent.is_dir()), Path())
