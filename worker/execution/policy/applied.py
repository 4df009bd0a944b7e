"""The withdrawal policies that operators have applied, on record in the ledger's database.

A worker rules by its own file and by every policy that was in force within the last 24 hours. So a change that loosens
counts 24 hours after it was applied, and one that tightens counts at once, without a judgement of which is which. Who
may write to the ledger can delete these records, and no more: the file stays in force.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import redis

from worker.execution.policy.document import parse_tables
from worker.execution.policy.rules import Policy
from worker.ledger.connection import guarded
from worker.ledger.journal_writer import JournalWriter, entry_fields
from worker.ledger.keys import POLICIES_KEY
from worker.watched_file import MAX_FILE_BYTES, FileUnusable

DELAY_MS = 24 * 3_600_000
"""For how long a policy counts after another one was applied."""

MAX_RECORD_CHARACTERS = 4 * MAX_FILE_BYTES
"""More than a policy of the largest file has, escaped in JSON: anything longer is not read."""


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy on record."""

    number: int
    """Counts the policies that were ever applied: of two that are applied at once, one gets the next number."""
    at: int
    """When it was applied, UNIX ms on the ledger's clock."""
    policy: Policy
    who: str
    why: str
    signed: Mapping[str, str] = field(default_factory=dict)
    """``signed_at``, ``kid`` and ``sig`` where the operator has a key (:mod:`worker.operations.signed_words`). Workers
    don't check it: a record can only tighten what the file permits."""


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

    last_number: int = 0
    """The number of the policy that was applied last, also where its record can't be read."""


class PolicyRecords:
    """Reads and writes the records. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._journal = JournalWriter(client)
        self._parsed: dict[tuple[str, str], AppliedPolicy | None] = {}
        """The records as they were last read: workers read them again and again, and they hardly ever change."""

    def read(self) -> Records:
        """What is on record. One round trip."""
        stored: dict[str, str] = guarded(self._client.hgetall, POLICIES_KEY)
        before = self._parsed
        self._parsed = {each: before[each] if each in before else _parsed(*each) for each in stored.items()}
        policies = sorted((each for each in self._parsed.values() if each), key=lambda each: each.at)
        numbers = [int(field) for field in stored if _is_number(field)]
        return Records(tuple(policies), len(stored) - len(policies), max(numbers, default=0))

    def apply(
        self,
        policy: Policy,
        before: Records,
        *,
        who: str,
        why: str,
        signed: Mapping[str, str],
        changes: Sequence[str],
    ) -> AppliedPolicy:
        """Put a policy on record, with an entry in the journal that has the ``changes``, and remove the records that
        count no more. ``signed`` are the fields that prove who it was, or none.

        Raises:
            PolicyChanged: what is on record is not ``before`` any more.
        """
        seconds, microseconds = guarded(self._client.time)
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        # Later than the one before it also where the server's clock was put back.
        at = max([now_ms, *(each.at + 1 for each in before.policies)])
        applied = AppliedPolicy(before.last_number + 1, at, policy, who, why, signed)
        told = json.dumps(list(changes), ensure_ascii=False)
        entry = entry_fields("policy", who=who, why=why, sha256=policy.sha256, changes=told, **signed)
        change = ("HSETNX", str(applied.number), _to_json(applied))
        if not self._journal.write_all([entry], POLICIES_KEY, *change):
            raise PolicyChanged
        counting = [each.applied for each in in_force([*before.policies, applied], now_ms)]
        outdated = [str(each.number) for each in before.policies if each not in counting]
        if outdated:
            guarded(self._client.hdel, POLICIES_KEY, *outdated)
        return applied


def _to_json(applied: AppliedPolicy) -> str:
    stored = {"at": applied.at, "who": applied.who, "why": applied.why, "policy": applied.policy.text}
    stored |= {"signed": dict(applied.signed)} if applied.signed else {}
    return json.dumps(stored, ensure_ascii=False)


def _parsed(field: str, text: str) -> AppliedPolicy | None:
    """A record; None for one that was changed, or that another version wrote."""
    if len(text) > MAX_RECORD_CHARACTERS:
        return None
    try:
        stored = json.loads(text)
        policy = Policy(parse_tables(json.loads(stored["policy"])))
        number, at = _whole_number(field), _whole_number(stored["at"])
        signed = {name: str(value) for name, value in stored.get("signed", {}).items()}
        return AppliedPolicy(number, at, policy, str(stored["who"]), str(stored["why"]), signed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, FileUnusable):
        return None


def _whole_number(value: object) -> int:
    """A number of a record or a time in UNIX ms, before the year 2286.

    Raises:
        ValueError: it is neither.
    """
    if not _is_number(value):
        raise ValueError("no number")
    return int(str(value))


def _is_number(value: object) -> bool:
    return re.fullmatch("[0-9]{1,13}", str(value), re.ASCII) is not None


def seen_at(applied: AppliedPolicy, now_ms: int) -> AppliedPolicy:
    """A record that appeared while a worker ran: it was not applied earlier than when it was last looked for, whatever
    it says, so that a record with a time in the past ends no other."""
    return replace(applied, at=max(applied.at, now_ms))
