import pytest
import torch
import torch.nn.functional as F

from edsr_export.receptive_field import receptive_radius
from edsr_train.models import EDSR, MDSR, EDSRConfig, MDSRConfig

# one pixel for each 3x3 convolution in a row, two for each 5x5 one, and two for the tail
EXPECTED = [
    (EDSR(EDSRConfig(2, 16, 4)), 2, 36),
    (EDSR(EDSRConfig(4, 16, 4)), 4, 36),
    (EDSR(EDSRConfig(3, 32, 4)), 3, 68),
    (EDSR(EDSRConfig(4, 5, 4, tail="direct")), 4, 14),
    (MDSR(MDSRConfig(n_resblocks=16, n_feats=4)), 3, 44),
    (MDSR(MDSRConfig(n_resblocks=80, n_feats=4)), 2, 172),
]


@pytest.mark.parametrize(("network", "scale", "radius"), EXPECTED)
def test_receptive_radius_of_the_published_depths(network: EDSR | MDSR, scale: int, radius: int) -> None:
    assert receptive_radius(network.branch(scale).eval(), scale) == radius


@pytest.mark.parametrize("rows", [-3, 3])
def test_a_network_that_sees_to_one_side_only_has_the_radius_of_that_side(rows: int) -> None:
    def shifted(x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (0, 0, max(0, -rows), max(0, rows)))[:, :, max(0, rows) : x.shape[2] + max(0, rows)]

    assert receptive_radius(shifted, 1) == 3
