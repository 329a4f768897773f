import pytest
import torch

from edsr_export.cost import cost_at_paper_size
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig
from edsr_train.models.branch import SuperResolutionNetwork

# Mult-Adds in 10^9 at HR 1280x720, as published: Ahn et al., "CARN", table 1, and the surveys after it
PUBLISHED = [
    (EDSRConfig(2), {2: 316.3}),
    (EDSRConfig(3), {3: 160.3}),
    (EDSRConfig(4), {4: 114.2}),
    (EDSRConfig(2, 32, 256, 0.1), {2: 9384.7}),
    (EDSRConfig(3, 32, 256, 0.1), {3: 4476.5}),
    (EDSRConfig(4, 32, 256, 0.1), {4: 2894.5}),
    (MDSRConfig(n_resblocks=16), {2: 410.6, 3: 202.3, 4: 137.8}),
    (MDSRConfig(), {2: 1497.8, 3: 685.4, 4: 409.6}),
]


@pytest.mark.parametrize(("config", "published"), PUBLISHED, ids=lambda value: str(value)[:40])
def test_published_mult_adds_are_reproduced(config: EDSRConfig | MDSRConfig, published: dict[int, float]) -> None:
    with torch.device("meta"):
        network: SuperResolutionNetwork = EDSR(config) if isinstance(config, EDSRConfig) else MDSR(config)
    for scale, giga in published.items():
        counted = cost_at_paper_size(network.branch(scale), scale).mult_adds / 1e9
        assert counted == pytest.approx(giga, rel=0.005)
