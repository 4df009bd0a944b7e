"""Taking messages off their queues and recording them as unacked in one step, so that no crash comes between the two.

kombu pops a message with BRPOP and writes `unacked` afterwards: a worker that dies in between loses the message. Here
one script does both (`take.lua`). BRPOP also waits for a message; in its place the server's key tracking does that
(`CLIENT TRACKING`, Redis 6 and later): an `EXISTS` over the queues, at the end of the script, makes the server send one
invalidation message when any of them is next written to. The script checks the queues and starts the tracking in one
step, so that no message can arrive unnoticed in between. Should an invalidation be lost all the same, a take every
`brpop_timeout` (1 s) finds the message and is counted (`FALLBACK_TAKE_LISTENERS`). Of parked messages (`QoS.park`) the
script says when the next is due, and a take is sent then.

The option `gated_queues` names the queues of commands: the same script moves a message that is no command of its queue
to `<queue>.dead` unchanged, before anybody reads it (`worker/broker/envelope_check.py`).
"""

# kombu offers no other seam than its private parts; worker.broker.transport checks that they are as expected.
# ruff: noqa: SLF001

from __future__ import annotations

import json
import logging
import re
from queue import Empty
from time import monotonic, time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as stock
from kombu.utils.encoding import bytes_to_str

from producers.commands import COMMANDS
from producers.redis.direct import packed_words
from producers.redis.round_trip import fetch, may_hold_more, send
from worker.broker.bulkhead import full
from worker.broker.delivery import DeliveringChannel
from worker.broker.envelope_check import DEFAULT_QUEUE
from worker.broker.next_take import NextTake, wake_loop
from worker.broker.scripts import TAKE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

__all__ = ["FALLBACK_TAKE_LISTENERS", "TakingChannel"]

logger = logging.getLogger(__name__)

#: What `_read` returns for a message that the server sent without being asked, for one that tells of nothing but
#: messages that wait in groups, and when no reply is complete yet.
PUSH, PUSH_OF_GROUPS, NO_REPLY = object(), object(), object()
#: What the server is to tell of beside a queue: the groups that wait, and the lanes whose next message may be taken.
WAITING_KEYS = ("{}.waiting", "orders.lanes.ready:{}")
WAITING = re.compile(rb"\.waiting(:|$)")
#: The first words of a take.
BY_HASH, BY_SOURCE = packed_words("EVALSHA", TAKE.sha), packed_words("EVAL", TAKE.source)
#: Where in the answer to a take the messages begin, each with the index of its key and its tag.
TAKEN = 4
#: Called whenever a take that was sent because `brpop_timeout` had passed found a message: the server had sent no
#: invalidation for it.
FALLBACK_TAKE_LISTENERS: list[Callable[[], object]] = []


def _kind_of_push(push: Any) -> object:
    """Whether the server tells of another key than those of messages that wait in groups."""
    keys = push[1] if len(push) > 1 and isinstance(push[1], list) else [b""]
    return PUSH_OF_GROUPS if all(isinstance(key, bytes) and WAITING.search(key) for key in keys) else PUSH


class TakingChannel(DeliveringChannel):
    """A consuming channel whose take is atomic. `_in_poll` means, as in kombu, that a reply is on its way."""

    from_transport_options = (*stock.Channel.from_transport_options, "gated_queues", "accounts")
    #: The accounts that the worker knows, by alias in lower case: host and share of the threads.
    accounts: Mapping[str, tuple[str, float | None]] = MappingProxyType({})
    #: Queue and group of what was blocked when the last take was sent.
    _blocked: AbstractSet[tuple[str, str]] = frozenset()
    #: Queues consumed without acks, whose messages are not recorded as unacked.
    _no_ack_queues: frozenset[str] = frozenset()
    _script_loaded = False
    _tracked_socket: Any = None
    #: When the take in progress was sent, UNIX seconds; the server records its message under this time.
    _taken_at = 0.0
    #: The server's last refusal of a take, so that it is logged once.
    _last_refusal: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: When the next take is sent.
        self.next_take = NextTake()
        self._receivers = {}
        self._layouts: dict[Any, tuple[tuple[str, ...], int, bytes]] = {}
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str, no_ack: bool, callback: Callable[[Any], object], **kwargs: Any) -> Any:
        """Consume as kombu does; messages of a queue that is consumed without acks are not recorded as unacked."""
        if no_ack:
            self._no_ack_queues |= {queue}
        self._receivers[queue] = callback
        self.next_take.wanted = True
        return super().basic_consume(queue, no_ack, callback, **kwargs)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Send a take, whose answer `_brpop_read` reads."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        connection = self.client.connection
        if self._tracked_socket is not connection._sock:
            self._enable_tracking(connection)
        self._take_queues, count, layout = self._layout(queues)
        script = BY_HASH if self._script_loaded else BY_SOURCE
        self.next_take.start(timeout or self.brpop_timeout or 1)
        is_thorough = self.next_take.by_clock or not self._script_loaded
        self._in_poll = connection
        self._brpop_sent_at, self._taken_at = monotonic(), time()
        most = self._most()
        room = self.qos.room(most)
        self._blocked = full(room)
        rest = packed_words(self._taken_at, int(is_thorough), json.dumps(room) if room else "", most)
        send(connection, b"*%d\r\n%b%b%b" % (count + 6, script, layout, rest))

    def _layout(self, queues: Sequence[str]) -> tuple[tuple[str, ...], int, bytes]:
        """The queue of each list that a take of these queues reads; and what of its command is always the same, as so
        many words in Redis' protocol."""
        known = tuple(queues), self._no_ack_queues
        if known not in self._layouts:
            prefix = self.global_keyprefix
            pairs = [(queue, self._q_for_pri(queue, step)) for step in self.priority_steps for queue in queues]
            rules = "".join(self._take_rule(queue) for queue, _ in pairs)
            commands = [queue for queue in queues if queue in COMMANDS and self._take_rule(queue) != "-"]
            names = [*(key for _, key in pairs), *(name.format(queue) for queue in commands for name in WAITING_KEYS)]
            keys = [prefix + name for name in (*names, self.unacked_key, self.unacked_index_key)]
            words = (len(names), *keys, rules, len(queues), prefix, f" {' '.join(self.accounts)} ")
            self._layouts[known] = tuple(queue for queue, _ in pairs), len(words), packed_words(*words)
        return self._layouts[known]

    def _most(self) -> int:
        """How many messages a take may hand out: one for each free place, and for no more than a quarter of all places,
        so that a burst is shared with another process that is idle. Taking more at once saves next to nothing."""
        free: int | None = self.qos.can_consume_max_estimate()
        return 1 if free is None else max(1, min(free, max(2, self.qos.prefetch_count // 4)))

    def _take_rule(self, queue: str) -> str:
        """The character that tells the script how to treat a queue's messages, see `take.lua`."""
        if not self.ack_emulation or queue in self._no_ack_queues:
            return "-"
        return "+" if queue not in self.gated_queues else "?" if queue == DEFAULT_QUEUE else "="

    def _enable_tracking(self, connection: Any) -> None:
        """Switch key tracking on for a new connection; without it a message may wait for up to `brpop_timeout`."""
        for handler in ("set_invalidation_push_handler", "set_pubsub_push_handler"):
            getattr(connection._parser, handler, lambda _: None)(_kind_of_push)
        self._script_loaded = self.next_take.is_told = False  # a new server may not know the script yet
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
        """Hook for subclasses, called before the first take on a connection."""

    def forget_take(self) -> None:
        """Forget the take in progress: its connection is lost, and with it the answer."""
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
            # The next turn of the poller connects it again and registers it.
            connection.disconnect()
            self.next_take.wanted = True
            raise
        return PUSH if answer is None else answer

    def _brpop_read(self, **_options: Any) -> bool:
        """Read the replies that have come and deliver the messages in them; raise `Empty`, as kombu's pollers expect,
        when there is none.

        Everything that the parser holds is read before a message is delivered: the poller watches the socket, which
        does not become readable again for data that was read from it together with an answer.
        """
        connection = self.client.connection
        taken: list[list[Any]] = []
        fetch(connection)
        try:
            while (answer := self._read(connection)) is not NO_REPLY:
                if answer not in (PUSH, PUSH_OF_GROUPS):
                    taken += self._take_reply(connection, answer)
                elif self._in_poll:
                    # An invalidation of an earlier take; the take in progress sees what was written.
                    self.next_take.by_clock = False
                else:
                    self.next_take.told(is_arrival=answer is PUSH)
                if not may_hold_more(connection):
                    break
        except self.connection_errors:
            # What came before the connection was lost is delivered; the poller's next turn connects again.
            if not taken:
                raise
        if not taken:
            raise Empty
        self._deliver_all(taken)
        return True

    def _deliver_all(self, taken: list[list[Any]]) -> None:
        """Deliver each message; what one raises keeps none of the others."""
        error: Exception | None = None
        for message in taken:
            try:
                self._deliver_taken(*message)
            except Exception as raised:  # noqa: BLE001 - whatever it is, it is raised after the others
                error = error or raised
        if error is not None:
            raise error

    def read_push(self) -> None:
        """Read what the server sends unasked: an invalidation, or the end of the connection."""
        try:
            self._brpop_read()
        except self.connection_errors:
            # As in kombu: a worker that can take no message now reconnects when it can.
            if self.qos.can_consume():
                raise

    def _take_reply(self, connection: Any, answer: Any) -> list[list[Any]]:
        """Process the answer to a take; return the messages in it."""
        self._in_poll = None
        if isinstance(answer, redis.ResponseError):
            self._take_refused(connection, answer)
            raise Empty
        self._script_loaded, self._last_refusal = True, None
        self._flush_brpop_reauth()
        taken: list[list[Any]]
        remaining, due_ms, held_back, was_due, *taken = answer
        self.next_take.answered(remaining, due_ms, bool(held_back), not taken)
        if held_back:
            self.next_take.not_after(self.qos.bulkhead.next_release())
            self.stir_if_unblocked()
        if taken and self.next_take.by_clock and not was_due:
            for listener in FALLBACK_TAKE_LISTENERS:
                listener()
        return taken

    def stir_if_unblocked(self) -> None:
        """Have a take sent if messages of blocked groups wait, and other groups are blocked by now. Called when a place
        becomes free, and when an answer comes, because a place may become free while a take is on its way."""
        if self.next_take.held_back and full(self.qos.room()) != self._blocked:
            self.next_take.stir()

    def wake_if_due(self) -> None:
        """Wake the worker's loop if a take is due, which it can't have sent while no place was free."""
        if not self._in_poll and self.next_take.is_due():
            wake_loop()

    def _take_refused(self, connection: Any, refusal: redis.ResponseError) -> None:
        """Log an error with which the server answered a take, and disconnect. Nothing was taken; the next take, after
        `brpop_timeout`, uses a new connection."""
        if not isinstance(refusal, redis.exceptions.NoScriptError) and str(refusal) != self._last_refusal:
            self._last_refusal = str(refusal)
            logger.error("no message can be taken: %s. Trying again every %s s.", refusal, self.brpop_timeout)
        connection.disconnect()

    def return_pending_message(self, timeout: float = 1.0) -> None:
        """Wait for the answer of the take in progress and put its messages back on their queues, as the channel closes.

        Raises:
            redis.TimeoutError: no answer came within ``timeout`` seconds.
        """
        connection = self._in_poll
        if not connection:
            return
        while (answer := self._read(connection, timeout)) in (PUSH, PUSH_OF_GROUPS):
            pass
        if answer is NO_REPLY:
            raise redis.TimeoutError("the server doesn't answer; a message that it still hands out stays unacked")
        # The first is put back last, and is the next to be taken.
        for _, _, tag, *_ in reversed(answer[TAKEN:] if isinstance(answer, list) else []):
            if tag:
                self.qos.restore_by_tag(bytes_to_str(tag))
        self._in_poll = None
