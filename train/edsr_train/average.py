"""One network out of several: the mean of their weights."""

from collections.abc import Sequence
from pathlib import Path

import torch

from edsr_runtime.errors import CheckpointError
from edsr_train.checkpoint import LoadedNetwork, load_network
from edsr_train.models.branch import SuperResolutionNetwork


def average(
    paths: Sequence[Path], res_scale: float | None = None
) -> tuple[SuperResolutionNetwork, list[LoadedNetwork]]:
    """Average the weights of networks that began with the same weights, or one with those of another.

    Such an average, a *model soup* (Wortsman et al., arXiv:2203.05482), is often better than each of them. Networks
    that learned from different beginnings have nothing in common that could be averaged, and what comes out is noise.

    Args:
        paths: checkpoints of one architecture and one configuration, two or more.
        res_scale: residual scaling, where the files do not store it.

    Returns:
        The network, whose sums are made in float64, and what it was made of.

    Raises:
        CheckpointError: a file cannot be loaded, or is another network than the first.
    """
    first, *others = loaded = [load_network(path, res_scale=res_scale) for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        if (other.architecture, other.config) != (first.architecture, first.config):
            raise CheckpointError(
                f"{path}: is {_described(other)}, and {paths[0]} is {_described(first)}: only weights of one and the "
                "same network can be averaged"
            )
    states = [each.network.state_dict() for each in loaded]
    mean = {key: torch.stack([state[key].double() for state in states]).mean(0) for key in states[0]}
    first.network.load_state_dict(mean)  # copied into its float32
    return first.network, loaded


def _described(loaded: LoadedNetwork) -> str:
    fields = ", ".join(f"{name} {value}" for name, value in vars(loaded.config).items())
    return f"{loaded.architecture} ({fields})"
