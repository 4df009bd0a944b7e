"""Outliving the loss of the server: channels that close for good, and acks that find their way afterwards.

Stock Celery with a message unacked and a take under way ends with `AttributeError: 'NoneType' object has no attribute
'hostname'` when the server goes: kombu's channel closes halfway, and whoever touches it next finds no address.
"""

# What is subclassed here is kombu's, which publishes no types.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import contextmanager
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis
from kombu.utils.encoding import bytes_to_str

from producers.redaction import strip_quoted_command
from producers.redis.direct import DirectClient
from worker.broker.base import PURGE, Refused
from worker.broker.envelope_check import MOST_BYTES
from worker.broker.restore import RestoringQoS
from worker.broker.scripts import ACK, ACK_SHA
from worker.broker.take import TakingChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Channel", "QoS"]

logger = logging.getLogger(__name__)

#: Seconds that a spare connection, opened to deliver one late ack, may take to connect and to answer. Acks are sent
#: from the worker's event loop, which stands still meanwhile.
SPARE_TIMEOUT = 2.0
#: What an ack may end in while the server is away, loading, read-only or full.
SERVER_TROUBLE = (redis.RedisError, OSError)


#: Delivery tags whose acks found no server, by broker, until a live channel delivers them. Of the process, because a
#: connection that is replaced shares no object with its successor.
OWED: defaultdict[str, set[str]] = defaultdict(set)
#: When takes were sent whose answers were lost, UNIX seconds, by broker; and until when each is looked for, on the
#: monotonic clock. What such a take recorded as unacked nobody has, and it carries this time.
LOST_TAKES: defaultdict[str, dict[float, float]] = defaultdict(dict)


class QoS(RestoringQoS):
    """Acks that arrive although the connection on which the message came is gone."""

    channel: Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._left: dict[str, Any] = {}

    def restore_unacked(self, client: Any = None) -> None:
        """Put the unacked messages back on their queues, unless the connection was lost.

        After a loss the commands are still running and will be acked, so that requeueing them now would run them twice
        at the same time. Those that nobody runs any more stay in `unacked` until the visibility timeout.
        """
        self._left.update((tag, _command_id(message)) for tag, message in self._delivered.items())
        try:
            if not self.channel.lost:
                super().restore_unacked(client)
        except SERVER_TROUBLE as trouble:
            logger.warning(
                "%d messages could not be put back on their queues (%s); they stay unacked and are delivered again "
                "when their visibility timeout has passed",
                len(self._delivered),
                _plain(trouble),
            )
        finally:
            self._delivered.clear()

    def ack(self, delivery_tag: str) -> None:
        """Take the message off the server's books; never raises while the server is away."""
        self._settle(delivery_tag)
        self._quick_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop the message, or put it back; one that can't be put back is left to the visibility timeout."""
        if not requeue:
            self._settle(delivery_tag)
        elif self.channel.usable:
            # A closed channel no longer knows its exchanges, and kombu would drop the message for want of a queue.
            try:
                self.restore_by_tag(delivery_tag, leftmost=True)
            except SERVER_TROUBLE as trouble:
                logger.warning(
                    "message %s is put back only by its visibility timeout (%s)", delivery_tag, _plain(trouble)
                )
        self._quick_ack(delivery_tag)

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Deliver the acks that are owed and put back what was taken and never came, then sweep.

        A server that refuses the sweep, being full or read-only, must not end the worker, as it would with kombu: an
        error that is no connection error leaves Celery's event loop for good.
        """
        self.pay()
        try:
            super().restore_visible(start=start, num=num, interval=interval)
        except redis.ResponseError as refusal:
            logger.warning("messages of dead workers are not put back for now, the server says: %s", _plain(refusal))

    def pay(self) -> None:
        """Deliver the acks that earlier found no server, and put back what lost takes recorded; what fails again stays
        owed."""
        try:
            self._pay_acks()
            self._put_back_lost()
        except SERVER_TROUBLE:
            return

    def _pay_acks(self) -> None:
        tags = list(OWED[self.channel.broker])
        if not tags:
            return
        self._remove(tags)
        OWED[self.channel.broker].difference_update(tags)
        logger.info("%d late acks were delivered", len(tags))

    def _put_back_lost(self) -> None:
        """Put the messages of lost takes back on their queues, and not only after their visibility timeout.

        A server that was slow, or hung, may carry out a take after its sender has given it up: it is looked for as long
        as the visibility timeout would take.
        """
        lost = LOST_TAKES[self.channel.broker]
        for taken_at in list(lost):
            for tag in self.taken_at(taken_at):
                self.restore_by_tag(bytes_to_str(tag))
                lost[taken_at] = 0.0
                logger.warning("a message whose delivery was lost with its connection is back on its queue")
            if monotonic() > lost[taken_at]:
                del lost[taken_at]

    def _settle(self, tag: str) -> None:
        """Remove `tag` from `unacked`, through a second connection if the first is dead, or owe it."""
        try:
            try:
                self._remove([tag])
            except self.channel.connection_errors:
                self._remove([tag], spare=True)
        except SERVER_TROUBLE as trouble:
            OWED[self.channel.broker].add(tag)
            logger.warning(
                "command %s is done but could not be acked yet (%s): it may be delivered again, which is harmless, "
                "because its id is known and the stored report is the answer",
                _command_id(self._delivered[tag]) if tag in self._delivered else self._left.get(tag, tag),
                _plain(trouble),
            )

    def _remove(self, tags: list[str], *, spare: bool = False) -> None:
        with self.channel.spare_client() if spare else self.channel.conn_or_acquire() as client:
            self.channel.directly(client).script(ACK, ACK_SHA, self.books, tags)


def _command_id(message: Any) -> str:
    return str(message.headers.get("id") if isinstance(message.headers, dict) else message.delivery_tag)


def _plain(trouble: Exception) -> str:
    """Return what the server said, without the command that redis-py quotes: it may hold a whole message."""
    return str(strip_quoted_command(trouble)) if isinstance(trouble, redis.ResponseError) else str(trouble)


class Channel(TakingChannel):
    """A channel that can be closed, and acked on, after its server has gone."""

    QoS = QoS
    #: True once the connection was lost: nothing is put back on a queue, and acks open a connection of their own.
    lost = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Kept because a closed channel has no connection left to ask for host and password.
        spare = self._connparams()
        for name in ("socket_timeout", "socket_connect_timeout"):
            if name in spare:
                spare[name] = min(spare[name] or SPARE_TIMEOUT, SPARE_TIMEOUT)
        self._spare = spare
        self._own: tuple[Any, DirectClient] | None = None
        place = (spare.get(part) for part in ("host", "port", "path", "db"))
        self.broker = "|".join(map(str, (*place, self.global_keyprefix, self.unacked_key)))

    @property
    def usable(self) -> bool:
        """Whether the channel can still speak to the server by itself."""
        return not (self.lost or self.closed)

    def abandon(self) -> None:
        """Note that the connection is lost; `close` then talks to no server."""
        self.lost = True
        self.lose_take()
        self.auto_delete_queues.clear()

    def connected_anew(self) -> None:
        """Settle what an earlier connection has left."""
        self.qos.pay()

    def lose_take(self) -> None:
        """Remember the take under way: the server may have carried it out."""
        if self._in_poll:
            LOST_TAKES[self.broker][self._taken_at] = monotonic() + self.visibility_timeout
        super().lose_take()

    def _receive(self) -> bool:
        """Receive broadcasts. The loss of their connection ends no other; with kombu it ends them all, and with them a
        take that has a message in its answer."""
        try:
            return bool(super()._receive())
        except SERVER_TROUBLE as trouble:
            logger.warning("the connection for remote control was lost (%s) and is made anew", _plain(trouble))
            self._in_listen = None
            if self.subclient.connection is not None:
                self.subclient.connection.disconnect()
            raise Empty from None

    def _receive_one(self, c: Any) -> Any:
        """Receive a broadcast; whatever is wrong with it costs this one and nothing else."""
        try:
            return super()._receive_one(c)
        except (Empty, *SERVER_TROUBLE):
            raise
        except Exception as fault:  # noqa: BLE001 - see above
            logger.error("a broadcast can't be read and is dropped (%s)", type(fault).__name__)  # noqa: TRY400
            return None

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        """Deliver a broadcast that is no longer than a command may be, and not compressed."""
        headers = message.get("headers") or {}
        if headers.get("compression") or len(message.get("body") or "") > MOST_BYTES:
            raise ValueError("a broadcast is compressed or too long")
        return super()._deliver_fanout_message(message, exchange)

    def close(self) -> None:
        """Close for good, at the first try, whatever state the connection is in.

        kombu's own `close` raises halfway when the server is gone and leaves the rest undone, which ends a Celery
        worker: it closes a second time, and by then the connection's address is gone.
        """
        if self.closed:
            return
        try:
            self.put_back()
            super().close()
        except (*SERVER_TROUBLE, *self.connection_errors, AttributeError) as trouble:
            logger.warning("the channel is closed without a word to the server: %s", trouble)
            self.abandon()
            super().close()

    def queue_purge(self, queue: str, **_options: Any) -> int:  # noqa: ARG002 - kombu's signature
        """Not done, for what is queued are commands: `celery purge` asks the channel itself.

        Raises:
            Refused: always.
        """
        raise Refused(PURGE)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Yield `client`, or the channel's own, or a spare one if the channel is closed or lost."""
        if client is not None:
            yield client
            return
        if self.usable:
            yield self._own_client()
            return
        with self.spare_client() as spare:
            yield spare

    def _own_client(self) -> Any:
        """One client for all acks of this channel: kombu makes a new one each time, which takes longer than the ack."""
        if self._own is None or self._own[0].connection_pool is not self.pool:
            client = self._create_client()
            self._own = client, self._over(client)
        return self._own[0]

    def directly(self, client: Any) -> DirectClient:
        """The shorter way of a client; keys are given with their prefix."""
        return self._own[1] if self._own is not None and self._own[0] is client else self._over(client)

    @staticmethod
    def _over(client: Any) -> DirectClient:
        # Not over kombu's client, which would put a prefix before the first of a script's keys and not before the rest.
        return DirectClient(redis.Redis(connection_pool=client.connection_pool))

    @contextmanager
    def spare_client(self) -> Iterator[Any]:
        """Yield a client over a connection of its own, which is closed afterwards."""
        pool = redis.ConnectionPool(**self._spare)
        try:
            yield self.Client(connection_pool=pool)
        finally:
            pool.disconnect()
