"""Publishes commands again that were enqueued and then lost: their messages never arrived, or are gone with their
workers.

A producer writes an intent before it enqueues a command (:mod:`producers.intents`). The workers of a command's queue
check its outbox, one worker at a time; a worker's login need not be able to publish what other workers execute. An
intent that can't be read is moved to the list ``orders:intents.dead`` and stops no other. A
command counts as lost when a worker saw its intent first, or checked it last, longer ago than a setting, and its queue
holds nothing as old as the intent any more: queues are served first in, first out, so a command behind a backlog is not
taken for lost. A command that has begun can count as lost only minutes after its lease (``transitions.lua``)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis

from producers.intents import ALL_OUTBOXES, EARLIER_OUTBOX_KEY, OUTBOX_KEYS, Intent, read_intent
from producers.printable import is_command_id
from worker.clock import Clock
from worker.ledger.outbox import DEAD_KEY, Outbox, StoredIntent

logger = logging.getLogger("orders.sweeper")

LOCK_KEYS = {outbox: outbox.replace("orders:", "orders:sweeping:") for outbox in ALL_OUTBOXES}
"""By outbox: a text that is there while another worker searches it, and for some time after."""
BATCH = 500
"""How many intents are read at once, and how many commands one search publishes, or moves to the dead intents."""
MAX_CHECKED = 50 * BATCH
"""How many intents one search checks: parsing them takes a worker's time."""
MAX_REORDERING_MS = 10_000
"""How far the order of a queue may differ from the times in its messages, because some are redelivered and the clocks
of producers disagree."""

OldestQueued = Callable[[str], int | None]
"""When the oldest message of a queue was enqueued, UNIX ms; 0 when that can't be known, None when it is empty."""
OldestInLane = Callable[[Intent], int | None]
"""The same of the messages that wait in the lane of an intent's command; None also when that command has its lane."""


@dataclass(slots=True)
class _Search:
    """One search of an outbox for lost commands."""

    outbox: str
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
        serves: Callable[[str], bool],
        oldest_queued: OldestQueued,
        oldest_in_lane: OldestInLane = lambda _: None,
        publish: Callable[[Intent], None],
        patience_seconds: float = 30.0,
    ) -> None:
        """``serves`` says whether this worker consumes the queue of a task."""
        self._ledger = ledger
        self._serves = serves
        self._clock = clock
        self._oldest_queued = oldest_queued
        self._oldest_in_lane = oldest_in_lane
        self._publish = publish
        self._patience_ms = int(patience_seconds * 1000)

    def publish_lost(self) -> int:
        """Publish lost commands again and return how many; none of an outbox that another worker searches.

        Raises:
            redis.RedisError, OSError: the ledger is away; the next search finds what this one did not.
        """
        others = {outbox for task, outbox in OUTBOX_KEYS.items() if not self._serves(task)}
        return sum(self._search(outbox) for outbox in ALL_OUTBOXES if outbox not in others)

    def _search(self, outbox_key: str) -> int:
        if not self._ledger.set(LOCK_KEYS[outbox_key], "1", nx=True, px=max(1000, self._patience_ms // 2)):
            return 0
        search, outbox = _Search(outbox_key, self._clock.now_ms()), Outbox(self._ledger, outbox_key)
        try:
            removed = outbox.schedule_new(search.now)
        except redis.ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            logger.error("%s is no hash any more, and lost commands are not found in it: delete it", outbox_key)  # noqa: TRY400
            return 0
        if removed:
            logger.error("%d intents were removed: their ids are too long for a command's", removed)
        while not search.is_over and (batch := outbox.due(search.now - self._patience_ms, BATCH)):
            for stored in batch:
                self._check(stored, search, outbox)
            _end_batch(search, outbox)
        if search.dead:
            shown = _first_three(search.dead)
            logger.error("%d intents can't be published again and went to %s: %s", len(search.dead), DEAD_KEY, shown)
        return search.published

    def _check(self, stored: StoredIntent, search: _Search, outbox: Outbox) -> None:
        """Publish the command of one intent again if it is lost; one bad intent must not stop the others."""
        search.checked += 1
        try:
            intent = _read(stored)
            if search.outbox not in (OUTBOX_KEYS[intent.task], EARLIER_OUTBOX_KEY):
                # Who may add to one command's outbox need not be allowed to send another.
                raise ValueError("it is in the outbox of another command")
            if self._waits(intent, search):
                search.waiting.append(stored.raw_id)
            # Due again after the same time. Nothing changes where the command has ended meanwhile.
            elif outbox.postpone([stored.raw_id], search.now):
                self._publish(intent)
                search.published += 1
                _log_published(intent, search.now)
        except (redis.RedisError, OSError):
            raise
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with it is its own
            search.bad[stored] = type(fault).__name__

    def _waits(self, intent: Intent, search: _Search) -> bool:
        """Whether its queue or its lane still holds messages as old as this intent, so that it may be among them; or
        whether other workers publish it."""
        queue = intent.task
        if not self._serves(queue):
            return True
        if queue not in search.oldest:
            search.oldest[queue] = self._oldest_queued(queue)
        in_lane_ms = self._oldest_in_lane(intent) if intent.lane else None
        return any(
            oldest_ms is not None and intent.enqueued_at + MAX_REORDERING_MS >= oldest_ms
            for oldest_ms in (search.oldest[queue], in_lane_ms)
        )


def _end_batch(search: _Search, outbox: Outbox) -> None:
    outbox.postpone(search.waiting, search.now)
    moved = outbox.move_to_dead(search.bad)
    search.dead += [f"{each.raw_id[:100]!r} ({why})" for each, why in search.bad.items() if each.raw_id in moved]
    search.waiting.clear()
    search.bad.clear()


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
