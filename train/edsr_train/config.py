"""What a training run is told: how to train, and on what. Defaults are the paper's numbers.

Each field is at once an option of ``edsr-train fit`` and a key of the YAML file; its text stands here and nowhere else.
"""

import math
import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from edsr_runtime.errors import EdsrError

_LEAST_COLLAPSED = 3  # one LR pixel is left
_LEAST_RESCALE = 0.05  # of a photograph nothing is left that a patch could be cut from
_LARGEST_SEED = 2**64 - 1  # that PyTorch's generator takes


def _option(default: Any, text: str) -> Any:
    """A field with its text for ``--help`` and ``--print-config``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Defaults: Lim et al., arXiv:1707.02921, section 4.2."""

    patch: int = _option(48, "Side of a training patch, LR pixels.")
    batch: int = _option(16, "Patches per update, over all processes.")
    updates: int = _option(300_000, "Length of the run.")
    optimizer: Literal["adam", "muon"] = _option(
        "adam",
        "adam: the paper's; muon: kernels of convolutions by Muon, all else by Adam.",
    )
    lr: float = _option(1e-4, "Learning rate at its peak.")
    schedule: Literal["halving", "cosine"] = _option(
        "halving", "Of the learning rate; halving: the paper's; cosine: down to zero at the end."
    )
    halve_every: int = _option(200_000, "Updates between two halvings.")
    warmup: int = _option(0, "Updates over which the rate grows linearly from zero.")
    loss: Literal["l1", "mse", "half-mse"] = _option("l1", "L1 in the paper, which found MSE worse; half-mse: MSE/2.")
    clip: float = _option(0.0, "Largest L2 norm of the gradient, longer ones are shortened to it; 0: off.")
    ema: float = _option(0.0, "Decay of the averaged weights that are then validated and delivered; 0: off.")
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = _option(
        "fp32",
        "Of the network's arithmetic; weights stay fp32. bf16, fp16: by autocast, fp16 scales the loss; tf32: "
        "convolutions of NVIDIA GPUs round what they multiply to ten bits.",
    )
    channels_last: bool = _option(False, "Memory format of convolutions; usually faster with bf16 and fp16.")
    collapse_tail: bool = _option(
        False,
        "Compute a linear tail, such as EDSR's, as one convolution at LR resolution: the same weights and gradients "
        "for fewer operations; the outermost LR pixels of patches do not count then.",
    )
    compile: bool = _option(False, "torch.compile the network.")
    seed: int = _option(0, "Of initial weights and patches.")
    log_every: int = _option(100, "Updates between two lines of the log.")
    validate_every: int = _option(5_000, "Updates between two validations, and between two checkpoints.")

    def __post_init__(self) -> None:
        for name in ("patch", "batch", "updates", "halve_every", "log_every", "validate_every"):
            if getattr(self, name) < 1:
                raise EdsrError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise EdsrError(f"the learning rate is {self.lr:g}, expected a positive number such as 1e-4")
        if not 0 <= self.ema < 1:
            raise EdsrError(f"the EMA decay is {self.ema:g}, expected 0 (off) or a number below 1, such as 0.999")
        if not 0 <= self.clip < math.inf:
            raise EdsrError(f"clip is {self.clip:g}, expected 0 (off) or a positive number")
        if self.collapse_tail and self.patch < _LEAST_COLLAPSED:
            raise EdsrError(f"patch is {self.patch}, expected at least {_LEAST_COLLAPSED} with --collapse-tail")
        if not 0 <= self.warmup < self.updates:
            raise EdsrError(
                f"warmup is {self.warmup}, expected 0 (off) or fewer than the {self.updates} updates: "
                "give a smaller --warmup or more --updates"
            )
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise EdsrError(f"the seed is {self.seed}, expected 0 to {_LARGEST_SEED}")

    def lr_at(self, update: int) -> float:
        """Learning rate of the update with this number, counted from 0."""
        if update < self.warmup:
            return self.lr * (update + 1) / self.warmup
        if self.schedule == "halving":
            return self.lr * 0.5 ** (update // self.halve_every)
        progress = (update - self.warmup) / max(1, self.updates - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class DataConfig:
    """What to train and to validate on."""

    data: tuple[str, ...] = _option(
        (), "Photographs: DIV2K or Flickr2K as published, or any folder with those below; repeatable."
    )
    train: tuple[str, ...] = _option(
        (), "Pictures to train on, by number, such as 1-800, or all; as often as --data, in its order."
    )
    track: str = _option(
        "auto",
        "LR pictures; bicubic, unknown: the set's files of that name; made: by MATLAB's bicubic; "
        "auto: bicubic files where there are any, else made.",
    )
    rescale: tuple[float, ...] = _option(
        (), "Train on copies of the photographs too, shrunk by this factor, such as 0.8; repeatable."
    )
    val: str | None = _option(
        None, "Validate on a benchmark folder (pictures, or HR/ and LR_bicubic/), or on numbers of the first --data."
    )
    protocol: Literal["paper-y", "paper-div2k"] = _option(
        "paper-y", "Of validation; paper-y: luma, SCALE border pixels shaved; paper-div2k: RGB, SCALE + 6 shaved."
    )
    cache: str | None = _option(None, "Folder for decoded pictures; without it, one in the user's cache.")

    def __post_init__(self) -> None:
        named = (("data", self.data), ("train", self.train), ("val", [self.val]), ("cache", [self.cache]))
        for name, values in named:
            if any(value is not None and not value.strip() for value in values):
                raise EdsrError(f"--{name} is given nothing. Name what is meant, or leave it away")
        if self.train and len(self.train) != len(self.data):
            raise EdsrError(
                f"--train is given {len(self.train)} times and --data {len(self.data)} times. Give one for each, in "
                "the same order; all takes everything"
            )
        for factor in self.rescale:
            if not _LEAST_RESCALE <= factor < 1:
                raise EdsrError(f"rescale is {factor:g}, expected a factor from {_LEAST_RESCALE:g} to below 1")

    def with_absolute_paths(self) -> "DataConfig":
        """The same for another working directory."""
        # Not resolved: the name of a link says what it is, such as DIV2K_train_HR.
        val = self.val if self.val is None or not path_of(self.val).exists() else str(path_of(self.val).absolute())
        data = tuple(str(path_of(folder).absolute()) for folder in self.data)
        cache = None if self.cache is None else str(path_of(self.cache).absolute())
        return replace(self, data=data, val=val, cache=cache)


def path_of(text: str) -> Path:
    """A path as people write it: ``~`` is the home, also where no shell has seen it."""
    return Path(os.path.expanduser(text))


def help_of(config_type: type, name: str) -> str:
    """The text of a field."""
    (text,) = (each.metadata["help"] for each in fields(config_type) if each.name == name)
    return str(text)
