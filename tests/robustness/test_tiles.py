"""What the choice of a tile changes: nothing that can be seen, and with some networks the last bit of some numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from edsr_export.exporting import ExportOptions, export_checkpoint
from edsr_runtime.backends.engines import contract_of
from edsr_runtime.upscaler import Upscaler
from edsr_runtime.zoo import model_path
from edsr_train.checkpoint import save_checkpoint
from edsr_train.models import EDSR, EDSRConfig

SEAM = 1e-3
"""Of 255, in FP32: sums of 256 feature maps in another order."""
TILES = (120, 60, 45)
SMALLEST_CORE = 17


def wide(folder: Path) -> Path:
    """A network with the 256 feature maps of EDSR, where sums are long."""
    torch.manual_seed(0)
    save_checkpoint(folder / "wide.pt", EDSR(EDSRConfig(scale=2, n_resblocks=1, n_feats=256)))
    (exported,) = export_checkpoint(folder / "wide.pt", folder, ExportOptions())
    return exported.path


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("network", ["edsr-small", "256 feature maps"])
def test_tiles_change_the_last_bit_at_most(
    tmp_path: Path,
    network: str,
    backend: Literal["openvino", "onnxruntime"],
    record_property: Callable[[str, object], None],
) -> None:
    model = model_path("edsr-small", 2) if network == "edsr-small" else wide(tmp_path)
    picture = np.random.default_rng(0).random((83, 90, 3), np.float32)
    results = []
    for tile in (*TILES, 2 * contract_of(model).receptive_radius + SMALLEST_CORE):
        with Upscaler(model, backend, precision="fp32", tile=tile, threads=2) as upscaler:
            results.append(255 * upscaler.upscale(picture))
    differences = np.abs(np.stack(results[1:]) - results[0])
    record_property(
        "tiles",
        {
            "backend": backend,
            "network": network,
            "numbers_that_differ": float((differences > 0).mean()),
            "largest_difference_of_255": float(differences.max()),
        },
    )
    assert differences.max() < SEAM
