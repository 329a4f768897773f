"""All peers. A new one is a module beside this with ``open_peer``, and its lines here."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.peers.peer import Rgb, Running, Subject
from edsr_runtime.errors import MissingDependencyError


@dataclass(frozen=True)
class Peer:
    """Something else that runs the network."""

    name: str
    package: str
    """On PyPI; all are in the extra ``peers``."""
    open: Callable[[Subject], Running]
    """Loads the network; ImportError where the package is missing."""
    is_slow_to_open: bool = False
    """Left out of quick runs."""


def open_peer(peer: Peer, subject: Subject) -> Running:
    """Load the network.

    Raises:
        MissingDependencyError: the peer is not installed.
        PeerFailedError: it cannot run the network.
    """
    try:
        return peer.open(subject)
    except ImportError as err:
        raise MissingDependencyError(peer.package, extra="peers") from err


def start_peer(peer: Peer, subject: Subject, lr: Rgb, stack: ExitStack) -> Running:
    """Load the network until ``stack`` is closed, and run it once: some say only then that they cannot.

    Raises:
        MissingDependencyError: the peer is not installed.
        PeerFailedError: it cannot run the network.
    """
    running = open_peer(peer, subject)
    stack.callback(running.close)
    running.upscale(lr)
    return running


def _torch_eager(subject: Subject) -> Running:
    from benchmarks.peers import torch_eager

    return torch_eager.open_peer(subject)


def _torch_channels_last(subject: Subject) -> Running:
    from benchmarks.peers import torch_channels_last

    return torch_channels_last.open_peer(subject)


def _torch_compiled(subject: Subject) -> Running:
    from benchmarks.peers import torch_compiled

    return torch_compiled.open_peer(subject)


def _torch_bf16(subject: Subject) -> Running:
    from benchmarks.peers import torch_bf16

    return torch_bf16.open_peer(subject)


def _onnxruntime(subject: Subject) -> Running:
    from benchmarks.peers import onnxruntime_plain

    return onnxruntime_plain.open_peer(subject)


def _openvino(subject: Subject) -> Running:
    from benchmarks.peers import openvino_plain

    return openvino_plain.open_peer(subject)


def _ncnn(subject: Subject) -> Running:
    from benchmarks.peers import ncnn_network

    return ncnn_network.open_peer(subject)


def _opencv(subject: Subject) -> Running:
    from benchmarks.peers import opencv_dnn

    return opencv_dnn.open_peer(subject)


LEFT_OUT = "left out by --peers"
"""Why a peer is missing where there were to be fewer."""

TORCH_EAGER = Peer("torch-eager-fp32", "torch", _torch_eager)
"""What all others are compared with: it is there wherever networks are trained."""

PEERS = (
    TORCH_EAGER,
    Peer("torch-channels-last-fp32", "torch", _torch_channels_last),
    Peer("torch-compile-fp32", "torch", _torch_compiled, is_slow_to_open=True),
    Peer("torch-bf16", "torch", _torch_bf16),
    Peer("peer-onnxruntime", "onnxruntime", _onnxruntime),
    Peer("peer-openvino", "openvino", _openvino),
    Peer("peer-ncnn", "ncnn", _ncnn),
    Peer("peer-opencv", "opencv-python-headless", _opencv),
)
