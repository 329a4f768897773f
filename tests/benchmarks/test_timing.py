"""Interleaved timing: who runs when, and what is counted."""

import gc
from collections import Counter

import pytest

from benchmarks.timing import (
    Candidate,
    Effort,
    Percentiles,
    Spread,
    all_runs,
    by_round,
    interleave,
    paired_ratios,
    percentiles,
    spread,
    take_turns,
)


class Clockwork:
    """A clock that only candidates move, and a log of their runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def candidate(self, name: str, seconds: float) -> Candidate:
        def run() -> None:
            self.log.append(name)
            self.now += seconds

        return Candidate(name, run)


def test_each_candidate_is_timed_once_a_round_for_one_run() -> None:
    clockwork = Clockwork()
    candidates = [clockwork.candidate("quick", 1.0), clockwork.candidate("slow", 5.0)]
    seconds = interleave(candidates, 7, warm_up=3, clock=lambda: clockwork.now)
    assert seconds == {"quick": [1.0] * 7, "slow": [5.0] * 7}
    assert Counter(clockwork.log) == {"quick": 3 + 2 * 7, "slow": 3 + 2 * 7}


def test_the_timed_run_follows_an_untimed_one_of_the_same_candidate() -> None:
    clockwork = Clockwork()
    interleave([clockwork.candidate(name, 1.0) for name in "abc"], 20, warm_up=0)
    turns = list(zip(clockwork.log[::2], clockwork.log[1::2], strict=True))
    assert all(first == second for first, second in turns)


def test_the_order_differs_between_rounds_and_is_the_same_in_every_run() -> None:
    orders = []
    for _ in range(2):
        clockwork = Clockwork()
        interleave([clockwork.candidate(name, 1.0) for name in "abc"], 20, warm_up=0)
        turns = clockwork.log[::2]
        rounds = ["".join(turns[i : i + 3]) for i in range(0, len(turns), 3)]
        assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
        orders.append(rounds)
    assert orders[0] == orders[1]
    assert len(set(orders[0])) == 6  # all permutations come up


def test_ratios_of_the_same_round_do_not_see_a_machine_that_slows_down() -> None:
    slower = [1.0, 2.0, 4.0, 8.0]
    assert paired_ratios([3 * t for t in slower], slower) == [3.0] * 4


def test_spread_is_median_and_outer_tenths() -> None:
    assert spread([float(v) for v in range(11)]) == Spread(5.0, 1.0, 9.0, 11)
    assert spread([2.5]) == Spread(2.5, 2.5, 2.5, 1)


def test_garbage_is_not_collected_while_the_clock_runs() -> None:
    seen: list[bool] = []
    interleave([Candidate("a", lambda: seen.append(gc.isenabled()))], 2, warm_up=1)
    assert seen == [True, False, False, False, False]
    assert gc.isenabled()


def test_garbage_collection_is_on_again_after_an_error() -> None:
    runs = iter([None])
    with pytest.raises(StopIteration):
        interleave([Candidate("breaks in the timed run", lambda: next(runs))], 1, warm_up=0)
    assert gc.isenabled()


def test_two_candidates_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        interleave([Candidate("a", int), Candidate("a", int)], 1)


def test_a_turn_lasts_for_a_minimum_of_runs_and_of_time() -> None:
    clockwork = Clockwork()
    candidates = [clockwork.candidate("quick", 0.25), clockwork.candidate("slow", 5.0)]
    turns = take_turns(candidates, Effort(3, least_runs=2, least_seconds=1.0), clock=lambda: clockwork.now)
    assert turns == {"quick": [[0.25] * 4] * 3, "slow": [[5.0] * 2] * 3}
    assert Counter(clockwork.log) == {"quick": 2 + 3 * (1 + 4), "slow": 2 + 3 * (1 + 2)}


def test_a_turn_of_something_that_takes_no_time_ends() -> None:
    clockwork = Clockwork()
    turns = take_turns(
        [clockwork.candidate("nothing", 1e-9)], Effort(2, least_seconds=1.0), clock=lambda: clockwork.now
    )
    assert [len(turn) for turn in turns["nothing"]] == [10_000] * 2


def test_rounds_are_compared_by_the_median_of_a_turn() -> None:
    turns = [[1.0, 2.0, 9.0], [4.0]]
    assert by_round(turns) == [2.0, 4.0]
    assert all_runs(turns) == [1.0, 2.0, 9.0, 4.0]


def test_the_slowest_hundredth_needs_a_hundred_runs() -> None:
    assert percentiles([float(v) for v in range(99)]).p99 is None
    found = percentiles([float(v) for v in range(101)])
    assert found == Percentiles(50.0, 90.0, 99.0, 100.0, 101, 5050.0)
