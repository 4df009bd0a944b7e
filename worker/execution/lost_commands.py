"""Publishes commands again that were enqueued and then lost: their messages never arrived, or are gone with their
workers.

A producer writes an intent before it enqueues a command (:mod:`producers.intents`). Every worker checks the intents,
one worker at a time. An intent that can't be read is moved to the list ``orders:intents.dead`` and stops no other; one
whose time is too far ahead counts as written now. A command counts as lost when its intent is older than a setting and
its queue holds nothing that old any more: queues are served first in, first out, so a command behind a backlog is not
taken for lost. A command that has begun can count as lost only minutes after its lease (``transitions.lua``)."""

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import redis

from producers.commands import COMMANDS
from producers.intents import INTENTS_KEY, MESSAGES_KEY, Intent, read_intent
from producers.printable import is_command_id
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.envelope_check import MAX_MESSAGE_BYTES
from worker.clock import Clock

logger = logging.getLogger("orders.sweeper")

LOCK_KEY = "orders:sweeping"
BATCH = 500
"""How many intents one search checks."""
MAX_REORDERING_MS = 10_000
"""How far the order of a queue may differ from the times in its messages, because some are redelivered and the clocks
of producers disagree."""

MAX_AHEAD_MS = 86_400_000
"""How far ahead of the clock the time of an intent may be; that of a command that has begun is minutes ahead."""
DEAD_KEY = INTENTS_KEY + DEAD_SUFFIX
"""List: JSON objects ``{"id", "intent"}``."""

OldestQueued = Callable[[str], int | None]
"""When the oldest message of a queue was enqueued, UNIX ms; 0 when that can't be known, None when it is empty."""


class LostCommandPublisher:
    """Checks the intents that are due, and publishes the lost commands again."""

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

    def publish_lost(self) -> int:
        """Publish lost commands again and return how many; none while another worker searches.

        Raises:
            redis.RedisError, OSError: the ledger is away; the next search finds what this one did not.
        """
        if not self._ledger.set(LOCK_KEY, "1", nx=True, px=max(1000, self._patience_ms // 2)):
            return 0
        now = self._clock.now_ms()
        self._correct_times_far_ahead(now)
        published = 0
        bad: list[str] = []
        oldest: dict[str, int | None] = {}
        for raw_id in self._ids_between("-inf", now - self._patience_ms):
            try:
                published += self._publish_if_lost(raw_id, now, oldest)
            except (redis.RedisError, OSError):
                raise
            except Exception as fault:  # noqa: BLE001 - one bad intent must not stop the others
                if self._move_to_dead(raw_id):
                    bad.append(f"{raw_id[:100]!r} ({type(fault).__name__})")
        if bad:
            logger.error(
                "%d intents can't be published again and went to %s: %s", len(bad), DEAD_KEY, _first_three(bad)
            )
        return published

    def _ask(self, *command: Any) -> Any:
        """The server's reply as bytes, because senders write the intents, and may write bytes that are no text."""
        return self._ledger.execute_command(*command, NEVER_DECODE=True)  # type: ignore[no-untyped-call] # redis-py's gap

    def _ids_between(self, first: str, last: Any) -> Sequence[bytes]:
        ids: list[bytes] = self._ask("ZRANGE", INTENTS_KEY, first, last, "BYSCORE", "LIMIT", 0, BATCH)
        return ids

    def _correct_times_far_ahead(self, now: int) -> None:
        """Set intents whose time is too far ahead to the current time, so that they are checked."""
        far_ahead = self._ids_between(f"({now + MAX_AHEAD_MS}", "+inf")
        if far_ahead:
            self._ask("ZADD", INTENTS_KEY, "XX", *(part for raw_id in far_ahead for part in (now, raw_id)))
            logger.error(
                "%d intents had a time more than a day ahead and count as written now: check their senders' clocks",
                len(far_ahead),
            )

    def _publish_if_lost(self, raw_id: bytes, now: int, oldest: dict[str, int | None]) -> int:
        """Publish the command of this intent again if it is lost; 1 when it was.

        Raises:
            Exception: of any kind; the intent can't be read.
        """
        intent = self._intent(raw_id)
        queue = intent.task
        if queue not in oldest:
            oldest[queue] = self._oldest_queued(queue)
        oldest_ms = oldest[queue]
        # Due again after the same time, whether it is lost or only waits its turn.
        if not self._ledger.zadd(INTENTS_KEY, {intent.command_id: now}, xx=True, ch=True):
            return 0  # the command has ended meanwhile
        if oldest_ms is not None and intent.enqueued_at + MAX_REORDERING_MS >= oldest_ms:
            return 0
        self._publish(intent)
        logger.warning(
            "published again id=%s task=%s: enqueued %d s ago, without an end, and no longer in its queue",
            intent.command_id,
            queue,
            (now - intent.enqueued_at) // 1000,
        )
        return 1

    def _intent(self, raw_id: bytes) -> Intent:
        """Read an intent.

        Raises:
            Exception: of any kind; it can't be read, or its message would only become a dead letter.
        """
        command_id = raw_id.decode()
        stored = self._ask("HGET", MESSAGES_KEY, raw_id)
        if stored is None:
            raise LookupError("it has no message")
        if len(stored) > MAX_MESSAGE_BYTES // 2 or not is_command_id(command_id):
            raise ValueError("it makes no message")
        intent = read_intent(command_id, stored.decode())
        if intent.task not in COMMANDS or not isinstance(intent.kwargs, dict):
            raise ValueError("it is no command")
        return intent

    def _move_to_dead(self, raw_id: bytes) -> bool:
        """Move an intent to the list :data:`DEAD_KEY`; False when its command has ended meanwhile."""
        stored = self._ask("HGET", MESSAGES_KEY, raw_id)
        shown = {"id": raw_id.decode("utf-8", "backslashreplace")}
        if stored is not None:
            shown["intent"] = stored.decode("utf-8", "backslashreplace")
            self._ask("LPUSH", DEAD_KEY, json.dumps(shown))
            self._ask("HDEL", MESSAGES_KEY, raw_id)
        return bool(self._ask("ZREM", INTENTS_KEY, raw_id))


def _first_three(texts: Sequence[str]) -> str:
    return ", ".join(texts[:3]) + (", …" if len(texts) > 3 else "")
