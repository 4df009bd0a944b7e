"""How many commands are unknown or halted, and since when."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import redis

from producers.redis.server_info import ServerState, server_state
from worker.ledger.base import LedgerUnavailable
from worker.ledger.cool_downs import CoolDowns
from worker.ledger.halts import halt_of
from worker.ledger.keys import DUE_KEYS, HALTS_KEY, HELD_KEY, RECORD_KEY, UNKNOWN_KEY
from worker.ledger.webhooks import WebhookState, names, states

MAX_UNKNOWNS_BY_ACCOUNT = 10_000
"""How many open unknowns are counted by account; the rest are counted as ``other``."""

HELD_PAGE = 200
"""How many held commands are asked for when they were held."""
OTHER = "other"

_BEGUN_AHEAD_MS = 60_000
"""The intent of a command that has begun is due further ahead of the clock than this; clocks differ by less."""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The ledger's database. Times are UNIX seconds on the ledger's clock."""

    server: ServerState
    unknown: Mapping[str, int]
    """Open unknowns by account."""
    unknown_since: Mapping[str, float]
    """Since when the oldest open unknown of each account is unknown."""
    halts: Mapping[tuple[str, str], float]
    """Account and command, ``*`` for any: since when."""
    intents: int
    """Commands that were enqueued and have not begun."""
    held: int
    """Commands that are held for approval."""
    held_since: float | None
    """Since when the oldest of them is held, of those that end first; None when none is held."""
    cool_downs: Mapping[str, float] | None
    """Bucket or host of each cool-down to the seconds that are left of it, 0 for one that is over and awaits its probe;
    None when they can't be read."""
    webhooks: Mapping[str, WebhookState]
    """What each webhook has to send."""


@dataclass(slots=True)
class LedgerProbe:
    """Reads the ledger's database."""

    client: redis.Redis
    _accounts: dict[str, str] = field(default_factory=dict)
    """Account of each open unknown by command id, kept because a record's account never changes."""

    def __call__(self) -> LedgerState:
        """Read the database.

        Raises:
            redis.RedisError, OSError: the server does not answer.
        """
        server = server_state(self.client)
        with self.client.pipeline(transaction=False) as pipe:
            pipe.zrange(UNKNOWN_KEY, 0, MAX_UNKNOWNS_BY_ACCOUNT - 1, withscores=True)
            pipe.zcard(UNKNOWN_KEY)
            pipe.hgetall(HALTS_KEY)
            for outbox, due in DUE_KEYS.items():
                pipe.hlen(outbox)
                # The intents of commands that have begun are due in the future.
                pipe.zcount(due, int(time.time() * 1000) + _BEGUN_AHEAD_MS, "+inf")
            rows, total, halts, *intents = pipe.execute()
        counts, since = self._by_account(rows)
        if total > len(rows):
            counts[OTHER] = counts.get(OTHER, 0) + total - len(rows)
        halted_since = {_scope(name): halt_of(text).at / 1000 for name, text in halts.items()}
        not_begun = max(0, sum(intents[::2]) - sum(intents[1::2]))
        webhooks = states(self.client, names(self.client))
        return LedgerState(server, counts, since, halted_since, not_begun, *self._held(), self._cool_downs(), webhooks)

    def _cool_downs(self) -> dict[str, float] | None:
        try:
            return {each.key: each.left_ms / 1000 for each in CoolDowns(self.client).all()}
        except LedgerUnavailable:
            return None

    def _held(self) -> tuple[int, float | None]:
        """How many commands are held, and since when the oldest of the first page."""
        ids = self.client.zrange(HELD_KEY, 0, HELD_PAGE - 1)
        with self.client.pipeline(transaction=False) as pipe:
            pipe.zcard(HELD_KEY)
            for command_id in ids:
                pipe.hget(RECORD_KEY.format(command_id), "held_at")
            count, *times = pipe.execute()
        return int(count), min((int(at) / 1000 for at in times if at), default=None)

    def _by_account(self, rows: Sequence[tuple[str, float]]) -> tuple[dict[str, int], dict[str, float]]:
        new = [command_id for command_id, _ in rows if command_id not in self._accounts]
        with self.client.pipeline(transaction=False) as pipe:
            for command_id in new:
                pipe.hget(RECORD_KEY.format(command_id), "account")
            found = dict(zip(new, pipe.execute(), strict=True))
        self._accounts = {each: self._accounts.get(each) or found.get(each) or OTHER for each, _ in rows}
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
