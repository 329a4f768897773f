"""A run in TensorBoard: its scalars, and crops of validation pictures."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from edsr_runtime.resize import imresize
from edsr_train.data.pictures import Pair, Pixels
from edsr_train.evaluate import super_resolve
from edsr_train.loop import Progress, Record
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.validation import Validation

_CROPS = 3
_SIDE = 48  # of a crop, LR pixels


class Board:
    """Watches a run and writes TensorBoard's events."""

    def __init__(self, folder: Path, done: int, validation: Validation) -> None:
        """Write to ``folder``; events after the update ``done`` are hidden, as they come again."""
        self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)
        self._crops = {
            scale: [_middle(pair, scale) for pair in pairs[:_CROPS]] for scale, pairs in validation.pairs.items()
        }

    def updated(self, _: Progress) -> None:
        """Nothing."""

    def recorded(self, record: Record, network: SuperResolutionNetwork) -> None:
        """Add scalars; after a validation also bicubic, SR and HR of a few crops, side by side."""
        scalars = {"loss": record.loss, "learning rate": record.lr, "updates per second": record.updates_per_second}
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, record.update)
        for scale, psnr in (record.psnr or {}).items():
            self._writer.add_scalar(f"PSNR {record.protocol} x{scale}", psnr, record.update)
            for crop in self._crops[scale]:
                picture = np.concatenate([_bicubic(crop, scale), _sr(network, crop, scale), crop.hr], axis=1)
                name = f"bicubic, SR, HR/x{scale} {crop.name}"
                self._writer.add_image(name, picture, record.update, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def _middle(pair: Pair, scale: int) -> Pair:
    height, width = pair.lr.shape[:2]
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    lr = pair.lr[top : top + _SIDE, left : left + _SIDE]
    hr = pair.hr[top * scale :, left * scale :][: lr.shape[0] * scale, : lr.shape[1] * scale]
    return Pair(pair.name, lr, hr)


def _bicubic(crop: Pair, scale: int) -> Pixels:
    return np.asarray(imresize(crop.lr, scale), np.uint8)


def _sr(network: SuperResolutionNetwork, crop: Pair, scale: int) -> Pixels:
    was_training = network.training
    with torch.no_grad():
        sr = super_resolve(network.eval().branch(scale), crop.lr)
    network.train(was_training)
    return sr
