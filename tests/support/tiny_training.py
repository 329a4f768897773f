"""A training run small enough for a test."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edsr_train.config import TrainConfig
from edsr_train.data.sets import find_sources
from edsr_train.data.training_set import TrainingSet, open_training_set

PATCH = 8


def options(**changes: Any) -> TrainConfig:
    """Six updates on two tiny patches."""
    return TrainConfig(**{"patch": PATCH, "batch": 2, "updates": 6, "lr": 1e-3, "validate_every": 4, **changes})


def save_noise(folder: Path, count: int = 2, hw: tuple[int, int] = (40, 48), seed: int = 5) -> Path:
    """``folder`` with pictures of noise: 0.png, 1.png, ..."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (*hw, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def training_set(folder: Path, scales: tuple[int, ...] = (2,), seed: int = 5) -> TrainingSet:
    """Two pictures of noise, in ``folder``, with their stores."""
    photographs = save_noise(folder / f"photographs-{seed}", seed=seed)
    return open_training_set(find_sources(photographs, scales), scales, PATCH, cache=folder / "cache")
