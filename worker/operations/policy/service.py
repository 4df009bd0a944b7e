"""Showing, checking and applying withdrawal policies; it depends on neither a terminal nor a browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from producers.commands import Withdraw, parse_command
from producers.printable import printable
from producers.signing import PrivateKey
from worker.execution.policy.applied import AppliedPolicy, InForce, PolicyRecords, Records, in_force
from worker.execution.policy.rules import Policy
from worker.execution.policy.rulings import Ruling
from worker.execution.policy.withdrawals import policy_of_file
from worker.operations.operator import MAX_WHO_LENGTH, MAX_WHY_LENGTH
from worker.operations.policy.changes import Change, changes
from worker.operations.signed_words import Word, entry_verdict
from worker.public_keys import PublicKeys
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
        raise PolicyInvalid("no file is named: set ORDERS_POLICY_FILE; `orders policy check` and `apply` take FILE too")
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


def apply(
    records: PolicyRecords, proposal: Proposal, *, who: str, why: str, now_ms: int, key: PrivateKey | None = None
) -> AppliedPolicy:
    """Put a policy on record, signed where there is a ``key``, whose owner is then ``who``.

    Raises:
        PolicyChanged: another one was applied since it was proposed.
        LedgerUnavailable: the ledger does not answer.
    """
    told = [printable(each.words, MAX_CHANGE_LENGTH) for each in proposal.changes]
    if len(told) > MAX_CHANGES:
        told = [*told[:MAX_CHANGES], f"and {len(told) - MAX_CHANGES} more"]
    who, why = printable(who, MAX_WHO_LENGTH), printable(why, MAX_WHY_LENGTH)
    signed = Word("policy", who, why, now_ms, reference=proposal.policy.sha256).signed(key)
    signed.pop("reference", None)  # the journal's entry has it as `sha256`
    return records.apply(proposal.policy, proposal.before, who=who, why=why, signed=signed, changes=told)


def signature_of(applied: AppliedPolicy, keys: PublicKeys | None) -> str:
    """Whose word a policy on record is, as the journal says it of its entry."""
    fields = {"event": "policy", "who": applied.who, "why": applied.why, "sha256": applied.policy.sha256}
    return entry_verdict({**applied.signed, **fields}, keys, applied.at)


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
class PolicyView:
    """What an operator sees of the policies, on one machine and on record."""

    mode: str
    path: str
    own: Policy | None
    """The policy in this machine's file."""
    problem: str
    """Why there is none."""
    counting: Sequence[InForce]
    unreadable: int
    keys: PublicKeys | None

    @property
    def file_is_applied(self) -> bool:
        """Whether the file has the policy that was applied last."""
        return self.own is not None and bool(self.counting) and self.last.sha256 == self.own.sha256

    @property
    def last(self) -> Policy:
        """The policy that was applied last, where there is one."""
        return self.counting[-1].applied.policy


def view(mode: str, path: str, records: Records, keys: PublicKeys | None, now_ms: int) -> PolicyView:
    """What is in force, by this machine's settings and by the records."""
    try:
        own, problem = read_policy(path), ""
    except PolicyInvalid as error:
        own, problem = None, str(error)
    return PolicyView(mode, path, own, problem, counting_now(records, now_ms), records.unreadable, keys)


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
