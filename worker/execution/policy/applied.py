"""The withdrawal policies that operators have applied, on record in the ledger's database.

A worker rules by its own file and by every policy that was in force within the last 24 hours. So a change that loosens
counts 24 hours after it was applied, and one that tightens counts at once, without a judgement of which is which. Who
may write to the ledger can delete these records, and no more: the file stays in force.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import redis

from worker.execution.policy.document import parse_tables
from worker.execution.policy.rules import Policy
from worker.ledger.connection import guarded
from worker.ledger.keys import JOURNAL_KEY, POLICIES_KEY
from worker.watched_file import FileUnusable

DELAY_MS = 24 * 3_600_000
"""For how long a policy counts after another one was applied."""


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy on record."""

    at: int
    """When it was applied, UNIX ms on the ledger's clock."""
    policy: Policy
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class InForce:
    """A policy that counts now."""

    applied: AppliedPolicy
    until: int | None
    """Until when it counts, UNIX ms; None for the one that was applied last."""


def in_force(policies: Sequence[AppliedPolicy], now_ms: int) -> list[InForce]:
    """Those of the policies that count now, the last one last."""
    ordered = sorted(policies, key=lambda each: each.at)
    ends = [each.at + DELAY_MS for each in ordered[1:]]
    counting = [InForce(each, end) for each, end in zip(ordered, ends, strict=False) if end > now_ms]
    return counting + [InForce(each, None) for each in ordered[-1:]]


class PolicyChanged(Exception):
    """Raised when another policy was applied since the records were read."""


@dataclass(frozen=True, slots=True)
class Records:
    """What is on record."""

    policies: tuple[AppliedPolicy, ...]
    """Oldest first."""
    unreadable: int = 0
    """How many records are no policy that this version reads."""

    @property
    def ids(self) -> list[tuple[int, str]]:
        """By what the policies are told apart."""
        return [(each.at, each.policy.sha256) for each in self.policies]


class PolicyRecords:
    """Reads and writes the records. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def read(self) -> Records:
        """What is on record. One round trip."""
        return _records(guarded(self._client.hgetall, POLICIES_KEY))

    def apply(self, policy: Policy, before: Records, *, who: str, why: str, changes: Sequence[str]) -> AppliedPolicy:
        """Put a policy on record, with an entry in the journal that has the ``changes``, and remove the records that
        count no more.

        Raises:
            PolicyChanged: what is on record is not ``before`` any more.
        """
        seconds, microseconds = guarded(self._client.time)
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        # Later than the one before it also where the server's clock was put back.
        applied = AppliedPolicy(max([now_ms, *(each.at + 1 for each in before.policies)]), policy, who, why)
        counting = {each.applied.at for each in in_force([*before.policies, applied], now_ms)}
        outdated = [str(each.at) for each in before.policies if each.at not in counting]
        entry = {"event": "policy", "id": "", "token": "", "outcome": "", "who": who, "why": why}
        entry |= {"sha256": policy.sha256, "changes": json.dumps(list(changes), ensure_ascii=False)}
        with self._client.pipeline(transaction=True) as pipe:
            guarded(pipe.watch, POLICIES_KEY)
            if _records(guarded(pipe.hgetall, POLICIES_KEY)).ids != before.ids:
                raise PolicyChanged
            pipe.multi()
            pipe.hset(POLICIES_KEY, str(applied.at), _to_json(applied))
            if outdated:
                pipe.hdel(POLICIES_KEY, *outdated)
            pipe.xadd(JOURNAL_KEY, cast("Any", entry))
            if not guarded(_execute, pipe):
                raise PolicyChanged
        return applied


def _execute(pipe: Any) -> bool:
    try:
        pipe.execute()
    except redis.WatchError:
        return False
    return True


def _to_json(applied: AppliedPolicy) -> str:
    stored = {"who": applied.who, "why": applied.why, "sha256": applied.policy.sha256, "policy": applied.policy.text}
    return json.dumps(stored, ensure_ascii=False)


def _records(stored: Mapping[str, str]) -> Records:
    found = [_parsed(field, text) for field, text in stored.items()]
    policies = sorted((each for each in found if each), key=lambda each: each.at)
    return Records(tuple(policies), len(found) - len(policies))


def _parsed(field: str, text: str) -> AppliedPolicy | None:
    """A record; None for one that was changed, or that another version wrote."""
    try:
        stored = json.loads(text)
        policy = Policy(parse_tables(json.loads(stored["policy"])))
        return AppliedPolicy(int(field), policy, str(stored["who"]), str(stored["why"]))
    except (ValueError, TypeError, KeyError, RecursionError, FileUnusable):
        return None


def seen_at(applied: AppliedPolicy, now_ms: int) -> AppliedPolicy:
    """A record that appeared while a worker ran: it was not applied earlier than when it was last looked for, whatever
    it says, so that a record with a time in the past ends no other."""
    return replace(applied, at=max(applied.at, now_ms))
