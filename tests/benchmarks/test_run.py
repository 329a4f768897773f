"""The command, on tiny networks and pictures."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from benchmarks import report, run
from benchmarks.memory import measure_command
from benchmarks.models import Models
from benchmarks.result_file import read_result
from benchmarks.settings import smoke_settings
from edsr_runtime.metrics import PROTOCOLS
from edsr_runtime.resize import imresize
from edsr_runtime.zoo import shipped_models
from edsr_train.data.sets import benchmark_pairs


def invoke(*arguments: str, data: Path | None = None) -> Result:
    return CliRunner(env={"EDSR_DATA": str(data) if data else ""}).invoke(run.main, arguments)


def measured(tmp_path: Path, *names: str, data: Path | None = None) -> dict[str, Any]:
    """What a smoke run of these measurements writes."""
    output = tmp_path / "result.json"
    done = invoke("--smoke", "--rounds", "1", "--only", ",".join(names), "--output", str(output), data=data)
    assert done.exit_code == 0, done.output
    printed = CliRunner().invoke(report.main, [str(output)])
    assert printed.exit_code == 0
    assert done.stdout == printed.stdout
    return read_result(output)


@pytest.mark.parametrize("script", ["run.py", "report.py"])
def test_scripts_start_from_any_folder(project_root: Path, tmp_path: Path, script: str) -> None:
    command = [sys.executable, str(project_root / "benchmarks" / script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: {script}")


def test_speed_of_every_candidate(tmp_path: Path) -> None:
    result = measured(tmp_path, "speed")
    section = result["results"]["speed"]
    assert [case["scale"] for case in section["cases"]] == [4]
    for case in section["cases"]:
        names = [row["name"] for row in case["rows"]]
        assert names == ["torch-eager-fp32", "auto", "openvino-fp32", "onnxruntime", "auto-no-collapse"]
        torch_ms = case["rows"][0]["samples_ms"]
        for row in case["rows"]:
            assert row["times_torch"]["median"] == pytest.approx(torch_ms[0] / row["samples_ms"][0], rel=0.01)
            assert row["max_difference"] <= 1
    assert [target["limit"] for target in section["targets"]] == [24, 1.6]
    assert {target["reason"] for target in section["targets"]} == {"smoke run"}


def test_cost_of_the_border_ring_in_every_form(tmp_path: Path) -> None:
    section = measured(tmp_path, "ring")["results"]["ring"]
    forms = {"openvino-bf16", "openvino-fp32", "onnxruntime"} - set(section["missing"])
    assert {(row["scale"], row["name"]) for row in section["rows"]} == {(4, form) for form in forms}
    worst = max(row["overhead_percent"]["median"] for row in section["rows"])
    assert section["targets"][0]["measured"] == worst


def test_share_of_encoding(tmp_path: Path) -> None:
    section = measured(tmp_path, "encode")["results"]["encode"]
    assert (section["lr_hw"], section["hr_hw"]) == ([32, 32], [128, 128])
    ours, pillow = section["rows"]
    infer = section["infer_seconds"]["median"]
    assert ours["share_percent"]["median"] == pytest.approx(
        100 * ours["seconds"]["median"] / (ours["seconds"]["median"] + infer)
    )
    assert all(1000 < row["size_bytes"] < 128 * 128 * 3 * 1.1 for row in (ours, pillow))


def test_quality_on_real_weights(tmp_path: Path, data_root: Path) -> None:
    section = measured(tmp_path, "psnr", data=data_root)["results"]["psnr"]
    mobile, small = section["cases"][:2]
    assert (mobile["model"], small["model"]) == ("edsr_r5f64_x2", "edsr_r8f32_x4")
    for case in section["cases"]:
        rows = {row["name"]: row for row in case["rows"]}
        assert rows["openvino-fp32"]["max_difference"] < 1e-2
        assert all(abs(row["loss_db"]) < 0.02 for row in case["rows"])
    assert 0.01 < mobile["ensemble"][0]["gain_db"] < 0.3


def test_memory_of_the_real_command(tmp_path: Path) -> None:
    model = Models(tmp_path, smoke_settings()).exported(2)
    row = measure_command(tmp_path, 60, 2, ["-m", str(model)])
    assert row.hr_hw == (120, 120)
    assert 30e6 < row.peak_bytes < 2e9
    assert row.output_bytes > 1000
    assert not list(tmp_path.glob("large*"))


def test_patches_beside_what_updates_use(tmp_path: Path) -> None:
    section = measured(tmp_path, "loader")["results"]["loader"]
    networks = ("edsr-small", "edsr-baseline")
    expected = [(scale, 8, network) for scale in (2, 4) for network in networks]
    assert [(row["scale"], row["patch"], row["network"]) for row in section["rows"]] == expected
    for row in section["rows"]:
        ratio = row["loader_patches_per_s"]["median"] / row["update_patches_per_s"]["median"]
        assert row["times_update"]["median"] == pytest.approx(ratio)  # a single round
    assert section["targets"][0]["measured"] == min(row["times_update"]["median"] for row in section["rows"])


def test_no_path_of_this_machine_gets_into_the_result(tmp_path: Path, data_root: Path) -> None:
    text = json.dumps(measured(tmp_path, "encode", data=data_root))
    assert str(data_root) not in text
    assert str(tmp_path) not in text
    assert str(Path.home()) + "/" not in text


def test_an_existing_result_is_kept_unless_told(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    output.write_text("measured on a machine long gone")
    done = invoke("--smoke", "--only", "encode", "--output", str(output))
    assert done.exit_code == 2
    assert "pass --overwrite" in done.output
    assert output.read_text() == "measured on a machine long gone"


def test_sets_scores_every_shipped_model_on_every_set_that_is_there(tmp_path: Path, data_root: Path) -> None:
    section = measured(tmp_path, "sets", data=data_root)["results"]["sets"]
    models = {(score["model"], score["scale"]) for score in section["scores"]}
    assert models == {(shipped.name, shipped.scale) for shipped in shipped_models()}
    assert [score["set"] for score in section["scores"]] == ["Set5", "Set14", "B100", "10 of Urban100"] * len(models)
    for score in section["scores"]:
        pairs = benchmark_pairs(data_root / "benchmark" / score["set"].split()[-1], score["scale"])[:2]
        side, scale = smoke_settings().psnr_side, score["scale"]
        assert side is not None
        parts = [(p.lr[:side, :side], p.hr[: side * scale, : side * scale]) for p in pairs]
        bicubic = [psnr_y_of_bicubic(lr, hr, scale) for lr, hr in parts]
        assert score["bicubic_psnr_db"] == pytest.approx(np.mean(bicubic), abs=1e-9)
        assert score["psnr_db"] > score["bicubic_psnr_db"] + 0.5


def psnr_y_of_bicubic(lr: NDArray[np.uint8], hr: NDArray[np.uint8], scale: int) -> float:
    return PROTOCOLS["paper-y"].psnr(np.asarray(imresize(lr, scale), np.uint8), hr, scale)


def test_psnr_without_data_is_refused_when_asked_for_by_name() -> None:
    done = invoke("--smoke", "--only", "psnr")
    assert done.exit_code == 2
    assert "psnr needs benchmark pictures and weights: pass --data, or set EDSR_DATA" in done.output


def test_an_unknown_measurement_is_a_usage_error() -> None:
    done = invoke("--only", "speed,spede")
    assert done.exit_code == 2
    assert "'spede' is none of speed, ring, psnr, sets, encode, memory, loader" in done.output


def test_what_was_measured_before_an_error_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model(name: str, scale: int) -> Path:
        from edsr_runtime.errors import ModelFileError

        raise ModelFileError(f"no model {name} x{scale}")

    monkeypatch.setattr("benchmarks.memory.model_path", no_model)
    output = tmp_path / "result.json"
    done = invoke("--smoke", "--rounds", "1", "--only", "encode,memory", "--output", str(output))
    assert done.exit_code == 2
    assert "no model edsr-small x2" in done.output
    assert list(read_result(output)["results"]) == ["encode"]
    printed = CliRunner().invoke(report.main, [str(output)])
    assert "memory was not finished" in printed.output


def test_another_function_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Models.exported

    def other_weights(self: Models, scale: int, *, collapse_tail: bool = True) -> Path:
        monkeypatch.setattr("benchmarks.models._SEED", 0 if collapse_tail else 1)
        self._folder = self._folder / str(collapse_tail)
        self._folder.mkdir(exist_ok=True)
        return original(self, scale, collapse_tail=collapse_tail)

    monkeypatch.setattr(Models, "exported", other_weights)
    done = invoke("--smoke", "--rounds", "1", "--only", "speed")
    assert done.exit_code == 5
    assert "auto-no-collapse differs from PyTorch by" in done.output
