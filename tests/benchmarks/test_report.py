"""Tables say what the numbers say."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.reporting import plots
from benchmarks.reporting.document import SECTIONS, render, warnings
from benchmarks.reporting.folder import write_folder
from benchmarks.reporting.photographs import photographs
from benchmarks.reporting.table import Cell, Table, number, signed
from benchmarks.result_file import read_result, read_stored, write_result
from benchmarks.settings import MEASUREMENTS
from edsr_runtime.errors import DataError
from made_up_result import made_up, scaling_section, whole_result
from photographs import noise, save


@pytest.fixture(scope="module")
def text() -> str:
    return render(whole_result())


@pytest.mark.parametrize(
    "line",
    [
        # cost
        "| EDSR-baseline | x4 | as trained | 114.2G | 57.12G | 2.06G | 1.142 | 67.1 | 36 |",
        "| EDSR-baseline | x4 | as exported | 74.56G | 37.28G | 1.34G | 0.746 | 67.1 | 36 |",
        "| EDSR-baseline | x4 | 1,518K | 1.52M | 114.2G | 114.2G | HR 1280x720 | yes |",
        "| EDSR-baseline | x4 |  |  | 2.06G | 2.06G | HR 128x128 | yes |",
        "| edsr-small_x4 | x4 | as trained | 28.50G | 14.25G | 513.0M | 0.285 | 67.1 | 36 |",
        "| edsr-small_x4 | x4 | as exported | 27.88G | 13.94G | 501.8M | 0.279 | 67.1 | 36 |",
        "* VDSR was not counted: not yet",
        "| head.0 | Conv | 64x3x3x3 | 192x256 | 1,792 | 84.9 |",
        # latency
        "### One picture at a time, x4: EDSR-baseline 16x64, random weights, 192x256 LR, array to array",
        "| PyTorch eager FP32 | unfolded | none | 2000.00 | 2200.00 | 2400.00 | 1.00 (0.90 to 1.10) | 640 |  | 0 "
        "| 0.0% | 120 |",
        "| edsr-toolkit, auto | folded | none | 80.00 | 88.00 | 96.00 | 25.00 (22.50 to 27.50) | 640 | 50% | 1 | 2.1% "
        "| 120 |",
        "| nothing: the harness alone | unfolded | none | 0.00 | 0.00 | 0.00 | 2000000.00 (1800000.00 to 2200000.00) "
        "|  |  |  |  | 120 |",
        "* auto is openvino (auto: the fastest on CPUs), bf16 on CPU, AMX",
        "* edsr-toolkit, auto is 1.75 (1.70 to 1.80) times as fast as without tail collapse",
        "| OpenCV DNN | missing: not today |  |  |  |  |  |  |  |  |  |  |",
        "* copies to a device: none: in and out are in main memory",
        "| PyTorch GEMM 2048, fp32 | CPU | fp32 | 1,280.0 | 1,270.0 | GFLOP/s |",
        # throughput, ring, encoding, memory, start, training
        "| edsr-toolkit, auto | folder to folder | none | 12.34 (12.00 to 13.00) | 24.70 (24.00 to 25.00) |",
        "| torch.compile FP32 | missing: slow |  |  |  |",
        "| x2 | edsr-toolkit, OpenVINO BF16 | 50.0 (49.0 to 52.0) | 1.2 (-0.5 to 2.0) | 0.0 (-1.0 to 1.0) |",
        "| edsr-upscale | 0.050 (0.049 to 0.060) | 7.1 (7.0 to 8.0) | 8.54 |",
        "| x2 | 10000x10000 | 20000x20000 | 1.23 | 412 | 170 -> 700 |",
        "| edsr-upscale, picture to picture | a process | 0.710 (0.700 to 0.750) |",
        "| x4 | 48 | edsr-small | 9001 (8000 to 9500) | 410 (400 to 420) | 21.9 (20.0 to 23.0) |",
        # quality
        "| edsr-small_x2 | Set5 | edsr-toolkit, OpenVINO FP32 | 37.404 | 0.9587 | +0.0000 | +0.0000 | 3e-05 | 0.0003 "
        "| 0.00% |",
        "| edsr-small_x2 | Set5 | edsr-toolkit, OpenVINO BF16 | 37.400 | 0.9586 | +0.0042 | +0.0051 | 0.14 | 1.1 "
        "| 9.88% |",
        "| edsr-small_x2 | Set5 | 37.404 / 0.9587 | 37.523 / 0.9594 | 33.673 / 0.9301 |",
        "| model | set | ours | ours, self-ensemble | bicubic, ours | bicubic | A+ | SRCNN | VDSR | LESRCNN "
        "| EDSR-baseline | EDSR | MDSR | EDSR+ | MDSR+ |",
        "| edsr-small_x2 | Set5 | 37.40 / 0.9587 | 37.52 / 0.9594 | 33.67 / 0.9301 | 33.66 / 0.9299 | 36.54 / 0.9544 "
        "|  | 37.53 / 0.9587 | 37.65 |  |  |  |  |  |",
        "| 36, exact | 48 | 2.4e-05 | 0.0000% |",
        # scaling
        "| 0.1 | 0.110 | 0.010 |  | 0.909 | 350 | 50 | 25 | 1 |",
        "* time grows as pictures to the power of 1.29",
        "* **worse than linear**",
        # the field
        "| edsr-baseline | 1.37M | 316.2G | 1000 | 400 | 36.173 | +2.500 |",
        "| bicubic |  |  |  |  | 33.673 | +0.000 |",
        "* found, the best first: edsr-baseline, srresnet, vdsr, srcnn, bicubic",
        "| vdsr | 34.500 | 35.173 |",
        "| 512x512 | PyTorch eager FP32 | vdsr | 1,250.0 | 3.12 (2.81 to 3.44) | 0 | 35 |",
        "| 512x512 | edsr-toolkit, auto | lesrcnn | 50.0 | 1.00 (0.90 to 1.10) | 1 | 35 |",
        "* PyTorch eager FP32: PyTorch eager, FP32, unfolded, 2 threads",
        "* edsr-toolkit, auto: openvino (auto: the fastest on CPUs), bf16 on CPU, AMX",
        # targets
        "| x4, auto | at least 24 times | 25 times | yes |",
        "| x4, no collapse | at least 1.6 times | 1.5 times | **no** |",
        "| x2, auto | at least 9 times | 5 times | does not apply: the CPU has no AMX |",
    ],
)
def test_every_measurement_has_its_rows(text: str, line: str) -> None:
    assert line in text.splitlines()


def test_a_row_above_the_ceiling_is_marked(text: str) -> None:
    (row,) = (line for line in text.splitlines() if line.startswith("| ncnn |"))
    assert "**invalid: above it**" in row


def test_numbers_of_different_protocols_are_in_different_tables(text: str) -> None:
    heads = [line for line in text.splitlines() if "How good" in line]
    assert heads == ["### How good: PSNR, dB, and SSIM, `paper-y`", "#### How good: PSNR, dB, and SSIM, `paper-div2k`"]
    luma, rgb = text.split(heads[1])
    assert "3 of DIV2K_valid" not in luma
    assert "| edsr-small_x2 | 3 of DIV2K_valid | 34.500" in rgb


def test_a_curve_that_is_linear_is_not_called_worse() -> None:
    assert render(made_up(scaling=scaling_section())).count("worse than linear") == 1


def test_the_circumstances_stand_above_the_tables() -> None:
    lines = render(made_up()).splitlines()
    assert lines[0].startswith("* Imagined CPU (")
    assert lines[0].endswith("avx512f, amx_bf16); no NVIDIA GPU")
    assert lines[1].startswith("* openvino 2025.2, torch 2.13.0; Python 3.")
    assert lines[2] == (
        "* 2025-01-31T12:00:00+00:00, commit 0123456789ab, load average 0.12 -> 1.90, "
        "1% of the processor taken by others"
    )
    assert lines[3] == "* measured in 66 s: cost 5, latency 61"
    assert len(lines) == 4


def test_a_loaded_machine_a_smoke_run_and_changed_files_are_said() -> None:
    result = made_up()
    assert warnings(result) == []
    result |= {"loaded": "the machine was busy before the start (load average 2.50)", "smoke": True}
    result["commit"]["modified"] = True
    said = warnings(result)
    assert len(said) == 3
    assert "busy before the start (load average 2.50): do not rely on the times" in "".join(said)
    assert all(f"**{line}**" in render(result) for line in said)


def test_what_was_left_out_or_broke_off_is_said() -> None:
    result = made_up(scaling=scaling_section())
    result["arguments"]["measurements"] = ["scaling", "quality", "encode"]
    result["skipped"] = {"quality": "no benchmark data"}
    assert "* quality was left out: no benchmark data\n* encode was not finished" in render(result)


def test_every_measurement_has_a_table() -> None:
    assert set(SECTIONS) == set(MEASUREMENTS)


TABLE = Table("t", "Title", ("name", "dB"), "lr", [("a <b>", number(1.23456, ".2f")), ("`c`", signed(-0.00001, 2))])


def test_csv_has_the_numbers_in_full() -> None:
    assert list(csv.reader(io.StringIO(TABLE.csv()))) == [["name", "dB"], ["a <b>", "1.23456"], ["`c`", "-1e-05"]]


def test_markdown_has_them_as_people_read_them() -> None:
    assert TABLE.markdown() == "| name | dB |\n| --- | ---: |\n| a <b> | 1.23 |\n| `c` | +0.00 |"


def test_html_escapes_text_and_carries_what_is_sorted_by() -> None:
    html = TABLE.html()
    assert '<td class="l">a &lt;b&gt;</td><td class="r" data-value="1.23456">1.23</td>' in html
    assert '<td class="l"><code>c</code></td>' in html


def test_an_unpaired_mark_is_left_as_it_is() -> None:
    assert "a ** b" in Table("t", "", ("x",), "l", [(Cell("a ** b"),)]).html()


def test_everything_is_written_into_one_folder(tmp_path: Path) -> None:
    page = write_folder(whole_result(), tmp_path / "report")
    names = {path.relative_to(page.parent).as_posix() for path in page.parent.rglob("*") if path.is_file()}
    assert {"index.html", "report.md", "tables/latency-x4.csv", "tables/targets.csv"} <= names
    drawn = {"quality-against-latency", "latency", "mult-adds", "mega-per-pixel", "scaling-picture", "scaling-tile"}
    drawn |= {"gain-against-cost"}
    assert {f"plots/{plot}.{suffix}" for plot in drawn for suffix in ("png", "svg")} <= names
    assert all((page.parent / name).stat().st_size > 20 for name in names)
    assert "EDSR-baseline x4" in (page.parent / "plots" / "mult-adds.svg").read_text()
    assert "484,848" not in (page.parent / "plots" / "quality-against-latency.svg").read_text()
    assert "edsr-small_x4, 485K" in (page.parent / "plots" / "quality-against-latency.svg").read_text()


@pytest.mark.parametrize(
    ("place", "data"), [("benchmark/Set5/HR", ""), ("Set5/HR", ""), ("Set5", ""), ("Set5/HR", "Set5")]
)
def test_pictures_of_set5_are_found_where_the_measurement_finds_them(tmp_path: Path, place: str, data: str) -> None:
    for name in ("baby", "woman"):
        save(noise(24, 20), tmp_path / place / f"{name}.png")
    assert [each.name for each in photographs(tmp_path / data)] == ["coffee", "baby"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("Set14/HR/baby.png", "there is no set Set5; there are Set14"),
        ("Set5/HR/woman.png", "Set5: has none of baby, bird, butterfly, which the page shows"),
    ],
)
def test_data_without_the_pictures_of_the_page_are_refused_before_anything_is_written(
    tmp_path: Path, place: str, message: str
) -> None:
    save(noise(24, 20), tmp_path / "data" / place)
    with pytest.raises(DataError, match=message):
        write_folder(made_up(), tmp_path / "report", tmp_path / "data")
    assert not (tmp_path / "report").exists()


@pytest.fixture
def figure_of() -> Iterator[Callable[[plots.Plot, dict[str, Any]], Any]]:
    """Draws, and closes in the end."""
    yield lambda plot, result: plot(result)
    plt.close("all")


def bars(axes: Any) -> list[tuple[float, float]]:
    """Where each begins to be seen, and where it ends."""
    return [(max(bar.get_x(), axes.get_xlim()[0]), bar.get_x() + bar.get_width()) for bar in axes.patches]


@pytest.mark.parametrize(
    ("plot", "begin", "ends"),
    [
        (plots.mult_adds, 1, [114.23, 28.5, 74.56, 27.88]),
        (plots.mega_per_pixel, 0.01, [0.285, 1.1423]),
    ],
)
def test_logarithmic_bars_begin_where_they_always_do(
    figure_of: Any, plot: Any, begin: float, ends: list[float]
) -> None:
    result = whole_result()
    (axes,) = figure_of(plot, result).axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel().endswith(f"logarithmic from {begin:g}")
    assert bars(axes) == [(begin, pytest.approx(end)) for end in ends]
    assert axes.get_xlim()[1] > max(ends)
    result["results"]["cost"]["rows"] = result["results"]["cost"]["rows"][:1]  # without the smaller network
    assert figure_of(plot, result).axes[0].get_xlim()[0] == begin


def test_a_bar_that_is_smaller_than_all_others_is_still_seen(figure_of: Any) -> None:
    result = whole_result()
    result["results"]["cost"]["rows"][2]["exported"]["mult_adds"]["HR 1280x720"] = 0.1e9
    (axes,) = figure_of(plots.mult_adds, result).axes
    assert axes.get_xlim()[0] == pytest.approx(0.01)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["EDSR-baseline x4", "edsr-small_x4"]


@pytest.mark.parametrize(
    ("plot", "unit"), [(plots.scaling_picture, "LR megapixels"), (plots.scaling_tile, "side, LR pixels")]
)
def test_time_and_memory_have_an_axis_each(figure_of: Any, plot: Any, unit: str) -> None:
    figure = figure_of(plot, whole_result())
    time, memory = figure.axes
    assert time.get_xlabel() == f"{unit}, logarithmic"
    assert (time.get_ylabel(), memory.get_ylabel()) == ("s, logarithmic", "MB, logarithmic")
    assert time.get_xscale() == time.get_yscale() == memory.get_yscale() == "log"
    seconds, (grown, predicted) = list(time.lines[0].get_ydata()), [list(line.get_ydata()) for line in memory.lines]
    assert seconds == ([0.11, 1.0] if plot is plots.scaling_picture else [9, 4])
    assert grown == ([50, 90] if plot is plots.scaling_picture else [10, 90])
    assert predicted == [each / 2 for each in grown]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "time",
        "memory above the loaded model",
        "memory predicted, activations of a tile",
    ]


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = whole_result()
    path = tmp_path / "new folder" / "result.json"
    write_result(path, result)
    read = read_result(path)
    assert read.pop("schema_version") == 2
    assert read == result
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_result_that_cannot_be_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(path, {"psnr": 37.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_result(path, {"psnr": float("nan")})
    assert read_stored(path)["psnr"] == 37.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "schema version None, expected 2"),
        ("[" * 100_000, "is not JSON"),
        ('{"schema_version": 1}', "schema version 1, expected 2"),
        ('{"schema_version": 2}', "lacks 'date', which every result of benchmarks/run.py has: pass one of those"),
    ],
)
def test_a_file_that_is_no_result_is_refused_in_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_result(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"results": None}, "lacks 'results', which every result of benchmarks/run.py has"),
        ({"results": {"alchemy": {}}}, "has the measurement 'alchemy', expected those of this version's run.py"),
    ],
)
def test_a_result_of_something_else_is_refused_in_one_sentence(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "result.json"
    write_result(path, made_up() | changes)
    with pytest.raises(DataError, match=message):
        read_result(path)


def test_all_results_that_are_kept_are_of_a_run_or_of_engines(project_root: Path) -> None:
    kept = sorted((project_root / "benchmarks" / "results").glob("*.json"))
    of_engines = [path for path in kept if read_stored(path).get("measurement") == "engines"]
    assert of_engines
    for path in kept:
        if path in of_engines:
            done = CliRunner().invoke(report.main, [str(path)])
            assert (done.exit_code, done.stdout) == (2, "")
            assert "lacks 'load_after', which every result of benchmarks/run.py has" in " ".join(done.stderr.split())
        else:
            render(read_result(path))


def test_data_without_a_page_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text("{}")
    done = CliRunner().invoke(report.main, [str(file), "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "--data is for the page that --folder makes: pass --folder too" in done.output
