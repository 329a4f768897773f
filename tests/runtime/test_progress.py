"""What is said: estimates that add up, lines a person can read, a bar only on a terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from edsr_runtime.jobs import Job
from edsr_runtime.pipeline import Result, Seconds
from edsr_runtime.progress import Meter, Reporter, list_failures, show_duration, show_stages
from edsr_runtime.progress_bar import ProgressBar, describe


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """A display that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def show(self, meter: Meter) -> None:
        pass


def job(name: str, size_bytes: int = 0) -> Job:
    return Job(Path(name), Path("out", name), "png", size_bytes)


def test_time_left_counts_pixels_and_guesses_those_to_come_from_bytes() -> None:
    clock = Clock()
    small, large, broken = job("s.png", 1000), job("l.png", 9000), job("b.png", 5000)
    meter = Meter([small, large, broken], 2, clock)
    assert (meter.total_pixels, meter.seconds_left) == (None, None)

    meter.opened(small, (100, 250))  # 100,000 pixels of output in 1000 bytes
    assert meter.total_pixels == 1_500_000
    clock.now += 4
    meter.advanced(small, 100_000)
    meter.finished(small)
    assert meter.megapixels_per_second == pytest.approx(0.025)
    assert meter.seconds_left == pytest.approx(56)  # 1.4 megapixels are to come

    meter.finished(broken)  # never opened: nothing of it is to come
    assert meter.total_pixels == 1_000_000
    meter.opened(large, (500, 500))  # 1,000,000 pixels: from here on it is no guess
    assert meter.total_pixels == 1_100_000
    assert meter.seconds_left == pytest.approx(40)
    assert describe(meter) == "2/3 pictures, 0.0 megapixels/s, 40.0 s left"


def test_time_left_goes_by_the_last_minutes_and_says_when_it_is_a_guess() -> None:
    clock = Clock()
    first, second = job("a.png", 1000), job("b.png", 1000)
    meter = Meter([first, second], 1, clock)
    meter.opened(first, (1000, 1000))
    clock.now += 1
    meter.advanced(first, 1000)
    assert meter.seconds_left is None  # of the first second, which is spent on warming up
    for _ in range(100):
        clock.now += 1
        meter.advanced(first, 1000)
    assert meter.seconds_left == pytest.approx((2_000_000 - 101_000) / 1000)
    assert describe(meter).endswith("about 31 min 39 s left")
    for _ in range(200):  # the machine has become ten times as slow
        clock.now += 1
        meter.advanced(first, 100)
    assert meter.megapixels_per_second == pytest.approx(100e-6)
    assert meter.seconds_left == pytest.approx((2_000_000 - 121_000) / 100)
    meter.opened(second, (1000, 1000))
    assert "about" not in describe(meter)
    clock.now += 3600  # nothing happens
    assert (meter.seconds_left or 0) > 500_000


def test_nothing_is_left_of_pictures_that_failed_in_the_middle() -> None:
    clock = Clock()
    jobs = [job(f"{number}.png", 1000) for number in range(20)]
    meter = Meter(jobs, 1, clock)
    for number, one in enumerate(jobs):
        meter.opened(one, (1000, 1000))
        clock.now += 1
        meter.advanced(one, 1_000_000 if number % 2 else 100_000)  # the others fail in their first tenth
        meter.finished(one)
        if number == 9:
            assert meter.total_pixels == 5 * 1_100_000 + 10_000_000  # those to come are expected to go well
    assert meter.total_pixels == meter.pixels
    assert meter.seconds_left == 0


def test_results_are_summed_up_in_one_line() -> None:
    display = Lines()
    jobs = [job("a.png"), job("b.png"), job("c.png")]
    reporter = Reporter(jobs, 4, display)
    reporter.finished(Result(jobs[0], None, (500, 500), 1.0))
    reporter.finished(Result(jobs[1], None, (500, 250), 1.0, ("CMYK converted to sRGB",)))
    reporter.finished(Result(jobs[2], "c.png: is empty (0 bytes)"))
    assert reporter.summary(2.0, skipped=7) == (
        "2 pictures upscaled in 2.0 s (3.0 megapixels per second), "
        "7 skipped (the output exists; --overwrite replaces it), 1 failed"
    )
    assert display.lines == ["b.png: CMYK converted to sRGB"]


def test_verbose_gives_every_picture_a_line() -> None:
    display = Lines()
    reporter = Reporter([job("a.png")], 3, display, verbose=True)
    reporter.finished(Result(job("a.png"), None, (50, 40), 0.25))
    assert display.lines == ["a.png: 50x40 -> 150x120 (HxW), out/a.png, 0.2 s"]


def test_failures_name_their_picture_once() -> None:
    failures = [(job("a.png"), "a.png: is empty (0 bytes)"), (job("b.png"), "it is too small")]
    assert list_failures(failures, 9) == (
        "error: 2 of 9 pictures failed:\n  a.png: is empty (0 bytes)\n  b.png: it is too small"
    )
    assert list_failures(failures[1:], 1) == "error: b.png: it is too small"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7380.4, "2 h 03 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_stages_are_said_to_overlap() -> None:
    assert show_stages(Seconds(1.2, 20.1, 2.2, 0.3, 20.6)) == (
        "decode 1.2 s, infer 20.1 s, encode 2.2 s (overlapped; inference waited 0.3 s for the others)"
    )


def test_bar_shows_the_meter_and_keeps_lines_whole() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    clock = Clock()
    meter = Meter([job("a.png", 10)], 2, clock)
    with ProgressBar(console) as bar:
        meter.opened(job("a.png", 10), (1000, 1000))
        clock.now += 2
        meter.advanced(job("a.png", 10), 2_000_000)
        bar.show(meter)
        bar.say("[bold]in/a.png[/bold]: " + 30 * "long ")
    shown = screen.getvalue()
    assert "0/1 pictures, 1.0 megapixels/s, 2.0 s left" in shown
    assert "[bold]in/a.png[/bold]: " + 30 * "long " in shown
