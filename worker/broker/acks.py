"""Acks that reach the server even if the connection on which the message came is lost.

What could not be acked while the server was away is remembered in this process, and acked on the next connection. A
take whose answer was lost is remembered as well, because the server may have carried it out: its message is put back on
its queue.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str

from worker.broker.base import error_text
from worker.broker.bulkhead import AccountThreads, Bulkhead
from worker.broker.lanes import Fate
from worker.broker.restore import RestoringQoS
from worker.broker.scripts import ACK, PARK
from worker.broker.taken import TakenMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.broker.bulkhead import Room
    from worker.broker.scripts import Script

__all__ = ["LOST_TAKES", "SERVER_ERRORS", "QoS"]

logger = logging.getLogger(__name__)

#: What an ack may raise while the server is away, loading, read-only or full.
SERVER_ERRORS = (redis.RedisError, OSError)

#: Delivery tags that could not be acked, by broker, until a connected channel acks them. Global in the process, because
#: a connection that is replaced shares no object with its successor.
PENDING_ACKS: defaultdict[str, dict[str, Fate]] = defaultdict(dict)
#: Takes whose answers were lost, by broker: when each was sent (UNIX seconds), and until when it is looked for (seconds
#: on the monotonic clock). No worker has the message of such a take, and the server recorded it under that time.
LOST_TAKES: defaultdict[str, dict[float, float]] = defaultdict(dict)
#: The messages that this process has, by broker and delivery tag, until they are settled or nobody has them any more. A
#: command runs on, and keeps its place, when its connection is lost.
TAKEN: defaultdict[str, WeakValueDictionary[str, Any]] = defaultdict(WeakValueDictionary)
#: The channel that takes messages now, by broker: messages of a lost connection are settled on their own.
TAKERS: WeakValueDictionary[str, Any] = WeakValueDictionary()
#: Groups of which nothing is taken for a time, by broker; they outlive a connection, too.
TIMED_BLOCKS: defaultdict[str, dict[tuple[str, str], float]] = defaultdict(dict)


def taken_by_account() -> Counter[str]:
    """How many messages of each account this process has: in its threads, or about to be."""
    # Not `values()`, which fails when another thread settles a message meanwhile.
    references = [reference for messages in list(TAKEN.values()) for reference in messages.valuerefs()]
    return Counter(message.group for reference in references if (message := reference()) is not None)


class QoS(RestoringQoS):
    """kombu's QoS, whose acks outlive the connection on which the message came."""

    #: A :class:`worker.broker.channel.Channel`, whose module imports this one.
    channel: Any

    @cached_property
    def bulkhead(self) -> Bulkhead:
        """What limits how many messages of an account this process may have."""
        accounts = {alias: AccountThreads(*known) for alias, known in self.channel.accounts.items()}
        return Bulkhead(accounts, TIMED_BLOCKS[self.channel.broker_id])

    def room(self, most: int = 1) -> Room:
        """How many messages may be taken now, where that is fewer than ``most``: 0 of what is blocked."""
        # Not `values()`, which fails when another thread settles a message meanwhile.
        messages = [reference() for reference in self.taken.valuerefs()]
        held = [(each.source_queue, each.group) for each in messages if each is not None]
        return self.bulkhead.room(self.channel.active_queues, self.prefetch_count, held, monotonic(), most)

    @property
    def taken(self) -> WeakValueDictionary[str, Any]:
        """The messages that this process has of this broker, by delivery tag."""
        return TAKEN[self.channel.broker_id]

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Count the message as delivered, and keep it in sight when its connection is lost; record it on the server
        only if `take.lua` has not done so."""
        if isinstance(message, TakenMessage):
            virtual.QoS.append(self, message, delivery_tag)
            self.taken[delivery_tag] = message
        else:
            super().append(message, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Put the unacked messages back on their queues, unless the connection was lost.

        After a loss the commands are still running and will be acked, so that requeueing them now would run them twice
        at the same time. Messages that no worker executes any more stay in `unacked` until the visibility timeout.
        """
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

    def ack(self, delivery_tag: str) -> None:
        """Remove the message from `unacked`, and let its lane go on unless the message has another `fate` than that its
        command has ended; never raises while the server is away."""
        self._ack_or_defer(delivery_tag, getattr(self.taken.get(delivery_tag), "fate", Fate.ENDED))
        self._settled(delivery_tag)

    def ack_arguments(self, delivery_tag: str) -> tuple[object, ...]:
        """What another script needs to acknowledge the message of a command that has ended, where it runs on the same
        server: the number of the database, the arguments of the keys of `ack.lua`, and its arguments."""
        return (self.channel.database, *self.unacked_keys, *self._fates({delivery_tag: Fate.ENDED}))

    def acked_at_server(self, delivery_tag: str) -> None:
        """Free the place of a message that such a script has acknowledged; from whatever thread."""
        self._settled(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop the message, or put it back on its queue; if that fails, the visibility timeout puts it back."""
        if not requeue:
            self._ack_or_defer(delivery_tag, Fate.DEAD)
        elif self.channel.usable:
            # A closed channel no longer knows its exchanges, and kombu would drop the message for want of a queue.
            try:
                self.restore_by_tag(delivery_tag, leftmost=True)
            except SERVER_ERRORS as error:
                logger.warning(
                    "message %s is put back only by its visibility timeout (%s)", delivery_tag, error_text(error)
                )
        self._settled(delivery_tag)

    def _settled(self, delivery_tag: str) -> None:
        """Free the place of a message that is not executed here any more, and have the next one taken."""
        self.taken.pop(delivery_tag, None)
        self._quick_ack(delivery_tag)
        self._taker.stir_if_unblocked()
        # Only after the place is free: the loop may fill the last one meanwhile, and then sleep.
        self._taker.wake_if_due()

    @property
    def _taker(self) -> Any:
        return self.channel if self.channel.usable else TAKERS.get(self.channel.broker_id, self.channel)

    def park(
        self, delivery_tag: str, message: bytes | str, *, wait_ms: int, waits_for: str, whole_account: bool = False
    ) -> bool:
        """Give a message back that waits, so that it keeps no place here; ``message`` is what comes again.

        It is due in ``wait_ms``, by the server's clock, and is then put in front of its group's messages. With
        ``whole_account`` it is put there at once, and this worker takes nothing of its group and queue for that long.
        ``waits_for`` is one word. Returns whether it is parked. If not, another worker has the message, or it is
        delivered again when its visibility timeout has passed. Never raises while the server is away.
        """
        taken = self.taken.get(delivery_tag)
        if taken is None:
            return False
        queue, group, due_at = taken.source_queue, taken.group, monotonic() + wait_ms / 1000
        if whole_account:
            self.bulkhead.block(queue, group, due_at)
        parked = False
        try:
            arguments = (delivery_tag, message, "" if whole_account else max(0, wait_ms), waits_for, group)
            parked = self._script_or_spare(PARK, (*self.unacked_keys, self._prefixed(queue)), arguments) == 1
        except SERVER_ERRORS as error:
            logger.warning(
                "message %s can't be parked (%s), and comes again when its visibility timeout has passed",
                *(delivery_tag, error_text(error)),
            )
        self._settled(delivery_tag)
        self._taker.next_take.not_after(due_at)
        return parked

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
            self._script_or_spare(ACK, self.unacked_keys, self._fates({tag: fate}))
        except SERVER_ERRORS as error:
            PENDING_ACKS[self.channel.broker_id][tag] = fate
            logger.warning(
                "command %s is done but could not be acked yet (%s): it may be delivered again, which is harmless, "
                "because its id is known and the stored report is the answer",
                _command_id(self.taken[tag]) if tag in self.taken else tag,
                error_text(error),
            )

    def remove(self, fates: Mapping[str, Fate]) -> None:
        """Remove messages from `unacked`, by delivery tag, each with what became of it.

        Raises:
            redis.RedisError, OSError: the server is away, or refuses it.
        """
        self._script(ACK, self.unacked_keys, self._fates(fates))

    def _fates(self, fates: Mapping[str, Fate]) -> list[str]:
        return [self.channel.global_keyprefix, *(part for each in fates.items() for part in each)]

    def _script_or_spare(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script through the channel's connection, or through a second one if the first is dead."""
        try:
            return self._script(script, keys, arguments)
        except self.channel.connection_errors:
            return self._script(script, keys, arguments, spare=True)

    def _script(self, script: Script, keys: Sequence[str], arguments: Sequence[Any], *, spare: bool = False) -> Any:
        with self.channel.spare_client() if spare else self.channel.conn_or_acquire() as client:
            return self.channel.direct_client(client).script(*script, keys, arguments)


def _command_id(message: Any) -> str:
    return str(message.headers.get("id") if isinstance(message.headers, dict) else message.delivery_tag)
