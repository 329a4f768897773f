"""How far a build is, and its end before that: what TensorRT's ``IProgressMonitor`` reports, as plain numbers."""

import threading
from typing import Any


class BuildProgress:
    """Phases inside phases, as one fraction. The builder writes from its thread, any other may read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._fraction = 0.0
        self._phase = "starting"
        self._cancelled = False

    @property
    def fraction(self) -> float:
        """0 to 1, never falling."""
        return self._fraction

    @property
    def phase(self) -> str:
        """The innermost one, in TensorRT's words."""
        return self._phase

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask the builder to stop at its next step."""
        self._cancelled = True

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._phases[name] = _Phase(parent, max(1, steps))
            self._phase = name
            self._update()

    def step(self, name: str, step: int) -> bool:
        """A step is done; False asks the builder to stop."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = step + 1
                self._update()
        return not self._cancelled

    def finish(self, name: str) -> None:
        """A phase ends."""
        with self._lock:
            ended = self._phases.pop(name, None)
            if ended is not None and ended.parent is not None:
                self._phase = ended.parent
            if not self._phases and not self._cancelled:
                self._fraction = 1.0

    def _update(self) -> None:
        top = [name for name, phase in self._phases.items() if phase.parent not in self._phases]
        if top:
            self._fraction = max(self._fraction, min(1.0, self._part(top[0])))

    def _part(self, name: str) -> float:
        phase = self._phases[name]
        inside = [self._part(child) for child, other in self._phases.items() if other.parent == name]
        return min(phase.steps, phase.done + max(inside, default=0.0)) / phase.steps


class _Phase:
    def __init__(self, parent: str | None, steps: int) -> None:
        self.parent = parent
        self.steps = steps
        self.done = 0


def monitor(trt: Any, progress: BuildProgress) -> Any:
    """An ``IProgressMonitor`` of this TensorRT that writes into ``progress``."""
    base = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
