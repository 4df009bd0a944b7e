"""Publishing again what was enqueued and never arrived, or whose worker died and whose message is gone as well.

Every worker sweeps, one at a time. An intent counts as lost when it is older than a setting and its queue holds nothing
that old any more: queues are served first in, first out, so what is behind a backlog is not taken for lost. What has
begun counts only minutes after its lease (``transitions.lua``).
"""

import logging
from collections.abc import Callable
from typing import cast

import redis

from producers.intents import INTENTS_KEY, MESSAGES_KEY, Intent, read_intent
from producers.visible import LONGEST_ID, printable
from worker.execution.clock import Clock

logger = logging.getLogger("orders.sweeper")

LOCK_KEY = "orders:sweeping"
BATCH = 500
"""Intents looked at in one sweep."""
OVERTAKING_MS = 10_000
"""By how much messages may overtake one another: redelivered ones, clocks of producers that disagree."""

OldestQueued = Callable[[str], int | None]
"""When the oldest message of a queue was enqueued, UNIX ms; 0 when that can't be known, None when it is empty."""


class Sweeper:
    """Looks at the intents that are due, and publishes the lost ones again."""

    def __init__(
        self,
        *,
        ledger: redis.Redis,
        clock: Clock,
        oldest_queued: OldestQueued,
        publish: Callable[[Intent], None],
        patience_seconds: float = 30.0,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._oldest_queued = oldest_queued
        self._publish = publish
        self._patience_ms = int(patience_seconds * 1000)

    def sweep(self) -> int:
        """Publish again what is lost and return how many; nothing while another worker sweeps.

        Raises:
            redis.RedisError, OSError: the ledger is away; the next sweep will find the same.
        """
        if not self._ledger.set(LOCK_KEY, "1", nx=True, px=max(1000, self._patience_ms // 2)):
            return 0
        now = self._clock.now_ms()
        until = now - self._patience_ms
        due = cast("list[str]", self._ledger.zrange(INTENTS_KEY, 0, until, byscore=True, offset=0, num=BATCH))
        published = 0
        oldest: dict[str, int | None] = {}
        for command_id in due:
            intent = self._intent(command_id)
            if intent is None:
                continue
            queue = intent.task
            if queue not in oldest:
                oldest[queue] = self._oldest_queued(queue)
            first = oldest[queue]
            # Looked at again after the same patience, whether it is lost or only waits its turn.
            if not self._ledger.zadd(INTENTS_KEY, {command_id: now}, xx=True, ch=True):
                continue  # it has ended meanwhile
            if first is None or intent.enqueued_at + OVERTAKING_MS < first:
                self._publish(intent)
                published += 1
                logger.warning(
                    "published again id=%s task=%s: enqueued %d s ago, without an end, and no longer in its queue",
                    command_id,
                    queue,
                    (now - intent.enqueued_at) // 1000,
                )
        return published

    def _intent(self, command_id: str) -> Intent | None:
        stored = cast("str | None", self._ledger.hget(MESSAGES_KEY, command_id))
        try:
            if stored is not None:
                return read_intent(command_id, stored)
            reason = "it has no message"
        except (ValueError, KeyError, TypeError) as error:
            reason = f"its message can't be read ({type(error).__name__})"
        if self._ledger.zscore(INTENTS_KEY, command_id) is not None:
            logger.error("intent %s can't be published again: %s", printable(command_id, LONGEST_ID), reason)
        return None
