"""The command edsr-upscale, on real files with a real exported model."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click.testing
import numpy as np
import pytest
from PIL import Image

from edsr_runtime import cli, zoo
from edsr_runtime.job.journal import journal_name
from edsr_runtime.pictures.read import DEFAULT_MAX_PIXELS, read_picture
from edsr_runtime.pictures.write import DEFAULT_QUALITY
from edsr_runtime.upscaler import Upscaler

H, W = 21, 17
JOURNAL = journal_name(None)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str | Path | int) -> click.testing.Result:
    """The command in this process; a bug keeps its traceback."""
    return click.testing.CliRunner().invoke(cli.main, list(map(str, words)), catch_exceptions=False)


def with_model(model: Path, *words: str | Path | int) -> click.testing.Result:
    return run("-m", model, "--backend", "onnxruntime", *words)


def put(name: str, mode: str = "RGB", size: tuple[int, int] = (H, W)) -> Path:
    """A random picture of size (H, W); what it is and its format, ``mode`` and the suffix say."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(len(name))
    samples = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
    Image.frombytes(mode, (size[1], size[0]), samples.tobytes()).save(path)
    return path


def files_in(folder: str) -> list[str]:
    """Without the journal, which has tests of its own."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != JOURNAL)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def last_line(result: click.testing.Result) -> str:
    return result.stderr.splitlines()[-1]


def test_a_picture_becomes_what_the_upscaler_makes_of_it(tiny_model: Path) -> None:
    source = put("a.png")
    result = with_model(tiny_model, "-i", source, "-o", "new/b.png", "-s", 2)
    assert (result.exit_code, result.stdout) == (0, "")
    with Upscaler(tiny_model, backend="onnxruntime") as upscaler:
        expected = upscaler.upscale(read_picture(source).pixels)
        assert result.stderr.splitlines()[0] == upscaler.description
    assert expected.shape == (2 * H, 2 * W, 3)
    np.testing.assert_array_equal(read_picture(Path("new/b.png")).pixels, expected)
    assert last_line(result).startswith("1 picture upscaled in ")
    assert files_in("new") == ["b.png"]


def test_tiles_halo_and_self_ensemble_reach_the_upscaler(tiny_model: Path) -> None:
    source = put("a.png")
    options = ("-t", 16, "--halo", 1, "-x", "--precision", "fp32", "--threads", 1)
    assert with_model(tiny_model, "-i", source, "-o", "b.png", *options).exit_code == 0
    arguments = {"tile": 16, "halo": 1, "self_ensemble": True, "precision": "fp32", "threads": 1}
    with Upscaler(tiny_model, backend="onnxruntime", **arguments) as upscaler:  # type: ignore[arg-type]
        expected = upscaler.upscale(read_picture(source).pixels)
    np.testing.assert_array_equal(read_picture(Path("b.png")).pixels, expected)


def test_a_folder_keeps_its_structure_its_formats_and_its_kinds(tiny_model: Path) -> None:
    put("in/gray.png", "L")
    put("in/x/clear.webp", "RGBA")
    put("in/x/y/photo.jpeg")
    result = with_model(tiny_model, "-i", "in", "-o", "out", "--recursive", "-f", "keep")
    assert result.exit_code == 0
    assert files_in("out") == ["gray.png", "x/clear.webp", "x/y/photo.jpeg"]
    modes = {}
    for name in files_in("out"):
        with Image.open(Path("out", name)) as picture:
            modes[name] = (picture.format, picture.mode, picture.size)
    assert modes == {
        "gray.png": ("PNG", "L", (2 * W, 2 * H)),
        "x/clear.webp": ("WEBP", "RGBA", (2 * W, 2 * H)),
        "x/y/photo.jpeg": ("JPEG", "RGB", (2 * W, 2 * H)),
    }


def test_pictures_are_named_with_and_without_the_option(tiny_model: Path) -> None:
    for name in ("a.png", "b.png", "c.jpg"):
        put(name)
    done = with_model(tiny_model, "-i", "c.jpg", "-o", "large/", "a.png", "b.png")
    assert done.exit_code == 0, done.stderr
    assert files_in("large") == ["a.png", "b.png", "c.png"]
    assert "[IN]..." in run("--help").stdout.splitlines()[0]


def test_quality_is_that_of_the_file(tiny_model: Path) -> None:
    put("a.png")
    for quality in (20, 90):
        with_model(tiny_model, "-i", "a.png", "-o", f"{quality}.jpg", "--quality", quality)
    assert Path("20.jpg").stat().st_size < 0.5 * Path("90.jpg").stat().st_size


def test_a_bad_file_stops_no_folder_and_is_listed_at_the_end(tiny_model: Path) -> None:
    for name in ("in/a.png", "in/c.png"):
        put(name)
    Path("in/b.png").write_text("<html>not found</html>")
    Path("in/d.png").touch()
    result = with_model(tiny_model, "-i", "in", "-o", "out")
    assert result.exit_code == 3
    assert files_in("out") == ["a.png", "c.png"]
    assert "2 pictures upscaled in " in result.stderr
    assert result.stderr.splitlines()[-3:] == [
        "error: 2 of 4 pictures failed:",
        "  in/b.png: is an HTML page, not a picture (perhaps a download that failed)",
        "  in/d.png: is empty (0 bytes)",
    ]


def test_a_single_bad_file_is_one_sentence(tiny_model: Path) -> None:
    put("a.png", "RGBA")
    result = with_model(tiny_model, "-i", "a.png", "-o", "out/b.jpg")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[1:] == ["error: out/b.jpg: JPEG holds no transparency; use -f png or -f webp"]
    assert not Path("out").exists()


def test_existing_files_are_skipped_said_and_counted(tiny_model: Path) -> None:
    put("in/a.png")
    put("in/b.png")
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"mine")
    result = with_model(tiny_model, "-i", "in", "-o", "out", "-v")
    assert result.exit_code == 0
    assert "in/a.png: skipped, out/a.png exists" in result.stderr
    assert ", 1 skipped (the output exists; --overwrite replaces it)" in result.stderr
    assert Path("out/a.png").read_bytes() == b"mine"

    again = with_model(tiny_model, "-i", "in", "-o", "out")
    assert (again.exit_code, again.stderr) == (
        0,
        "nothing to do: 2 skipped (the output exists; --overwrite replaces it)\n",
    )
    assert with_model(tiny_model, "-i", "in", "-o", "out", "--overwrite").exit_code == 0
    assert read_picture(Path("out/a.png")).height == 2 * H


def test_quiet_without_a_terminal_and_a_line_per_picture_with_v(tiny_model: Path) -> None:
    put("in/a.png")
    put("in/b.png")
    quiet = with_model(tiny_model, "-i", "in", "-o", "out")
    assert len(quiet.stderr.splitlines()) == 2
    verbose = with_model(tiny_model, "-i", "in", "-o", "out2", "-v").stderr.splitlines()
    assert verbose[1].startswith(f"in/a.png: {H}x{W} -> {2 * H}x{2 * W} (HxW), out2/a.png, ")
    assert verbose[2].startswith("in/b.png: ")
    assert verbose[-1].startswith("decode ") and " (overlapped; inference waited " in verbose[-1]


def test_notes_come_with_the_name_of_their_picture(tiny_model: Path) -> None:
    put("in/press.jpg", "CMYK")
    result = with_model(tiny_model, "-i", "in", "-o", "out")
    assert result.exit_code == 0
    assert "in/press.jpg: CMYK converted to sRGB; " in result.stderr


def test_dry_run_tells_sizes_tiles_and_outputs_and_writes_nothing(tiny_model: Path) -> None:
    put("in/a.png")
    put("in/b.jpg", size=(40, 60))
    put("in/clear.png", "RGBA")
    put("in/done.png")
    Path("in/e.png").touch()
    put("out/done.jpg")
    before = files_in(".")
    result = with_model(tiny_model, "-i", "in", "-o", "out", "-f", "jpg", "--dry-run", "-t", 32)
    assert result.exit_code == 3
    first, second, third = result.stdout.splitlines()
    assert first == "in/done.png: skipped, out/done.jpg exists"
    assert second == f"in/a.png: {H}x{W} (HxW) whole -> out/a.jpg: {2 * H}x{2 * W} (HxW) jpg"
    assert third.startswith("in/b.jpg: 40x60 (HxW) in ") and third.endswith(" -> out/b.jpg: 80x120 (HxW) jpg")
    assert result.stderr.splitlines()[-3:] == [
        "error: 2 of 4 pictures failed:",
        "  out/clear.jpg: JPEG holds no transparency; use -f png or -f webp",
        "  in/e.png: is empty (0 bytes)",
    ]
    assert files_in(".") == before


def test_dry_run_needs_no_output_folder(tiny_model: Path) -> None:
    put("in/sub/a.png")
    result = with_model(tiny_model, "-i", "in", "-o", "new/out", "--recursive", "--dry-run")
    assert result.stdout == (f"in/sub/a.png: {H}x{W} (HxW) whole -> new/out/sub/a.png: {2 * H}x{2 * W} (HxW) png\n")
    assert not Path("new").exists()


def test_declared_size_is_limited_before_decoding(tiny_model: Path) -> None:
    put("a.png")
    result = with_model(tiny_model, "-i", "a.png", "-o", "b.png", "--max-pixels", H * W - 1)
    assert result.exit_code == 3
    assert f"raise it: --max-pixels {H * W}" in last_line(result)
    assert with_model(tiny_model, "-i", "a.png", "-o", "b.png", "--max-pixels", H * W).exit_code == 0


def test_defaults_in_the_help_are_those_of_the_functions() -> None:
    defaults = {option.name: option.default for option in cli.main.params}
    assert defaults["quality"] == DEFAULT_QUALITY
    assert defaults["max_pixels"] == DEFAULT_MAX_PIXELS
    assert f"Default: {zoo.DEFAULT_NAME}." in " ".join(run("--help").output.split())


def test_scale_that_is_not_the_models_is_refused(tiny_model: Path) -> None:
    put("a.png")
    result = with_model(tiny_model, "-i", "a.png", "-o", "b.png", "-s", 4)
    assert result.exit_code == 2
    assert last_line(result) == (
        f"error: {tiny_model} enlarges 2 times, but -s says 4: leave -s out, or use another model"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "b.png", "-s", "4"), "Missing option '-i'."),
        (("-i", "a.png", "-s", "4"), "Missing option '-o'."),
        (("-i", "a.png", "-o", "b.png"), "Missing option '-s'"),
        (("-i", "a.png", "-o", "b.png", "-n", "x", "-m", "y.onnx"), "-n and -m both name a model"),
        (("-i", "a.png", "-o", "b.png", "-s", "4", "-t", "big"), "'big' is neither a number of LR pixels nor auto."),
        (("-i", "a.png", "-o", "b.png", "-s", "4", "-t", "0"), "'0' is neither a number of LR pixels nor auto."),
        (("-i", "a.png", "-o", "b.png", "-s", "4", "-f", "gif"), "'gif' is not one of"),
        (("-i", "nope.png", "-o", "b.png", "-s", "4"), "error: nope.png: no such file or folder"),
        (("-i", "a.png", "-o", "a.png", "-s", "4"), "error: a.png would become a.png, which is an input"),
        (("-i", "empty", "-o", "out", "-s", "4"), "error: no pictures in empty"),
        (("-i", "a.png", "-o", "b.png", "-m", "nope.onnx"), "error: nope.onnx: no such file"),
        (("-i", "a.png", "-o", "b.png", "-s", "4", "-n", "nope"), "error: no model nope x4 comes with the package"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(words: Sequence[str], message: str) -> None:
    put("a.png")
    Path("empty").mkdir()
    result = run(*words)
    assert result.exit_code == 2
    assert message in last_line(result)
    assert files_in(".") == ["a.png"]


def test_shipped_models_are_listed_and_taken_by_name(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = [zoo.ShippedModel(zoo.DEFAULT_NAME, 2, tiny_model), zoo.ShippedModel("other", 3, Path("other_x3.onnx"))]
    monkeypatch.setattr(zoo, "shipped_models", lambda *precision: shipped)
    assert run("--list-models").stdout == f"{zoo.DEFAULT_NAME}  x2  (default)\nother  x3\n"
    put("a.png")
    assert run("-i", "a.png", "-o", "b.png", "-s", 2, "--backend", "onnxruntime").exit_code == 0
    assert read_picture(Path("b.png")).width == 2 * W


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_leaves_complete_files_and_nothing_else(tiny_model: Path, number: signal.Signals) -> None:
    put("in/a.png")
    put("in/b.png", size=(3500, 3500))  # seconds of work, so that the signal comes in time on a busy machine too
    code = "from edsr_runtime.cli import main; main()"
    words = ["-i", "in", "-o", "out", "-m", str(tiny_model), "--backend", "onnxruntime", "-t", "32", "--threads", "1"]
    search = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # a background process of a shell would ignore SIGINT
    command = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=search,
        text=True,
        stderr=subprocess.PIPE,
        restore_signals=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 60
        while not (Path("out/a.png").exists() and list(Path("out").glob(".*.part"))):
            assert time.monotonic() < deadline and command.poll() is None
            time.sleep(0.01)
        command.send_signal(number)
        _, said = command.communicate(timeout=60)
    finally:
        command.kill()
    assert command.returncode == 130, said
    assert sorted(os.listdir("out")) == [JOURNAL, "a.png"]
    assert read_picture(Path("out/a.png")).height == 2 * H
    assert said.splitlines()[-2].startswith("1 picture upscaled in ")
    assert said.splitlines()[-1] == "interrupted; no unfinished file is left behind"
