"""Peers compute the same function, and say so when they cannot."""

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from benchmarks.models import Models
from benchmarks.peers.ncnn_files import write_ncnn_files
from benchmarks.peers.peer import PeerFailedError, Running, Subject, rounded
from benchmarks.peers.registry import PEERS, Peer, open_peer
from benchmarks.pictures import texture
from benchmarks.settings import smoke_settings
from edsr_runtime.errors import MissingDependencyError

_SCALE = 4


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("peers")
    models = Models(folder, smoke_settings())
    return Subject(models.network(_SCALE).branch(_SCALE), models.unfolded(_SCALE), folder)


def opened(peer: Peer, subject: Subject) -> Running:
    try:
        return open_peer(peer, subject)
    except MissingDependencyError as err:
        pytest.skip(str(err))


@pytest.mark.parametrize("peer", [peer for peer in PEERS if not peer.is_slow_to_open], ids=lambda peer: peer.name)
def test_every_peer_computes_the_same(peer: Peer, subject: Subject) -> None:
    lr = texture(17, 23)
    running = opened(peer, subject)
    reference = opened(PEERS[0], subject).upscale_float(lr)
    floats = running.upscale_float(lr)
    assert floats.shape == (17 * _SCALE, 23 * _SCALE, 3)
    assert floats.dtype == np.float32
    assert np.abs(floats - reference).max() < {"fp32": 1e-2, "bf16": 2.0}[running.precision]  # grey levels
    assert np.abs(running.upscale(lr) - np.rint(floats.clip(0, 255))).max() <= 1
    running.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # PyTorch's own code
def test_a_compiled_network_computes_the_same(subject: Subject) -> None:
    (peer,) = (peer for peer in PEERS if peer.is_slow_to_open)
    lr = texture(17, 23)
    assert (
        np.abs(open_peer(peer, subject).upscale_float(lr) - open_peer(PEERS[0], subject).upscale_float(lr)).max() < 1e-2
    )


def test_a_compiler_that_cannot_be_used_is_missed_in_one_sentence(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(network: object) -> None:
        raise RuntimeError("torch.compile is not supported on Python 4\nin many lines")

    monkeypatch.setattr("torch.compile", refuse)
    (peer,) = (peer for peer in PEERS if peer.is_slow_to_open)
    with pytest.raises(PeerFailedError, match=r"^torch\.compile failed: .* not supported on Python 4$"):
        open_peer(peer, subject)


@pytest.mark.parametrize(("name", "module"), [("peer-ncnn", "ncnn"), ("peer-opencv", "cv2")])
def test_a_peer_that_is_not_installed_is_missed_in_one_sentence(
    name: str, module: str, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for loaded in ("ncnn_network", "opencv_dnn"):
        monkeypatch.delitem(sys.modules, f"benchmarks.peers.{loaded}", raising=False)
        monkeypatch.delattr(f"benchmarks.peers.{loaded}", raising=False)
    (peer,) = (peer for peer in PEERS if peer.name == name)
    with pytest.raises(MissingDependencyError, match=r"could not be imported\. Install it with: .*\[peers\]"):
        open_peer(peer, subject)


def test_an_operator_that_nobody_translated_for_ncnn_is_refused(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in ("input", "y")]
    graph = helper.make_graph([helper.make_node("Hardmax", ["input"], ["y"])], "g", ends[:1], ends[1:])
    path = tmp_path / "odd.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(PeerFailedError, match="nobody has translated the operator Hardmax"):
        write_ncnn_files(path, tmp_path)


def test_rounding_is_half_to_even_and_clamped() -> None:
    values = np.array([[[0.5, 1.5, 254.5], [255.5, -3.0, 300.0]]], np.float32)
    assert rounded(lambda lr: values)(np.zeros((1, 2, 3), np.uint8)).tolist() == [[[0, 2, 254], [255, 0, 255]]]
