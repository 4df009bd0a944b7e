"""Putting messages that workers took and never acknowledged back on their queues, one by one.

kombu's own `restore_visible` raises at the first entry that it can't put back, which ends the worker; and where the
queue's key is of another type, its transaction removes the message all the same. Here an entry that can't be put back
is moved to the list ``unacked.dead``, byte for byte as it was among the unacked messages, and the others are restored.
"""

# kombu offers no other seam than its private parts; worker.broker.transport checks that they are as expected.
# ruff: noqa: SLF001

from __future__ import annotations

import logging
from time import time
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as stock

from producers.commands import COMMANDS
from producers.message_json import dumps, loads
from worker.broker.base import error_text
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.groups import group_of
from worker.broker.scripts import MOVE, STAMP

if TYPE_CHECKING:
    from producers.redis.direct import DirectClient

__all__ = ["RestoringQoS"]

logger = logging.getLogger(__name__)

#: How many entries are restored or repaired at once.
BATCH_SIZE = 1000


def _is_permanent(refusal: redis.ResponseError) -> bool:
    """Whether the server will always refuse this list, in contrast to refusing every write for now."""
    return isinstance(refusal, redis.exceptions.NoPermissionError) or str(refusal).startswith("WRONGTYPE")


class RestoringQoS(stock.QoS):
    """Puts each message back in one atomic step."""

    @property
    def unacked_keys(self) -> tuple[str, str]:
        """The keys of the index and of the hash of unacked messages, with their prefix."""
        return self._prefixed(self.unacked_index_key), self._prefixed(self.unacked_key)

    def _prefixed(self, name: str) -> str:
        return f"{self.channel.global_keyprefix}{name}"

    def tags_taken_at(self, taken_at: float) -> list[bytes]:
        """Tags of the messages that are recorded as taken at exactly this time (UNIX seconds)."""
        with self.channel.conn_or_acquire() as client:
            direct = self.channel.direct_client(client)
            found: list[bytes] = direct.call("ZRANGE", self.unacked_keys[0], repr(taken_at), repr(taken_at), "BYSCORE")
        return found

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:  # noqa: ARG002
        """Put back messages that were taken longer ago than the visibility timeout.

        Raises:
            redis.ResponseError: the server refuses every write.
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
        # The newest first, so that the oldest one is taken next.
        window = (index, repr(now - self.visibility_timeout), "-inf", "BYSCORE", "REV", "LIMIT", 0, limit)
        for tag in direct.call("ZRANGE", *window):
            self.restore_by_tag(tag, client)

    def _repair_index(self, direct: DirectClient, now: float) -> None:
        """Give a time to unacked messages that have none in the index, or one in the future: they would never be
        restored."""
        index, unacked = self.unacked_keys
        latest = repr(now + self.visibility_timeout)
        misplaced = direct.call("ZRANGE", index, f"({latest}", "+inf", "BYSCORE", "LIMIT", 0, BATCH_SIZE)
        if direct.call("HLEN", unacked) > direct.call("ZCARD", index):
            misplaced += self._tags_without_time(direct)
        # A message that was acknowledged since it was seen is left alone by the script.
        count = direct.script(*STAMP, self.unacked_keys, (repr(now), latest, *misplaced)) if misplaced else 0
        if count:
            logger.error(
                "%d unacked messages had no time or one in the future, and are restored as if they were taken now",
                count,
            )

    def _tags_without_time(self, direct: DirectClient) -> list[bytes]:
        """Some thousand of them at most."""
        index, unacked = self.unacked_keys
        cursor, found = b"0", list[bytes]()
        while len(found) < BATCH_SIZE:
            cursor, rows = direct.call("HSCAN", unacked, cursor, "COUNT", BATCH_SIZE)
            names = rows[0::2]
            known = direct.call("ZMSCORE", index, *names) if names else []
            found += [name for name, score in zip(names, known, strict=True) if score is None]
            if int(cursor) == 0:
                break
        return found

    def restore_by_tag(self, tag: str | bytes, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back on its queue; one that can't be put back goes to the list ``unacked.dead``.

        Raises:
            redis.ResponseError: the server refuses every write for now, or the keys of unacked messages are of a wrong
                type; nothing was moved.
        """
        with self.channel.conn_or_acquire(client) as usable:
            direct, unacked_keys = self.channel.direct_client(usable), self.unacked_keys
            entry = direct.call("HGET", unacked_keys[1], tag)
            if entry is None:
                # The script removes its time, unless another worker has taken a message under this tag by now.
                direct.script(*STAMP, unacked_keys, (repr(time()), "inf", tag))
                return
            try:
                lists, message = self._destination(entry)
                keys = (*unacked_keys, *map(self._prefixed, lists))
                group = group_of(entry, self.channel.accounts) if lists[0] in COMMANDS else ""
                direct.script(*MOVE, keys, (tag, entry, message, "LPUSH" if leftmost else "RPUSH", group))
            except Exception as error:
                of_server = isinstance(error, redis.RedisError | OSError)
                if of_server and not (isinstance(error, redis.ResponseError) and _is_permanent(error)):
                    raise
                # Every other error comes from this entry, and must not keep the others from being restored.
                self._move_to_dead(direct, tag, entry, error)

    def _destination(self, entry: bytes) -> tuple[list[str], str]:
        """The lists on which an unacked message belongs, and the message as it is written there.

        Raises:
            Exception: of any kind; the entry can't be read.
        """
        payload, exchange, routing_key = loads(entry)
        for part in (payload.get("headers"), payload["properties"].get("delivery_info")):
            if isinstance(part, dict):
                part["redelivered"] = True
        queues = self.channel._lookup(exchange, routing_key)
        if not queues or not all(isinstance(queue, str) and queue for queue in queues):
            raise LookupError("it names no queue")
        priority = self.channel._get_message_priority(payload, reverse=False)
        return [self.channel._q_for_pri(queue, priority) for queue in queues], dumps(payload)

    def _move_to_dead(self, direct: DirectClient, tag: str | bytes, entry: bytes, error: Exception) -> None:
        """Move an entry unchanged to the list of dead ones."""
        dead = self.unacked_key + DEAD_SUFFIX
        why = error_text(error) if isinstance(error, redis.ResponseError) else type(error).__name__
        printable_tag = tag if isinstance(tag, str) else tag.decode("utf-8", "replace")
        try:
            moved = direct.script(*MOVE, (*self.unacked_keys, self._prefixed(dead)), (tag, entry, entry, "LPUSH", ""))
        except redis.ResponseError as refusal:
            logger.error(  # noqa: TRY400 - the traceback would add nothing
                "an unacked message can't be put back (%s), nor moved to %s (%s): it stays; its delivery tag is %.255r",
                *(why, dead, error_text(refusal), printable_tag),
            )
            return
        if moved:
            logger.critical(
                "an unacked message can't be put back on a queue (%s) and went to %s; its delivery tag is %.255r. See: "
                "orders dead",
                *(why, dead, printable_tag),
            )
