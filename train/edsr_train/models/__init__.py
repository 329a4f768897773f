"""The networks and their configurations."""

from edsr_train.models.carn import CARN, CARNConfig
from edsr_train.models.edsr import EDSR, EDSRConfig
from edsr_train.models.espcn import ESPCN, ESPCNConfig
from edsr_train.models.fsrcnn import FSRCNN, FSRCNNConfig
from edsr_train.models.lesrcnn import LESRCNN, LESRCNNConfig
from edsr_train.models.mdsr import MDSR, MDSRConfig
from edsr_train.models.srcnn import SRCNN, SRCNNConfig
from edsr_train.models.srresnet import SRResNet, SRResNetConfig
from edsr_train.models.vdsr import VDSR, VDSRConfig

__all__ = [
    "CARN",
    "EDSR",
    "ESPCN",
    "FSRCNN",
    "LESRCNN",
    "MDSR",
    "SRCNN",
    "VDSR",
    "CARNConfig",
    "EDSRConfig",
    "ESPCNConfig",
    "FSRCNNConfig",
    "LESRCNNConfig",
    "MDSRConfig",
    "SRCNNConfig",
    "SRResNet",
    "SRResNetConfig",
    "VDSRConfig",
]
