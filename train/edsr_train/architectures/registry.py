"""All networks whose checkpoints can be saved and loaded. A new one adds its line here."""

from edsr_train.architectures.base import Architecture
from edsr_train.architectures.carn import CARN_CHECKPOINTS
from edsr_train.architectures.edsr import EDSR_CHECKPOINTS
from edsr_train.architectures.espcn import ESPCN_CHECKPOINTS
from edsr_train.architectures.fsrcnn import FSRCNN_CHECKPOINTS
from edsr_train.architectures.lesrcnn import LESRCNN_CHECKPOINTS
from edsr_train.architectures.mdsr import MDSR_CHECKPOINTS
from edsr_train.architectures.srcnn import SRCNN_CHECKPOINTS
from edsr_train.architectures.srresnet import SRRESNET_CHECKPOINTS
from edsr_train.architectures.vdsr import VDSR_CHECKPOINTS

ARCHITECTURES: tuple[Architecture, ...] = (
    EDSR_CHECKPOINTS,
    MDSR_CHECKPOINTS,
    SRRESNET_CHECKPOINTS,
    SRCNN_CHECKPOINTS,
    FSRCNN_CHECKPOINTS,
    ESPCN_CHECKPOINTS,
    VDSR_CHECKPOINTS,
    CARN_CHECKPOINTS,
    LESRCNN_CHECKPOINTS,
)
