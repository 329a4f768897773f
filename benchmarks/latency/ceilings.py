"""What this machine can do at the most: matrix products, convolutions, and copies, measured as everything else is.

A network that seems faster than the fastest of these has not done its work, or was not measured.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from benchmarks.device import Device
from benchmarks.timing import Candidate, Effort, all_runs, take_turns
from edsr_runtime.amx.library import check_machine, load
from edsr_runtime.amx.packing import aligned, to_bf16
from edsr_runtime.cpu import usable_cores
from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError

_SEED = 0


@dataclass(frozen=True)
class Ceiling:
    """One thing that was measured."""

    name: str
    precision: str
    """Whose ceiling it is: ``fp32``, ``bf16``, ``fp16``; of a copy ``memory``."""
    rate: float
    """Of the fastest run: 10^9 multiplications and additions per second, or 10^9 bytes copied."""
    median: float
    """The same of the median run."""
    unit: str
    """``GFLOP/s`` or ``GB/s``."""
    device: Device = "CPU"


@dataclass(frozen=True)
class Sizes:
    """What is computed on a CPU; on a GPU it is more, see ``GPU``."""

    matrix: int = 2048
    """Side of the matrices."""
    convolution: tuple[tuple[int, tuple[int, int]], ...] = ((64, (192, 256)), (256, (96, 128)))
    """Channels, and (H, W), of 3x3 convolutions: those of EDSR-baseline and of EDSR."""
    copied_bytes: int = 1 << 28


@dataclass(frozen=True)
class Place:
    """A device as PyTorch knows it."""

    device: Device
    name: str
    """PyTorch's."""
    types: dict[str, torch.dtype]
    """In which networks are run there, by the precision's name."""
    times_larger: int = 1
    """Sides of the matrices."""
    in_a_row: int = 1
    """Runs before their end is waited for."""
    wait: Callable[[], object] = lambda: None


CPU = Place("CPU", "cpu", {"fp32": torch.float32, "bf16": torch.bfloat16})
GPU = Place("GPU", "cuda", {"fp32": torch.float32, "fp16": torch.float16}, 4, 16, torch.cuda.synchronize)
"""Given what a CPU is given, one after the other, it would spend its time waiting: that would be no ceiling."""


def measure_ceilings(folder: Path, sizes: Sizes, effort: Effort) -> list[Ceiling]:
    """All of them, in turns.

    Args:
        folder: for files of its own.
        sizes: of what is computed.
        effort: of each.
    """
    places = [CPU, *([GPU] if torch.cuda.is_available() else [])]
    with ExitStack() as stack, torch.inference_mode(), _as_fast_as_fp32_can():
        tasks = [task for place in places for task in _torch_tasks(sizes, place)]
        tasks += [*_openvino_tasks(folder, sizes), *_amx_tasks(sizes, stack), _copy_task(sizes)]
        stack.callback(tasks.clear)
        turns = take_turns([Candidate(task.name, task.run) for task in tasks], effort, seed=_SEED)
        ceilings = []
        for task in tasks:
            seconds = all_runs(turns[task.name])
            rates = task.work / 1e9 / np.array(seconds)
            highest_rate, median = float(rates.max()), float(np.median(rates))
            ceilings.append(Ceiling(task.name, task.precision, highest_rate, median, task.unit, task.device))
    return ceilings


def highest(ceilings: list[Ceiling]) -> dict[tuple[Device, str], float]:
    """GFLOP/s by device and precision: what no network can exceed there."""
    found: dict[tuple[Device, str], float] = {}
    for ceiling in ceilings:
        if ceiling.unit == "GFLOP/s":
            whose = ceiling.device, ceiling.precision
            found[whose] = max(found.get(whose, 0.0), ceiling.rate)
    return found


@dataclass(frozen=True)
class _Task:
    name: str
    precision: str
    work: float
    """Multiplications and additions, or bytes."""
    run: Callable[[], object]
    unit: str = "GFLOP/s"
    device: Device = "CPU"


def _torch_tasks(sizes: Sizes, place: Place) -> list[_Task]:
    tasks = []

    def add(name: str, precision: str, work: float, run: Callable[[], object]) -> None:
        said = f"PyTorch {name}, {precision}" + (f" on a {place.device}" if place.device != "CPU" else "")
        work *= place.in_a_row
        tasks.append(_Task(said, precision, work, partial(_in_a_row, run, place), device=place.device))

    side, device = sizes.matrix * place.times_larger, place.name
    for precision, dtype in place.types.items():
        a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
        add(f"GEMM {side}", precision, 2 * side**3, partial(torch.mm, a, b, out=torch.empty_like(a)))
        for channels, (height, width) in sizes.convolution:
            layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False, dtype=dtype, device=device)
            layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            x = torch.randn(1, channels, height, width, dtype=dtype, device=device)
            x = x.contiguous(memory_format=torch.channels_last)
            name = f"3x3 convolution {channels} to {channels}, {height}x{width}"
            add(name, precision, 2 * 9 * channels**2 * height * width, partial(layer, x))
    return tasks


def _in_a_row(run: Callable[[], object], place: Place) -> None:
    for _ in range(place.in_a_row):
        run()
    place.wait()


def _as_fast_as_fp32_can() -> AbstractContextManager[None]:
    """On a GPU: cuDNN tries its ways, as engines do, and FP32 is no TF32, as in our runtime."""
    if not torch.cuda.is_available():
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)


def _openvino_tasks(folder: Path, sizes: Sizes) -> list[_Task]:
    """Its convolutions are faster than PyTorch's, whose would be no ceiling for it."""
    try:
        import openvino as ov
    except ImportError as err:
        raise MissingDependencyError("openvino", extra="bench") from err
    core = ov.Core()
    capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    tasks = []
    for channels, (height, width) in sizes.convolution:
        path = folder / f"convolutions_{channels}.onnx"
        _write_convolutions(path, channels, height, width)
        for precision, hint in {"fp32": "f32", **({"bf16": "bf16"} if capable else {})}.items():
            options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
            request = core.compile_model(core.read_model(str(path)), "CPU", options).create_infer_request()
            x = np.random.default_rng(_SEED).standard_normal((1, channels, height, width)).astype(np.float32)
            name = f"OpenVINO 3x3 convolution {channels} to {channels}, {height}x{width}, {precision}"
            work = _DEEP * 2 * 9 * channels**2 * height * width
            tasks.append(_Task(name, precision, work, partial(request.infer, [x], share_inputs=True)))
    return tasks


def _amx_tasks(sizes: Sizes, stack: ExitStack) -> list[_Task]:
    """Products of tiles that are loaded once: nothing that loads what it multiplies is faster."""
    try:
        check_machine()
    except EnvironmentUnfitError:
        return []
    threads, times = usable_cores(), sizes.matrix**2 // 4
    values = aligned(to_bf16(np.random.default_rng(_SEED).standard_normal(4 * _TILE).astype(np.float32)))
    pool = stack.enter_context(ThreadPoolExecutor(threads))

    def run() -> None:
        shares = [pool.submit(load().edsr_amx_products, values.ctypes.data, times) for _ in range(threads)]
        for share in shares:
            share.result()

    return [_Task("AMX products without loads, bf16", "bf16", threads * times * 4 * _TILE_OPERATIONS, run)]


_TILE = 16 * 32  # values
_TILE_OPERATIONS = 2 * 16 * 16 * 32  # multiplications and additions of one product


_DEEP = 4  # convolutions one after another, so that turning the input's layout counts for little


def _write_convolutions(path: Path, channels: int, height: int, width: int) -> None:
    random = np.random.default_rng(_SEED)
    nodes, weights = [], []
    for index in range(_DEEP):
        kernel = (random.standard_normal((channels, channels, 3, 3)) * 0.05).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        output = f"x{index + 1}"
        nodes.append(helper.make_node("Conv", [f"x{index}", f"w{index}"], [output], pads=[1] * 4))
    shape = [1, channels, height, width]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x0", f"x{_DEEP}")]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())


def _copy_task(sizes: Sizes) -> _Task:
    source = np.ones(sizes.copied_bytes, np.uint8)
    target = np.zeros_like(source)
    run = partial(np.copyto, target, source)
    return _Task(f"copy of {sizes.copied_bytes >> 20} MiB", "memory", sizes.copied_bytes, run, "GB/s")
