"""Publishes commands again that were enqueued and then lost: their messages never arrived, or are gone with their
workers.

A producer writes an intent before it enqueues a command (:mod:`producers.intents`). Every worker checks the intents,
one worker at a time. An intent that can't be read is moved to the list ``orders:intents.dead`` and stops no other. A
command counts as lost when a worker saw its intent first, or checked it last, longer ago than a setting, and its queue
holds nothing as old as the intent any more: queues are served first in, first out, so a command behind a backlog is not
taken for lost. A command that has begun can count as lost only minutes after its lease (``transitions.lua``)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis

from producers.intents import Intent, read_intent
from producers.printable import is_command_id
from worker.clock import Clock
from worker.ledger.outbox import DEAD_KEY, Outbox, StoredIntent

logger = logging.getLogger("orders.sweeper")

LOCK_KEY = "orders:sweeping"
BATCH = 500
"""How many intents are read at once, and how many commands one search publishes, or moves to the dead intents."""
MAX_CHECKED = 50 * BATCH
"""How many intents one search checks: parsing them takes a worker's time."""
MAX_REORDERING_MS = 10_000
"""How far the order of a queue may differ from the times in its messages, because some are redelivered and the clocks
of producers disagree."""

OldestQueued = Callable[[str], int | None]
"""When the oldest message of a queue was enqueued, UNIX ms; 0 when that can't be known, None when it is empty."""


@dataclass(slots=True)
class _Search:
    """One search for lost commands."""

    now: int
    published: int = 0
    checked: int = 0
    dead: list[str] = field(default_factory=list)
    """In words: intents that were moved to the dead ones."""
    waiting: list[bytes] = field(default_factory=list)
    """Intents of the current batch whose commands are not lost."""
    bad: dict[StoredIntent, str] = field(default_factory=dict)
    """Intents of the current batch that can't be published, each with the type of its error."""
    oldest: dict[str, int | None] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether the rest is left to the next search."""
        return self.published + len(self.dead) >= BATCH or self.checked >= MAX_CHECKED


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
        self._outbox = Outbox(ledger)
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
        search = _Search(self._clock.now_ms())
        if removed := self._outbox.schedule_new(search.now):
            logger.error("%d intents were removed: their ids are too long for a command's", removed)
        while not search.is_over and (batch := self._outbox.due(search.now - self._patience_ms, BATCH)):
            for stored in batch:
                self._check(stored, search)
            self._end_batch(search)
        if search.dead:
            shown = _first_three(search.dead)
            logger.error("%d intents can't be published again and went to %s: %s", len(search.dead), DEAD_KEY, shown)
        return search.published

    def _end_batch(self, search: _Search) -> None:
        self._outbox.postpone(search.waiting, search.now)
        moved = self._outbox.move_to_dead(search.bad)
        search.dead += [f"{each.raw_id[:100]!r} ({why})" for each, why in search.bad.items() if each.raw_id in moved]
        search.waiting.clear()
        search.bad.clear()

    def _check(self, stored: StoredIntent, search: _Search) -> None:
        """Publish the command of one intent again if it is lost; one bad intent must not stop the others."""
        search.checked += 1
        try:
            intent = _read(stored)
            if self._waits(intent, search):
                search.waiting.append(stored.raw_id)
            # Due again after the same time. Nothing changes where the command has ended meanwhile.
            elif self._outbox.postpone([stored.raw_id], search.now):
                self._publish(intent)
                search.published += 1
                _log_published(intent, search.now)
        except (redis.RedisError, OSError):
            raise
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with it is its own
            search.bad[stored] = type(fault).__name__

    def _waits(self, intent: Intent, search: _Search) -> bool:
        """Whether the queue still holds messages as old as this intent, so that it may be among them."""
        queue = intent.task
        if queue not in search.oldest:
            search.oldest[queue] = self._oldest_queued(queue)
        oldest_ms = search.oldest[queue]
        return oldest_ms is not None and intent.enqueued_at + MAX_REORDERING_MS >= oldest_ms


def _read(stored: StoredIntent) -> Intent:
    """Read an intent.

    Raises:
        Exception: of any kind; it can't be read, or its message would only become a dead letter.
    """
    command_id = stored.raw_id.decode()
    if stored.stored is None or not is_command_id(command_id):
        raise ValueError("it makes no message")
    return read_intent(command_id, stored.stored.decode())


def _log_published(intent: Intent, now: int) -> None:
    logger.warning(
        "published again id=%s task=%s: enqueued %d s ago, without an end, and no longer in its queue",
        intent.command_id,
        intent.task,
        (now - intent.enqueued_at) // 1000,
    )


def _first_three(texts: Sequence[str]) -> str:
    return ", ".join(texts[:3]) + (", …" if len(texts) > 3 else "")
