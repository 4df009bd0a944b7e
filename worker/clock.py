"""Time as the executor sees it, passed in so that tests can turn it."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Wall clock, monotonic clock, and waiting."""

    def now_ms(self) -> int:
        """UNIX milliseconds: what signatures, deadlines and reports say."""

    def monotonic(self) -> float:
        """Seconds that only grow: what budgets and leases are measured by."""

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
        """Wait; an event and not ``time.sleep``, so that signal handlers run in the main thread meanwhile."""
        threading.Event().wait(seconds)
