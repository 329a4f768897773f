"""Two results, one beside the other."""

import copy
from collections.abc import Callable
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
    assert len(comparison.changes) == len(list(metrics(old))) > 50  # and no two have one name


@pytest.mark.parametrize(("factor", "is_worse"), [(1.09, False), (1.11, True), (0.5, False)])
def test_a_time_may_grow_by_the_threshold(
    old: dict[str, Any], new: dict[str, Any], factor: float, is_worse: bool
) -> None:
    new["results"]["startup"]["rows"][0]["seconds"]["median"] *= factor
    worse = compare(old, new, threshold=0.1).regressions
    assert [change.name for change in worse] == (
        ["start: edsr-upscale, picture to picture, edsr-small_x4, 256x256"] if is_worse else []
    )


@pytest.mark.parametrize(("factor", "is_worse"), [(0.91, False), (0.89, True), (2, False)])
def test_the_ratio_to_pytorch_may_fall_by_the_threshold(
    old: dict[str, Any], new: dict[str, Any], factor: float, is_worse: bool
) -> None:
    auto(new)["times_torch"]["median"] *= factor
    worse = compare(old, new, threshold=0.1).regressions
    assert [change.name for change in worse] == (
        ["speed of auto, EDSR-baseline 16x64, random weights x4, 192x256"] if is_worse else []
    )


def test_a_machine_that_is_slower_than_it_was_makes_no_candidate_worse(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    for row in new["results"]["latency"]["cases"][0]["rows"]:
        row["latency_ms"]["p50"] *= 3
    for row in new["results"]["offline"]["rows"]:
        row["hr_megapixels_per_s"]["median"] /= 3
    assert compare(old, new).regressions == []
    new["versions"]["torch"] = "2.14.0"
    assert compare(old, new).notes == ["ratios are to another PyTorch (before: 2.13.0; now: 2.14.0)"]


def test_throughput_is_worse_when_it_falls(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["results"]["offline"]["rows"][1]["times_torch"]["median"] *= 0.8
    (change,) = compare(old, new).regressions
    assert change.name.startswith("throughput of auto, folder to folder")
    assert change.worse_by == pytest.approx(0.2)


@pytest.mark.parametrize(("lost_db", "is_worse"), [(0.009, False), (0.011, True)])
def test_psnr_may_fall_by_less_than_a_hundredth_of_a_db(
    old: dict[str, Any], new: dict[str, Any], lost_db: float, is_worse: bool
) -> None:
    new["results"]["quality"]["cases"][0]["rows"][2]["psnr_db"] -= lost_db
    assert len(compare(old, new, threshold=10).regressions) == is_worse


@pytest.mark.parametrize(
    ("section", "change", "name"),
    [
        (
            "quality",
            lambda q: q["cases"][0]["rows"][2].update(ssim=0.9584),
            "SSIM of edsr-small_x2, openvino-bf16, Set5, paper-y",
        ),
        (
            "models",
            lambda m: m["rows"][1]["latency_ms"].update(median=29),
            "latency of edsr-small_x4, auto, 192x256",
        ),
        (
            "encode",
            lambda e: e["rows"][0]["share_percent"].update(median=9.0),
            "share of encoding, EDSR-baseline, 0802, 2048x2048",
        ),
        ("encode", lambda e: e["rows"][0]["seconds"].update(median=0.06), "encoding, 0802, 2048x2048"),
        ("encode", lambda e: e["rows"][0].update(size_bytes=9_500_000), "size of the PNG, 0802, 2048x2048"),
        (
            "seams",
            lambda s: s["rows"][1].update(max_difference=0.5),
            "seams of edsr-baseline_x2, exact halo, 192x256 in tiles of 32",
        ),
        (
            "startup",
            lambda s: s["rows"][0]["seconds"].update(median=0.9),
            "start: edsr-upscale, picture to picture, edsr-small_x4, 256x256",
        ),
        ("memory", lambda m: m["rows"][0].update(peak_bytes=2_000_000_000), "memory of edsr-small x2, 10000x10000"),
    ],
)
def test_what_got_worse_is_found(
    old: dict[str, Any], new: dict[str, Any], section: str, change: Callable[[Any], None], name: str
) -> None:
    change(new["results"][section])
    assert [each.name for each in compare(old, new).regressions] == [name]
    assert compare(new, old).regressions == []  # and the other way round it is better


def test_seams_by_rounding_alone_are_not_worse(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["results"]["seams"]["rows"][1]["max_difference"] *= 3
    assert compare(old, new).regressions == []


def test_growth_is_compared_on_pictures_of_one_size_only(old: dict[str, Any], new: dict[str, Any]) -> None:
    for result in old, new:
        result["results"] = {"scaling": result["results"]["scaling"]}
    new["results"]["scaling"]["side"] = 96
    tile = new["results"]["scaling"]["curves"][1]
    tile["points"] = [point | {"x": x} for point, x in zip(tile["points"], (64, 256), strict=True)]
    common = {change.name for change in compare(old, new).changes}
    of_pictures = {
        f"{what}, edsr-small_x2, picture {x} megapixels" for what in ("time", "peak memory") for x in (0.1, 1)
    }
    assert common == of_pictures  # whose sizes are their own
    assert "time, edsr-small_x2, batch 4 of 256x256" in dict(metrics(old))
    assert "time, edsr-small_x2, tile 64 of 512x512" in dict(metrics(old))
    assert "time, edsr-small_x2, tile 64 of 256x256" in dict(metrics(new))


def test_parts_of_pictures_are_not_compared_with_whole_ones(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["arguments"]["quality_side"] = 48
    assert not any(change.unit in ("dB", "SSIM") for change in compare(old, new).changes)


def test_the_worst_is_what_exceeds_most_what_is_allowed(old: dict[str, Any], new: dict[str, Any]) -> None:
    auto(new)["times_torch"]["median"] *= 0.5  # 5 times what is allowed
    new["results"]["quality"]["cases"][0]["rows"][0]["psnr_db"] -= 0.1  # 10 times
    assert [change.unit for change in compare(old, new).regressions] == ["dB", "times PyTorch"]


@pytest.mark.parametrize(
    "difference", [{"cpu": "Another"}, {"usable_cpus": 99}, {"cpu_flags": ["avx_vnni", "avx512f", "amx_bf16"]}]
)
def test_of_another_machine_quality_is_judged_ratios_are_shown_and_times_left_out(
    old: dict[str, Any], new: dict[str, Any], difference: dict[str, Any]
) -> None:
    new["machine"] |= difference
    auto(new)["times_torch"]["median"] /= 5
    new["results"]["startup"]["rows"][0]["seconds"]["median"] *= 9
    new["results"]["quality"]["cases"][0]["rows"][0]["psnr_db"] -= 1
    comparison = compare(old, new)
    assert [change.unit for change in comparison.regressions] == ["dB"]
    assert {change.unit for change in comparison.judged} == {"G", "dB", "SSIM", "grey levels", "MB"}
    assert {change.unit for change in comparison.changes if not change.is_judged} == {"times PyTorch"}
    assert not any("start" in change.name for change in comparison.changes)
    assert "the machines differ (before: Imagined CPU, " in comparison.notes[0]
    (line,) = (line for line in comparison.table(0.1).markdown().splitlines() if "speed of auto" in line)
    assert line.endswith("| 25 times PyTorch | 5 times PyTorch |  | not judged |")


def test_what_only_the_older_result_has_is_named(old: dict[str, Any], new: dict[str, Any]) -> None:
    rows = new["results"]["latency"]["cases"][0]["rows"]
    rows.remove(auto(new))
    del new["results"]["cost"], new["results"]["ring"]
    assert compare(old, new).notes == [
        "only before: cost, ring",
        "only before: speed of auto, EDSR-baseline 16x64, random weights x4, 192x256",
    ]


@pytest.mark.parametrize(
    ("before", "now", "cpu", "message"),
    [
        (
            ["cost"],
            ["latency"],
            "Imagined CPU",
            "the older result has cost, the new one is of latency: compare results",
        ),
        (["ring"], ["ring"], "Imagined CPU", "the older result has ring, the new one is of ring: compare results"),
        (["latency"], ["latency"], "Another", "and the machines differ, so that only cost, sizes and quality could be"),
        (["startup"], ["startup"], "Another", "the same measurements, scales and sizes on one machine"),
    ],
)
def test_nothing_to_judge_is_no_success(
    tmp_path: Path, new: dict[str, Any], before: list[str], now: list[str], cpu: str, message: str
) -> None:
    files = tmp_path / "old.json", tmp_path / "new.json"
    for path, names, name_of_cpu in ((files[0], before, cpu), (files[1], now, "Imagined CPU")):
        new["arguments"]["measurements"] = names
        results = {name: whole_result()["results"][name] for name in names}
        write_result(path, new | {"results": results, "machine": new["machine"] | {"cpu": name_of_cpu}})
    done = CliRunner().invoke(report.main, [str(files[1]), "--compare", str(files[0])])
    assert done.exit_code == 2
    assert "error: nothing can be judged: " in done.stderr
    assert message in " ".join(done.stderr.split())


def test_peers_do_not_count(old: dict[str, Any], new: dict[str, Any]) -> None:
    for row in new["results"]["latency"]["cases"][0]["rows"]:
        if row["kind"] != "ours":
            row["times_torch"]["median"] /= 9
    for result, lost_db in ((old, 0), (new, 1)):
        (first, *_) = result["results"]["quality"]["cases"]
        first["rows"].append(first["rows"][0] | {"name": "torch-bf16", "psnr_db": 37 - lost_db})
    assert compare(old, new).regressions == []


def test_the_command_ends_with_5_when_something_is_worse(
    tmp_path: Path, old: dict[str, Any], new: dict[str, Any]
) -> None:
    auto(new)["times_torch"]["median"] *= 0.5
    files = tmp_path / "old.json", tmp_path / "new.json"
    for path, result in zip(files, (old, new), strict=True):
        write_result(path, result)
    done = CliRunner().invoke(report.main, [str(files[1]), "--compare", str(files[0])])
    assert done.exit_code == 5
    assert "| 25 times PyTorch | 12.5 times PyTorch | +50.0% | **worse** |" in done.output
    assert "numbers got worse, most of all speed of auto" in " ".join(done.output.split())
    patient = CliRunner().invoke(report.main, [str(files[1]), "--compare", str(files[0]), "--threshold", "0.6"])
    assert patient.exit_code == 0, patient.output
