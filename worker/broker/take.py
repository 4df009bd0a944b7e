"""Taking a message off its queue and recording it as unacked in one step, so that no crash can come between.

kombu pops with BRPOP and writes `unacked` afterwards: a worker that dies in between takes the message along. Here one
script does both. What BRPOP did besides, waiting for a message, is done by the server's key tracking
(`CLIENT TRACKING`, Redis 6 and later): an `EXISTS` over the queues, at the end of the same script, makes the server
send one invalidation message when any of them is next written to. It looks and watches in one step, so that nothing can
arrive unseen between the look and the watch; were an invalidation lost all the same, a take every `brpop_timeout` (1 s)
finds the message, and is counted (`FALLBACK_TAKE_LISTENERS`).

The option `gated_queues` names queues of commands: what is no command of theirs goes to `<queue>.dead` as it is, by the
same script and before anybody reads it (`worker/broker/envelope_check.py`).
"""

# What is subclassed here is kombu's, which publishes no types.
# mypy: disallow-subclassing-any=False
# kombu offers no other seam than its private parts; worker.broker.transport checks that they are as expected.
# ruff: noqa: SLF001

from __future__ import annotations

import logging
from queue import Empty
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as stock
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from producers.commands import COMMANDS
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.envelope_check import DEFAULT_QUEUE, rejection_reason
from worker.broker.scripts import TAKE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FALLBACK_TAKE_LISTENERS", "TakingChannel"]

logger = logging.getLogger(__name__)

#: Stand for a message from the server that answers no command, and for no message at all.
PUSH, NO_REPLY = object(), object()
#: Called whenever a take that only the clock asked for found a message: the server had not said that it was there.
FALLBACK_TAKE_LISTENERS: list[Callable[[], object]] = []


class TakingChannel(stock.Channel):
    """A consuming channel whose take is atomic. `_in_poll` means, as in kombu, that a reply is on its way."""

    from_transport_options = (*stock.Channel.from_transport_options, "gated_queues")
    #: Queues of commands, which hand out nothing else.
    gated_queues: Sequence[str] = ()
    #: Delivery tag, queue and bytes of the message that is being delivered.
    message_in_delivery: tuple[str, str, bytes] | None = None
    _no_ack_queues: frozenset[str] = frozenset()
    _script_loaded = False
    _tracked_socket: Any = None
    _take_queues: tuple[str, ...] = ()
    _take_wanted = True
    _next_take = 0.0
    #: When the take under way was sent, UNIX seconds: also what the server records of it.
    _taken_at = 0.0
    #: Whether every queue was found empty, so that the server is to say when that changes; and whether the take under
    #: way was sent although it has not said so.
    _notified_when_written = _take_by_clock = False
    _last_refusal: str | None = None

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """Consume as kombu does; a queue consumed without acks is taken from without a record."""
        if kwargs.get("no_ack", args[0] if args else False):
            self._no_ack_queues |= {queue}
        self._take_wanted = True
        return super().basic_consume(queue, *args, **kwargs)

    def is_take_due(self) -> bool:
        """Tell whether a take is worth sending: something was written, or the last one is `brpop_timeout` ago."""
        return self._take_wanted or monotonic() >= self._next_take

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Send a take; `_brpop_read` gets the answer."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        connection = self.client.connection
        if self._tracked_socket is not connection._sock:
            self._enable_tracking(connection)
        pairs = [(queue, self._q_for_pri(queue, step)) for step in self.priority_steps for queue in queues]
        self._take_queues = tuple(queue for queue, _ in pairs)
        keys = [self.global_keyprefix + key for _, key in pairs]
        script = ("EVALSHA", TAKE.sha) if self._script_loaded else ("EVAL", TAKE.source)
        unacked = (self.global_keyprefix + self.unacked_key, self.global_keyprefix + self.unacked_index_key)
        rules = "".join(map(self._take_rule, self._take_queues))
        self._next_take = monotonic() + (timeout or self.brpop_timeout or 1)
        self._take_by_clock, self._take_wanted = self._notified_when_written and not self._take_wanted, False
        self._in_poll = connection
        self._brpop_sent_at, self._taken_at = monotonic(), time()
        arguments = (*unacked, self._taken_at, rules, self.sep, self.global_keyprefix, *COMMANDS)
        connection.send_command(*script, len(keys), *keys, *arguments)

    def _take_rule(self, queue: str) -> str:
        """How the script is to hand out a queue's messages."""
        if not self.ack_emulation or queue in self._no_ack_queues:
            return "-"
        return "+" if queue not in self.gated_queues else "?" if queue == DEFAULT_QUEUE else "="

    def _enable_tracking(self, connection: Any) -> None:
        """Switch key tracking on for a fresh connection; without it a message may wait for up to `brpop_timeout`."""
        for handler in ("set_invalidation_push_handler", "set_pubsub_push_handler"):
            getattr(connection._parser, handler, lambda _: None)(lambda _: PUSH)
        self._script_loaded = self._notified_when_written = False  # a new server may not know the script yet
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
        self._tracked_socket = connection._sock
        self.on_new_connection()

    def on_new_connection(self) -> None:
        """Called before the first take on a connection."""

    def forget_take(self) -> None:
        """Forget the take under way, whose answer can no longer be had."""
        self._in_poll = None

    def _on_connection_disconnect(self, connection: Any) -> None:
        if self._in_poll is connection:
            self.forget_take()
        super()._on_connection_disconnect(connection)

    def _read(self, connection: Any, timeout: float = 0) -> Any:
        """Return the next answer or error, `PUSH`, or `NO_REPLY` if none is complete after `timeout` seconds."""
        try:
            answer = connection.read_response(push_request=True, timeout=timeout, disconnect_on_error=False)
        except redis.TimeoutError:
            return NO_REPLY
        except redis.ResponseError as refusal:
            return refusal
        except self.connection_errors:
            # Disconnected, it is connected again and watched by the next turn of the poller.
            connection.disconnect()
            self._take_wanted = True
            raise
        return PUSH if answer is None else answer

    def _brpop_read(self, **_options: Any) -> bool:
        """Read what has come; deliver a message if it is one, else raise `Empty`, as kombu's pollers want it.

        Whatever the parser holds is read before the message is delivered: the socket, which the poller looks at, does
        not tell of what was read from it together with an answer.
        """
        connection = self.client.connection
        taken = None
        try:
            while (answer := self._read(connection)) is not NO_REPLY:
                if answer is not PUSH:
                    taken = self._take_reply(connection, answer) or taken
                elif self._in_poll:
                    # This speaks of an earlier watch; the take under way sees what was written.
                    self._take_by_clock = False
                else:
                    self._take_wanted = True
        except self.connection_errors:
            # A message that came before the farewell is delivered; the next turn of the poller connects again.
            if taken is None:
                raise
        if taken is None:
            raise Empty
        self._deliver_taken(*taken)
        return True

    def read_push(self) -> None:
        """Read what the server sends unasked: that a queue was written to, or its farewell."""
        try:
            self._brpop_read()
        except self.connection_errors:
            # kombu's rule: a worker that wants nothing now reconnects when it does.
            if self.qos.can_consume():
                raise

    def _take_reply(self, connection: Any, answer: Any) -> list[Any] | None:
        """Take note of the answer to a take; return the message in it, if there is one."""
        self._in_poll = None
        if isinstance(answer, redis.ResponseError):
            self._take_refused(connection, answer)
            raise Empty
        self._script_loaded, self._last_refusal = True, None
        self._flush_brpop_reauth()
        if not isinstance(answer, list):
            self._notified_when_written = True
            return None
        index, message, tag, left, *named = answer
        self._take_wanted, self._notified_when_written = left > 0, left == 0
        if self._take_by_clock:
            for tell in FALLBACK_TAKE_LISTENERS:
                tell()
        return [index, message, tag, *named]

    def _take_refused(self, connection: Any, refusal: redis.ResponseError) -> None:
        """Take a rest after an error from the server, then try on a fresh connection; nothing was taken."""
        if not isinstance(refusal, redis.exceptions.NoScriptError) and str(refusal) != self._last_refusal:
            self._last_refusal = str(refusal)
            logger.error("no message can be taken: %s. Trying again every %s s.", refusal, self.brpop_timeout)
        connection.disconnect()

    def _deliver_taken(self, index: int, raw: bytes, tag: bytes | None, *named: bytes) -> None:
        """Deliver the message as kombu would, or set it aside if it can't be read."""
        queue = self._take_queues[index - 1]
        self._queue_cycle.rotate(queue)
        if tag == b"":
            logger.error(
                "a message on %s can't be executed and went to %s%s: %s; task=%.100r id=%.255r. See: orders dead",
                *(queue, queue, DEAD_SUFFIX, bytes_to_str(raw)),
                *(name.decode("utf-8", "replace") or None for name in named),
            )
            return
        try:
            payload = loads(bytes_to_str(raw))
            why = queue in self.gated_queues and rejection_reason(
                queue, payload.get("headers"), payload.get("content-encoding"), len(raw)
            )
            if tag:
                payload["properties"]["delivery_tag"] = bytes_to_str(tag)
            if not why:
                self.Message(payload, channel=self)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it costs this message and nothing else
            why = f"it can't be read ({type(fault).__name__})"
        if why:
            self._move_to_dead(queue, raw, tag, why)
            return
        self.message_in_delivery = (bytes_to_str(tag), queue, raw) if tag else None
        try:
            self.connection._deliver(payload, queue)
        finally:
            self.message_in_delivery = None

    def _move_to_dead(self, queue: str, raw: bytes, tag: bytes | None, why: str) -> None:
        """Move an unreadable message from `unacked` to `<queue>.dead`, where a person can look at it."""
        logger.critical("an unreadable message on %s goes to %s.dead: %s. See: orders dead", queue, queue, why)
        try:
            with self.conn_or_acquire() as client:
                # One after the other: a transaction would go on to the removal although the push was refused.
                client.lpush(queue + DEAD_SUFFIX, raw)
                if tag:
                    self.qos._remove_from_indices(bytes_to_str(tag), client.pipeline()).execute()
        except redis.ResponseError as refusal:
            logger.error("it stays unacked: %s", refusal)  # noqa: TRY400 - the server's word is all there is to know

    def return_pending_message(self, timeout: float = 1.0) -> None:
        """Wait for the answer that is on its way, and put its message back: the channel is closing."""
        connection = self._in_poll
        if not connection:
            return
        while (answer := self._read(connection, timeout)) is PUSH:
            pass
        if answer is NO_REPLY:
            raise redis.TimeoutError("the server doesn't answer; a message that it still hands out stays unacked")
        self._in_poll = None
        if isinstance(answer, list) and answer[2]:
            self.qos.restore_by_tag(bytes_to_str(answer[2]))
