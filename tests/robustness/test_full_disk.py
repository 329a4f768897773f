"""Where there is no room, finished pictures stay as they are, and the job goes on when there is some."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import commands
from edsr_runtime.job.journal import journal_name
from edsr_runtime.pictures.read import read_picture
from photographs import noise, save

FOLDER = ["-i", "in", "-o", "out", "-s", "2"]
SIDE = 60


def own_file_systems_are_allowed() -> bool:
    """Whether this process may have mounts of its own, which nobody else sees."""
    words = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(8):
        save(noise(SIDE, SIDE, number), tmp_path / "in" / f"{number}.png")
    return tmp_path


@pytest.mark.skipif(not own_file_systems_are_allowed(), reason="needs unshare(1) and the right to mount a tmpfs")
def test_a_full_file_system_leaves_finished_pictures_and_the_job_goes_on(pictures: Path) -> None:
    expected = commands.run(["-i", "in", "-o", "whole", "-s", "2"], pictures)
    assert expected.returncode == 0
    whole = visible(pictures / "whole")
    (pictures / "out").mkdir()
    room = 60_000 + 3 * len(whole["0.png"])  # for the journal and a few pictures
    # what is left in the small file system is carried out of it, since nobody else sees it
    script = f'mount -t tmpfs -o size={room} none out && "$@"; code=$?; cp -a out/. kept; exit $code'
    (pictures / "kept").mkdir()
    full = commands.run(FOLDER, pictures, before=["unshare", "-rm", "sh", "-c", script, "sh"])
    assert full.returncode == 4, full.stderr
    last = full.stderr.splitlines()[-1]
    assert last.startswith("error: out/") and "no" in last.lower() and last.endswith("then go on with --resume")
    assert "Traceback" not in full.stderr
    kept = visible(pictures / "kept")
    assert 0 < len(kept) < 8
    assert kept.items() <= whole.items()
    assert [path.name for path in (pictures / "kept").glob(".*")] == [journal_name(None)]

    (pictures / "out").rmdir()
    (pictures / "kept").rename(pictures / "out")
    resumed = commands.run([*FOLDER, "--resume"], pictures)
    assert resumed.returncode == 0, resumed.stderr
    assert f"comparing {len(kept)} finished pictures" in resumed.stderr
    assert visible(pictures / "out") == whole


def test_a_limit_on_the_size_of_files_fails_the_pictures_that_are_larger(pictures: Path) -> None:
    save(noise(200, 200, 9), pictures / "in" / "large.png")
    limit = "import resource as r, runpy, sys; r.setrlimit(r.RLIMIT_FSIZE, (90_000, r.RLIM_INFINITY)); "
    program = ("-c", limit + f"sys.argv[0] = {commands.QUICK!r}; runpy.run_path(sys.argv[0], run_name='__main__')")
    limited = commands.run(FOLDER, pictures, program=program)
    assert limited.returncode == 3, limited.stderr
    assert limited.stderr.splitlines()[-1] == "  out/large.png: cannot be written (File too large)"
    assert len(visible(pictures / "out")) == 8
    assert all(read_picture(pictures / "out" / name).height == 2 * SIDE for name in visible(pictures / "out"))
    retried = commands.run([*FOLDER, "--retry-failed"], pictures)
    assert retried.returncode == 0, retried.stderr
    assert read_picture(pictures / "out/large.png").height == 400


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_full_log_is_one_sentence_and_what_was_finished_is_in_the_journal(pictures: Path) -> None:
    done = commands.run([*FOLDER, "--jsonl", "/dev/full"], pictures)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == ("error: /dev/full: the log cannot be written (No space left on device)")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
