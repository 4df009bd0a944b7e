"""A channel that survives the loss of its connection: it closes at the first try, and can still ack afterwards.

When its server goes away, a stock worker with a message unacked and a take in progress ends with `AttributeError:
'NoneType' object has no attribute 'hostname'`: kombu's channel closes halfway, and its next use finds no
address.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis

from producers.redis.direct import DirectClient
from worker.broker.acks import LOST_TAKES, SERVER_ERRORS, TAKERS, QoS
from worker.broker.base import PURGE_REFUSAL, Refused, error_text
from worker.broker.envelope_check import MAX_MESSAGE_BYTES
from worker.broker.take import TakingChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SPARE_TIMEOUT_SECONDS", "Channel"]

logger = logging.getLogger(__name__)

#: Seconds that a spare connection, opened to send one late ack, may take to connect and to answer. Acks are sent from
#: the worker's event loop, which is blocked meanwhile.
SPARE_TIMEOUT_SECONDS = 2.0


@contextmanager
def _ignoring_wrong_type(what: str) -> Iterator[None]:
    """Log a key that is of another type than kombu expects, in place of raising: any sender may have made it, and it
    must keep no worker from starting."""
    try:
        yield
    except redis.ResponseError as refusal:
        if "WRONGTYPE" not in str(refusal):
            raise
        logger.error("%s has a key of another type on the server: delete that key", what)  # noqa: TRY400


class Channel(TakingChannel):
    """A channel that can be closed, and acked on, after its server has gone."""

    QoS = QoS
    #: True once the connection was lost: messages are not put back on their queues, and acks open a new connection.
    lost = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A closed channel has no connection left that knows host and password.
        spare = self._connparams()
        for name in ("socket_timeout", "socket_connect_timeout"):
            if name in spare:
                spare[name] = min(spare[name] or SPARE_TIMEOUT_SECONDS, SPARE_TIMEOUT_SECONDS)
        self._spare = spare
        self._own: tuple[Any, DirectClient] | None = None
        self.database = int(spare["db"])
        address = (spare.get(part) for part in ("host", "port", "path", "db"))
        self.broker_id = "|".join(map(str, (*address, self.global_keyprefix, self.unacked_key)))

    @property
    def usable(self) -> bool:
        """Whether the channel's own connection can be used."""
        return not (self.lost or self.closed)

    def mark_lost(self) -> None:
        """Note that the connection is lost, so that `close` does not try to use it."""
        self.lost = True
        self.forget_take()
        self.auto_delete_queues.clear()

    def on_new_connection(self) -> None:
        """Take from now on; send the acks, and put back the messages of lost takes, that an earlier connection has
        left."""
        TAKERS[self.broker_id] = self
        self.qos.settle_pending()

    def forget_take(self) -> None:
        """Remember the take in progress: the server may have carried it out."""
        if self._in_poll:
            LOST_TAKES[self.broker_id][self._taken_at] = monotonic() + self.visibility_timeout
        super().forget_take()

    def _size(self, queue: str) -> int:
        """How many messages wait; 0 where the queue's key is no list."""
        with _ignoring_wrong_type(f"queue {queue}"):
            return int(super()._size(queue))
        return 0

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind as kombu does, for senders that publish to an exchange. A worker takes from its queues even if this
        fails."""
        with _ignoring_wrong_type(f"the binding of exchange {exchange}"):
            super()._queue_bind(exchange, routing_key, pattern, queue)

    def _receive(self) -> bool:
        """Receive broadcasts. Losing their connection closes no other one; in kombu it closes all of them, and loses a
        take that has a message in its answer."""
        try:
            return bool(super()._receive())
        except SERVER_ERRORS as error:
            logger.warning("the connection for remote control was lost (%s) and is opened again", error_text(error))
            self._in_listen = None
            if self.subclient.connection is not None:
                self.subclient.connection.disconnect()
            raise Empty from None

    def _receive_one(self, c: Any) -> Any:
        """Receive a broadcast; one that can't be read is dropped and logged."""
        try:
            return super()._receive_one(c)
        except (Empty, *SERVER_ERRORS):
            raise
        except Exception as error:  # noqa: BLE001 - any sender may have sent anything
            logger.error("a broadcast can't be read and is dropped (%s)", type(error).__name__)  # noqa: TRY400
            return None

    def _handle_message(self, client: Any, r: Any) -> Any:
        """Take a broadcast apart, without its text if that is longer than a command may be: nobody parses it."""
        parts = super()._handle_message(client, r)
        if isinstance(parts["data"], bytes | str) and len(parts["data"]) > MAX_MESSAGE_BYTES:
            logger.error("a broadcast is longer than %d bytes and is dropped", MAX_MESSAGE_BYTES)
            parts["data"] = None
        return parts

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        """Deliver a broadcast, unless it is compressed.

        Raises:
            ValueError: it is.
        """
        if (message.get("headers") or {}).get("compression"):
            raise ValueError("a broadcast is compressed")
        return super()._deliver_fanout_message(message, exchange)

    def close(self) -> None:
        """Close at the first try, whatever state the connection is in.

        When the server is gone, kombu's own `close` raises halfway and leaves the rest undone. That ends a Celery
        worker, which closes a second time, when the connection has no address any more.
        """
        if self.closed:
            return
        try:
            self.return_pending_message()
            super().close()
        except (*SERVER_ERRORS, *self.connection_errors, AttributeError) as error:
            logger.warning("the channel is closed without contacting the server: %s", error)
            self.mark_lost()
            super().close()

    def queue_purge(self, queue: str, **_options: Any) -> int:  # noqa: ARG002 - kombu's signature
        """Refuse to purge, because queued messages are commands. (`celery purge` calls the channel directly.)

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
        """The one client for all acks of this channel; kombu creates a new one each time, which takes longer than the
        ack itself."""
        if self._own is None or self._own[0].connection_pool is not self.pool:
            client = self._create_client()
            self._own = client, self._direct_client(client)
        return self._own[0]

    def direct_client(self, client: Any) -> DirectClient:
        """A client that sends past redis-py's own; keys must be given with their prefix."""
        return self._own[1] if self._own is not None and self._own[0] is client else self._direct_client(client)

    @staticmethod
    def _direct_client(client: Any) -> DirectClient:
        # Not over kombu's client, which would prefix the first of a script's keys and not the others.
        return DirectClient(redis.Redis(connection_pool=client.connection_pool))

    @contextmanager
    def spare_client(self) -> Iterator[Any]:
        """Yield a client over a new connection, which is closed afterwards."""
        pool = redis.ConnectionPool(**self._spare)
        try:
            yield self.Client(connection_pool=pool)
        finally:
            pool.disconnect()
