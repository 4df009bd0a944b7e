"""Intents: what a client was told is enqueued, written down before it is published.

A broker can lose a message, or be emptied. The intent stays in the ledger's database until the command has its end
there; a sweeper in every worker publishes again what has not begun in time, and what has begun and not ended long after
its worker's lease. Duplicates that this makes are stopped by the ledger.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from producers import exact_json
from producers.commands import COMMANDS
from producers.redis.direct import DirectClient
from producers.results import RECORD_KEY

INTENTS_KEY = "orders:intents"
"""Sorted set: command id by the time from which its absence counts, UNIX ms."""
MESSAGES_KEY = "orders:intent_messages"
"""Hash: command id to the JSON object ``{"task", "kwargs", "enqueued_at"}``."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A command that somebody was told is enqueued."""

    command_id: str
    task: str
    kwargs: Mapping[str, Any]
    enqueued_at: int
    """UNIX ms."""

    def to_json(self) -> str:
        """As it is stored."""
        return exact_json.dumps({"task": self.task, "kwargs": self.kwargs, "enqueued_at": self.enqueued_at})


def read_intent(command_id: str, stored: str) -> Intent:
    """An intent as it was stored.

    Raises:
        ValueError, KeyError, TypeError: when it is none.
    """
    fields = exact_json.loads(stored)
    task, kwargs = fields["task"], fields["kwargs"]
    if not isinstance(kwargs, dict) or not isinstance(task, str) or task not in COMMANDS:
        raise ValueError("it is no command")
    enqueued_at = fields["enqueued_at"]
    if not isinstance(enqueued_at, int) or not 0 < enqueued_at < 10**15:
        raise ValueError("it was enqueued at no time")
    return Intent(command_id, task, kwargs, enqueued_at)


class TooFewReplicas(redis.ConnectionError):
    """The intents are on the server, and on fewer of its replicas than is asked for."""


def write_intents(ledger: redis.Redis, intents: Iterable[Intent], *, replicas: int = 0, wait_ms: int = 1000) -> None:
    """Write all down in one round trip. The first of an id stands: a second one is a repeat, or a reused id.

    With ``replicas`` it ends when that many have them.

    Raises:
        TooFewReplicas: not within ``wait_ms``.
    """
    # A transaction can't wait. Without one a message may be there and not its entry, which nobody looks for then.
    with ledger.pipeline(transaction=not replicas) as pipe:
        for command in _commands(intents):
            pipe.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py's gap
        if replicas:
            pipe.wait(replicas, wait_ms)
        answers = pipe.execute()
    if replicas and answers[-1] < replicas:
        raise TooFewReplicas(f"{answers[-1]} of {replicas} replicas have it")


def was_sent(ledger: redis.Redis, command_id: str) -> bool:
    """Whether a command was begun, or stands enqueued.

    Raises:
        redis.RedisError, OSError: the ledger can't be reached.
    """
    with ledger.pipeline(transaction=False) as pipe:
        pipe.exists(RECORD_KEY.format(command_id))
        pipe.hexists(MESSAGES_KEY, command_id)
        return any(pipe.execute())


@contextmanager
def recorded(ledger: DirectClient, intents: Sequence[Intent], *, replicas: int = 0) -> Iterator[None]:
    """Have them written down by the end of the block in which they are published, at the cost of no round trip: they
    are on their way to the ledger before the block begins. With ``replicas`` they are there before it begins.

    Raises:
        TooFewReplicas: as :func:`write_intents`; nothing was published.
        redis.RedisError: the ledger is away. What the block published may be executed, and is not published again.
    """
    if replicas:
        write_intents(ledger.client, intents, replicas=replicas)
        yield
        return
    with ledger.pipelined(_commands(intents), lambda: write_intents(ledger.client, intents)):
        yield


def _commands(intents: Iterable[Intent]) -> list[tuple[str | int, ...]]:
    """What writes them down."""
    commands: list[tuple[str | int, ...]] = []
    for intent in intents:
        commands.append(("HSETNX", MESSAGES_KEY, intent.command_id, intent.to_json()))
        commands.append(("ZADD", INTENTS_KEY, "NX", intent.enqueued_at, intent.command_id))
    return commands
