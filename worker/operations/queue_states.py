"""How many commands wait in each queue, as an operator's login may see it: lengths, and nothing of a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.parked import WaitingState, look
from worker.broker.stats import priority_lists
from worker.celery_app.queues import SERVED


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One queue. A number is None where this login may not ask for it, or the key is no list."""

    name: str
    waiting: int | None
    """In its own lists; those that wait by account are in ``beside``."""
    dead: int | None
    beside: WaitingState | None
    """What is parked, and what waits by account."""

    @property
    def parked(self) -> int:
        """How many commands are parked."""
        return self.beside.parked if self.beside else 0

    @property
    def by_account(self) -> int:
        """How many messages wait by account."""
        return sum(each.count for each in self.beside.waiting) if self.beside else 0


def queue_lines(broker: redis.Redis) -> list[QueueLine]:
    """Every queue that workers serve. The client must not decode replies.

    Raises:
        redis.RedisError, OSError: the broker can't be asked.
    """
    with broker.pipeline(transaction=False) as pipe:
        for name in SERVED:
            for each in (*priority_lists(name), f"{name}{DEAD_SUFFIX}"):
                pipe.llen(each)
        replies = pipe.execute(raise_on_error=False)
    width = len(replies) // len(SERVED)
    return [_line(broker, name, replies[n * width : (n + 1) * width]) for n, name in enumerate(SERVED)]


def _line(broker: redis.Redis, name: str, replies: Sequence[Any]) -> QueueLine:
    *lengths, dead = replies
    readable = all(isinstance(each, int) for each in lengths)
    return QueueLine(
        name, sum(lengths) if readable else None, dead if isinstance(dead, int) else None, _beside(broker, name)
    )


def _beside(broker: redis.Redis, name: str) -> WaitingState | None:
    try:
        return look(broker, name, most=1)
    except redis.ResponseError:
        return None


def unacked_dead(broker: redis.Redis) -> int:
    """How many messages could not be put back on a queue, as far as this login may know."""
    try:
        return int(broker.llen(f"unacked{DEAD_SUFFIX}"))
    except redis.ResponseError:
        return 0
