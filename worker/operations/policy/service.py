"""Showing, checking and applying withdrawal policies; it depends on neither a terminal nor a browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from producers.commands import Withdraw, parse_command
from producers.printable import printable
from worker.execution.policy.applied import AppliedPolicy, InForce, PolicyRecords, Records, in_force
from worker.execution.policy.rules import Policy
from worker.execution.policy.rulings import Ruling
from worker.execution.policy.withdrawals import policy_of_file
from worker.operations.operator import MAX_WHO_LENGTH, MAX_WHY_LENGTH
from worker.operations.policy.changes import Change, changes
from worker.watched_file import FileUnusable, read_file

MAX_CHANGES, MAX_CHANGE_LENGTH = 200, 400
"""How many changes the journal gets, and how many characters of each."""


class PolicyInvalid(Exception):
    """A policy file can't be used."""


def read_policy(path: str) -> Policy:
    """The policy in a file.

    Raises:
        PolicyInvalid: it can't be used, or no file is named.
    """
    if not path:
        raise PolicyInvalid("no file is named: give one, or set ORDERS_POLICY_FILE")
    try:
        return policy_of_file(read_file(Path(path)))
    except FileUnusable as error:
        raise PolicyInvalid(f"{path} can't be used: {error}") from None


@dataclass(frozen=True, slots=True)
class Loosening:
    """What will be permitted when an older policy counts no more."""

    at: int
    """UNIX ms."""
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A policy that may be applied, with what it changes."""

    policy: Policy
    before: Records
    changes: tuple[Change, ...]

    @property
    def is_first(self) -> bool:
        """Whether none was applied before, so that it counts at once."""
        return not self.before.policies

    @property
    def is_applied(self) -> bool:
        """Whether it is the one that was applied last."""
        return not self.is_first and self.before.policies[-1].policy.sha256 == self.policy.sha256


def propose(records: PolicyRecords, policy: Policy) -> Proposal:
    """What applying a policy would change. May raise :class:`~worker.ledger.base.LedgerUnavailable`."""
    before = records.read()
    last = before.policies[-1].policy if before.policies else None
    return Proposal(policy, before, tuple(changes(last, policy)))


def apply(records: PolicyRecords, proposal: Proposal, *, who: str, why: str) -> AppliedPolicy:
    """Put a policy on record.

    Raises:
        PolicyChanged: another one was applied since it was proposed.
        LedgerUnavailable: the ledger does not answer.
    """
    told = [printable(each.words, MAX_CHANGE_LENGTH) for each in proposal.changes]
    if len(told) > MAX_CHANGES:
        told = [*told[:MAX_CHANGES], f"and {len(told) - MAX_CHANGES} more"]
    who, why = printable(who, MAX_WHO_LENGTH), printable(why, MAX_WHY_LENGTH)
    return records.apply(proposal.policy, proposal.before, who=who, why=why, changes=told)


def loosenings(counting: Sequence[InForce]) -> list[Loosening]:
    """What the last policy permits that an older one, which still counts, does not."""
    found = []
    for each in counting[:-1]:
        looser = [change for change in changes(each.applied.policy, counting[-1].applied.policy) if change.loosens]
        if each.until is not None and looser:
            found.append(Loosening(each.until, tuple(looser)))
    return found


def counting_now(records: Records, now_ms: int) -> list[InForce]:
    """The policies on record that count now, the last one last."""
    return in_force(records.policies, now_ms)


@dataclass(frozen=True, slots=True)
class RuledExample:
    """How a policy rules one withdrawal."""

    rule: str
    ruling: Ruling

    @property
    def verdict(self) -> str:
        """``denied``, ``held`` or ``permitted``."""
        return "denied" if self.ruling.denied else "held" if self.ruling.approvals else "permitted"


def rule_example(policy: Policy, arguments: Mapping[str, str]) -> RuledExample:
    """How a policy rules a withdrawal with these arguments, without regard to what was withdrawn before.

    Raises:
        InvalidCommand: the arguments make no withdrawal.
    """
    command = cast("Withdraw", parse_command(Withdraw.task_name(), arguments))
    return RuledExample(policy.rule_of(command), policy.ruling(command))
