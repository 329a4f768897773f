"""Everything that is timed, loaded and described in the same words: our forms, the peers, and nothing at all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.context import Context
from benchmarks.cost.count import mult_adds
from benchmarks.cost.graph import Graph
from benchmarks.device import COPIES, Device, device_of
from benchmarks.latency.null import Null, open_null_runtime
from benchmarks.ours import Form, why_missing
from benchmarks.peers.peer import PeerFailedError, Rgb, Subject
from benchmarks.peers.registry import LEFT_OUT, TORCH_EAGER, Peer, start_peer
from edsr_runtime.errors import EnvironmentUnfitError, MissingDependencyError
from edsr_runtime.upscaler import Upscaler

NULL, NULL_RUNTIME = "null", "null-runtime"
_VIEWS = 8


@dataclass(frozen=True)
class Entrant:
    """One candidate that is ready to run."""

    name: str
    kind: Literal["ours", "peer", "null"]
    description: str
    precision: str
    """Of the convolutions; empty where there are none."""
    upscale: Callable[[Rgb], Rgb]
    mult_adds: float
    """Of one run, halos and views included."""
    form: str
    """``folded``, ``unfolded``; ``with ensemble``; ``in tiles``."""
    device: Device = "CPU"
    """Whose ceiling is its."""
    fewer_multiplications: float = 1.0
    """See ``Running``."""
    is_same_function: bool = True
    """Whether its result is to be what the others give."""

    @property
    def copies(self) -> str:
        """Between main memory and a device, and whether they are in the time."""
        return COPIES[self.device]


class Stable:
    """Opens candidates for one scale and one picture, and remembers why others are missing."""

    def __init__(self, context: Context, scale: int, lr: Rgb, stack: ExitStack) -> None:
        self._context = context
        self._scale = scale
        self._lr = lr
        self._hw = (lr.shape[0], lr.shape[1])
        self._stack = stack
        self._graphs: dict[str, Graph] = {}
        self.missing: dict[str, str] = {}
        self.upscalers: dict[str, Upscaler] = {}
        """Of our own candidates, by name."""

    def nulls(self) -> Iterator[Entrant]:
        """The harness alone, and our runtime alone."""
        yield Entrant(
            NULL, "null", "returns a picture that is there before", "", Null(self._lr, self._scale).upscale, 0, ""
        )
        runtime = self._stack.enter_context(open_null_runtime(self._model(collapsed=True)))
        said = "our runtime around a backend that computes nothing"
        yield Entrant(NULL_RUNTIME, "null", said, "", runtime.upscale, 0, "")

    def ours(self, forms: tuple[Form, ...]) -> Iterator[Entrant]:
        """Our runtime in the forms that this machine can do."""
        for form in forms:
            tile: int | Literal["auto"] = self._context.settings.latency_tile if form.in_tiles else "auto"
            try:
                upscaler = form.enter(self._stack, self._context.folder, partial(self._model_for, form), tile=tile)
            except (EnvironmentUnfitError, MissingDependencyError) as err:
                self.missing[form.name] = why_missing(err)
                continue
            said = ["folded" if form.collapsed else "folded, but for the tail"]
            said += ["with ensemble"] if form.self_ensemble else []
            said += [f"{len(upscaler.plan(*self._hw))} tiles"] if form.in_tiles else []
            self.upscalers[form.name] = upscaler
            work = self._work(form, upscaler)
            yield Entrant(
                form.name,
                "ours",
                upscaler.description,
                upscaler._backend.precision,
                upscaler.upscale,
                work,
                ", ".join(said),
                device_of(upscaler._backend),
                is_same_function=not form.self_ensemble,
            )

    def peers(self, peers: tuple[Peer, ...]) -> Iterator[Entrant]:
        """The peers that are installed."""
        models = self._context.models
        for peer in peers:
            if peer is not TORCH_EAGER and self._context.settings.leaves_out(peer.name):
                self.missing[peer.name] = LEFT_OUT
                continue
            if peer.is_slow_to_open and not self._context.settings.slow_peers:
                self.missing[peer.name] = "takes minutes to compile: only with --full"
                continue
            subject = Subject(models.network(self._scale), models.unfolded(self._scale), self._context.folder)
            try:
                running = start_peer(peer, subject, self._lr, self._stack)
            except (PeerFailedError, MissingDependencyError) as err:
                self.missing[peer.name] = str(err)
                continue
            yield Entrant(
                peer.name,
                "peer",
                running.description,
                running.precision,
                running.upscale,
                mult_adds(self._graph("unfolded"), self._hw),
                "unfolded",
                fewer_multiplications=running.fewer_multiplications,
            )

    def _model_for(self, form: Form) -> Path:
        return self._context.models.exported_fp16(self._scale) if form.is_engine else self._model(form.collapsed)

    def _model(self, collapsed: bool) -> Path:
        return self._context.models.exported(self._scale, collapse_tail=collapsed)

    def _work(self, form: Form, upscaler: Upscaler) -> float:
        graph = self._graph("collapsed" if form.collapsed else "whole")
        tiles = [(row.length, column.length) for row, column in upscaler.plan(*self._hw)]
        counted = {hw: mult_adds(graph, hw) for hw in set(tiles)}
        return sum(counted[hw] for hw in tiles) * (_VIEWS if form.self_ensemble else 1)

    def _graph(self, which: str) -> Graph:
        if which not in self._graphs:
            models = self._context.models
            path = models.unfolded(self._scale) if which == "unfolded" else self._model(which == "collapsed")
            self._graphs[which] = Graph.read(path)
        return self._graphs[which]
