"""Checkpoints, ONNX files, sidecars and journals of strangers: loaded with what was in them, or one sentence."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

import commands
import engine_stand_ins
import load_mutated
from edsr_runtime.errors import CheckpointError
from edsr_runtime.job.journal import Row, open_journal
from edsr_runtime.zoo import model_path
from edsr_train.checkpoint import load_network, save_checkpoint
from edsr_train.models import EDSR, EDSRConfig

SUPPORT = Path(commands.__file__).parent
HANG_S = 10
MEMORY_MIB = 256
"""More than what the process has after loading the sound file."""


def sound_onnx(folder: Path) -> None:
    from edsr_runtime.seal import sealed

    (folder / "sound.onnx").write_bytes(sealed(model_path("edsr-small", 2).read_bytes()))


def sound_checkpoint(folder: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(folder / "sound.pt", EDSR(EDSRConfig(scale=2, n_resblocks=1, n_feats=4)))


def sound_safetensors(folder: Path) -> None:
    torch.manual_seed(0)
    network = EDSR(EDSRConfig(scale=2, n_resblocks=1, n_feats=4))
    save_checkpoint(folder / "sound.safetensors", network)


def sound_sidecar(folder: Path) -> None:
    (folder / "sound.json").write_text(engine_stand_ins.full_description().to_json())


def sound_journal(folder: Path) -> None:
    with open_journal(folder / "sound.journal") as journal:
        journal.keep_tile(load_mutated.TILE_OF, 512)
        journal.begin([Row(f"{n}.png", f"/in/{n}.png", "pending", False, "0" * 64) for n in range(40)], "1", {})


MAKERS = {
    "onnx": sound_onnx,
    "checkpoint": sound_checkpoint,
    "safetensors": sound_safetensors,
    "sidecar": sound_sidecar,
    "journal": sound_journal,
}


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("kind", ["onnx", "checkpoint", "safetensors", "sidecar", "journal"])
def test_damaged_files_are_loaded_as_they_were_or_refused(
    tmp_path: Path, kind: str, count: int, record_property: Callable[[str, object], None]
) -> None:
    MAKERS[kind](tmp_path)
    found = loaded("checkpoint" if kind == "safetensors" else kind, tmp_path, count)
    record_property(kind, found)
    assert found["problems"] == []
    assert found["outcome"]["refused"] > count / 2


def loaded(kind: str, folder: Path, count: int) -> dict[str, dict[str, int]]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(SUPPORT / "load_mutated.py"), kind, str(folder)]
    words += map(str, (0, count, MEMORY_MIB, HANG_S))
    done = subprocess.run(words, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("length", [3, 200_000])
def test_what_a_pickle_asks_for_is_shown_and_not_obeyed_by_the_terminal(tmp_path: Path, length: int) -> None:
    # found by make fuzz
    path = tmp_path / "net.pt"
    name = ("\n\x1b[31m" + length * "a").encode()
    string = b"X" + len(name).to_bytes(4, "little") + name
    path.write_bytes(b"\x80\x04" + string + string + b"\x93)R.")
    with pytest.raises(CheckpointError) as caught:
        load_network(path)
    assert "it asks for \\n\\x1b[31maaa" in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


def test_names_in_an_archive_are_shown_on_one_line(tmp_path: Path) -> None:
    # found by make fuzz
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a\n\x1b[31m" + 5000 * "b", b"")
    with pytest.raises(CheckpointError, match=r"it holds a\\n\\x1b\[31mbbb") as caught:
        load_network(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


def test_a_zip_bomb_for_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        with archive.open("archive/data/0", "w", force_zip64=True) as entry:
            for _ in range(256):
                entry.write(bytes(1 << 20))
        archive.writestr("archive/version", b"3\n")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../evil.pkl", "/etc/passwd", "archive/../../x", "C:\\evil"])
def test_names_in_an_archive_lead_nowhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / "inner" / "net.pt"
    path.parent.mkdir()
    sound_checkpoint(path.parent)
    with zipfile.ZipFile(path.parent / "sound.pt") as whole, zipfile.ZipFile(path, "w") as archive:
        for entry in whole.infolist():
            archive.writestr(entry.filename, whole.read(entry))
        archive.writestr(name, b"evil")
    before = sorted(tmp_path.rglob("*"))
    try:
        load_network(path)
    except CheckpointError as err:
        assert "\n" not in str(err)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_path_beside_a_sound_description_in_safetensors_metadata_is_refused(tmp_path: Path) -> None:
    sound_safetensors(tmp_path)
    path = tmp_path / "sound.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights, path, {**metadata, "format": "pt"})
    config = load_network(path).config  # as others would save it again
    assert isinstance(config, EDSRConfig) and config.n_feats == 4
    safetensors.torch.save_file(weights, path, {**metadata, "../path": "../../etc/passwd"})
    with pytest.raises(CheckpointError, match=r"its metadata has '\.\./path', which no file of ours has"):
        load_network(path)


@pytest.mark.parametrize("text", ["../../../etc/passwd", '{"file": "/etc/passwd"}', "x" * 1_000_000, "\ud800", "{}"])
def test_safetensors_metadata_is_text_and_leads_nowhere(tmp_path: Path, text: str) -> None:
    sound_safetensors(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "sound.safetensors")
    (tmp_path / "sound.safetensors").unlink()
    path = tmp_path / "net.safetensors"
    try:
        safetensors.torch.save_file(weights, path, {"edsr-toolkit": text, "format": "pt", "../path": text})
    except UnicodeEncodeError:
        return  # what cannot be written can come from nobody
    with pytest.raises(CheckpointError) as caught:
        load_network(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert os.listdir(tmp_path) == ["net.safetensors"]
