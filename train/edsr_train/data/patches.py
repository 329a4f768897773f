"""Which patches an update sees: a function of the seed and the update's number, and of nothing else.

So a run's place in its data is the number of its update, whether it was stopped in between, and however many processes
share a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edsr_runtime.errors import EdsrError

PLAN_VERSION = 1
"""Raised when the same seed and update give other patches."""

_DRAWS = 4  # numbers per patch: picture, top, left, orientation

Integers = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Plan:
    """The patches of one update, in order: arrays of one number per patch."""

    scale: int
    picture: Integers
    """Index among the training pictures."""
    top: Integers
    """Uppermost row of the LR patch."""
    left: Integers
    """Leftmost column of the LR patch."""
    turns: Integers
    """Quarter turns, counterclockwise: 0 to 3."""
    mirror: Integers
    """1: left and right change places after that."""

    def __len__(self) -> int:
        return len(self.picture)

    def part(self, rank: int, world: int) -> "Plan":
        """What the process ``rank`` of ``world`` cuts; the parts in order of rank make up the whole.

        Raises:
            EdsrError: there are more processes than patches.
        """
        if len(self) < world:
            raise EdsrError(
                f"a batch of {len(self)} patches cannot be shared by {world} processes. Choose a larger one"
            )
        mine = slice(len(self) * rank // world, len(self) * (rank + 1) // world)
        arrays = (self.picture, self.top, self.left, self.turns, self.mirror)
        return Plan(self.scale, *(array[mine] for array in arrays))


def draw(seed: int, update: int, batch: int, patch: int, lr_hw: Mapping[int, Integers]) -> Plan:
    """Draw a scale, pictures by their area with replacement, a place in each and one of the eight orientations.

    The first patches are the same for every size of batch. Only raw bits of Philox (Salmon et al., SC 2011) are used,
    which NumPy keeps the same in all versions, as it does not promise of its distributions.

    Args:
        seed: not negative.
        update: counted from 0.
        batch: number of patches.
        patch: side of an LR patch; no picture may be smaller.
        lr_hw: by scale, (H, W) of every LR picture (n, 2).
    """
    # The number of the update is the counter's second word: the first one counts within the update.
    words = np.random.Philox(key=seed % 2**128, counter=update << 64).random_raw(1 + _DRAWS * batch)
    uniform = (words >> np.uint64(11)) * 2.0**-53  # 53 bits, in [0, 1)
    scales = sorted(lr_hw)
    scale = scales[int(uniform[0] * len(scales))]
    which, down, right, view = uniform[1:].reshape(batch, _DRAWS).T
    areas = np.cumsum(lr_hw[scale].prod(axis=1))
    picture = areas.searchsorted(_below(which, areas[-1]), side="right")
    free = lr_hw[scale][picture] - patch + 1
    turns, mirror = np.divmod(_below(view, 8), 2)
    return Plan(scale, picture, _below(down, free[:, 0]), _below(right, free[:, 1]), turns, mirror)


def _below(uniform: Floats, limit: Integers | np.int64 | int) -> Integers:
    """Integers from 0 to ``limit`` - 1."""
    return (uniform * limit).astype(np.int64)
