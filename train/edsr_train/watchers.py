"""Whoever watches a run, and cannot end it."""

from collections.abc import Callable

from edsr_runtime.errors import DataError
from edsr_train.loop import Progress, Record, Watcher
from edsr_train.models.branch import SuperResolutionNetwork


class Tolerant:
    """A watcher whose trouble with files, such as a full disk, is said once; it goes on trying."""

    def __init__(self, make: Callable[[], Watcher], name: str, say: Callable[[str], None]) -> None:
        """Make the watcher now, or as soon as that succeeds."""
        self._make, self._name, self._say = make, name, say
        self._watcher: Watcher | None = None
        self._is_said = False
        self._try(lambda watcher: None)

    def updated(self, progress: Progress) -> None:
        """Pass it on."""
        self._try(lambda watcher: watcher.updated(progress))

    def recorded(self, record: Record, network: SuperResolutionNetwork) -> None:
        """Pass it on."""
        self._try(lambda watcher: watcher.recorded(record, network))

    def _try(self, call: Callable[[Watcher], None]) -> None:
        try:
            if self._watcher is None:
                self._watcher = self._make()
            call(self._watcher)
        except (OSError, DataError) as err:
            if not self._is_said:
                self._say(f"{self._name}: {getattr(err, 'strerror', None) or err}. The run goes on, with gaps there")
                self._is_said = True
