"""Two commands on one output folder: right results, or a clear refusal."""

import time
from pathlib import Path

import commands
from photographs import noise, save

FOLDER = ["-i", "in", "-o", "out", "-s", "2"]


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_a_second_command_on_the_same_job_is_refused_while_the_first_works(tmp_path: Path) -> None:
    for number in range(3):
        save(noise(40, 8, number), tmp_path / "in" / f"{number}.png")
    with commands.ended(commands.start(FOLDER, tmp_path, env={"EDSR_TEST_BAND_S": "1"})) as first:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out").glob("*.part")):
            assert time.monotonic() < deadline and first.poll() is None
            time.sleep(0.01)
        second = commands.run(FOLDER, tmp_path)
        assert first.poll() is None
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].endswith(
        "another edsr-upscale is at work on this job; wait for it, or divide the work with --shard"
    )


def test_commands_with_journals_elsewhere_agree_on_every_picture(tmp_path: Path) -> None:
    for number in range(6):
        save(noise(16, 8, number), tmp_path / "in" / f"{number}.png")
    assert commands.run(["-i", "in", "-o", "alone", "-s", "2"], tmp_path).returncode == 0
    both = [commands.start([*FOLDER, "--job", f"j{n}"], tmp_path, env={"EDSR_TEST_BAND_S": "0.05"}) for n in range(2)]
    said = [command.communicate(timeout=120)[1] for command in both]
    assert [command.returncode for command in both] == [0, 0], said
    assert outputs(tmp_path / "out") == outputs(tmp_path / "alone")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n}.png" for n in range(6)]
