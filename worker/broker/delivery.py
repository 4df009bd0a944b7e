"""Delivering a message that was taken to the worker, or keeping it among the dead ones if it can't be read."""

# kombu offers no other seam than its private parts; worker.broker.transport checks that they are as expected.
# ruff: noqa: SLF001

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as stock
from kombu.utils.encoding import bytes_to_str

from producers.message_json import loads
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.envelope_check import rejection_reason
from worker.broker.lanes import Fate
from worker.broker.taken import TakenMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DeliveringChannel"]

logger = logging.getLogger(__name__)


class DeliveringChannel(stock.Channel):
    """A consuming channel that hands on what `take.lua` returns."""

    #: Queues from which only commands are delivered.
    gated_queues: Sequence[str] = ()
    #: The queue of each key that the last take named.
    _take_queues: tuple[str, ...] = ()
    #: What each queue's messages are handed to.
    _receivers: dict[str, Callable[[Any], object]]

    def _deliver_taken(self, index: int, raw: bytes, tag: bytes | None, *task_and_id: bytes) -> None:
        """Deliver a message, or move it to the dead messages if it can't be read.

        With an empty ``tag`` the script has moved it there already, and ``raw`` is the reason. What it has recorded as
        unacked goes past kombu's layers, which would record it again.
        """
        queue = self._take_queues[index - 1]
        self._queue_cycle.rotate(queue)
        if tag == b"":
            logger.error(
                "a message on %s can't be executed and went to %s%s: %s; task=%.100r id=%.255r. See: orders dead",
                *(queue, queue, DEAD_SUFFIX, bytes_to_str(raw)),
                *(name.decode("utf-8", "replace") or None for name in task_and_id),
            )
            return
        try:
            payload = loads(raw)
            why = queue in self.gated_queues and rejection_reason(
                queue, payload.get("headers"), payload.get("content-encoding"), len(raw)
            )
            if tag:
                payload["properties"]["delivery_tag"] = bytes_to_str(tag)
            if not why:
                message = TakenMessage(payload, self, queue, raw) if tag else self.Message(payload, channel=self)
        except Exception as error:  # noqa: BLE001 - a bad message must stop neither the worker nor other messages
            why = f"it can't be read ({type(error).__name__})"
        if why:
            self._move_to_dead(queue, raw, tag, why)
            return
        if not tag:
            self.connection._deliver(payload, queue)
            return
        self.qos.append(message, message.delivery_tag)
        if queue in self._active_queues:
            self._receivers[queue](message)
        else:  # since the take was sent
            message.requeue()

    def _move_to_dead(self, queue: str, raw: bytes, tag: bytes | None, why: str) -> None:
        """Move an unreadable message from `unacked` to `<queue>.dead`, which `orders dead` lists."""
        logger.critical("an unreadable message on %s goes to %s.dead: %s. See: orders dead", queue, queue, why)
        try:
            with self.conn_or_acquire() as client:
                # Not in one transaction, which would remove the message although the push was refused.
                client.lpush(queue + DEAD_SUFFIX, raw)
                if tag:
                    self.qos.remove({bytes_to_str(tag): Fate.DEAD})
        except redis.ResponseError as refusal:
            logger.error(  # noqa: TRY400 - the traceback would add nothing
                "the unreadable message on %s stays unacked, because the server refuses to move it: %s", queue, refusal
            )
