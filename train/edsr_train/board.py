"""A run in TensorBoard: its scalars, and crops of validation pictures."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar

from edsr_runtime.errors import DataError
from edsr_train.data.pictures import Pair, Pixels
from edsr_train.evaluate import super_resolve, upscale_bicubic
from edsr_train.loop import Progress, Record
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.validation import Validation

_CROPS = 3
_SIDE = 48  # of a crop, LR pixels
_VERSION = "brain.Event:2"  # of TensorBoard's files, in their first event


class Board:
    """Watches a run and writes TensorBoard's events.

    Not with its SummaryWriter, which writes in a thread: there a full disk is a traceback at no particular place.
    """

    def __init__(self, folder: Path, done: int, validation: Validation) -> None:
        """Write to ``folder``; events after the update ``done`` are hidden, as they come again.

        Raises:
            DataError: the folder cannot be written to.
        """
        name = f"events.out.tfevents.{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / name).open("wb", buffering=0)
        except OSError as err:
            raise DataError(f"{folder}: cannot be written to ({err.strerror})") from err
        self._events = RecordWriter(self._file)
        self._crops = {
            scale: [_middle(pair, scale) for pair in pairs[:_CROPS]] for scale, pairs in validation.pairs.items()
        }
        self._add(0, file_version=_VERSION)
        if done:
            self._add(done + 1, session_log=SessionLog(status=SessionLog.START))

    def updated(self, _: Progress) -> None:
        """Nothing."""

    def recorded(self, record: Record, network: SuperResolutionNetwork) -> None:
        """Add scalars; after a validation also bicubic, SR and HR of a few crops, side by side.

        Raises:
            OSError: the disk is full.
        """
        scalars = {"loss": record.loss, "learning rate": record.lr, "updates per second": record.updates_per_second}
        for name, value in scalars.items():
            self._add(record.update, summary=scalar(name, value))
        for scale, psnr in (record.psnr or {}).items():
            self._add(record.update, summary=scalar(f"PSNR {record.protocol} x{scale}", psnr))
            for crop in self._crops[scale]:
                pixels = [upscale_bicubic(crop.lr, scale), _sr(network, crop, scale), crop.hr]
                name = f"bicubic, SR, HR/x{scale} {crop.name}"
                self._add(record.update, summary=image(name, np.concatenate(pixels, axis=1), dataformats="HWC"))

    def close(self) -> None:
        """Nothing is left to be written."""
        self._file.close()

    def _add(self, step: int, **event: Any) -> None:
        self._events.write(Event(wall_time=time.time(), step=step, **event).SerializeToString())


def _middle(pair: Pair, scale: int) -> Pair:
    height, width = pair.lr.shape[:2]
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    lr = pair.lr[top : top + _SIDE, left : left + _SIDE]
    hr = pair.hr[top * scale :, left * scale :][: lr.shape[0] * scale, : lr.shape[1] * scale]
    return Pair(pair.name, lr, hr)


def _sr(network: SuperResolutionNetwork, crop: Pair, scale: int) -> Pixels:
    was_training = network.training
    with torch.no_grad():
        sr = super_resolve(network.eval().branch(scale), crop.lr)
    network.train(was_training)
    return sr
