"""Calls of a ledger that may be away for a while."""

import logging
from collections.abc import Callable
from typing import TypeVar

from worker.clock import Clock
from worker.ledger.base import LedgerUnavailable

logger = logging.getLogger("orders.ledger")

T = TypeVar("T")

OUTAGE_SECONDS = (0.1, 1.0)
"""The first and the longest wait before a ledger that is away is called again."""
WARN_SECONDS = 10.0
"""How often a worker that waits for its ledger says so in the log."""


STOP_CHECK_SECONDS = 0.25
"""How often a wait checks whether the worker is stopping."""


class RequeueMessage(Exception):
    """Raised when the worker is stopping or has a fault; the ledger knows what of the command has begun."""


def sleep_unless_stopping(clock: Clock, stopping: Callable[[], bool], seconds: float) -> float:
    """Sleep, and return 0; or, once the worker is stopping, how many of the seconds are left."""
    while seconds > 0:
        if stopping():
            return seconds
        clock.sleep(min(seconds, STOP_CHECK_SECONDS))
        seconds -= STOP_CHECK_SECONDS
    return 0.0


class UntilAvailable:
    """Repeats a ledger call until the ledger answers: every move may be repeated, and none skipped."""

    def __init__(self, clock: Clock, stopping: Callable[[], bool]) -> None:
        self._clock = clock
        self._stopping = stopping

    def __call__(self, call: Callable[[], T], grace_seconds: float = 0.0) -> T:
        """The call's answer. A stopping worker goes on for ``grace_seconds`` more.

        Raises:
            RequeueMessage: the worker is stopping, and the ledger did not answer.
        """
        wait, max_wait = OUTAGE_SECONDS
        stopping_since: float | None = None
        warned_at = float("-inf")
        while True:
            called_at = self._clock.monotonic()
            try:
                return call()
            except LedgerUnavailable as outage:
                now = self._clock.monotonic()
                if self._stopping():
                    # A call that hangs takes long itself, and the stop may have come at any moment of it.
                    stopping_since = called_at if stopping_since is None else stopping_since
                    if now - stopping_since >= grace_seconds:
                        raise RequeueMessage(str(outage)) from outage
                if now - warned_at >= WARN_SECONDS:
                    warned_at = now
                    logger.warning("%s; waiting for it, nothing is sent meanwhile", outage)
                self._clock.sleep(wait)
                wait = min(wait * 2, max_wait)
