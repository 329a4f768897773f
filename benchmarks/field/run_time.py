"""The run-time table of the LESRCNN slides, measured again: VDSR, CARN-M and LESRCNN by the size of the result.

Theirs has seconds on a GPU. What can be compared from machine to machine are ratios, so each network stands beside
LESRCNN in the same engine and the same rounds.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.context import Context
from benchmarks.models import build_network
from benchmarks.ours import AUTO
from benchmarks.peers.torch_eager import TorchEager
from benchmarks.pictures import Rgb, noise
from benchmarks.same_work import difference
from benchmarks.targets import Target
from benchmarks.timing import (
    Candidate,
    Effort,
    Percentiles,
    Spread,
    all_runs,
    by_round,
    milliseconds,
    paired_ratios,
    percentiles,
    spread,
    take_turns,
)
from benchmarks.training_run import fields_of
from edsr_train.models.branch import SuperResolutionNetwork
from edsr_train.recipes import RECIPES

SCALE = 2
NETWORKS = ("vdsr", "carn-m", "lesrcnn", "edsr-small")
"""As in ``edsr_train.recipes``: those of the slides, and our own."""
REFERENCE = "lesrcnn"


@dataclass(frozen=True)
class RunTimeRow:
    """One network in one engine."""

    network: str
    engine: str
    """``torch-eager-fp32`` or ``auto``."""
    description: str
    latency_ms: Percentiles
    times_reference: Spread
    """Its time divided by that of the reference in the same engine, in pairs."""
    max_difference: int
    """From PyTorch's result, grey levels after rounding."""
    rounds_ms: list[float]
    """The median of each turn, in the same order for all of a size."""


@dataclass(frozen=True)
class RunTimeCase:
    """One size of the result."""

    hr_hw: tuple[int, int]
    rows: list[RunTimeRow]


@dataclass(frozen=True)
class RunTimeResult:
    """Whole path, array to array, random weights; the file's loading is not in it."""

    scale: int
    reference: str
    threads: int
    """Of PyTorch."""
    effort: Effort
    cases: list[RunTimeCase]
    targets: list[Target]
    """None: nothing was promised."""


@dataclass(frozen=True)
class _Entrant:
    network: str
    engine: str
    description: str
    upscale: Callable[[Rgb], Rgb]

    @property
    def name(self) -> str:
        return f"{self.network} {self.engine}"


def measure(context: Context) -> RunTimeResult:
    """Time all networks in both engines in turns, one size after another.

    Raises:
        GateError: our runtime computes something else than PyTorch.
    """
    settings = context.settings
    networks = {name: _network(context, name) for name in NETWORKS}
    context.say(f"field-latency: exporting {', '.join(networks)}")
    with ExitStack() as stack:
        entrants = []
        for name, network in networks.items():
            eager = TorchEager(network.branch(SCALE))
            entrants.append(_Entrant(name, TorchEager.name, eager.description, eager.upscale))
        for name, network in networks.items():
            mine = stack.enter_context(AUTO.open(context.models.exported_network(name, network, SCALE)))
            entrants.append(_Entrant(name, AUTO.name, mine.description, mine.upscale))
        cases = [_case(context, side, entrants) for side in settings.field_sides]
    return RunTimeResult(SCALE, REFERENCE, torch.get_num_threads(), settings.field_effort, cases, [])


def _network(context: Context, name: str) -> SuperResolutionNetwork:
    config = fields_of(name, SCALE, context.settings)
    config.pop("scale", None)  # which build_network adds
    network = build_network(RECIPES[name].architecture, config, SCALE)
    assert network is not None
    return network


def _case(context: Context, side: int, entrants: list[_Entrant]) -> RunTimeCase:
    effort, lr = context.settings.field_effort, noise(side // SCALE, side // SCALE)
    context.say(f"field-latency {side}x{side}: {effort.rounds} rounds of {len(entrants)} candidates")
    results = {each.name: each.upscale(lr) for each in entrants}
    differences = {
        each.name: difference(each.name, results[each.name], results[f"{each.network} {TorchEager.name}"])[0]
        for each in entrants
    }
    turns = take_turns([Candidate(each.name, partial(each.upscale, lr)) for each in entrants], effort, seed=side)
    rounds = {name: by_round(found) for name, found in turns.items()}
    rows = [
        RunTimeRow(
            each.network,
            each.engine,
            each.description,
            percentiles([seconds * 1e3 for seconds in all_runs(turns[each.name])]),
            spread(paired_ratios(rounds[each.name], rounds[f"{REFERENCE} {each.engine}"])),
            differences[each.name],
            milliseconds(rounds[each.name]),
        )
        for each in entrants
    ]
    return RunTimeCase((side, side), rows)
