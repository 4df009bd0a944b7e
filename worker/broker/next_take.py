"""When a channel sends its next take, and waking the worker's loop for it."""

from __future__ import annotations

import math
from time import monotonic

from kombu.asynchronous import get_event_loop

__all__ = ["NextTake"]

HELD_SECONDS = 0.02
"""How long a take is put off when only messages of blocked groups are there and nothing arrives: each take of another
worker changes what waits in groups, and the server tells of each change."""


def _nothing() -> None:
    """Called by the loop, which then looks whether a take is due."""


class NextTake:
    """Times are seconds on the monotonic clock. Pool threads call :meth:`stir` and :meth:`not_after`."""

    def __init__(self) -> None:
        self.wanted = True
        """Whether something may be there to be taken."""
        self.by_clock = False
        """Whether the take in progress was sent although nothing said that something is there."""
        self.is_told = False
        """Whether nothing was left to be taken, so that the server tells when that changes."""
        self.held_back = False
        """Whether messages of blocked groups wait."""
        self._fallback = 0.0
        self._due = math.inf
        self._not_before = 0.0

    def is_due(self) -> bool:
        """Whether to send a take now."""
        now = monotonic()
        return (self.wanted and now >= self._not_before) or now >= min(self._fallback, self._due)

    def seconds_left(self) -> float:
        """How long until a take is due if nothing happens."""
        wanted = self._not_before if self.wanted else math.inf
        return max(0.0, min(wanted, self._fallback, self._due) - monotonic())

    def start(self, fallback_seconds: float) -> None:
        """Note that a take is about to be sent, before it is decided what it asks for."""
        now = monotonic()
        self.by_clock = self.is_told and not self.wanted and now < self._due
        self.wanted, self._due, self._fallback = False, math.inf, now + fallback_seconds

    def answered(self, remaining: int, due_ms: int, held_back: bool, is_empty: bool) -> None:
        """Note what the server said: what may still be taken, and in how long a parked message is due, -1 for none."""
        self.wanted, self.is_told, self.held_back = self.wanted or remaining > 0, remaining == 0, held_back
        self._not_before = 0.0
        if held_back and is_empty and not remaining:
            self._not_before = monotonic() + HELD_SECONDS
            _call_at(self._not_before)
        if due_ms >= 0:
            self.not_after(monotonic() + due_ms / 1000)

    def told(self, *, is_arrival: bool) -> None:
        """Note that the server has told of a change: of messages that have arrived, or of those that wait in groups."""
        self.wanted = True
        if is_arrival:
            self._not_before = 0.0

    def not_after(self, at: float) -> None:
        """Send a take at this time at the latest."""
        if at < self._due:
            self._due = at
            # No later than the take that is sent anyway, whose answer says it again: each answer names what is due, and
            # a timer for a day from now would stay in the loop's memory for each.
            _call_at(min(at, self._fallback))

    def stir(self) -> None:
        """Have a take sent at once, from whatever thread: a group is not blocked any more, say."""
        self.wanted, self._not_before = True, 0.0
        wake_loop()


def wake_loop() -> None:
    """Have the worker's loop turn once more, from whatever thread; it looks then whether a take is due."""
    hub = get_event_loop()
    if hub is not None:
        hub.call_soon(_nothing)


def _call_at(at: float) -> None:
    hub = get_event_loop()
    if hub is not None:
        # The loop's timers belong to its thread.
        hub.call_soon(hub.call_at, at, _nothing)
