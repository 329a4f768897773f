"""The folder of a run: three checkpoints and the best, nothing half written, nobody else's."""

import errno
import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
import torch

from edsr_runtime.errors import DataError, EdsrError
from edsr_train.checkpoint import load_network
from edsr_train.run_folder import RunFolder, write_text
from tiny_networks import tiny_edsr


def begun(path: Path) -> RunFolder:
    folder = RunFolder(path)
    with folder.locked():
        folder.begin("network: {architecture: edsr, scale: 2}\n")
    return folder


def names(folder: RunFolder) -> list[str]:
    return [file.name for file in folder.checkpoints()]


def test_the_last_three_checkpoints_are_kept(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    for done in (9_000, 50, 10_000, 100_000_000, 20):
        folder.save(done, tiny_edsr(), {"updates": done})
    assert names(folder) == ["update-00009000.pt", "update-00010000.pt", "update-100000000.pt"]
    assert load_network(folder.checkpoints()[-1]).extra["training"] == {"updates": 100_000_000}


def test_a_full_disk_leaves_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begun(tmp_path / "run")
    for done in (1, 2, 3):
        folder.save(done, tiny_edsr(), {})
    before = {file: file.read_bytes() for file in folder.checkpoints()}

    def save(_: object, file: IO[bytes]) -> None:
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(DataError, match=r"update-00000004\.pt: cannot be written \(No space left on device\)"):
        folder.save(4, tiny_edsr(), {})
    assert {file: file.read_bytes() for file in folder.checkpoints()} == before
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 3


# One process that imports PyTorch, and forks those that are killed.
KILLED_WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
from edsr_train.checkpoint import load_network
from edsr_train.run_folder import RunFolder
from tiny_networks import tiny_edsr

folder, network, rng, newest = RunFolder(Path(sys.argv[1])), tiny_edsr(), random.Random(0), 0
for _ in range(20):
    child = os.fork()
    if not child:
        with folder.locked():
            for done in range(newest + 1, 10**6):
                folder.save(done, network, {"updates": done})
    while not (found := folder.checkpoints()) or found[-1].name <= f"update-{newest:08}.pt":
        time.sleep(0.01)
    time.sleep(rng.random() / 10)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = folder.checkpoints()
    assert 1 <= len(found) <= 4, found  # four: killed between writing the newest and removing the oldest
    updates = [load_network(file).extra["training"]["updates"] for file in found]
    assert updates == sorted(updates) and updates[-1] > newest, (newest, updates)
    newest = updates[-1]
print("whole after every kill")
"""


def test_a_kill_at_any_moment_leaves_whole_checkpoints_and_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "run"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITERS, str(path)], capture_output=True, text=True, env=env, timeout=300
    )
    assert done.stdout == "whole after every kill\n", done.stderr
    folder = RunFolder(path)
    folder.clear_partial()
    assert not list((path / "checkpoints").glob(".*"))


def test_a_disk_that_is_really_full_is_one_sentence(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.save(1, tiny_edsr(), {})
    size = folder.checkpoints()[0].stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        with pytest.raises(
            DataError, match=r"update-00000002\.pt: cannot be written \(.+\); those before it are whole"
        ):
            folder.save(2, tiny_edsr(), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(folder) == ["update-00000001.pt"]
    load_network(folder.checkpoints()[0])


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with (
        folder.locked(),
        pytest.raises(EdsrError, match="another process is training there"),
        RunFolder(tmp_path / "run").locked(),
    ):
        pass
    with folder.locked():
        pass


def test_beginning_anew_removes_what_the_old_run_left_and_nothing_else(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.save(1, tiny_edsr(), {})
    folder.save_weights(folder.best_file, tiny_edsr(), {})
    folder.log_file.write_text("{}\n")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "checkpoints" / ".update-2.pt.77.partial").write_text("half")
    (tmp_path / "run" / "checkpoints" / "update-00000002.pt.damaged").write_text("half")
    begun(tmp_path / "run")
    left = {file.name for file in (tmp_path / "run").rglob("*") if file.is_file()}
    assert left == {"config.yaml", "notes.txt", ".lock"}


def test_a_folder_that_cannot_take_the_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdsrError, match="file: is a file, expected a folder"):
        RunFolder(tmp_path / "file").check("new")
    with pytest.raises(EdsrError, match="file: is a file, expected a folder"), RunFolder(tmp_path / "file").locked():
        pass
    mine = RunFolder(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    assert mine.check("new") is False
    (tmp_path / "mine" / "photo.png").write_text("")
    with pytest.raises(EdsrError, match="mine: is not empty"):
        mine.check("new")
    with pytest.raises(EdsrError, match="mine: is not empty"):
        mine.check("resume-or-begin")
    with pytest.raises(EdsrError, match="mine: holds no run that could be replaced"):
        mine.check("overwrite")
    (tmp_path / "mine" / "config.yaml").write_text("model: llama\n")  # somebody else's
    with pytest.raises(EdsrError, match="mine: holds no run that could be replaced"):
        mine.check("overwrite")
    with pytest.raises(EdsrError, match="mine: holds no checkpoint to go on from"):
        mine.check("resume")


def test_a_run_goes_on_where_it_has_a_checkpoint_and_begins_where_not(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "run").check("resume-or-begin") is False
    folder = begun(tmp_path / "run")
    assert folder.check("resume-or-begin") is False  # it was killed before its first checkpoint
    assert folder.check("overwrite") is False
    with pytest.raises(EdsrError, match="run: holds a run that has no checkpoint yet"):
        folder.check("new")
    folder.save(1, tiny_edsr(), {})
    assert folder.check("resume-or-begin") is True
    assert folder.check("resume") is True
    assert folder.check("overwrite") is False
    with pytest.raises(EdsrError, match=r"run: is not empty\. Go on from it with --resume"):
        folder.check("new")
    folder.config_file.unlink()
    with pytest.raises(EdsrError, match=r"config\.yaml: is missing"):
        folder.check("resume-or-begin")


def test_a_start_that_failed_leaves_everything_as_it_was(tmp_path: Path) -> None:
    for folder in (RunFolder(tmp_path / "a" / "b" / "run"), RunFolder(tmp_path)):
        with pytest.raises(DataError), folder.locked():
            raise DataError("no pictures")
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError), RunFolder(tmp_path / "run").locked():
        raise DataError("no pictures")
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]  # the user's own


def test_what_a_failed_start_left_is_not_in_the_way(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in (".lock", "problems.txt", ".config.yaml.partial", "checkpoints/.update-00000001.pt.7.partial"):
        (tmp_path / "run" / name).write_text("")
    assert folder.check("new") is False
    (tmp_path / "run" / "checkpoints" / "mine.txt").write_text("")
    with pytest.raises(EdsrError, match="is not empty"):
        folder.check("new")


def test_a_lock_is_not_that_of_a_folder_that_was_removed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, flock, seen = RunFolder(tmp_path / "run"), fcntl.flock, []

    def removed_first(lock: IO[str], how: int) -> None:
        flock(lock, how)
        if not seen:  # the other process gives up between open and flock
            seen.append(lock)
            (tmp_path / "run" / ".lock").unlink()

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with folder.locked():
        monkeypatch.undo()
        with pytest.raises(EdsrError, match="another process is training there"), RunFolder(folder.path).locked():
            pass


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    said: list[str] = []
    with RunFolder(tmp_path / "run").locked(said.append):
        pass
    assert said == [
        f"{tmp_path}/run: the file system has no locks (Function not implemented). Let no other run begin there"
    ]


def test_a_run_is_finished_when_weights_and_summary_are_those_of_its_end(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    assert not folder.is_finished(6)
    folder.save_weights(folder.model_file, tiny_edsr(), {"update": 2})
    write_text(folder.summary_file, '{"updates": 6}')
    assert not folder.is_finished(6)  # the weights of a shorter run, which was made longer
    folder.save_weights(folder.model_file, tiny_edsr(), {"update": 6})
    assert folder.is_finished(6)
    write_text(folder.summary_file, '{"updates": 3}')
    assert not folder.is_finished(6)


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"run: cannot be written to \(Not a directory\)"),
        RunFolder(tmp_path / "file" / "run").locked(),
    ):
        pass
