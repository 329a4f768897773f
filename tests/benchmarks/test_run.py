"""The command, on tiny networks and pictures."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from benchmarks import report, run
from benchmarks.latency import offline, single_stream
from benchmarks.machine import describe_machine
from benchmarks.memory import measure_command
from benchmarks.models import Models
from benchmarks.ours import ALL_FORMS, AUTO, NO_COLLAPSE
from benchmarks.peers.registry import PEERS, TORCH_EAGER
from benchmarks.result_file import read_result, write_result
from benchmarks.scaling import startup
from benchmarks.settings import Settings, smoke_settings
from edsr_runtime.metrics import PROTOCOLS
from edsr_runtime.resize import imresize
from edsr_runtime.zoo import shipped_models
from edsr_train.data.sets import benchmark_pairs
from made_up_result import startup_section, whole_result

ON_A_GPU_OR_SLOW = {"torch-compile-fp32", "onnxruntime-gpu", "tensorrt"}


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


def test_fewer_peers_are_timed_where_that_is_asked_for(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    done = invoke("--smoke", "--rounds", "1", "--only", "latency", "--peers", "peer-ncnn", "--output", str(output))
    assert done.exit_code == 0, done.output
    (case,) = read_result(output)["results"]["latency"]["cases"]
    timed = {row["name"] for row in case["rows"] if row["kind"] == "peer"}
    assert timed | ({"peer-ncnn"} & set(case["missing"])) == {"torch-eager-fp32", "peer-ncnn"}
    assert case["missing"]["torch-bf16"] == "left out by --peers"
    backends = {row["name"]: row["description"] for row in case["rows"] if row["kind"] == "ours"}
    assert backends[case["collapsed"]].split(": ")[1].split()[0] == backends[NO_COLLAPSE.name].split(": ")[1].split()[0]


def test_latency_of_every_candidate(tmp_path: Path) -> None:
    result = measured(tmp_path, "latency")
    section = result["results"]["latency"]
    assert [case["scale"] for case in section["cases"]] == [4]
    (case,) = section["cases"]
    rows = {row["name"]: row for row in case["rows"]}
    candidates = {*(peer.name for peer in PEERS), *(form.name for form in ALL_FORMS), "null", "null-runtime"}
    assert set(rows) == candidates - set(case["missing"])
    assert set(case["missing"]) <= {*ON_A_GPU_OR_SLOW, "amx", "openvino-bf16", "peer-ncnn", "peer-opencv"}
    torch_ms = rows["torch-eager-fp32"]["rounds_ms"]
    for row in rows.values():
        assert row["latency_ms"]["count"] == len(row["rounds_ms"]) == 1
        if row["kind"] != "null":
            assert row["times_torch"]["median"] == pytest.approx(torch_ms[0] / row["rounds_ms"][0], rel=0.01)
            assert row["gflops"] > 0
            assert (row["max_difference"] is None) == (row["name"] == "auto-ensemble")
    assert rows["null"]["latency_ms"]["p50"] <= rows["null-runtime"]["latency_ms"]["p50"]
    assert rows["null"]["gflops"] is None
    work = {name: rows[name]["gflops"] * rows[name]["latency_ms"]["p50"] for name in rows if rows[name]["gflops"]}
    assert work["auto-ensemble"] == pytest.approx(8 * work["auto"])
    assert work["auto-tiles"] > work["auto"]  # halos
    assert work["auto-no-collapse"] > 1.2 * work["auto"]
    assert {ceiling["precision"] for ceiling in section["ceilings"]} >= {"fp32", "bf16", "memory"}
    assert [target["limit"] for target in section["targets"]] == [24, 1.6]
    assert {target["reason"] for target in section["targets"]} == {"smoke run"}


def test_offline_writes_what_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, list[str]] = {}
    whole = offline.take_turns

    def look(candidates: Any, effort: Any, **rest: Any) -> Any:
        found = whole(candidates, effort, **rest)
        (folder,) = {
            path.parent.parent for path in Path(tempfile.gettempdir()).glob("edsr-benchmarks-*/offline/in/000.png")
        }
        written.update({each.name: sorted(p.name for p in each.iterdir()) for each in folder.iterdir()})
        return found

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(offline, "take_turns", look)
    section = measured(tmp_path, "offline")["results"]["offline"]
    assert {row["scenario"] for row in section["rows"]} == {"folder to folder", "array to array"}
    assert all(files == ["000.png", "001.png"] for files in written.values())
    measured_names = {row["name"] for row in section["rows"]}
    assert set(written) == {"in", *measured_names}
    everyone = {*(peer.name for peer in PEERS), *(form.name for form in ALL_FORMS)}
    assert measured_names | set(section["missing"]) == everyone
    left_out = {"amx", "openvino-bf16", "openvino-fp32", "auto-ensemble", "auto-tiles"}
    assert set(section["missing"]) - left_out <= {*ON_A_GPU_OR_SLOW, "peer-ncnn", "peer-opencv"}
    assert section["missing"]["torch-compile-fp32"] == "takes minutes to compile: only with --full"
    for row in section["rows"]:
        assert row["hr_megapixels_per_s"]["median"] > 0


def test_a_scale_given_twice_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Measured(Exception):  # noqa: N818
        """Carries the settings out of the command."""

    def stop(names: Any, settings: Settings, *rest: Any) -> None:
        raise Measured(settings)

    monkeypatch.setattr(run, "measure_all", stop)
    done = invoke("--smoke", *("--scale", "4", "--scale", "2") * 2, *("--memory-scale", "3", "--memory-scale", "2") * 2)
    assert isinstance(done.exception, Measured), done.output
    (settings,) = done.exception.args
    assert settings.scales == settings.cost_scales == settings.quality_scales == (2, 4)
    assert settings.memory_scales == (2, 3)


def test_a_second_result_of_a_day_gets_a_number(tmp_path: Path) -> None:
    path = tmp_path / "cpu-2026-01-02.json"
    assert run._unused(path) == path
    path.touch()
    assert run._unused(path).name == "cpu-2026-01-02-2.json"
    run._unused(path).touch()
    assert run._unused(path).name == "cpu-2026-01-02-3.json"


def test_seams_vanish_with_the_exact_halo(tmp_path: Path) -> None:
    result = measured(tmp_path, "seams")
    assert list(result["seconds"]) == ["seams"] and result["seconds"]["seams"] > 0
    section = result["results"]["seams"]
    exact = next(row for row in section["rows"] if row["is_exact"])
    none = next(row for row in section["rows"] if row["halo_px"] == 0)
    assert exact["max_difference"] < 1e-3 < none["max_difference"]
    assert (exact["changed_share"], exact["halo_px"]) == (0, 6)
    assert none["changed_share"] > 0


def test_start_up_in_processes_of_their_own(tmp_path: Path) -> None:
    section = measured(tmp_path, "startup")["results"]["startup"]
    seconds = {row["step"]: row["seconds"]["median"] for row in section["rows"]}
    assert set(seconds) == {
        startup.COMMAND,
        startup.PYTHON,
        startup.IMPORTS,
        "model loaded",
        "first picture",
        "tenth picture",
    }
    assert seconds[startup.PYTHON] < seconds[startup.COMMAND]
    assert section["targets"][0]["limit"] == 0.8


def test_cost_of_the_border_ring_in_every_form(tmp_path: Path) -> None:
    section = measured(tmp_path, "ring")["results"]["ring"]
    forms = {"amx", "openvino-bf16", "openvino-fp32", "onnxruntime"} - set(section["missing"])
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


def test_quality_on_real_weights(tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = ["edsr-baseline_x3", "edsr-small_x2"]  # the others take their time and differ in nothing
    some = [model for model in shipped_models() if model.path.stem in shipped]
    monkeypatch.setattr("benchmarks.quality.measure.shipped_models", lambda: some)
    section = measured(tmp_path, "quality", data=data_root)["results"]["quality"]
    assert [case["model"] for case in section["cases"]] == [*shipped, "edsr_r5f64_x2", "edsr_r8f32_x4"]
    for case in section["cases"]:
        rows = {row["name"]: row for row in case["rows"]}
        assert (case["set"], case["protocol"], case["published"]) == ("2 of Set5", "paper-y", [])
        assert case["missing"]["peer-openvino"] == "left out of this run"
        assert rows["torch-eager-fp32"]["loss_db"] == rows["torch-eager-fp32"]["max_difference"] == 0
        for exact in ("openvino-fp32", "onnxruntime", "openvino-fp32-no-collapse"):
            assert rows[exact]["max_difference"] < 1e-2
        ensemble = rows.pop("openvino-fp32-ensemble")
        assert 0.01 < -ensemble["loss_db"] < 0.5
        limits = {
            name: 0.2 if "bf16" in name or name == "amx" else 1e-3 for name in rows
        }  # dB; of two small parts of pictures
        assert all(abs(row["loss_db"]) < limits[name] for name, row in rows.items())
        assert rows["openvino-fp32"]["psnr_db"] > case["bicubic_psnr_db"] + 0.5
        pairs = benchmark_pairs(data_root / "benchmark" / "Set5", case["scale"])[:2]
        side, scale = smoke_settings().quality_side, case["scale"]
        assert side is not None
        parts = [(p.lr[:side, :side], p.hr[: side * scale, : side * scale]) for p in pairs]
        bicubic = [psnr_y_of_bicubic(lr, hr, scale) for lr, hr in parts]
        assert case["bicubic_psnr_db"] == pytest.approx(np.mean(bicubic), abs=1e-9)


def psnr_y_of_bicubic(lr: NDArray[np.uint8], hr: NDArray[np.uint8], scale: int) -> float:
    return PROTOCOLS["paper-y"].psnr(np.asarray(imresize(lr, scale), np.uint8), hr, scale)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--smoke --output file/new.json", "file/new.json: cannot be written (Not a directory): pass another place"),
        ("--smoke --output folder --overwrite", "folder is a folder, expected a JSON file: pass another --output"),
        ("--smoke --report file", "file: cannot be written (Not a directory): pass another place"),
        ("--smoke --report file/new", "file/new: cannot be written (Not a directory): pass another place"),
        ("--smoke --output new.json --report new.json", "new.json would be the JSON file and a folder of the report"),
        ("--smoke --output new --report new/report", "new would be the JSON file and a folder of the report"),
        ("--quick --output new", "pass another --report, or an --output that ends in .json"),
        ("--smoke --output closed/new/new.json", "cannot be written (Permission denied): pass another place"),
        (f"--smoke --output {'n' * 300}/new.json", "cannot be written (File name too long): pass another place"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    def not_there(dir: Path) -> Any:
        if dir.name == "closed":  # which root may write all the same
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return temporary_file(dir=dir)

    temporary_file = tempfile.TemporaryFile
    monkeypatch.setattr("benchmarks.keeping.tempfile.TemporaryFile", not_there)
    monkeypatch.setattr(run, "measure_all", lambda *_: pytest.fail("measured"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").touch()
    done = invoke("--only", "encode", *options.split())
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.split())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["closed", "file", "folder"]


def test_quality_without_data_is_refused_when_asked_for_by_name() -> None:
    done = invoke("--smoke", "--only", "quality")
    assert done.exit_code == 2
    assert "quality needs benchmark pictures: pass --data, or set EDSR_DATA" in done.output


def test_an_unknown_measurement_is_a_usage_error() -> None:
    done = invoke("--only", "latency,latencie")
    assert done.exit_code == 2
    assert "'latencie' is none of cost, latency, models, offline, ring" in " ".join(done.output.split())
    done = invoke("--peers", "ncnn")
    assert done.exit_code == 2
    assert "'ncnn' is none of torch-channels-last-fp32, torch-compile-fp32" in " ".join(done.output.split())


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
    monkeypatch.setattr(single_stream, "PEERS", (TORCH_EAGER,))
    monkeypatch.setattr(single_stream, "ALL_FORMS", (AUTO, NO_COLLAPSE))
    done = invoke("--smoke", "--rounds", "1", "--only", "latency")
    assert done.exit_code == 5
    assert "auto-no-collapse differs from PyTorch by" in done.output


def test_a_worse_result_than_before_ends_with_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "measure", lambda context: startup_section())
    output, new = tmp_path / "old.json", tmp_path / "new.json"
    old = measured(tmp_path, "startup")
    for row in old["results"]["startup"]["rows"]:
        row["seconds"]["median"] /= 100
    del old["schema_version"]
    write_result(output, old)
    options = ("--smoke", "--rounds", "1", "--only", "startup", "--output", str(new))
    done = invoke(*options, "--compare", str(output))
    assert done.exit_code == 5
    assert "**worse**" in done.output
    assert read_result(new)["results"]["startup"]  # measured all the same


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read"), ('{"schema_version": 2}', "lacks 'date', which every result")]
)
def test_a_comparison_with_no_result_is_refused_before_anything_is_measured(
    tmp_path: Path, text: str | None, message: str
) -> None:
    old = tmp_path / "old.json"
    if text is not None:
        old.write_text(text)
    done = invoke("--smoke", "--only", "startup", "--compare", str(old))
    assert done.exit_code == 2
    assert message in done.output
    assert "startup: " not in done.output


@pytest.mark.parametrize(("section", "cpu"), [("seams", None), ("startup", "Another")])
def test_a_comparison_that_could_show_nothing_is_refused_before_anything_is_measured(
    tmp_path: Path, section: str, cpu: str | None
) -> None:
    old = whole_result()
    old["results"] = {section: old["results"][section]}
    machine = json.loads(json.dumps(dataclasses.asdict(describe_machine())))
    old["machine"] = machine if cpu is None else machine | {"cpu": cpu}
    write_result(tmp_path / "old.json", old)
    done = invoke("--smoke", "--only", "startup", "--compare", str(tmp_path / "old.json"))
    assert done.exit_code == 2
    assert f"nothing can be judged: the older result has {section}, the new one is of startup" in done.output
    assert " rounds" not in done.output
