"""Putting back what workers took and never acknowledged, entry by entry: a bad entry costs itself and nothing else.

kombu's own sweep ends at the first entry that it can't put back, and so does the worker that sweeps; where the queue's
key is of another type, its transaction removes the message all the same. Here what can't be put back is moved to the
list ``unacked.dead``, byte for byte as it stood among the unacked messages, and the sweep goes on.
"""

# What is subclassed here is kombu's, which publishes no types.
# mypy: disallow-subclassing-any=False
# kombu offers no other seam than its private parts; worker.broker.transport checks that they are as expected.
# ruff: noqa: SLF001

from __future__ import annotations

import logging
from time import time
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as stock
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from producers.redaction import strip_quoted_command
from worker.broker.dead_letters import SUFFIX
from worker.broker.scripts import ACK, ACK_SHA, MOVE, MOVE_SHA
from worker.broker.take import TakingQoS

if TYPE_CHECKING:
    from producers.redis.direct import DirectClient

__all__ = ["RestoringQoS"]

logger = logging.getLogger(__name__)

#: Entries looked at in one sweep.
BATCH = 1000


def _of_the_entry(refusal: redis.ResponseError) -> bool:
    """Whether the server refuses a list for good, and not whatever it is asked to write just now."""
    return isinstance(refusal, redis.exceptions.NoPermissionError) or str(refusal).startswith("WRONGTYPE")


class RestoringQoS(TakingQoS):
    """Puts messages back in one step each, which either happens or leaves everything as it was."""

    @property
    def books(self) -> tuple[str, str]:
        """Keys of the index and of the hash of unacked messages, with their prefix."""
        return self._key(self.unacked_index_key), self._key(self.unacked_key)

    def _key(self, name: str) -> str:
        return f"{self.channel.global_keyprefix}{name}"

    def taken_at(self, moment: float) -> list[bytes]:
        """Tags of the messages that are recorded as taken at exactly this time, UNIX seconds."""
        with self.channel.conn_or_acquire() as client:
            direct = self.channel.directly(client)
            found: list[bytes] = direct.call("ZRANGE", self.books[0], repr(moment), repr(moment), "BYSCORE")
        return found

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:  # noqa: ARG002
        """Put back what was taken longer ago than the visibility timeout.

        Raises:
            redis.ResponseError: the server refuses it, whatever the entry.
        """
        self._vrestore_count += 1
        if (self._vrestore_count - 1) % (interval or 1):
            return
        with self.channel.conn_or_acquire() as client:
            try:
                with stock.Mutex(client, self.unacked_mutex_key, self.unacked_mutex_expire):
                    self._sweep(client, num or BATCH)
            except stock.MutexHeld:
                return

    def _sweep(self, client: Any, most: int) -> None:
        direct, index = self.channel.directly(client), self.books[0]
        now = time()
        self._mend(direct, now)
        # The newest first, so that the oldest is the next to be taken.
        window = (index, repr(now - self.visibility_timeout), "-inf", "BYSCORE", "REV", "LIMIT", 0, most)
        for tag in direct.call("ZRANGE", *window):
            self.restore_by_tag(tag, client)

    def _mend(self, direct: DirectClient, now: float) -> None:
        """Have every unacked message swept some day: one that no index names, and one under a time to come."""
        index, held = self.books
        ahead = direct.call(
            "ZRANGE", index, f"({now + self.visibility_timeout!r}", "+inf", "BYSCORE", "LIMIT", 0, BATCH
        )
        astray = [*ahead, *(self._unnamed(direct) if direct.call("HLEN", held) > direct.call("ZCARD", index) else ())]
        if not astray:
            return
        logger.error("%d unacked messages without a time, or with one to come, are swept as if taken now", len(astray))
        direct.call("ZADD", index, *(part for tag in astray for part in (repr(now), tag)))

    def _unnamed(self, direct: DirectClient) -> list[bytes]:
        index, held = self.books
        cursor, names = b"0", list[bytes]()
        while len(names) < BATCH:
            cursor, rows = direct.call("HSCAN", held, cursor, "COUNT", BATCH)
            names += rows[0::2]
            if int(cursor) == 0:
                break
        known = direct.call("ZMSCORE", index, *names) if names else []
        return [name for name, score in zip(names, known, strict=True) if score is None]

    def restore_by_tag(self, tag: str | bytes, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back on its queue; one that can't be goes to the list ``unacked.dead``.

        Raises:
            redis.ResponseError: the server refuses it for now, or the books are spoilt; nothing was moved.
        """
        with self.channel.conn_or_acquire(client) as usable:
            direct, books = self.channel.directly(usable), self.books
            entry = direct.call("HGET", books[1], tag)
            if entry is None:
                direct.script(ACK, ACK_SHA, books, [tag])
                return
            try:
                lists, message = self._addressed(entry)
                keys = (*books, *map(self._key, lists))
                direct.script(MOVE, MOVE_SHA, keys, (tag, entry, message, "LPUSH" if leftmost else "RPUSH"))
            except Exception as fault:
                # Whatever it is, it costs this entry and nothing else, unless it is the server that is in trouble.
                passing = isinstance(fault, redis.RedisError | OSError)
                if passing and not (isinstance(fault, redis.ResponseError) and _of_the_entry(fault)):
                    raise
                self._bury(direct, tag, entry, fault)

    def _addressed(self, entry: bytes) -> tuple[list[str], str]:
        """The lists for a message that was unacked, and the message as it goes there."""
        payload, exchange, routing_key = loads(bytes_to_str(entry))
        for part in (payload.get("headers"), payload["properties"].get("delivery_info")):
            if isinstance(part, dict):
                part["redelivered"] = True
        queues = self.channel._lookup(exchange, routing_key)
        if not queues or not all(isinstance(queue, str) and queue for queue in queues):
            raise LookupError("it names no queue")
        priority = self.channel._get_message_priority(payload, reverse=False)
        return [self.channel._q_for_pri(queue, priority) for queue in queues], dumps(payload)

    def _bury(self, direct: DirectClient, tag: str | bytes, entry: bytes, fault: Exception) -> None:
        """Move an entry as it is to the list of dead ones."""
        dead = self.unacked_key + SUFFIX
        why = str(strip_quoted_command(fault)) if isinstance(fault, redis.ResponseError) else type(fault).__name__
        shown = tag if isinstance(tag, str) else tag.decode("utf-8", "replace")
        try:
            moved = direct.script(MOVE, MOVE_SHA, (*self.books, self._key(dead)), (tag, entry, entry, "LPUSH"))
        except redis.ResponseError as refusal:
            logger.error(  # noqa: TRY400 - the server's word is all there is to know
                "an unacked message can't be put back (%s), nor moved to %s (%s): it stays; its delivery tag is %.255r",
                *(why, dead, strip_quoted_command(refusal), shown),
            )
            return
        if moved:
            logger.critical(
                "an unacked message can't be put back on a queue (%s) and went to %s; its delivery tag is %.255r. See: "
                "orders dead",
                *(why, dead, shown),
            )
