"""Taking a message off its queue and recording it as unacked in one step, so that no crash can come between.

kombu pops with BRPOP and writes `unacked` afterwards: a worker that dies in between takes the message along. Here one
script does both. What BRPOP did besides, waiting for a message, is done by the server's key tracking
(`CLIENT TRACKING`, Redis 6 and later): an `EXISTS` over the queues, at the end of the same script, makes the server
send one invalidation message when any of them is next written to. It looks and watches in one step, so that nothing can
arrive unseen between the look and the watch; were an invalidation lost all the same, a take every `brpop_timeout` (1 s)
finds the message.
"""

# What is subclassed here is kombu's, which publishes no types.
# mypy: disallow-subclassing-any=False
# kombu offers no other seam than its private parts; worker.channel checks that they are as expected.
# ruff: noqa: SLF001

from __future__ import annotations

import logging
from queue import Empty
from time import monotonic, time
from typing import Any

import redis
from kombu.transport import redis as stock
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from worker.channel_script import SHA, TAKE

__all__ = ["Poller", "TakingChannel", "TakingQoS"]

logger = logging.getLogger(__name__)

#: Stand for a message from the server that answers no command, and for no message at all.
PUSH, NOTHING = object(), object()
#: What reading a message as kombu does can end in when the message is malformed.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class TakingQoS(stock.QoS):
    """Does not record again what the script has recorded."""

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Count the message as delivered; record it on the server only if it came by another way than the take."""
        if str(delivery_tag) == self.channel.just_taken:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)


class TakingChannel(stock.Channel):
    """A consuming channel whose take is atomic. `_in_poll` means, as in kombu, that a reply is on its way."""

    QoS = TakingQoS
    #: Delivery tag of the message that is being delivered.
    just_taken: str | None = None
    _unrecorded: frozenset[str] = frozenset()
    _script_loaded = False
    _tracked: Any = None
    _asked: tuple[str, ...] = ()
    _stirred = True
    _next_take = 0.0
    _trouble: str | None = None

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """Consume as kombu does; a queue consumed without acks is taken from without a record."""
        if kwargs.get("no_ack", args[0] if args else False):
            self._unrecorded |= {queue}
        self._stirred = True
        return super().basic_consume(queue, *args, **kwargs)

    def due(self) -> bool:
        """Tell whether a take is worth sending: something was written, or the last one is `brpop_timeout` ago."""
        return self._stirred or monotonic() >= self._next_take

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Send a take; `_brpop_read` gets the answer."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        connection = self.client.connection
        if self._tracked is not connection._sock:
            self._track(connection)
        pairs = [(queue, self._q_for_pri(queue, step)) for step in self.priority_steps for queue in queues]
        self._asked = tuple(queue for queue, _ in pairs)
        keys = [self.global_keyprefix + key for _, key in pairs]
        script = ("EVALSHA", SHA) if self._script_loaded else ("EVAL", TAKE)
        unacked = (self.global_keyprefix + self.unacked_key, self.global_keyprefix + self.unacked_index_key)
        recorded = "".join("01"[self.ack_emulation and queue not in self._unrecorded] for queue in self._asked)
        self._next_take = monotonic() + (timeout or self.brpop_timeout or 1)
        self._stirred = False
        self._in_poll = connection
        self._brpop_sent_at = monotonic()
        connection.send_command(*script, len(keys), *keys, *unacked, time(), recorded, self.sep)

    def _track(self, connection: Any) -> None:
        """Switch key tracking on for a fresh connection; without it a message may wait for up to `brpop_timeout`."""
        for handler in ("set_invalidation_push_handler", "set_pubsub_push_handler"):
            getattr(connection._parser, handler, lambda _: None)(lambda _: PUSH)
        self._script_loaded = False  # a new server may not know the script yet
        try:
            connection.send_command("CLIENT", "TRACKING", "ON", "NOLOOP")
            connection.read_response()
        except redis.ResponseError as refusal:
            logger.warning(
                "the server refuses CLIENT TRACKING (%s): a message may wait for up to %s s before it is taken; "
                "nothing is lost. Allow it with the ACL rule +client|tracking.",
                refusal,
                self.brpop_timeout,
            )
        self._tracked = connection._sock

    def _read(self, connection: Any, timeout: float = 0) -> Any:
        """Return the next answer or error, `PUSH`, or `NOTHING` if none is complete after `timeout` seconds."""
        try:
            answer = connection.read_response(push_request=True, timeout=timeout, disconnect_on_error=False)
        except redis.TimeoutError:
            return NOTHING
        except redis.ResponseError as refusal:
            return refusal
        except self.connection_errors:
            # Disconnected, it is connected again and watched by the next turn of the poller.
            connection.disconnect()
            self._stirred = True
            raise
        return PUSH if answer is None else answer

    def _brpop_read(self, **_options: Any) -> bool:
        """Read what has come; deliver a message if it is one, else raise `Empty`, as kombu's pollers want it."""
        connection = self.client.connection
        while (answer := self._read(connection)) is not NOTHING:
            if answer is PUSH:
                # While an answer is on its way this speaks of an earlier watch.
                self._stirred = self._stirred or not self._in_poll
            elif self._advance(connection, answer):
                return True
        raise Empty

    def listen(self) -> None:
        """Read what the server sends unasked: that a queue was written to, or its farewell."""
        try:
            self._brpop_read()
        except self.connection_errors:
            # kombu's rule: a worker that wants nothing now reconnects when it does.
            if self.qos.can_consume():
                raise

    def _advance(self, connection: Any, answer: Any) -> bool:
        """Take the next step after `answer`: deliver, wait or take again. True if a message was delivered."""
        self._in_poll = None
        if isinstance(answer, redis.ResponseError):
            self._refused(connection, answer)
            raise Empty
        self._script_loaded, self._trouble = True, None
        self._flush_brpop_reauth()
        if not isinstance(answer, list):
            return False
        *message, left = answer
        self._stirred = left > 0
        self._hand_over(*message)
        return True

    def _refused(self, connection: Any, refusal: redis.ResponseError) -> None:
        """Take a rest after an error from the server, then try on a fresh connection; nothing was taken."""
        if not isinstance(refusal, redis.exceptions.NoScriptError) and str(refusal) != self._trouble:
            self._trouble = str(refusal)
            logger.error("no message can be taken: %s. Trying again every %s s.", refusal, self.brpop_timeout)
        connection.disconnect()

    def _hand_over(self, index: int, raw: bytes, tag: bytes | None) -> None:
        """Deliver the message as kombu would, or set it aside if it can't be read."""
        queue = self._asked[index - 1]
        self._queue_cycle.rotate(queue)
        if tag == b"":
            logger.critical("a message without delivery tag on %s was moved to %s.dead", queue, queue)
            return
        try:
            payload = loads(bytes_to_str(raw))
            self.Message(payload, channel=self)
        except MALFORMED as fault:
            self._set_aside(queue, raw, tag, fault)
            return
        self.just_taken = bytes_to_str(tag) if tag else None
        try:
            self.connection._deliver(payload, queue)
        finally:
            self.just_taken = None

    def _set_aside(self, queue: str, raw: bytes, tag: bytes | None, fault: Exception) -> None:
        """Move an unreadable message from `unacked` to `<queue>.dead`, where a person can look at it."""
        logger.critical("an unreadable message on %s goes to %s.dead: %s", queue, queue, type(fault).__name__)
        try:
            with self.conn_or_acquire() as client:
                # One after the other: a transaction would go on to the removal although the push was refused.
                client.lpush(f"{queue}.dead", raw)
                if tag:
                    self.qos._remove_from_indices(bytes_to_str(tag), client.pipeline()).execute()
        except redis.ResponseError as refusal:
            logger.error("it stays unacked: %s", refusal)  # noqa: TRY400 - the server's word is all there is to know

    def put_back(self, timeout: float = 1.0) -> None:
        """Wait for the answer that is on its way, and put its message back: the channel is closing."""
        connection, self._in_poll = self._in_poll, None
        if not connection:
            return
        while (answer := self._read(connection, timeout)) is PUSH:
            pass
        if answer is NOTHING:
            raise redis.TimeoutError("the server doesn't answer; a message that it still hands out stays unacked")
        if isinstance(answer, list) and answer[2]:
            self.qos.restore_by_tag(bytes_to_str(answer[2]))


class Poller(stock.MultiChannelPoller):
    """kombu's poller, which also knows a connection that waits with no command under way."""

    def _register_BRPOP(self, channel: TakingChannel) -> None:  # noqa: N802 - kombu's name
        """Keep the channel's connection under watch and send a take when one is due."""
        if not self._client_registered(channel, channel.client, "BRPOP"):
            if not channel.due():
                return
            channel._in_poll = None
            self._register(channel, channel.client, "BRPOP")
        if not channel._in_poll and channel.due():
            channel._brpop_start()

    def on_readable(self, fileno: int) -> Any:
        """Hand what has come to its channel."""
        channel, kind = self._fd_to_chan.get(fileno, (None, None))
        if kind == "BRPOP" and not channel._in_poll:
            channel.listen()
            raise Empty
        return super().on_readable(fileno)

    def maybe_restore_messages(self) -> None:
        """Leave the sweep to those who take commands: a monitor, which acknowledges nothing, need not even be allowed
        to write to the queues."""
        if any(set(channel.active_queues) - channel._unrecorded for channel in self._channels):
            super().maybe_restore_messages()

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """Wait for at most `brpop_timeout`, so that a take falls due without an event loop as well."""
        patience = min((channel.brpop_timeout or 1 for channel in self._channels), default=1)
        return super().get(callback, patience if timeout is None else min(timeout, patience))
