"""Acks that reach the server even if the connection on which the message came is lost.

What could not be acked while the server was away is remembered in this process, and acked on the next connection. A
take whose answer was lost is remembered as well, because the server may have carried it out: its message is put back on
its queue.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis
from kombu.utils.encoding import bytes_to_str

from worker.broker.base import error_text
from worker.broker.restore import Fate, RestoringQoS
from worker.broker.scripts import ACK

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LOST_TAKES", "SERVER_ERRORS", "QoS"]

logger = logging.getLogger(__name__)

#: What an ack may raise while the server is away, loading, read-only or full.
SERVER_ERRORS = (redis.RedisError, OSError)

#: Delivery tags that could not be acked, by broker, until a connected channel acks them; each with what became of its
#: message. Global in the process, because a connection that is replaced shares no object with its successor.
PENDING_ACKS: defaultdict[str, dict[str, Fate]] = defaultdict(dict)
#: Takes whose answers were lost, by broker: when each was sent (UNIX seconds), and until when it is looked for (seconds
#: on the monotonic clock). No worker has the message of such a take, and the server recorded it under that time.
LOST_TAKES: defaultdict[str, dict[float, float]] = defaultdict(dict)


class QoS(RestoringQoS):
    """kombu's QoS, whose acks outlive the connection on which the message came."""

    #: A :class:`worker.broker.channel.Channel`, whose module imports this one.
    channel: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Command ids of messages that were delivered on a lost connection, by delivery tag; for the log.
        self._command_ids: dict[str, str] = {}
        #: Delivery tags of messages whose end is not that of their command, see :meth:`note_fate`.
        self._fates: dict[str, Fate] = {}

    def restore_unacked(self, client: Any = None) -> None:
        """Put the unacked messages back on their queues, unless the connection was lost.

        After a loss the commands are still running and will be acked, so that requeueing them now would run them twice
        at the same time. Messages that no worker executes any more stay in `unacked` until the visibility timeout.
        """
        self._command_ids.update((tag, _command_id(message)) for tag, message in self._delivered.items())
        try:
            if not self.channel.lost:
                super().restore_unacked(client)
        except SERVER_ERRORS as error:
            logger.warning(
                "%d messages could not be put back on their queues (%s); they stay unacked and are delivered again "
                "when their visibility timeout has passed",
                len(self._delivered),
                error_text(error),
            )
        finally:
            self._delivered.clear()

    def note_fate(self, delivery_tag: str, fate: Fate) -> None:
        """Say, before a message is acked, that its command has not ended with it."""
        self._fates[delivery_tag] = fate

    def ack(self, delivery_tag: str) -> None:
        """Remove the message from `unacked`, and let its lane go on; never raises while the server is away."""
        self._ack_or_defer(delivery_tag, self._fates.pop(delivery_tag, "ended"))
        self._quick_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop the message, or put it back on its queue; if that fails, the visibility timeout puts it back."""
        if not requeue:
            self._ack_or_defer(delivery_tag, self._fates.pop(delivery_tag, "dead"))
        elif self.channel.usable:
            # A closed channel no longer knows its exchanges, and kombu would drop the message for want of a queue.
            try:
                self.restore_by_tag(delivery_tag, leftmost=True)
            except SERVER_ERRORS as error:
                logger.warning(
                    "message %s is put back only by its visibility timeout (%s)", delivery_tag, error_text(error)
                )
        self._quick_ack(delivery_tag)

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Deal with the acks and takes of lost connections, then put back messages whose visibility timeout has passed.

        A server that refuses this, being full or read-only, must not end the worker, as it would with kombu: an error
        that is no connection error ends Celery's event loop.
        """
        self.settle_pending()
        try:
            super().restore_visible(start=start, num=num, interval=interval)
        except redis.ResponseError as refusal:
            logger.warning(
                "messages of dead workers are not put back for now, the server says: %s", error_text(refusal)
            )

    def settle_pending(self) -> None:
        """Send the acks that could not be sent earlier, and put back the messages of lost takes; a failure is tried
        again at the next call."""
        try:
            self._send_pending_acks()
            self._requeue_lost_takes()
        except SERVER_ERRORS:
            return

    def _send_pending_acks(self) -> None:
        fates = dict(PENDING_ACKS[self.channel.broker_id])
        if not fates:
            return
        self.remove(fates)
        for tag in fates:
            PENDING_ACKS[self.channel.broker_id].pop(tag, None)
        logger.info("%d late acks were delivered", len(fates))

    def _requeue_lost_takes(self) -> None:
        """Put the messages of lost takes back on their queues without waiting for their visibility timeout.

        A server that was slow, or hung, may carry out a take after its sender has given it up, so each is looked for
        until its visibility timeout has passed.
        """
        lost = LOST_TAKES[self.channel.broker_id]
        for taken_at in list(lost):
            for tag in self.tags_taken_at(taken_at):
                self.restore_by_tag(bytes_to_str(tag))
                lost[taken_at] = 0.0
                logger.warning("a message whose delivery was lost with its connection is back on its queue")
            if monotonic() > lost[taken_at]:
                del lost[taken_at]

    def _ack_or_defer(self, tag: str, fate: Fate) -> None:
        """Remove `tag` from `unacked`, through a second connection if the first is dead; remember it if both fail."""
        try:
            try:
                self.remove({tag: fate})
            except self.channel.connection_errors:
                self.remove({tag: fate}, spare=True)
        except SERVER_ERRORS as error:
            PENDING_ACKS[self.channel.broker_id][tag] = fate
            logger.warning(
                "command %s is done but could not be acked yet (%s): it may be delivered again, which is harmless, "
                "because its id is known and the stored report is the answer",
                _command_id(self._delivered[tag]) if tag in self._delivered else self._command_ids.get(tag, tag),
                error_text(error),
            )

    def remove(self, fates: Mapping[str, Fate], *, spare: bool = False) -> None:
        """Remove messages from `unacked`, by delivery tag, each with what became of it.

        Raises:
            redis.RedisError, OSError: the server is away, or refuses it.
        """
        arguments = [self.channel.global_keyprefix, *(part for each in fates.items() for part in each)]
        with self.channel.spare_client() if spare else self.channel.conn_or_acquire() as client:
            self.channel.direct_client(client).script(*ACK, self.unacked_keys, arguments)


def _command_id(message: Any) -> str:
    return str(message.headers.get("id") if isinstance(message.headers, dict) else message.delivery_tag)
