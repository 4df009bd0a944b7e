"""A channel that outlives the loss of its server: it closes at the first try, and acks find their way afterwards.

Stock Celery with a message unacked and a take under way ends with `AttributeError: 'NoneType' object has no attribute
'hostname'` when the server goes: kombu's channel closes halfway, and whoever touches it next finds no address.
"""

# What is subclassed here is kombu's, which publishes no types.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import logging
from contextlib import contextmanager
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis

from producers.redis.direct import DirectClient
from worker.broker.acks import LOST_TAKES, SERVER_ERRORS, QoS
from worker.broker.base import PURGE_REFUSAL, Refused, error_text
from worker.broker.envelope_check import MAX_MESSAGE_BYTES
from worker.broker.take import TakingChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SPARE_TIMEOUT_SECONDS", "Channel"]

logger = logging.getLogger(__name__)

#: Seconds that a spare connection, opened to deliver one late ack, may take to connect and to answer. Acks are sent
#: from the worker's event loop, which stands still meanwhile.
SPARE_TIMEOUT_SECONDS = 2.0


@contextmanager
def _ignoring_wrong_type(what: str) -> Iterator[None]:
    """Let a key of another type than kombu's, which any sender may have made, keep no worker from starting."""
    try:
        yield
    except redis.ResponseError as refusal:
        if "WRONGTYPE" not in str(refusal):
            raise
        logger.error("%s is of another type on the server: delete its key", what)  # noqa: TRY400


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
                spare[name] = min(spare[name] or SPARE_TIMEOUT_SECONDS, SPARE_TIMEOUT_SECONDS)
        self._spare = spare
        self._own: tuple[Any, DirectClient] | None = None
        address = (spare.get(part) for part in ("host", "port", "path", "db"))
        self.broker_id = "|".join(map(str, (*address, self.global_keyprefix, self.unacked_key)))

    @property
    def usable(self) -> bool:
        """Whether the channel can still speak to the server by itself."""
        return not (self.lost or self.closed)

    def mark_lost(self) -> None:
        """Note that the connection is lost; `close` then talks to no server."""
        self.lost = True
        self.forget_take()
        self.auto_delete_queues.clear()

    def on_new_connection(self) -> None:
        """Settle what an earlier connection has left."""
        self.qos.settle_pending()

    def forget_take(self) -> None:
        """Remember the take under way: the server may have carried it out."""
        if self._in_poll:
            LOST_TAKES[self.broker_id][self._taken_at] = monotonic() + self.visibility_timeout
        super().forget_take()

    def _size(self, queue: str) -> int:
        """How many messages wait; 0 where the server calls the queue's key no list."""
        with _ignoring_wrong_type(f"queue {queue}"):
            return int(super()._size(queue))
        return 0

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """As kombu's, for senders who go by an exchange: a worker takes from its queues all the same."""
        with _ignoring_wrong_type(f"the binding of exchange {exchange}"):
            super()._queue_bind(exchange, routing_key, pattern, queue)

    def _receive(self) -> bool:
        """Receive broadcasts. The loss of their connection ends no other; with kombu it ends them all, and with them a
        take that has a message in its answer."""
        try:
            return bool(super()._receive())
        except SERVER_ERRORS as error:
            logger.warning("the connection for remote control was lost (%s) and is made anew", error_text(error))
            self._in_listen = None
            if self.subclient.connection is not None:
                self.subclient.connection.disconnect()
            raise Empty from None

    def _receive_one(self, c: Any) -> Any:
        """Receive a broadcast; whatever is wrong with it costs this one and nothing else."""
        try:
            return super()._receive_one(c)
        except (Empty, *SERVER_ERRORS):
            raise
        except Exception as fault:  # noqa: BLE001 - see above
            logger.error("a broadcast can't be read and is dropped (%s)", type(fault).__name__)  # noqa: TRY400
            return None

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        """Deliver a broadcast that is no longer than a command may be, and not compressed."""
        headers = message.get("headers") or {}
        if headers.get("compression") or len(message.get("body") or "") > MAX_MESSAGE_BYTES:
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
            self.return_pending_message()
            super().close()
        except (*SERVER_ERRORS, *self.connection_errors, AttributeError) as error:
            logger.warning("the channel is closed without a word to the server: %s", error)
            self.mark_lost()
            super().close()

    def queue_purge(self, queue: str, **_options: Any) -> int:  # noqa: ARG002 - kombu's signature
        """Not done, for what is queued are commands: `celery purge` asks the channel itself.

        Raises:
            Refused: always.
        """
        raise Refused(PURGE_REFUSAL)

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
            self._own = client, self._direct_client(client)
        return self._own[0]

    def direct_client(self, client: Any) -> DirectClient:
        """The shorter way of a client; keys are given with their prefix."""
        return self._own[1] if self._own is not None and self._own[0] is client else self._direct_client(client)

    @staticmethod
    def _direct_client(client: Any) -> DirectClient:
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
