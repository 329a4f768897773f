"""Handing things from one thread to another with a bound on the memory that lies in between."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """The conveyor has been stopped: there is nobody at the other end."""


class Conveyor(Generic[T]):
    """First in, first out. A giver that asks for room first waits while the limit is reached, so that what lies on
    the conveyor is less than ``limit_bytes`` plus one thing, however large that is."""

    def __init__(self, limit_bytes: int, limit_things: int) -> None:
        self._limit_bytes = limit_bytes
        self._limit_things = limit_things
        self._things: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._is_stopped = False
        self._changed = threading.Condition()

    def wait_for_room(self) -> None:
        """Return when something may be put.

        Raises:
            StoppedError: now or while waiting.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._has_room())
            self._refuse_if_stopped()

    def put(self, thing: T, size_bytes: int = 0) -> None:
        """Lay something on the conveyor, without waiting.

        Raises:
            StoppedError: see ``stop``.
        """
        with self._changed:
            self._refuse_if_stopped()
            self._things.append((thing, size_bytes))
            self._bytes += size_bytes
            self._changed.notify_all()

    def get(self) -> T:
        """Take the oldest thing, waiting for it.

        Raises:
            StoppedError: now or while waiting, whatever lies on the conveyor.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or bool(self._things))
            self._refuse_if_stopped()
            thing, size_bytes = self._things.popleft()
            self._bytes -= size_bytes
            self._changed.notify_all()
            return thing

    def stop(self) -> None:
        """Throw everything away and wake whoever waits: every other call raises ``StoppedError`` from now on."""
        with self._changed:
            self._is_stopped = True
            self._things.clear()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._bytes < self._limit_bytes and len(self._things) < self._limit_things

    def _refuse_if_stopped(self) -> None:
        if self._is_stopped:
            raise StoppedError
