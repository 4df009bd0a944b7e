"""Lets lanes go on that stand still: the outcome of their command was unknown and is settled, it was ended by another
message of its id, or its message is lost.

A lane goes on in the step in which its command's message is acknowledged; this is for what that step did not see. What
is alive keeps its lane: a command whose message is out, parked or may be in its queue, that is held for approval, or
whose intent waits to be published again (:mod:`worker.execution.lost_commands`).
"""

import logging
from collections.abc import Callable
from typing import Protocol

from worker.broker.lanes import StandingLane
from worker.clock import Clock
from worker.execution.lost_commands import MAX_REORDERING_MS, OldestQueued
from worker.ledger.base import Record, State

logger = logging.getLogger("orders.lanes")

LONGEST_REDELIVERY_MS = 120_000
"""How long after the lease of a command that has begun, and has no end, its message may come again."""

MAX_WARNED = 1000
"""How many commands are remembered that a warning was logged of."""


class Lanes(Protocol):
    """What the sweep needs of the broker; see :class:`worker.broker.lanes.StandingLanes`."""

    def look(self, limit: int = ...) -> list[StandingLane]:
        """The lanes that have stood for some time."""

    def release(self, standing: StandingLane, *, lost: bool = ...) -> bool:
        """Let one go on, unless it has moved."""


class LaneSweep:
    """Looks at lanes that stand; each by one worker at a time, because looking at one hides it from the others."""

    def __init__(
        self,
        *,
        lanes: Lanes,
        read: Callable[[str], Record | None],
        has_intent: Callable[[str], bool],
        oldest_queued: OldestQueued,
        clock: Clock,
    ) -> None:
        """``read`` gives a command's record, and ``has_intent`` says whether it is still in an outbox."""
        self._lanes = lanes
        self._read = read
        self._has_intent = has_intent
        self._oldest_queued = oldest_queued
        self._clock = clock
        self._warned: set[str] = set()

    def sweep(self) -> int:
        """Let lanes go on whose command has ended or is lost; returns how many.

        Raises:
            LedgerUnavailable, redis.RedisError, OSError: the ledger or the broker is away.
        """
        return sum(self._look_at(each) for each in self._lanes.look())

    def _look_at(self, standing: StandingLane) -> bool:
        record = self._read(standing.holder)
        state = record.state if record else None
        if state is State.SETTLED or (state is State.UNKNOWN and standing.passes_unknown):
            return self._lanes.release(standing)
        if state in (State.UNKNOWN, State.HELD) or not self._is_lost(standing, record):
            return False
        if record is not None and not standing.passes_unknown:
            self._warn(standing, "has begun, has no end, and its message is lost: send it again under its id")
            return False
        if not self._lanes.release(standing, lost=True):
            return False
        self._warn(standing, "is lost: its message is nowhere, and no intent of it waits; the lane goes on")
        return True

    def _is_lost(self, standing: StandingLane, record: Record | None) -> bool:
        """Whether nothing can execute the command any more, unless it is sent again."""
        if standing.message_is_there:
            return False
        if record is not None and record.lease_until + LONGEST_REDELIVERY_MS > self._clock.now_ms():
            return False
        if self._has_intent(standing.holder):
            return False
        oldest_ms = self._oldest_queued(standing.queue)
        return oldest_ms is None or 0 < standing.enqueued_at_ms < oldest_ms - MAX_REORDERING_MS

    def _warn(self, standing: StandingLane, what: str) -> None:
        if standing.holder not in self._warned:
            self._warned = {standing.holder} if len(self._warned) >= MAX_WARNED else self._warned | {standing.holder}
            logger.warning("the command at the head of lane %s %s: id=%s", standing.lane, what, standing.holder)
