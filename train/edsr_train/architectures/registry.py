"""All networks whose checkpoints can be saved and loaded. A new one adds its line here."""

from edsr_train.architectures.base import Architecture
from edsr_train.architectures.edsr import EDSR_CHECKPOINTS
from edsr_train.architectures.mdsr import MDSR_CHECKPOINTS

ARCHITECTURES: tuple[Architecture, ...] = (EDSR_CHECKPOINTS, MDSR_CHECKPOINTS)
