"""Checkpoints of tiny networks."""

from pathlib import Path

import pytest

from edsr_train.checkpoint import save_checkpoint
from tiny_networks import tiny_edsr, tiny_mdsr


@pytest.fixture
def edsr_checkpoint(tmp_path: Path) -> Path:
    """A tiny EDSR x2."""
    path = tmp_path / "edsr_x2.pt"
    save_checkpoint(path, tiny_edsr())
    return path


@pytest.fixture
def mdsr_checkpoint(tmp_path: Path) -> Path:
    """A tiny MDSR."""
    path = tmp_path / "mdsr.pt"
    save_checkpoint(path, tiny_mdsr())
    return path
