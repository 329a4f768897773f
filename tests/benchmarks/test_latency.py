"""Rows of candidates: judged by the ceiling of their device, with their copies named, or missing with a reason."""

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks import ours
from benchmarks.context import Context
from benchmarks.device import COPIES
from benchmarks.latency import ceilings as ceilings_module
from benchmarks.latency import single_stream
from benchmarks.latency.ceilings import GPU, Ceiling, Sizes, highest
from benchmarks.latency.entrants import Stable
from benchmarks.machine import describe_machine
from benchmarks.models import Models
from benchmarks.ours import AMX, AUTO, NO_COLLAPSE, ON_A_GPU, OPENVINO_FP32, Form, open_possible
from benchmarks.peers.peer import PeerFailedError, Running, Subject
from benchmarks.peers.registry import TORCH_EAGER, Peer
from benchmarks.pictures import noise
from benchmarks.reporting.latency_tables import latency
from benchmarks.settings import smoke_settings
from edsr_runtime.backends import amx as amx_backend
from edsr_runtime.backends import choose, engines
from edsr_runtime.backends import ort as ort_backend
from edsr_runtime.backends import trt as trt_backend
from edsr_runtime.backends.trt import TensorRtBackend
from edsr_runtime.contract import read_contract
from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.trt.engine_file import write_engine_file
from edsr_runtime.trt.folder import engine_folder, make_private
from edsr_runtime.trt.profile import Profile, Size
from engine_stand_ins import ENGINE, description, driver, flavour
from fake_device import FakeDevice
from fake_engine import FakeEngine

LOW, HIGH = 1e-9, 1e9  # GFLOP/s


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder, settings = tmp_path_factory.mktemp("latency"), smoke_settings(rounds=1)
    return Context(settings, describe_machine(), Models(folder, settings), folder, None, lambda line: None)


def rows_of(
    context: Context, monkeypatch: pytest.MonkeyPatch, forms: tuple[Form, ...], *ceilings: Ceiling
) -> dict[str, single_stream.LatencyRow]:
    """Of the real measurement, with these forms beside PyTorch and these ceilings."""
    monkeypatch.setattr(single_stream, "measure_ceilings", lambda *_: list(ceilings))
    monkeypatch.setattr(single_stream, "PEERS", (TORCH_EAGER,))
    monkeypatch.setattr(single_stream, "ALL_FORMS", forms)
    result = single_stream.measure(context)
    (table, _) = latency(dataclasses.asdict(result)).tables
    invalid = [line for line in table.markdown().splitlines() if "invalid: above it" in line]
    (case,) = result.cases
    assert case.missing == {}
    assert len(invalid) == sum(not row.is_valid for row in case.rows)
    return {row.name: row for row in case.rows}


def ceiling(device: Any, precision: str, rate: float) -> Ceiling:
    return Ceiling("imagined", precision, rate, rate, "GFLOP/s", device)


@pytest.mark.parametrize(("rate", "is_valid"), [(LOW, False), (HIGH, True)])
def test_a_row_above_the_ceiling_is_marked_invalid(
    context: Context, monkeypatch: pytest.MonkeyPatch, rate: float, is_valid: bool
) -> None:
    limits = [ceiling("CPU", precision, rate) for precision in ("fp32", "bf16")]
    rows = rows_of(context, monkeypatch, (AUTO, NO_COLLAPSE), *limits)
    computing = {name for name, row in rows.items() if row.gflops is not None}
    assert computing == {"torch-eager-fp32", "auto", "auto-no-collapse"}
    assert {name for name, row in rows.items() if row.is_valid} == ({*rows} if is_valid else {"null", "null-runtime"})
    for name in computing:
        gflops = rows[name].gflops
        assert gflops is not None
        assert rows[name].share_of_ceiling == pytest.approx(gflops / rate)


@pytest.fixture
def gpu(context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine with a GPU, where onnxruntime-gpu and TensorRT compute what they do on a CPU."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = SimpleNamespace(built_in=[], opened=[])

    def build(model: Path, wish: Any, note: Callable[[str], None]) -> Path:
        contract, most = read_contract(model), Size(1, 48, 48)
        assert contract.precision == "fp16"
        found.built_in.append(engine_folder())
        found.model = model
        path = make_private(engine_folder()) / "one.engine"
        least = Size(1, contract.min_side, contract.min_side)
        profile = Profile(least, most, most)
        write_engine_file(path, ENGINE, description(contract=contract, profile=profile, targets=("SM89",)))
        return path

    def open_engine(path: Path, trust: bool = False, *, note: Callable[[str], None]) -> TensorRtBackend:
        found.opened.append(path)
        session = ort.InferenceSession(str(found.model), providers=["CPUExecutionProvider"])
        contract, device = read_contract(found.model), FakeDevice(1 << 30)

        def network(lr: Any) -> Any:
            return np.asarray(session.run(None, {"input": lr})[0], np.float32)

        engine = FakeEngine(device, network, contract.scale, most=Size(1, 48, 48), least=Size(1, 3, 3))
        return TensorRtBackend(device, engine, contract, "TensorRT-RTX 1.7.1", 1, note)

    plain = ort_backend.OnnxRuntimeBackend.__init__

    def on_gpu(self: Any, *arguments: Any) -> None:
        plain(self, *arguments)
        self.on_gpu = True

    monkeypatch.setattr(choose, "build_engine_for", build)
    monkeypatch.setattr(choose, "_onnxruntime_has_gpu", lambda: True)
    monkeypatch.setattr(trt_backend, "open_tensorrt", open_engine)
    monkeypatch.setattr(ort_backend.OnnxRuntimeBackend, "__init__", on_gpu)
    for module in (ours, engines):
        monkeypatch.setattr(module, "load_flavour", flavour)
    for module in (ours, engines, choose):
        monkeypatch.setattr(module, "cuda_driver", driver)
    return found


def test_a_row_is_judged_by_the_ceiling_of_its_device(
    context: Context, monkeypatch: pytest.MonkeyPatch, gpu: SimpleNamespace
) -> None:
    limits = [ceiling("CPU", "fp32", LOW), ceiling("GPU", "fp32", HIGH), ceiling("GPU", "fp16", 2 * HIGH)]
    rows = rows_of(context, monkeypatch, (OPENVINO_FP32, AUTO, NO_COLLAPSE, *ON_A_GPU), *limits)
    on_gpu = {"auto", "auto-no-collapse", "onnxruntime-gpu", "tensorrt"}  # onnxruntime-gpu is what auto takes there
    assert {name for name, row in rows.items() if row.copies == COPIES["GPU"]} == on_gpu
    assert {name for name, row in rows.items() if row.copies == COPIES["CPU"]} == {*rows} - on_gpu
    assert {name for name, row in rows.items() if not row.is_valid} == {"torch-eager-fp32", "openvino-fp32"}
    for name, rate in {"onnxruntime-gpu": HIGH, "tensorrt": 2 * HIGH}.items():
        gflops, difference = rows[name].gflops, rows[name].max_difference
        assert gflops is not None
        assert difference is not None
        assert rows[name].share_of_ceiling == pytest.approx(gflops / rate)
        assert difference <= 1


def test_engines_to_be_measured_are_not_put_among_the_users(
    context: Context, monkeypatch: pytest.MonkeyPatch, gpu: SimpleNamespace, tmp_path: Path
) -> None:
    rows_of(context, monkeypatch, (AUTO, NO_COLLAPSE, *ON_A_GPU), ceiling("CPU", "fp32", HIGH))
    (folder,) = gpu.built_in
    assert folder.is_relative_to(context.folder)
    assert engine_folder().is_relative_to(tmp_path)
    assert list(tmp_path.rglob("*.engine")) == []
    assert len(gpu.opened) == 1  # by its own candidate, and not by "auto", the runtime around nothing included


def opened(context: Context, forms: tuple[Form, ...] = (), peers: tuple[Peer, ...] = ()) -> Stable:
    """None of which can be."""
    with ExitStack() as stack:
        stable = Stable(context, 4, noise(24, 32), stack)
        assert [*stable.ours(forms), *stable.peers(peers)] == []
    return stable


def test_without_a_gpu_its_candidates_are_missing_and_nothing_is_made_for_them(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise EnvironmentUnfitError("there is no NVIDIA driver")

    def never(*_: Any, **__: Any) -> Path:
        raise AssertionError("made for nothing")

    monkeypatch.setattr(ours, "cuda_driver", no_driver)
    monkeypatch.setattr(Models, "exported", never)
    monkeypatch.setattr(Models, "exported_fp16", never)
    stable = opened(context, ON_A_GPU)
    assert stable.missing == dict.fromkeys(("onnxruntime-gpu", "tensorrt"), "there is no NVIDIA driver")


def test_a_gpu_without_what_runs_there_is_missed_in_one_sentence(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_tensorrt() -> None:
        raise MissingDependencyError("tensorrt", extra="gpu")

    monkeypatch.setattr(ours, "cuda_driver", driver)
    monkeypatch.setattr(choose, "cuda_driver", driver)
    monkeypatch.setattr(ours, "load_flavour", no_tensorrt)
    monkeypatch.setattr(choose, "_onnxruntime_has_gpu", lambda: True)  # but CUDA does not start
    missing = opened(context, ON_A_GPU).missing
    assert missing["tensorrt"].startswith("tensorrt could not be imported. Install it with:")
    assert missing["onnxruntime-gpu"].startswith("a GPU was asked for, and onnxruntime runs on CPU")


def test_why_a_form_is_missing_names_no_folder_of_this_machine(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_amx(path: Path) -> None:
        raise EnvironmentUnfitError("the CPU has no AMX")

    monkeypatch.setattr(amx_backend, "program_for", no_amx)
    reason = {"amx": "random_x4.onnx: the CPU has no AMX: use --backend auto"}
    assert opened(context, (AMX,)).missing == reason
    with ExitStack() as stack:
        assert open_possible((AMX,), context.models.exported(4), stack) == ({}, reason)


def test_a_peer_that_reads_the_network_and_cannot_run_it_is_missing_and_closed(context: Context) -> None:
    closed = []

    def fail(lr: Any) -> Any:
        raise PeerFailedError("no memory for layer 3")

    def open_failing(subject: Subject) -> Running:
        return Running("", "fp32", fail, fail, lambda: closed.append(True))

    assert opened(context, peers=(Peer("peer", "package", open_failing),)).missing == {"peer": "no memory for layer 3"}
    assert closed == [True]


def test_a_ceiling_is_one_of_a_device_and_a_precision() -> None:
    copy = Ceiling("copy", "memory", 40.0, 39.0, "GB/s")
    found = highest([ceiling("CPU", "fp32", 1.0), ceiling("CPU", "fp32", 2.0), ceiling("GPU", "fp32", 50.0), copy])
    assert found == {("CPU", "fp32"): 2.0, ("GPU", "fp32"): 50.0}


def test_a_gpu_is_given_enough_to_do_and_waited_for() -> None:
    waits, runs = [], []
    place = dataclasses.replace(GPU, name="cpu", wait=lambda: waits.append(len(runs)))
    tasks = ceilings_module._torch_tasks(Sizes(4, ((2, (5, 6)),)), place)
    assert {task.precision for task in tasks} == {"fp32", "fp16"}
    assert {task.device for task in tasks} == {"GPU"}
    assert [task.name for task in tasks[:2]] == [
        "PyTorch GEMM 16, fp32 on a GPU",
        "PyTorch 3x3 convolution 2 to 2, 5x6, fp32 on a GPU",
    ]
    assert [task.work for task in tasks[:2]] == [16 * 2 * 16**3, 16 * 2 * 9 * 2 * 2 * 5 * 6]
    ceilings_module._in_a_row(lambda: runs.append(1), place)
    assert waits == [16]  # once, after all of them
    tasks[0].run()
    assert len(waits) == 2
