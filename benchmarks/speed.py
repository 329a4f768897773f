"""How long a picture takes, from uint8 array to uint8 array, beside PyTorch as the network's authors run it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.context import Context
from benchmarks.ours import AUTO, ONNXRUNTIME, OPENVINO_FP32, Form, open_possible
from benchmarks.pictures import Rgb, noise
from benchmarks.targets import Target, at_least
from benchmarks.timing import Candidate, Spread, interleave, milliseconds, paired_ratios, spread
from benchmarks.torch_eager import TorchEager
from edsr_runtime.errors import GateError

NO_COLLAPSE = Form("auto-no-collapse", "auto", "auto")
"""The same as auto, on a file exported with ``--no-collapse``."""

_TIMES_TORCH = {2: 9.0, 3: 18.0, 4: 24.0}  # to reach with AMX
_TIMES_NO_COLLAPSE_X4 = 1.6
_SAME_FUNCTION = 3  # grey levels; BF16 stays within 2, and another network differs by tens


@dataclass(frozen=True)
class SpeedRow:
    """One candidate at one scale."""

    name: str
    description: str
    latency_ms: Spread
    times_torch: Spread
    """Torch's time divided by this one, in pairs: how many times as fast."""
    max_difference: int
    """From torch's result, grey levels after rounding."""
    changed_share: float
    """Of samples, from torch's result."""
    samples_ms: list[float]
    """By round, in the same order for all candidates of a scale."""


@dataclass(frozen=True)
class SpeedCase:
    """One scale."""

    scale: int
    tiles: int
    rows: list[SpeedRow]
    times_no_collapse: Spread
    """Time without the tail collapse divided by that with it, both ``auto``, in pairs."""
    missing: dict[str, str]
    """Candidates that this machine cannot run, and why."""


@dataclass(frozen=True)
class SpeedResult:
    """Whole path, array to array; the file's loading is not in it."""

    network: str
    lr_hw: tuple[int, int]
    warm_up: int
    cases: list[SpeedCase]
    targets: list[Target]


def measure(context: Context) -> SpeedResult:
    """Time every scale.

    Raises:
        GateError: a candidate computes something else than PyTorch does.
    """
    cases = [_case(context, scale) for scale in context.settings.scales]
    return SpeedResult(
        context.models.description,
        context.settings.lr_hw,
        context.settings.warm_up,
        cases,
        _targets(context, cases),
    )


def _case(context: Context, scale: int) -> SpeedCase:
    settings, models = context.settings, context.models
    context.say(f"speed x{scale}: exporting")
    lr = noise(*settings.lr_hw)
    torch_eager = TorchEager(models.network(scale))
    with ExitStack() as stack:
        collapsed = models.exported(scale)
        ours, missing = open_possible((AUTO, OPENVINO_FP32, ONNXRUNTIME), collapsed, stack)
        ours[NO_COLLAPSE] = stack.enter_context(NO_COLLAPSE.open(models.exported(scale, collapse_tail=False)))
        runs: dict[str, Callable[[Rgb], NDArray[np.uint8]]] = {torch_eager.name: torch_eager.upscale}
        runs |= {form.name: upscaler.upscale for form, upscaler in ours.items()}
        descriptions = {torch_eager.name: torch_eager.description}
        descriptions |= {form.name: upscaler.description for form, upscaler in ours.items()}

        reference = torch_eager.upscale(lr)
        differences = {name: _difference(name, run(lr), reference) for name, run in runs.items()}
        context.say(f"speed x{scale}: {settings.speed_rounds} rounds of {', '.join(runs)}")
        candidates = [Candidate(name, partial(run, lr)) for name, run in runs.items()]
        seconds = interleave(candidates, settings.speed_rounds, warm_up=settings.warm_up, seed=scale)
        tiles = len(ours[AUTO].plan(*settings.lr_hw))

    rows = [
        SpeedRow(
            name,
            descriptions[name],
            spread(milliseconds(seconds[name])),
            spread(paired_ratios(seconds[torch_eager.name], seconds[name])),
            *differences[name],
            milliseconds(seconds[name]),
        )
        for name in runs
    ]
    gain = spread(paired_ratios(seconds[NO_COLLAPSE.name], seconds[AUTO.name]))
    return SpeedCase(scale, tiles, rows, gain, missing)


def _difference(name: str, sr: NDArray[np.uint8], reference: NDArray[np.uint8]) -> tuple[int, float]:
    difference = np.abs(sr.astype(np.int16) - reference)
    largest = int(difference.max())
    if largest > _SAME_FUNCTION:
        raise GateError(
            f"{name} differs from PyTorch by {largest} grey levels (allowed {_SAME_FUNCTION}): it computes something "
            "else, so its time says nothing"
        )
    return largest, float(np.mean(difference > 0))


def _targets(context: Context, cases: list[SpeedCase]) -> list[Target]:
    unless = context.settings.why_no_target or ("" if context.machine.has_amx else "the CPU has no AMX")
    targets = []
    for case in cases:
        auto = next(row for row in case.rows if row.name == AUTO.name)
        promise = f"x{case.scale}, auto, as fast as torch eager FP32"
        targets.append(at_least(promise, _TIMES_TORCH[case.scale], auto.times_torch.median, "times", unless=unless))
    x4 = next(case for case in cases if case.scale == 4)
    promise = "x4, auto, as fast as without the tail collapse"
    targets.append(at_least(promise, _TIMES_NO_COLLAPSE_X4, x4.times_no_collapse.median, "times", unless=unless))
    return targets
