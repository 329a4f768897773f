"""onnxruntime with bound input and output, as on CUDA; here with the CPU's memory."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edsr_runtime.backends import ort as backend_module
from edsr_runtime.backends.ort import OnnxRuntimeBackend
from edsr_runtime.contract import read_contract
from edsr_runtime.cuda.device import DeviceMemoryError


def opened(model: Path) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(model, read_contract(model), None, threads=1)


def test_bound_runs_give_what_others_give(tiny_model: Path) -> None:
    backend = opened(tiny_model)
    for seed, shape in enumerate([(1, 3, 9, 13), (2, 3, 8, 8), (1, 3, 9, 13)]):
        lr = np.random.default_rng(seed).normal(100, 60, shape).astype(np.float32)
        strided = np.asfortranarray(lr)
        backend._memory = None
        expected = backend.run_float(lr)
        backend._memory = "cpu"
        np.testing.assert_array_equal(backend.run_float(strided), expected)
    lr8 = np.random.default_rng(9).integers(0, 256, (1, 9, 13, 3), dtype=np.uint8)
    assert backend.run_uint8(lr8).shape == (1, 18, 26, 3)


def test_cuda_computes_in_true_fp32_and_is_bound(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def preload() -> None:
        asked.append("libraries")
        print("Failed to load libcudnn.so.9")

    def session(path: str, options: Any, providers: Any) -> Any:
        asked.extend(providers)
        return SimpleNamespace(get_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(backend_module.ort, "InferenceSession", session)
    monkeypatch.setattr(backend_module.ort, "preload_dlls", preload)
    backend = opened(tiny_model)
    assert capsys.readouterr().out == ""
    assert backend.on_gpu
    assert asked == ["libraries", ("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})]
    assert (backend.device, backend._memory) == ("CUDA", "cuda")


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("bfc_arena.cc: Failed to allocate memory for requested buffer of size 12", DeviceMemoryError),
        ("CUDNN_STATUS_ALLOC_FAILED", DeviceMemoryError),
        ("something else", RuntimeError),
    ],
)
def test_too_little_memory_is_told_apart(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, message: str, error: type[Exception]
) -> None:
    backend = opened(tiny_model)
    backend._memory = "cpu"

    def fail(*arguments: Any) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(ort.InferenceSession, "run_with_iobinding", fail)
    with pytest.raises(
        error, match="^the GPU has not enough memory for a tile of" if error is not RuntimeError else "else"
    ):
        backend.run_float(np.zeros((1, 3, 9, 13), np.float32))
