"""Files that are no sound checkpoint: one sentence each, and nothing in them is run."""

import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from edsr_runtime.errors import CheckpointError
from edsr_train.checkpoint import load_network, save_checkpoint
from edsr_train.models import EDSR, EDSRConfig


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("saved") / "net.pt"
    save_checkpoint(path, EDSR(EDSRConfig(scale=2, n_resblocks=1, n_feats=4)))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_network(path)
    prefix = f"{path}: "
    assert str(refused.value).startswith(prefix)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(prefix)


class RunsACommand:
    """Unpickled, this makes a file; nothing may ever unpickle it."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.evidence}",)


def legacy(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def bare_pickle(protocol: int) -> Callable[[object, Path], None]:
    def write(value: object, path: Path) -> None:
        path.write_bytes(pickle.dumps(value, protocol))

    return write


@pytest.mark.parametrize(
    "write",
    [torch.save, legacy, bare_pickle(0), bare_pickle(1), bare_pickle(2), bare_pickle(4), bare_pickle(5)],
    ids=["zip", "legacy", "pickle0", "pickle1", "pickle2", "pickle4", "pickle5"],
)
@pytest.mark.parametrize("beside_weights", [False, True])
def test_a_pickle_that_wants_to_run_code_is_named_and_not_run(
    tmp_path: Path, write: Callable[[object, Path], None], beside_weights: bool
) -> None:
    evidence = tmp_path / "evidence"
    hostile = RunsACommand(evidence)
    value = {"a": "x", "head.0.weight": [1.0], "hook": hostile} if beside_weights else hostile
    write(value, tmp_path / "net.pt")
    sentence = refusal(tmp_path / "net.pt")
    assert sentence.startswith("opening it would run code: it asks for posix.system. Nothing was run.")
    assert not evidence.exists()


@pytest.mark.parametrize("write", [torch.save, legacy], ids=["zip", "legacy"])
def test_a_pickled_module_is_refused_with_advice(tmp_path: Path, write: Callable[[object, Path], None]) -> None:
    write(EDSR(EDSRConfig(2, 1, 4)), tmp_path / "net.pt")
    sentence = refusal(tmp_path / "net.pt")
    assert "it asks for edsr_train.models.edsr.EDSR." in sentence
    assert "save only model.state_dict()" in sentence


def test_numpy_numbers_beside_the_weights_are_named(tmp_path: Path) -> None:
    torch.save({"best_psnr": np.float64(37.5), "state_dict": {}}, tmp_path / "net.pt")
    assert "it asks for numpy._core.multiarray.scalar" in refusal(tmp_path / "net.pt")


def test_a_plain_pickle_that_torch_did_not_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(pickle.dumps({"psnr": 3}))
    assert refusal(tmp_path / "net.pt") == (
        "is a Python pickle, but not one that torch.save writes. Save it again with torch.save"
    )


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("write", [torch.save, legacy], ids=["zip", "legacy"])
def test_a_truncated_file_is_refused(
    tmp_path: Path, saved: Path, write: Callable[[object, Path], None], keep: float
) -> None:
    path = tmp_path / "net.pt"
    write(torch.load(saved, weights_only=True), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    assert refusal(path).endswith("The file is cut short or damaged: download or copy it again")


def test_one_flipped_bit_in_the_weights_is_noticed(tmp_path: Path, saved: Path) -> None:
    weights = torch.load(saved, weights_only=True)["state_dict"]["body.0.body.0.weight"].numpy().tobytes()
    damaged = bytearray(saved.read_bytes())
    damaged[damaged.index(weights) + 100] ^= 1
    (tmp_path / "net.pt").write_bytes(damaged)
    assert refusal(tmp_path / "net.pt").startswith("the checksum of archive/data/")


def test_files_without_checksums_are_read(tmp_path: Path, saved: Path) -> None:
    whole = torch.load(saved, weights_only=True)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(whole, tmp_path / "net.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    expected = whole["state_dict"]["head.0.weight"]
    assert torch.equal(load_network(tmp_path / "net.pt").network.state_dict()["head.0.weight"], expected)


@pytest.mark.parametrize("kind", [".pt", "legacy", ".safetensors"])
def test_damaged_bytes_end_in_a_sentence_or_in_sound_weights(tmp_path: Path, saved: Path, kind: str) -> None:
    path = tmp_path / ("net.safetensors" if kind == ".safetensors" else "net.pt")
    if kind == "legacy":
        legacy(torch.load(saved, weights_only=True), path)
    else:
        save_checkpoint(path, load_network(saved).network)
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        # Half of the damage where it hurts most: pickles and headers stand at the start.
        for _ in range(3):
            damaged[draw.randrange(len(whole) if draw.random() < 0.5 else 1000)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            load_network(path)
        except CheckpointError:
            refused += 1
    assert refused > 50


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5480256\n"
STRANGERS = {
    "empty": (b"", "is empty (0 bytes)"),
    "LFS pointer": (LFS_POINTER, "is a Git LFS pointer, not the weights it stands for. Fetch them with: git lfs pull"),
    "web page": (b"\n<!DOCTYPE html>\n<html><title>Not found</title>", "is a web page, not a checkpoint"),
    "web page with BOM": (b"\xef\xbb\xbf<html lang=en>", "is a web page, not a checkpoint"),
    "Torch7 object": (struct.pack("<3i", 4, 1, 3) + b"V 1" + struct.pack("<i", 13) + b"nn.Sequential", "is a Torch7"),
    "Torch7 table": (struct.pack("<4i", 3, 1, 2, 2) + b"abcd", "is a Torch7 file (Lua, .t7)"),
    "Torch7 text": (b"4\n1\n3\nV 1\n13\nnn.Sequential\n", "is a Torch7 file (Lua, .t7)"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file (Keras .h5 weights)"),
    "TFLite": (b"\x1c\0\0\0TFL3" + bytes(100), "is a TensorFlow Lite model"),
    "compressed": (b"\x1f\x8b\x08\0" + bytes(20), "is a compressed archive. Unpack it"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(20), "is a picture"),
    "text": (b'{"message": "Not Found"}', "is a text file, not a checkpoint"),
    "anything": (b"\x00\x01\x02\x03garbage", "is no checkpoint: it begins with the bytes 00 01 02 03 67 61 72 62"),
    "zeros": (bytes(5000), "is no checkpoint: it begins with the bytes 00 00"),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("content", "message"), STRANGERS.values(), ids=STRANGERS.keys())
def test_a_stranger_is_called_by_its_name(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    path = tmp_path / f"edsr{suffix}"
    path.write_bytes(content)
    sentence = refusal(path)
    if suffix == ".safetensors" and message.startswith(("is a text file", "is no checkpoint")):
        assert sentence.startswith("is not a sound safetensors file (")
    else:
        assert sentence.startswith(message)


def test_an_onnx_model_is_sent_to_the_program_that_runs_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    graph = onnx.helper.make_graph([], "empty", [], [])
    for name, options in {"plain": {}, "named": {"producer_name": "pytorch", "producer_version": "2.13.0"}}.items():
        path = tmp_path / f"{name}.pt"
        path.write_bytes(onnx.helper.make_model(graph, **options).SerializeToString())
        assert refusal(path).startswith("is an ONNX model, which is what checkpoints are exported to")


def test_a_tar_archive_is_to_be_unpacked(tmp_path: Path, saved: Path) -> None:
    with tarfile.open(tmp_path / "model_pytorch.pt", "w") as archive:
        archive.add(saved, "edsr_x2.pt")
    assert refusal(tmp_path / "model_pytorch.pt").startswith("is a tar archive. Unpack it")


def test_other_zip_archives_are_told_apart(tmp_path: Path, saved: Path) -> None:
    with zipfile.ZipFile(tmp_path / "release.pt", "w") as archive:
        archive.write(saved, "edsr_x2.pt")
    assert refusal(tmp_path / "release.pt").startswith(
        "is a zip archive, but not a PyTorch checkpoint (it holds edsr_x2.pt)"
    )
    with zipfile.ZipFile(tmp_path / "empty.pt", "w"):
        pass
    assert "(it holds nothing)" in refusal(tmp_path / "empty.pt")
    with (
        zipfile.ZipFile(saved) as whole,
        zipfile.ZipFile(tmp_path / "again.pt", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for entry in whole.namelist():
            archive.writestr(entry, whole.read(entry))
    assert refusal(tmp_path / "again.pt").startswith("was unpacked and compressed again")


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # the entries that torch.jit.save writes
        for entry in ("net/data.pkl", "net/code/__torch__/edsr.py", "net/constants.pkl", "net/version"):
            archive.writestr(entry, b"3\n")
    (tmp_path / "net.pt").write_bytes(buffer.getvalue())
    assert refusal(tmp_path / "net.pt").startswith("is a TorchScript archive, a program with its weights")


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole[:4],
        lambda whole: whole[:200],
        lambda whole: whole[:-10],
        lambda whole: struct.pack("<Q", 2**60) + whole[8:],
        lambda whole: whole[:8] + b"x" + whole[9:],
    ],
    ids=["header", "JSON", "tensors", "length", "no JSON"],
)
def test_a_broken_safetensors_file_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(change(safetensors.torch.save({"head.0.weight": torch.zeros(8, 3, 3, 3)})))
    assert refusal(path).startswith("is not a sound safetensors file (")


def test_damaged_metadata_is_refused(tmp_path: Path) -> None:
    for metadata in ("{", "[]", "[" * 100_000):
        safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "net.safetensors", {"edsr-toolkit": metadata})
        assert refusal(tmp_path / "net.safetensors").startswith("its metadata is damaged (")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "edsr_x4.pt") == "no such file"
    assert refusal(tmp_path).startswith("is a folder. A checkpoint file is expected")
    os.mkfifo(tmp_path / "pipe.pt")
    assert refusal(tmp_path / "pipe.pt") == "is not a regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(saved.read_bytes())
    path.chmod(0)
    assert refusal(path) == "cannot be read (Permission denied)"


def test_meta_tensors_hold_no_weights(tmp_path: Path) -> None:
    with torch.device("meta"):
        torch.save(EDSR(EDSRConfig(2, 16, 64)).state_dict(), tmp_path / "net.pt")
    assert "holds no values. Weights in float32" in refusal(tmp_path / "net.pt")


def test_a_dtype_of_no_use_is_named(tmp_path: Path) -> None:
    network = EDSR(EDSRConfig(2, 16, 64))
    state = {key: value.to(torch.float8_e4m3fn) for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "net.pt")
    assert "holds float8_e4m3fn. Weights in float32" in refusal(tmp_path / "net.pt")
