"""The conveyor: in order, bounded in bytes and in number, and nobody waits for ever."""

import threading

import pytest

from edsr_runtime.conveyor import Conveyor, StoppedError


def waits_for_room(conveyor: Conveyor[str]) -> tuple[threading.Thread, threading.Event]:
    has_room = threading.Event()

    def wait() -> None:
        conveyor.wait_for_room()
        has_room.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread, has_room


def test_things_come_out_in_the_order_they_were_put() -> None:
    conveyor: Conveyor[str] = Conveyor(100, 10)
    for thing in "abc":
        conveyor.put(thing, 60)
    assert [conveyor.get() for _ in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize(("limit_bytes", "limit_things"), [(100, 10), (10_000, 2)])
def test_giver_waits_until_less_than_the_limit_lies_there(limit_bytes: int, limit_things: int) -> None:
    conveyor: Conveyor[str] = Conveyor(limit_bytes, limit_things)
    for thing in "ab":
        conveyor.wait_for_room()
        conveyor.put(thing, 60)
    thread, has_room = waits_for_room(conveyor)
    assert not has_room.wait(0.05)
    conveyor.get()
    assert has_room.wait(5)
    thread.join()


def test_one_thing_of_any_size_finds_room() -> None:
    conveyor: Conveyor[str] = Conveyor(1, 1)
    conveyor.wait_for_room()
    conveyor.put("large", 1 << 40)
    assert conveyor.get() == "large"
    conveyor.wait_for_room()


def test_stop_wakes_who_waits_and_refuses_everything_after() -> None:
    conveyor: Conveyor[str] = Conveyor(1, 1)
    stopped = threading.Event()

    def wait() -> None:
        try:
            conveyor.get()
        except StoppedError:
            stopped.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    conveyor.stop()
    assert stopped.wait(5)
    thread.join()
    for call in (conveyor.get, conveyor.wait_for_room, lambda: conveyor.put("late")):
        with pytest.raises(StoppedError):
            call()
