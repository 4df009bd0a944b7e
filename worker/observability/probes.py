"""What all workers share, read from the servers when somebody asks: queues, unknowns, halts, memory, clocks.

Every worker tells the same numbers, so that they are there as long as one worker is. One look costs each server two or
three round trips, is good for some seconds, and touches no command: it has connections of its own, with short timeouts.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import redis

from producers.intents import INTENTS_KEY
from worker.broker.dead_letters import SUFFIX
from worker.broker.envelope_check import OLDEST
from worker.execution.intake import queued_since
from worker.ledger.redis import HALTS_KEY, RECORD_KEY, UNKNOWN_KEY, halt_of

UNKNOWNS_COUNTED = 10_000
"""Open unknowns that are told by account; there may be more, which are ``other``."""
OTHER = "other"
_BEGUN_AHEAD_MS = 60_000
"""Less than by how much the intents of begun commands stand ahead of the clock, more than clocks differ."""
UNACKED = "unacked"
"""kombu's key for messages taken and not acknowledged."""
_PRIORITIES = (0, 3, 6, 9)
"""kombu's steps: priority 0 waits in the queue's own list, the others in lists beside it."""
SEPARATOR = "\x06\x16"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server."""

    memory_used: int
    memory_max: int
    writable: bool
    clock_offset: float
    """Seconds by which this machine is ahead."""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The ledger's database. Times are UNIX seconds on the ledger's clock."""

    server: ServerState
    unknown: Mapping[str, int]
    """Open unknowns by account."""
    unknown_since: Mapping[str, float]
    halts: Mapping[tuple[str, str], float]
    """Account and command, ``*`` for any: since when."""
    intents: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue."""

    waiting: int
    dead: int
    oldest: float | None
    """When its oldest message was enqueued, UNIX seconds; None when it is empty or does not say."""


@dataclass(frozen=True, slots=True)
class BrokerState:
    """The broker's database."""

    server: ServerState
    queues: Mapping[str, QueueState]
    unacked: int
    dead_unacked: int
    """Messages that could not be put back: ``unacked.dead``."""


def server_state(client: redis.Redis) -> ServerState:
    """Ask a server about itself.

    Raises:
        redis.RedisError, OSError: it does not answer.
    """
    # Once before, so that a connection that has to be opened is not part of the round trip. Not PING: a server that
    # can't write to its disk refuses that, and tells the time.
    client.time()
    sent = time.time()
    seconds, micros = client.time()
    offset = (sent + time.time()) / 2 - (int(seconds) + int(micros) / 1e6)
    info = client.info()
    writable = info.get("role") == "master" and info.get("aof_last_write_status", "ok") == "ok"
    most = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    return ServerState(int(info["used_memory"]), most, writable, offset)


@dataclass(slots=True)
class LedgerLook:
    """Reads the ledger's database."""

    client: redis.Redis
    _accounts: dict[str, str] = field(default_factory=dict)
    """Of open unknowns, by command id: a record's account never changes."""

    def __call__(self) -> LedgerState:
        """Look.

        Raises:
            redis.RedisError, OSError: it does not answer.
        """
        server = server_state(self.client)
        with self.client.pipeline(transaction=False) as pipe:
            pipe.zrange(UNKNOWN_KEY, 0, UNKNOWNS_COUNTED - 1, withscores=True)
            pipe.zcard(UNKNOWN_KEY)
            pipe.hgetall(HALTS_KEY)
            # Those that have begun stand under a time to come.
            pipe.zcount(INTENTS_KEY, "-inf", int(time.time() * 1000) + _BEGUN_AHEAD_MS)
            rows, total, halts, intents = pipe.execute()
        counts, since = self._by_account(rows)
        if total > len(rows):
            counts[OTHER] = counts.get(OTHER, 0) + total - len(rows)
        held = {_scope(name): halt_of(text).at / 1000 for name, text in halts.items()}
        return LedgerState(server, counts, since, held, int(intents))

    def _by_account(self, rows: Sequence[tuple[str, float]]) -> tuple[dict[str, int], dict[str, float]]:
        new = [command_id for command_id, _ in rows if command_id not in self._accounts]
        with self.client.pipeline(transaction=False) as pipe:
            for command_id in new:
                pipe.hget(RECORD_KEY.format(command_id), "account")
            found = dict(zip(new, pipe.execute(), strict=True))
        self._accounts = {cid: self._accounts.get(cid) or found.get(cid) or OTHER for cid, _ in rows}
        counts: dict[str, int] = {}
        since: dict[str, float] = {}
        for command_id, score in rows:
            account = self._accounts[command_id]
            counts[account] = counts.get(account, 0) + 1
            since.setdefault(account, score / 1000)  # oldest first
        return counts, since


def _scope(name: str) -> tuple[str, str]:
    account, _, command = name.partition("/")
    return account, command


@dataclass(slots=True)
class BrokerLook:
    """Reads the broker's database."""

    client: redis.Redis
    queues: Sequence[str]
    prefix: str = ""
    """kombu's ``global_keyprefix``."""

    def __call__(self) -> BrokerState:
        """Look.

        Raises:
            redis.RedisError, OSError: it does not answer.
        """
        server = server_state(self.client)
        with self.client.pipeline(transaction=False) as pipe:
            for queue in self.queues:
                pipe.llen(self.prefix + queue + SUFFIX)
                for each in lists_of(queue):
                    pipe.llen(self.prefix + each)
                    pipe.eval(OLDEST, 1, self.prefix + each)
            pipe.hlen(self.prefix + UNACKED)
            pipe.llen(self.prefix + UNACKED + SUFFIX)
            *told, unacked, dead_unacked = pipe.execute(raise_on_error=False)
        width = len(told) // max(1, len(self.queues))
        rows = [told[start : start + width] for start in range(0, len(told), width or 1)]
        # A key that is no list, or may not be looked at, hides its own queue and no other.
        readable = [(queue, row) for queue, row in zip(self.queues, rows, strict=True) if not _refused(row)]
        states = {queue: _queue_state(*row) for queue, row in readable}
        return BrokerState(server, states, *(0 if _refused([each]) else int(each) for each in (unacked, dead_unacked)))


def _refused(answers: Sequence[Any]) -> bool:
    return any(isinstance(answer, Exception) for answer in answers)


def lists_of(queue: str) -> list[str]:
    """The lists in which a queue's messages wait: senders may give theirs a priority."""
    return [queue if step == 0 else f"{queue}{SEPARATOR}{step}" for step in _PRIORITIES]


def _queue_state(dead: int, *told: Any) -> QueueState:
    times = [at for at in map(enqueued_at, told[1::2]) if at is not None]
    return QueueState(sum(told[0::2]), dead, min(times, default=None))


def enqueued_at(message: Any) -> float | None:
    """When a queued message was enqueued, UNIX seconds; None when it does not say, or can't be read."""
    since = queued_since(message)
    return None if since is None else since / 1000


class Kept(Generic[T]):
    """The last answer of a look, for so many seconds; None when the server did not answer."""

    def __init__(self, look: Callable[[], T], seconds: float = 5.0) -> None:
        self._look = look
        self._seconds = seconds
        self._until = float("-inf")
        self._last: T | None = None

    def get(self) -> T | None:
        """The state, at most so old. Its callers take turns."""
        if time.monotonic() >= self._until:
            try:
                self._last = self._look()
            except (redis.RedisError, OSError):
                self._last = None
            self._until = time.monotonic() + self._seconds
        return self._last
