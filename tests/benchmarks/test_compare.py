"""Two results, one beside the other."""

import copy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.reporting.compare import compare, metrics
from benchmarks.result_file import write_result
from made_up_result import whole_result


@pytest.fixture
def old() -> dict[str, Any]:
    return whole_result()


@pytest.fixture
def new() -> dict[str, Any]:
    return copy.deepcopy(whole_result())


def auto(result: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in result["results"]["latency"]["cases"][0]["rows"] if row["name"] == "auto")


def test_the_same_result_has_nothing_worse(old: dict[str, Any], new: dict[str, Any]) -> None:
    comparison = compare(old, new)
    assert comparison.regressions == []
    assert len(comparison.changes) == len(dict(metrics(old))) > 30


@pytest.mark.parametrize(("factor", "is_worse"), [(1.09, False), (1.11, True), (0.5, False)])
def test_a_time_may_grow_by_the_threshold(
    old: dict[str, Any], new: dict[str, Any], factor: float, is_worse: bool
) -> None:
    auto(new)["latency_ms"]["p50"] *= factor
    worse = compare(old, new, threshold=0.1).regressions
    assert [change.name for change in worse] == (
        ["latency of auto, EDSR-baseline 16x64, random weights x4, 192x256"] if is_worse else []
    )


def test_throughput_is_worse_when_it_falls(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["results"]["offline"]["rows"][1]["hr_megapixels_per_s"]["median"] *= 0.8
    (change,) = compare(old, new).regressions
    assert change.name.startswith("throughput of auto, folder to folder")
    assert change.worse_by == pytest.approx(0.2)


@pytest.mark.parametrize(("lost_db", "is_worse"), [(0.009, False), (0.011, True)])
def test_psnr_may_fall_by_less_than_a_hundredth_of_a_db(
    old: dict[str, Any], new: dict[str, Any], lost_db: float, is_worse: bool
) -> None:
    new["results"]["quality"]["cases"][0]["rows"][2]["psnr_db"] -= lost_db
    assert len(compare(old, new, threshold=10).regressions) == is_worse


def test_times_of_another_machine_are_not_compared_but_quality_is(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["machine"]["cpu"] = "Another"
    auto(new)["latency_ms"]["p50"] *= 9
    new["results"]["quality"]["cases"][0]["rows"][0]["psnr_db"] -= 1
    comparison = compare(old, new)
    assert [change.unit for change in comparison.regressions] == ["dB"]
    assert "another machine (Imagined CPU" in comparison.notes[0]


def test_peers_do_not_count(old: dict[str, Any], new: dict[str, Any]) -> None:
    for row in new["results"]["latency"]["cases"][0]["rows"]:
        if row["kind"] != "ours":
            row["latency_ms"]["p50"] *= 9
    assert compare(old, new).regressions == []


def test_the_command_ends_with_5_when_something_is_worse(
    tmp_path: Path, old: dict[str, Any], new: dict[str, Any]
) -> None:
    auto(new)["latency_ms"]["p50"] *= 1.5
    files = tmp_path / "old.json", tmp_path / "new.json"
    for path, result in zip(files, (old, new), strict=True):
        write_result(path, result)
    done = CliRunner().invoke(report.main, [str(files[1]), "--compare", str(files[0])])
    assert done.exit_code == 5
    assert "| 80 ms | 120 ms | +50.0% | **worse** |" in done.output
    assert "numbers got worse, most of all latency of auto" in " ".join(done.output.split())
    patient = CliRunner().invoke(report.main, [str(files[1]), "--compare", str(files[0]), "--threshold", "0.6"])
    assert patient.exit_code == 0, patient.output
