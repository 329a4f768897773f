"""Networks as they were trained, of files that edsr-export made of checkpoints in ``train/checkpoints``."""

import hashlib
from pathlib import Path

from benchmarks.cost.graph import Graph
from benchmarks.models import model_as_trained
from edsr_runtime.contract import METADATA_KEY, read_contract
from edsr_runtime.protobuf import read_metadata
from edsr_train.checkpoint import load_network
from edsr_train.models.branch import SuperResolutionNetwork

CHECKPOINTS = Path(__file__).resolve().parent.parent.parent / "train" / "checkpoints"


def checkpoint_behind(path: Path) -> Path | None:
    """The checkpoint that a file was exported from; None where it is not there.

    Args:
        path: an ONNX file from wherever it comes.
    """
    if METADATA_KEY not in read_metadata(path):
        return None
    source = read_contract(path).source_sha256
    there = sorted(path for path in CHECKPOINTS.iterdir() if path.is_file())
    return next((each for each in there if hashlib.sha256(each.read_bytes()).hexdigest() == source), None)


def network_behind(path: Path) -> SuperResolutionNetwork | None:
    """Its network."""
    checkpoint = checkpoint_behind(path)
    return None if checkpoint is None else load_network(checkpoint).network


def graph_behind(path: Path) -> Graph | None:
    """The same as a graph in which nothing is folded."""
    network = network_behind(path)
    if network is None:
        return None
    return Graph(model_as_trained(network, read_contract(path).scale), f"{path.name}, before folding")


def learned(network: SuperResolutionNetwork, scale: int) -> int:
    """Parameters of the network at one scale, without maps that are fixed."""
    return sum(each.numel() for each in network.branch(scale).parameters() if each.requires_grad)
