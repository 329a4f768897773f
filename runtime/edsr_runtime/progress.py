"""What a run of ``edsr-upscale`` says: how far it is, and at the end what has become of every picture."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from edsr_runtime.jobs import Job
from edsr_runtime.pipeline import Result, Seconds
from edsr_runtime.printable import printable

_WINDOW_S = 120.0
_SAMPLE_S = 1.0
_SETTLED_S = 2.0


class Meter:
    """How far the work is and how long it may still take, in pixels of the output.

    What a picture weighs is known when it has been decoded; for those to come, the pixels per byte of the files seen
    so far have to do. How fast it goes is what the last two minutes say, waiting included: a machine that has become
    slow, or fast again, is believed. The clock runs evenly, whoever sets the time of day.
    """

    def __init__(self, jobs: Sequence[Job], scale: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.pictures = len(jobs)
        self.finished_pictures = 0
        self.pixels = 0
        """Computed so far."""
        self._scale = scale
        self._clock = clock
        self._start = clock()
        self._samples: deque[tuple[float, int]] = deque([(self._start, 0)])
        self._opened: dict[Job, int] = {}
        self._computed: Counter[Job] = Counter()
        self._given_up = 0
        """Pixels of pictures that failed after they had been opened."""
        self._opened_bytes = 0
        self._bytes_to_come = sum(job.size_bytes for job in jobs)

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        """A picture has been decoded."""
        self._opened[job] = lr_hw[0] * lr_hw[1] * self._scale**2
        self._opened_bytes += job.size_bytes
        self._bytes_to_come -= job.size_bytes

    def advanced(self, job: Job, pixels: int) -> None:
        """So many pixels of a picture have been computed."""
        self.pixels += pixels
        self._computed[job] += pixels
        now = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((now, self.pixels))
            while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW_S:
                self._samples.popleft()

    def finished(self, job: Job) -> None:
        """A picture is done or has failed."""
        self.finished_pictures += 1
        computed = self._computed.pop(job, 0)
        if job in self._opened:
            self._given_up += self._opened[job] - computed
        else:
            self._bytes_to_come -= job.size_bytes

    @property
    def total_pixels(self) -> float | None:
        """Of all pictures, an estimate until the last one is open; None before the first."""
        opened = sum(self._opened.values())
        if not opened:
            return None
        return opened * (1 + self._bytes_to_come / max(1, self._opened_bytes)) - self._given_up

    @property
    def is_certain(self) -> bool:
        """Whether ``total_pixels`` is known, because every picture has been opened."""
        return self._bytes_to_come <= 0

    @property
    def megapixels_per_second(self) -> float:
        """Of output, lately."""
        then, before = self._samples[0]
        elapsed = self._clock() - then
        return (self.pixels - before) / 1e6 / elapsed if elapsed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None in the first seconds, which say nothing, and as long as nothing has been computed."""
        total, rate = self.total_pixels, self.megapixels_per_second * 1e6
        if not total or not rate or self._clock() - self._start < _SETTLED_S:
            return None
        return max(0.0, total - self.pixels) / rate


class Display(Protocol):
    """Where a running command shows something."""

    def say(self, line: str) -> None:
        """A line that stays."""
        ...

    def show(self, meter: Meter) -> None:
        """The state of the work, in place of the last one."""
        ...


class Reporter:
    """The watcher of a run: passes on what is to be shown, and remembers the results."""

    def __init__(self, jobs: Sequence[Job], scale: int, display: Display, *, verbose: bool = False) -> None:
        self.results: list[Result] = []
        self._meter = Meter(jobs, scale)
        self._scale = scale
        self._display = display
        self._verbose = verbose

    @property
    def done(self) -> list[Result]:
        """Pictures that were written."""
        return [result for result in self.results if result.error is None]

    def opened(self, job: Job, lr_hw: tuple[int, int]) -> None:
        """See ``Watcher``."""
        self._meter.opened(job, lr_hw)
        self._display.show(self._meter)

    def advanced(self, job: Job, pixels: int) -> None:
        """See ``Watcher``."""
        self._meter.advanced(job, pixels)
        self._display.show(self._meter)

    def finished(self, result: Result) -> None:
        """See ``Watcher``."""
        self.results.append(result)
        self._meter.finished(result.job)
        for note in result.notes:
            self._display.say(f"{result.job.source}: {note}")
        if self._verbose and result.error is None and result.lr_hw is not None:
            height, width = result.lr_hw
            self._display.say(
                f"{result.job.source}: {height}x{width} -> {self._scale * height}x{self._scale * width} (HxW), "
                f"{result.job.target}, {show_duration(result.seconds)}"
            )
        self._display.show(self._meter)

    def summary(self, seconds: float, skipped: int = 0, verified: int = 0) -> str:
        """One line on what was done in so many seconds."""
        pixels = sum(h * w * self._scale**2 for h, w in (result.lr_hw or (0, 0) for result in self.done))
        rate = f" ({pixels / 1e6 / seconds:.1f} megapixels per second)" if pixels and seconds > 0 else ""
        parts = [f"{count_pictures(len(self.done))} upscaled in {show_duration(seconds)}{rate}"]
        if verified:
            parts.append(say_verified(verified))
        if skipped:
            parts.append(say_skipped(skipped))
        if failed := len(self.results) - len(self.done):
            parts.append(f"{failed} failed")
        return ", ".join(parts)


def show_stages(seconds: Seconds) -> str:
    """Where the time went."""
    stages = (("decode", seconds.decode), ("infer", seconds.infer), ("encode", seconds.encode))
    overlapped = ", ".join(f"{name} {show_duration(spent)}" for name, spent in stages)
    return f"{overlapped} (overlapped; inference waited {show_duration(seconds.waited)} for the others)"


def list_failures(failures: Sequence[tuple[Job, str]], pictures: int) -> str:
    """The sentences of all pictures that failed, out of so many."""
    sentences = []
    for job, error in failures:
        named = str(job.source) in error or str(job.target) in error
        sentences.append(printable(error if named else f"{job.source}: {error}"))
    if pictures == 1:
        return f"error: {sentences[0]}"
    return "\n  ".join([f"error: {len(failures)} of {pictures} pictures failed:", *sentences])


def say_skipped(count: int) -> str:
    """Part of a sentence on pictures whose output exists."""
    return f"{count} skipped (the output exists; --overwrite replaces it)"


def say_verified(count: int) -> str:
    """Part of a sentence on pictures that an earlier run has made."""
    return f"{count} done earlier (input and output are as they were)"


def count_pictures(count: int) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{count} picture" + ("" if count == 1 else "s")


def show_duration(seconds: float) -> str:
    """``0.4 s``, ``3 min 05 s``, ``2 h 03 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
