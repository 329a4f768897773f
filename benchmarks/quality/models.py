"""How long the models take whose quality is measured, so that one can be plotted against the other."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.context import Context
from benchmarks.ours import AUTO
from benchmarks.pictures import noise
from benchmarks.targets import Target
from benchmarks.timing import Candidate, Spread, interleave, spread
from edsr_runtime.zoo import shipped_models


@dataclass(frozen=True)
class ModelRow:
    """One shipped model."""

    model: str
    scale: int
    latency_ms: Spread


@dataclass(frozen=True)
class ModelsResult:
    """Array to array, auto."""

    lr_hw: tuple[int, int]
    rows: list[ModelRow]
    targets: list[Target]


def measure(context: Context) -> ModelsResult:
    """Time all shipped models in turns."""
    settings, shipped = context.settings, shipped_models()
    lr = noise(*settings.lr_hw)
    with ExitStack() as stack:
        upscalers = {model.path.stem: stack.enter_context(AUTO.open(model.path)) for model in shipped}
        candidates = [Candidate(name, partial(upscaler.upscale, lr)) for name, upscaler in upscalers.items()]
        context.say(f"models: {settings.latency_effort.rounds} rounds of {', '.join(upscalers)}")
        seconds = interleave(candidates, settings.latency_effort.rounds, warm_up=settings.warm_up)
    rows = [
        ModelRow(model.path.stem, model.scale, spread([value * 1e3 for value in seconds[model.path.stem]]))
        for model in shipped
    ]
    return ModelsResult(settings.lr_hw, rows, [])
