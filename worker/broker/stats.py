"""The state of the queues: how many messages wait, since when, how many are parked, and how many are dead letters."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import KombuError

from producers.redis.server_info import ServerState, server_state
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.lanes import LANES_KEY
from worker.broker.messages import message_enqueued_at_ms
from worker.broker.parked import WaitingState, look, look_arguments, state_of
from worker.broker.scripts import OLDEST

UNACKED = "unacked"
"""kombu's key of the messages that are taken and not acknowledged."""

OTHER = "other"
"""What parked messages are counted as that were not read."""

MOST_PARKED = 10_000
"""How many parked messages of a queue are counted by what they wait for: a thousand cost the server some ms."""

_PRIORITIES = (0, 3, 6, 9)
"""kombu's priority steps: messages of priority 0 are in the queue's own list, the others in a list for each step."""

PRIORITY_SEPARATOR = "\x06\x16"
"""What kombu puts between a queue's name and the priority in a list's key."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of one queue, in messages."""

    waiting: int
    """In its own lists, and by account."""
    dead: int
    oldest_enqueued_at_ms: int | None
    """When the oldest of the messages that are next was enqueued (UNIX ms); None when there is none or none says it."""
    parked: Mapping[str, int]
    """Parked messages by what they wait for; those after the first :data:`MOST_PARKED` as :data:`OTHER`."""
    overdue_ms: int
    """How long the first parked message has been due; 0 when none is."""


@dataclass(frozen=True, slots=True)
class BrokerState:
    """The state of the broker's database, in messages."""

    server: ServerState
    queues: Mapping[str, QueueState]
    unacked: int
    lanes: int
    """How many lanes are held."""
    dead_unacked: int
    """Messages that could not be put back on a queue: those on ``unacked.dead``."""


@dataclass(slots=True)
class BrokerProbe:
    """Reads the broker's database."""

    client: redis.Redis
    queues: Sequence[str]
    prefix: str = ""
    """kombu's ``global_keyprefix``."""

    def __call__(self) -> BrokerState:
        """Read the state of every queue that can be read.

        Raises:
            redis.RedisError, OSError: the server does not answer.
        """
        server = server_state(self.client)
        with self.client.pipeline(transaction=False) as pipe:
            for queue in self.queues:
                pipe.eval(*look_arguments(self.prefix + queue))
                pipe.llen(self.prefix + queue + DEAD_SUFFIX)
                for each in priority_lists(queue):
                    pipe.llen(self.prefix + each)
                    pipe.eval(OLDEST.source, 1, self.prefix + each)
            pipe.hlen(self.prefix + UNACKED)
            pipe.zcard(self.prefix + LANES_KEY)
            pipe.llen(self.prefix + UNACKED + DEAD_SUFFIX)
            *replies, unacked, lanes, dead_unacked = pipe.execute(raise_on_error=False)
        width = len(replies) // max(1, len(self.queues))
        rows = [replies[start : start + width] for start in range(0, len(replies), width or 1)]
        # A key that is no list, or may not be read, hides its own queue and no other.
        readable = [(queue, row) for queue, row in zip(self.queues, rows, strict=True) if not _has_error(row)]
        states = {queue: _queue_state(self._beside(queue, looked), *row) for queue, (looked, *row) in readable}
        return BrokerState(
            server, states, *(0 if _has_error([each]) else int(each) for each in (unacked, lanes, dead_unacked))
        )

    def _beside(self, queue: str, looked: list[Any]) -> WaitingState:
        """What waits beside a queue, by its first page; with many parked messages, by further ones."""
        found, read = state_of(looked)
        return found if read >= found.parked else look(self.client, self.prefix + queue, most=MOST_PARKED)


def _has_error(answers: Sequence[Any]) -> bool:
    return any(isinstance(answer, Exception) for answer in answers)


def priority_lists(queue: str) -> list[str]:
    """The keys of the lists that hold a queue's messages, one for each priority that a sender may choose."""
    return [queue if step == 0 else f"{queue}{PRIORITY_SEPARATOR}{step}" for step in _PRIORITIES]


def _queue_state(beside: WaitingState, dead: int, *replies: Any) -> QueueState:
    parked = beside.reasons
    parked += Counter({OTHER: beside.parked - parked.total()})  # which adds nothing below one
    waiting = sum(replies[0::2]) + sum(each.count for each in beside.waiting)
    oldest = _oldest(beside, *map(message_enqueued_at_ms, replies[1::2]))
    return QueueState(waiting, dead, oldest, parked, beside.overdue_ms)


def _oldest(beside: WaitingState, *times: int | None) -> int | None:
    """When the oldest of these, and of what waits by account, was enqueued; None where none says it."""
    known = (at for at in (*times, *(each.next_enqueued_at for each in beside.waiting)) if at is not None)
    return min(known, default=None)


def oldest_queued(app: Celery) -> Callable[[str], int | None]:
    """A function that asks the broker when the oldest message of a queue was enqueued (UNIX ms): 0 when that can't be
    known, None when the queue is empty. The function raises OSError while the broker can't be asked.

    Commands have one priority, so that a queue is one list on Redis, taken from its right end (kombu
    ``transport/redis.py``), and one for each account where its messages were sorted out. RabbitMQ only says how many
    messages wait: while any does, no command counts as lost.
    """

    def ask(queue: str) -> int | None:
        with app.connection_for_read() as connection:
            try:
                return _oldest_enqueued_at_ms(connection, queue)
            except (KombuError, *connection.connection_errors, *connection.channel_errors) as error:
                # Errors of amqp are neither OSError nor KombuError, so that callers would not know them.
                raise OSError(f"the broker can't be asked ({type(error).__name__})") from error

    return ask


def _oldest_enqueued_at_ms(connection: Any, queue: str) -> int | None:
    channel = connection.default_channel
    client = getattr(channel, "client", None)
    if client is None:
        return None if _is_empty(channel, queue, connection.channel_errors) else 0
    key = channel.global_keyprefix + queue  # which kombu's client does not put before these commands' keys
    # Before what waits beside it: a take moves messages from here to there, and none must be overlooked.
    in_list = client.type(key) != b"none"
    times = [message_enqueued_at_ms(client.eval(OLDEST.source, 1, key))] if in_list else []
    beside, _ = state_of(client.eval(*look_arguments(key, most=1)))
    times += [each.next_enqueued_at for each in beside.waiting if each.count]
    # Behind one that doesn't say it there may be older ones.
    return min((at or 0 for at in times), default=None)


def _is_empty(channel: Any, queue: str, channel_errors: tuple[type[Exception], ...]) -> bool:
    """Whether no message waits in an AMQP queue, or there is no such queue."""
    try:
        return not channel.queue_declare(queue, passive=True).message_count
    except channel_errors:
        return True
