"""The outbox: each command is recorded as an intent in the ledger's database with its message, or before it.

A broker can lose a message, or be emptied. The intent stays until the command has ended in the ledger. The
workers of its queue republish commands that have not begun in time, and commands that have begun but not ended long
after their lease has expired. The ledger stops the duplicates that this causes.

The outbox is a hash for each command, which producers write with ``HSETNX`` alone: a login needs no right with which it
could change, postpone or delete an intent, or add one of a command that it may not send. When an intent is checked next
is kept where workers alone write (:data:`worker.ledger.keys.DUE_KEYS`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import redis

from producers import exact_json
from producers.commands import COMMANDS
from producers.lanes import Lane, lane_of
from producers.redis.direct import DirectClient
from producers.results import RECORD_KEY
from producers.seal import HEADER

OUTBOX_KEYS = {task: f"orders:outbox:{command.name}" for task, command in COMMANDS.items() if command.mutating}
"""By task, a hash: command id to the JSON object ``{"task", "kwargs", "enqueued_at"}``, with ``"seal"`` for a sealed
command, and ``"lane"`` and ``"lane_on_unknown"`` for one in a lane; readers ignore other members. Queries need none:
the ledger does not record them."""
EARLIER_OUTBOX_KEY = "orders:intent_messages"
"""The outbox of all commands that producers of the version before write; workers empty it as they do the others."""
ALL_OUTBOXES = (*OUTBOX_KEYS.values(), EARLIER_OUTBOX_KEY)


@dataclass(frozen=True)
class Intent:
    """A command that its sender takes for enqueued."""

    command_id: str
    task: str
    kwargs: Mapping[str, Any]
    enqueued_at: int
    """UNIX ms."""
    seal: Mapping[str, Any] | None = None
    """The header :data:`producers.seal.HEADER` of the command's message."""
    lane: Lane | None = None

    def to_json(self) -> str:
        """The intent as :data:`OUTBOX_KEYS` store it."""
        seal = {} if self.seal is None else {"seal": self.seal}
        lane = {} if self.lane is None else {"lane": self.lane.name, "lane_on_unknown": self.lane.on_unknown}
        more = exact_json.dumps({"enqueued_at": self.enqueued_at, **seal, **lane})
        return f'{{"task": {json.dumps(self.task)}, "kwargs": {self.kwargs_json}, {more[1:]}'

    @cached_property
    def kwargs_json(self) -> str:
        """The arguments in JSON, for the intent and for the message."""
        return exact_json.dumps(self.kwargs)

    def headers(self) -> dict[str, Any]:
        """The headers of the command's message."""
        seal = {} if self.seal is None else {HEADER: dict(self.seal)}
        return {"enqueued_at": self.enqueued_at} | seal | ({} if self.lane is None else self.lane.headers())


def read_intent(command_id: str, stored: str) -> Intent:
    """Read a stored intent.

    Raises:
        ValueError, KeyError, TypeError: it is not an intent.
    """
    fields = exact_json.loads(stored)
    task, kwargs = fields["task"], fields["kwargs"]
    if not isinstance(kwargs, dict) or not isinstance(task, str) or task not in COMMANDS:
        raise ValueError("it is not a command")
    if not COMMANDS[task].mutating:
        raise ValueError("it is a query: the ledger records none, so nothing would ever end its intent")
    enqueued_at = fields["enqueued_at"]
    if not isinstance(enqueued_at, int) or not 0 < enqueued_at < 10**15:
        raise ValueError("enqueued_at is not a time")
    seal = fields.get("seal")
    if seal is not None and not isinstance(seal, dict):
        raise ValueError("its seal is not an object")
    lane = lane_of(fields.get("lane"), fields.get("lane_on_unknown", "hold"))
    return Intent(command_id, task, kwargs, enqueued_at, seal, lane)


class TooFewReplicas(redis.ConnectionError):
    """The server has the intents, but fewer of its replicas than required have them."""


def write_intents(ledger: redis.Redis, intents: Iterable[Intent], *, replicas: int = 0, wait_ms: int = 1000) -> None:
    """Write all intents in one round trip. An intent that an id already has stays: a second one is a repeat, or a
    reused id. With ``replicas``, wait until that many have them.

    Raises:
        TooFewReplicas: fewer have them after ``wait_ms``.
    """
    # WAIT does not work in a transaction. Without one, some intents may be written when the caller gets an error.
    with ledger.pipeline(transaction=not replicas) as pipe:
        for command in intent_commands(intents):
            pipe.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py's gap
        if replicas:
            pipe.wait(replicas, wait_ms)
        replies = pipe.execute()
    if replicas and replies[-1] < replicas:
        raise TooFewReplicas(f"{replies[-1]} of {replicas} replicas have it")


def has_intent(ledger: redis.Redis, command_id: str) -> bool:
    """Whether a command is in an outbox: it was enqueued, and has no end.

    Raises:
        redis.RedisError, OSError: the ledger cannot be reached.
    """
    with ledger.pipeline(transaction=False) as pipe:
        for key in ALL_OUTBOXES:
            pipe.hexists(key, command_id)
        return any(pipe.execute())


def was_sent(ledger: redis.Redis, command_id: str) -> bool:
    """Whether the ledger has a command, begun or enqueued.

    Raises:
        redis.RedisError, OSError: the ledger cannot be reached.
    """
    # The intent first: when it is gone because the command has ended meanwhile, the record is there.
    return has_intent(ledger, command_id) or bool(ledger.exists(RECORD_KEY.format(command_id)))


@contextmanager
def recorded(ledger: DirectClient, intents: Sequence[Intent], *, replicas: int = 0) -> Iterator[None]:
    """Record intents while the block publishes their commands; they are written when the block has ended.

    This costs no extra round trip: the intents are sent to the ledger before the block, and the reply is read after it.
    With ``replicas`` they are written, and replicated, before the block begins.

    Raises:
        TooFewReplicas: as :func:`write_intents`; nothing was published.
        redis.RedisError: the ledger is unreachable. Commands that the block published may be executed, but are not
            republished when they are lost.
    """
    if replicas:
        write_intents(ledger.client, intents, replicas=replicas)
        yield
        return
    with ledger.pipelined(intent_commands(intents), lambda: write_intents(ledger.client, intents)):
        yield


def intent_commands(intents: Iterable[Intent]) -> list[tuple[str, ...]]:
    """The Redis commands that write intents."""
    return [("HSETNX", OUTBOX_KEYS[intent.task], intent.command_id, intent.to_json()) for intent in intents]
