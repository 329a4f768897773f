"""Photographs to train on, of all sets and scales, and the batches that are cut from them."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edsr_runtime.errors import DataError
from edsr_train.data.patches import PLAN_VERSION, Integers, Plan, draw
from edsr_train.data.pixel_file import PixelFile, Stored
from edsr_train.data.prepare import Prepared, prepare
from edsr_train.data.sets import Source, lr_origin
from edsr_train.data.store import Report

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Counts:
    """What became of the photographs."""

    photographs: int
    """That patches are cut from."""
    too_small: int
    """Photographs that are left out, because a side is shorter than a patch."""
    copies: int
    """Rescaled copies that patches are cut from."""
    copies_too_small: int
    """Rescaled copies that are left out."""
    nbytes: int
    """Of all pixels together, LR too."""

    def lines(self, side: int) -> list[str]:
        """For people."""
        kinds = [(self.photographs, self.too_small, "pictures")]
        if self.copies or self.copies_too_small:
            kinds.append((self.copies, self.copies_too_small, "rescaled copies"))
        return [f"{n} of {n + small} {kind} have both sides of at least {side} pixels" for n, small, kind in kinds]


class TrainingSet:
    """What ``open_training_set`` opened."""

    patch: int
    """Side of an LR patch."""
    scales: tuple[int, ...]
    """Ascending."""
    device: torch.device
    """Where batches are."""
    counts: Counts
    place: str
    """Where the pictures are, for people."""
    notes: tuple[str, ...]
    """Lines to print: what had to be prepared and why, where LR is from, and what there is now."""
    fingerprint: str
    """SHA-256, equal if the same seed and update draw the same pixels; of names, sizes and checksums in order."""

    def __init__(
        self,
        prepared: Sequence[Prepared],
        scales: Sequence[int],
        patch: int,
        device: torch.device = CPU,
        notes: Sequence[str] = (),
    ) -> None:
        self.patch, self.scales, self.device = patch, tuple(sorted(scales)), device
        side = patch * self.scales[-1]
        used = [
            (group, index)
            for group in prepared
            for index, picture in enumerate(group.hr.pictures)
            if min(picture.hw) >= side
        ]
        if not used:
            raise DataError(f"no training picture has both sides of at least {side} pixels; choose a smaller patch")
        files = [file for group in prepared for file in (group.hr, *group.lr.values())]
        self.counts = _count(prepared, used, sum(file.pixels.size for file in files))
        self.fingerprint = _fingerprint(used, self.scales, patch)
        on_gpu = device.type == "cuda" and fits(self.counts.nbytes, torch.cuda.mem_get_info(device)[0])
        self.place = f"in the memory of {device}" if on_gpu else f"mapped from {files[0].path.parent}"
        self.notes = (*notes, *self.counts.lines(side), f"{self.counts.nbytes / 1e9:.2f} GB, {self.place}")
        pictures = {file.path: _tensors(file, device if on_gpu else CPU) for file in files}
        self._hr = [pictures[group.hr.path][index] for group, index in used]
        self._lr = {scale: [pictures[group.lr[scale].path][index] for group, index in used] for scale in self.scales}
        self._lr_hw: dict[int, Integers] = {
            scale: np.array([group.lr[scale].pictures[index].hw for group, index in used], np.int64)
            for scale in self.scales
        }

    def plan(self, seed: int, update: int, batch: int) -> Plan:
        """The patches of an update; see ``patches.draw``."""
        return draw(seed, update, batch, self.patch, self._lr_hw)

    def cut(self, plan: Plan) -> tuple[Tensor, Tensor]:
        """The pixels of these patches.

        Returns:
            LR (n, 3, patch, patch) and HR (n, 3, scale*patch, scale*patch), float32 in 0..255, on ``device``.
        """
        return self._batch(self._lr[plan.scale], plan, 1), self._batch(self._hr, plan, plan.scale)

    def _batch(self, pictures: Sequence[Tensor], plan: Plan, scale: int) -> Tensor:
        side = self.patch * scale
        arrays = (plan.picture, plan.top * scale, plan.left * scale, plan.turns, plan.mirror)
        patches = [
            _turned(pictures[index][top : top + side, left : left + side], turns, mirror)
            for index, top, left, turns, mirror in zip(*(array.tolist() for array in arrays), strict=True)
        ]
        where = pictures[0].device
        pinned = where.type == "cpu" and self.device.type == "cuda"
        batch = torch.empty((len(plan), side, side, 3), dtype=torch.uint8, device=where, pin_memory=pinned)
        torch.stack(patches, out=batch)
        # the bytes are moved, then reordered, then made floats: each time the fewest bytes
        return batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2).contiguous().float()


def open_training_set(
    sources: Sequence[Source],
    scales: tuple[int, ...],
    patch: int,
    *,
    rescale: tuple[float, ...] = (),
    cache: Path,
    device: torch.device = CPU,
    report: Report = lambda done, total, what: None,
    problems: Sequence[str] = (),
) -> TrainingSet:
    """Decode everything once, into files that the next run finds again.

    Args:
        sources: found for these scales; may be of several sets.
        scales: of the LR versions.
        patch: side of an LR patch.
        rescale: factors below 1, each of which adds a shrunk copy of every photograph.
        cache: folder of these files.
        device: where batches go. The pictures too, if they fit in half of a GPU's free memory; else they stay mapped
            from their files.
        report: progress.
        problems: of pictures, found before; they are listed together with those found here.

    Raises:
        DataError: pictures that cannot be used (all are listed), none that is large enough, copies whose LR versions
            are not known, or a cache that cannot be written to.
    """
    prepared, notes = prepare(sources, scales, rescale, cache, report, problems)
    return TrainingSet(prepared, scales, patch, device, [*notes, f"LR: {lr_origin(sources)}"])


def fits(nbytes: int, free_bytes: int) -> bool:
    """Whether pictures may live in a GPU's memory: in half of what is free, the rest is for the network."""
    return nbytes <= free_bytes // 2


def _count(prepared: Sequence[Prepared], used: Sequence[tuple[Prepared, int]], nbytes: int) -> Counts:
    photographs = sum(len(group.hr.pictures) for group in prepared if group.factor == 1)
    copies = sum(len(group.hr.pictures) for group in prepared) - photographs
    photographs_used = sum(group.factor == 1 for group, _ in used)
    copies_used = len(used) - photographs_used
    return Counts(photographs_used, photographs - photographs_used, copies_used, copies - copies_used, nbytes)


def _fingerprint(used: Sequence[tuple[Prepared, int]], scales: Sequence[int], patch: int) -> str:
    pictures = [
        (
            group.hr.pictures[index].name,
            _contents(group.hr.pictures[index]),
            *(_contents(group.lr[scale].pictures[index]) for scale in scales),
        )
        for group, index in used
    ]
    return hashlib.sha256(json.dumps([PLAN_VERSION, patch, scales, pictures]).encode()).hexdigest()


def _contents(picture: Stored) -> tuple[int, int, int]:
    return picture.height, picture.width, picture.crc32


def _tensors(file: PixelFile, device: torch.device) -> list[Tensor]:
    """Every picture (H, W, 3), as part of one flat tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it cannot be written to, which nobody does
        flat = torch.from_numpy(file.pixels)
    flat = flat.to(device)
    return [flat[p.offset : p.offset + p.size].view(p.height, p.width, 3) for p in file.pictures]


def _turned(patch: Tensor, turns: int, mirror: int) -> Tensor:
    """As ``numpy.rot90``, then left and right swapped, of (H, W, 3)."""
    patch = torch.rot90(patch, turns)
    return patch.flip(1) if mirror else patch
