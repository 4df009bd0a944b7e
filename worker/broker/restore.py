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
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from producers.redis.url import unquoted
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.scripts import ACK, MOVE

if TYPE_CHECKING:
    from producers.redis.direct import DirectClient

__all__ = ["RestoringQoS"]

logger = logging.getLogger(__name__)

#: Entries looked at in one sweep.
BATCH_SIZE = 1000


def _is_permanent(refusal: redis.ResponseError) -> bool:
    """Whether the server refuses a list for good, and not whatever it is asked to write just now."""
    return isinstance(refusal, redis.exceptions.NoPermissionError) or str(refusal).startswith("WRONGTYPE")


class RestoringQoS(stock.QoS):
    """Puts messages back in one step each, which either happens or leaves everything as it was."""

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Count the message as delivered; record it on the server only if it came by another way than the take.

        One that was taken knows its queue, `source_queue`, which is more than its sender's word for it, and its raw
        bytes, `raw_bytes`.
        """
        taken = self.channel.message_in_delivery
        if taken and delivery_tag == taken[0]:
            _, message.source_queue, message.raw_bytes = taken
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    @property
    def unacked_keys(self) -> tuple[str, str]:
        """Keys of the index and of the hash of unacked messages, with their prefix."""
        return self._prefixed(self.unacked_index_key), self._prefixed(self.unacked_key)

    def _prefixed(self, name: str) -> str:
        return f"{self.channel.global_keyprefix}{name}"

    def tags_taken_at(self, moment: float) -> list[bytes]:
        """Tags of the messages that are recorded as taken at exactly this time, UNIX seconds."""
        with self.channel.conn_or_acquire() as client:
            direct = self.channel.direct_client(client)
            found: list[bytes] = direct.call("ZRANGE", self.unacked_keys[0], repr(moment), repr(moment), "BYSCORE")
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
                    self._restore_expired(client, num or BATCH_SIZE)
            except stock.MutexHeld:
                return

    def _restore_expired(self, client: Any, limit: int) -> None:
        direct, index = self.channel.direct_client(client), self.unacked_keys[0]
        now = time()
        self._repair_index(direct, now)
        # The newest first, so that the oldest is the next to be taken.
        window = (index, repr(now - self.visibility_timeout), "-inf", "BYSCORE", "REV", "LIMIT", 0, limit)
        for tag in direct.call("ZRANGE", *window):
            self.restore_by_tag(tag, client)

    def _repair_index(self, direct: DirectClient, now: float) -> None:
        """Have every unacked message swept some day: one that no index names, and one under a time to come."""
        index, held = self.unacked_keys
        ahead = direct.call(
            "ZRANGE", index, f"({now + self.visibility_timeout!r}", "+inf", "BYSCORE", "LIMIT", 0, BATCH_SIZE
        )
        misplaced = [
            *ahead,
            *(self._tags_without_time(direct) if direct.call("HLEN", held) > direct.call("ZCARD", index) else ()),
        ]
        if not misplaced:
            return
        logger.error(
            "%d unacked messages without a time, or with one to come, are swept as if taken now", len(misplaced)
        )
        direct.call("ZADD", index, *(part for tag in misplaced for part in (repr(now), tag)))

    def _tags_without_time(self, direct: DirectClient) -> list[bytes]:
        index, held = self.unacked_keys
        cursor, names = b"0", list[bytes]()
        while len(names) < BATCH_SIZE:
            cursor, rows = direct.call("HSCAN", held, cursor, "COUNT", BATCH_SIZE)
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
            direct, unacked_keys = self.channel.direct_client(usable), self.unacked_keys
            entry = direct.call("HGET", unacked_keys[1], tag)
            if entry is None:
                direct.script(*ACK, unacked_keys, [tag])
                return
            try:
                lists, message = self._destination(entry)
                keys = (*unacked_keys, *map(self._prefixed, lists))
                direct.script(*MOVE, keys, (tag, entry, message, "LPUSH" if leftmost else "RPUSH"))
            except Exception as fault:
                # Whatever it is, it costs this entry and nothing else, unless it is the server that is in trouble.
                passing = isinstance(fault, redis.RedisError | OSError)
                if passing and not (isinstance(fault, redis.ResponseError) and _is_permanent(fault)):
                    raise
                self._move_to_dead(direct, tag, entry, fault)

    def _destination(self, entry: bytes) -> tuple[list[str], str]:
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

    def _move_to_dead(self, direct: DirectClient, tag: str | bytes, entry: bytes, fault: Exception) -> None:
        """Move an entry as it is to the list of dead ones."""
        dead = self.unacked_key + DEAD_SUFFIX
        why = str(unquoted(fault)) if isinstance(fault, redis.ResponseError) else type(fault).__name__
        shown = tag if isinstance(tag, str) else tag.decode("utf-8", "replace")
        try:
            moved = direct.script(*MOVE, (*self.unacked_keys, self._prefixed(dead)), (tag, entry, entry, "LPUSH"))
        except redis.ResponseError as refusal:
            logger.error(  # noqa: TRY400 - the server's word is all there is to know
                "an unacked message can't be put back (%s), nor moved to %s (%s): it stays; its delivery tag is %.255r",
                *(why, dead, unquoted(refusal), shown),
            )
            return
        if moved:
            logger.critical(
                "an unacked message can't be put back on a queue (%s) and went to %s; its delivery tag is %.255r. See: "
                "orders dead",
                *(why, dead, shown),
            )
