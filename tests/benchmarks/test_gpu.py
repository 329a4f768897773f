"""The GPU benchmark without a GPU: its sections over an emulated driver, and what becomes of those that fail."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import emulated
from benchmarks import gpu
from benchmarks.gpu_report import broken, render_gpu
from benchmarks.gpu_runner import overlap_of
from benchmarks.gpu_sections import SECTIONS, Section, isolated, measured
from benchmarks.result_file import read_stored, write_result

QUICK = ("layer-cuda-bindings", "runner", "parity", "ensemble", "tensorrt")
HERE = """
import json, sys
from benchmarks.gpu_sections import measured, section_of
print(json.dumps({name: measured(section_of(name), True) for name in sys.argv[1:]}))
"""


def on_emulated_driver(folder: Path, *names: str) -> dict[str, Any]:
    """What smoke runs of these sections give, in a process in which libcuda.so.1 is the emulated driver."""
    spec = importlib.util.find_spec("cuda.bindings") if importlib.util.find_spec("cuda") else None
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("cuda-bindings is not installed")
    if not emulated.has_compiler():
        pytest.skip("no C++ compiler: g++ and nm are needed for the emulated driver")
    emulated.build(folder, next(Path(next(iter(spec.submodule_search_locations))).glob("driver*.so")))
    path = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", HERE, *names], env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def check_results(done: dict[str, Any]) -> None:
    """Everything ran that can run here."""
    failed = {name: content["failed"]["error"] for name, content in done.items() if "failed" in content}
    assert failed == {}
    layer = done["layer-cuda-bindings"]["results"]
    assert [check["error"] for check in layer["checks"]] == [""] * len(layer["checks"])
    assert len(layer["checks"]) > 10
    (case,) = done["runner"]["results"]["cases"]
    assert [row["largest"] for row in case["pixels"]] == [0] * 6
    assert [row["workers"] for row in case["throughput"]] == [1, 2, 3]
    assert case["overlaps"][0]["hidden_ms"] == 0  # one worker alone hides nothing
    assert {row["form"]: row["largest"] < 0.5 for row in done["parity"]["results"]["rows"]} == {
        "folded, FP32": True,
        "folded, FP16": True,
    }
    assert [target["applies"] for target in done["ensemble"]["results"]["targets"]] == [False]
    assert "smoke run" in done["tensorrt"]["skipped"]


def result_with(done: dict[str, Any]) -> dict[str, Any]:
    result = gpu.circumstances(tuple(done), smoke=True)
    for name, content in done.items():
        for kind, value in content.items():
            result[kind][name] = value
    return result


def test_sections_run_on_the_cpu_over_an_emulated_driver(tmp_path: Path) -> None:
    done = on_emulated_driver(tmp_path, *QUICK)
    check_results(done)
    result = result_with(done)
    text = render_gpu(result)
    assert "* tensorrt was skipped: a smoke run has no GPU" in text
    assert "| eight views on two streams, as a graph | 0 | 0.00% |" in text
    assert not broken(result)
    result["results"]["layer-cuda-bindings"]["checks"][0]["error"] = "AssertionError: other bytes"
    assert "| bytes go up and come down again | AssertionError: other bytes |" in render_gpu(result)
    assert broken(result)


@pytest.mark.slow
def test_all_sections_run_on_the_cpu(tmp_path: Path) -> None:
    done = on_emulated_driver(tmp_path, *(section.name for section in SECTIONS))
    check_results(done)
    for name in ("speed-full", "speed-baseline"):
        assert done[name]["results"]["missing"] == {}
    assert [row["largest"] <= 1 for row in done["onnxruntime"]["results"]["rows"]] == [True, True]
    path = tmp_path / "result.json"
    write_result(path, result_with(done))
    render_gpu(read_stored(path))


def test_without_a_gpu_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none() -> None:
        raise gpu.EnvironmentUnfitError("there is no NVIDIA driver")

    monkeypatch.setattr(gpu, "cuda_driver", none)
    done = CliRunner().invoke(gpu.main, ["--output", str(tmp_path / "a.json")])
    assert done.exit_code == 4
    assert done.stderr == "error: there is no NVIDIA driver\n"
    assert not (tmp_path / "a.json").exists()


def test_a_section_without_its_needs_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.delitem(sys.modules, "edsr_runtime.cuda.bindings_device", raising=False)
    monkeypatch.setattr("benchmarks.gpu_layer.cuda_driver", lambda: None)
    done = measured(Section("a", "gpu_layer", "measure", 9, ("cuda-bindings",)), True)
    assert done == {"skipped": "cuda-bindings could not be imported. Install it with: pip install 'edsr-toolkit[cuda]'"}


def test_a_section_that_raises_is_a_failure_with_its_message() -> None:
    done = measured(Section("a", "gpu_layer", "no_such_function", 9), True)
    assert done["failed"]["error"].startswith("AttributeError: ")
    assert "no_such_function" in done["failed"]["output"]


@pytest.mark.parametrize(
    ("code", "error", "output"),
    [
        ("import os; print('dying', flush=True); os.abort()", "its process ended with code -6", "dying\n"),
        ("print('done')", "its process ended with code 0", "done\n"),
        ("import sys; open(sys.argv[1], 'w').write('{')", "its process ended with code 0", ""),
    ],
)
def test_a_process_that_dies_costs_nobody_else(code: str, error: str, output: str) -> None:
    assert isolated([sys.executable, "-c", code], 60) == {"failed": {"error": error, "output": output}}


def test_a_process_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    done = isolated([sys.executable, "-c", code], 3)
    assert done["failed"]["error"] == "it was not done after 3 s"
    deadline = time.monotonic() + 30
    while Path("/proc", child.read_text(), "stat").exists() and time.monotonic() < deadline:
        state = Path("/proc", child.read_text(), "stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path("/proc", child.read_text()).exists()


def test_what_a_process_answers_is_its_result() -> None:
    code = "import json, sys; json.dump({'results': {'targets': []}}, open(sys.argv[1], 'w'))"
    assert isolated([sys.executable, "-c", code], 60) == {"results": {"targets": []}}
    assert isolated([sys.executable, "-c", code], 0.5) == {"failed": {"error": "no time was left for it", "output": ""}}


def test_the_sections_fit_into_eight_minutes() -> None:
    assert gpu.BUDGET_S < 8 * 60


def test_overlap_is_the_time_of_copies_in_which_a_network_runs() -> None:
    # up, network, down of two workers in turn; the first copy up and the last one down count for nothing
    copies = [(0, 1), (1, 2), (5, 6), (6, 8), (9, 10)]
    found = overlap_of(copies, [(1, 5), (4, 7)], 2)
    assert (found.copy_ms, found.hidden_ms, found.compute_ms) == (1 + 1 + 2, 1 + 1 + 1, 4 + 3)
    assert found.hidden_share == 3 / 4
    assert found.busy_share == 6 / 10
    assert overlap_of([(0, 1), (1, 2), (4, 5)], [(2, 4)], 1).hidden_ms == 0


def test_clocks_are_not_put_under_wrong_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(line: str) -> None:
        done = subprocess.CompletedProcess([], 0, stdout=f"{line}\n", stderr="")
        monkeypatch.setattr(gpu.subprocess, "run", lambda *_, **__: done)

    names = gpu._QUERY.split(",")
    told(", ".join(str(n) for n in range(len(names))))
    assert gpu._clocks() == {name: str(n) for n, name in enumerate(names)}
    told("1980 MHz")
    assert gpu._clocks() == {"unexpected": "1980 MHz"}
