"""The clocks, passed in as an object so that tests can move them."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Wall clock, monotonic clock, and waiting."""

    def now_ms(self) -> int:
        """UNIX milliseconds, as in signatures, deadlines and reports."""

    def monotonic(self) -> float:
        """Seconds that only grow, for budgets and leases."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """UNIX milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait on an event and not in ``time.sleep``, so that signal handlers run in the main thread meanwhile."""
        threading.Event().wait(seconds)
