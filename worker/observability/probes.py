"""What all workers share, read from the servers when somebody asks: queues, unknowns, halts, memory, clocks.

Every worker tells the same numbers, so that they are there as long as one worker is. One look costs each server two or
three round trips, is good for some seconds, and touches no command: it has connections of its own, with short timeouts.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

import redis

T = TypeVar("T")


class CachedProbe(Generic[T]):
    """The last answer of a look, for so many seconds; None when the server did not answer."""

    def __init__(self, look: Callable[[], T], seconds: float = 5.0) -> None:
        self._look = look
        self._seconds = seconds
        self._until = float("-inf")
        self._last: T | None = None

    def get(self) -> T | None:
        """The state, at most so old. Its callers take turns."""
        if time.monotonic() >= self._until:
            try:
                self._last = self._look()
            except (redis.RedisError, OSError):
                self._last = None
            self._until = time.monotonic() + self._seconds
        return self._last
