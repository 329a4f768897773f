"""What one run of a worker is made of: how many views and pictures, in which shapes, where in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.cuda.device import ALIGNMENT
from edsr_runtime.cuda.engine import Engine, EngineError
from edsr_runtime.cuda.kernels import Pixel
from edsr_runtime.dihedral import VIEWS
from edsr_runtime.errors import ShapeError
from edsr_runtime.trt.profile import Size

_FLOAT_BYTES = 4
_HALF = len(VIEWS) // 2


@dataclass(frozen=True)
class Task:
    """Pictures of one size that go through the network together."""

    pixel: Pixel
    """Of the pictures and of the result."""
    pictures: int
    height: int
    """LR pixels."""
    width: int
    ensemble: bool
    """The mean of the eight views is wanted, of one picture."""

    @classmethod
    def of(cls, pixels: NDArray[Any], ensemble: bool) -> "Task":
        """For (N, H, W, 3) uint8 or (N, 3, H, W) float32."""
        is_bytes = pixels.dtype == np.uint8
        channel = 3 if is_bytes else 1
        if pixels.ndim != 4 or pixels.shape[channel] != 3 or not (is_bytes or pixels.dtype == np.float32):
            raise ShapeError(f"expected (N, H, W, 3) uint8 or (N, 3, H, W) float32, got {pixels.shape} {pixels.dtype}")
        pictures, height, width = (size for axis, size in enumerate(pixels.shape) if axis != channel)
        assert pictures == 1 or not ensemble, "one picture at a time"
        return cls("bytes" if is_bytes else "floats", pictures, height, width, ensemble)

    @property
    def views(self) -> int:
        """Of each picture, that go through the network."""
        return len(VIEWS) if self.ensemble else 1

    def result_shape(self, scale: int) -> tuple[int, int, int, int]:
        """Of the array that comes out."""
        height, width = scale * self.height, scale * self.width
        return (self.pictures, height, width, 3) if self.pixel == "bytes" else (self.pictures, 3, height, width)

    @property
    def source_bytes(self) -> int:
        """Of the pictures."""
        return 3 * self.pictures * self.height * self.width * (1 if self.pixel == "bytes" else _FLOAT_BYTES)

    def result_bytes(self, scale: int) -> int:
        """Of the result."""
        return scale**2 * self.source_bytes


@dataclass(frozen=True)
class Share:
    """What one lane computes: ``count`` runs of ``size``, each a chunk of the views or all of the pictures."""

    size: Size
    count: int
    first: int
    """View."""
    lr_bytes: int
    """Of one run's input."""
    sr_stride: int
    """Bytes from one run's output to that of the next."""
    sr_item: int
    """Bytes of one picture or view in an output."""

    @property
    def half(self) -> int:
        """Bytes from the output of view 0 to that of view 4, where all eight are in this share."""
        run, index = divmod(_HALF, self.size.batch)
        return run * self.sr_stride + index * self.sr_item


def shares(task: Task, engine: Engine) -> tuple[Share, ...]:
    """How a task is spread over lanes: one, or for views of two shapes, two.

    Square pictures have their eight views in one batch, others in two batches of four; in smaller ones where the
    engine takes no such batch.

    Raises:
        EngineError: the engine's profile does not hold it.
        ShapeError: the engine has uint8 in and out, and these are floats.
    """
    if engine.io == "uint8" and task.pixel != "bytes":
        raise ShapeError(
            "this engine takes and gives uint8, so it runs neither 16-bit nor gray nor translucent pictures: "
            "build one from a model that was exported with --io float"
        )
    assert engine.io == "float" or not task.ensemble, "its views would be rounded before they are averaged"
    most = engine.profile.max.batch
    height, width = task.height, task.width
    if not task.ensemble:
        return (_share(Size(task.pictures, height, width), 1, 0, engine),)
    if height == width:
        chunk = _power_of_two(min(most, len(VIEWS)))
        return (_share(Size(chunk, height, width), len(VIEWS) // chunk, 0, engine),)
    chunk = _power_of_two(min(most, _HALF))
    return (
        _share(Size(chunk, height, width), _HALF // chunk, 0, engine),
        _share(Size(chunk, width, height), _HALF // chunk, _HALF, engine),
    )


def _share(size: Size, count: int, first: int, engine: Engine) -> Share:
    if not engine.profile.holds(size):
        raise EngineError(
            f"the engine takes {engine.profile}, not {size}: use other tiles, or build one with other shapes"
        )
    lr_item = 3 * size.height * size.width * (_FLOAT_BYTES if engine.io == "float" else 1)
    sr_item = lr_item * engine.scale**2
    return Share(size, count, first, size.batch * lr_item, _aligned(size.batch * sr_item), sr_item)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _power_of_two(limit: int) -> int:
    """The largest one that is not above."""
    return 1 << limit.bit_length() - 1
