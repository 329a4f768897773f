"""The networks and their configurations."""

from edsr_train.models.edsr import EDSR, EDSRConfig
from edsr_train.models.mdsr import MDSR, MDSRConfig

__all__ = ["EDSR", "MDSR", "EDSRConfig", "MDSRConfig"]
