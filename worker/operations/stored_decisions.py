"""What persons have decided on a held command, as it is stored, and what each decision is worth.

Workers verify decisions by the policy that they have (:mod:`worker.execution.policy.approvals`). A person who looks at
a held command is told beforehand whether one will count, by the approvers' keys of the policy that is at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from producers.printable import printable
from producers.signing import PublicKey
from worker.execution.policy.applied import PolicyRecords
from worker.execution.policy.rules import Policy
from worker.ledger.decisions import StoredDecision, read_decision
from worker.operations.approvals import HeldCommand
from worker.operations.policy.service import PolicyInvalid, read_policy

MAX_SHOWN = 100
"""How many stored decisions are told; workers look at no more."""


@dataclass(frozen=True, slots=True)
class Told:
    """A stored decision, for people."""

    who: str
    decision: str
    reason: str
    verdict: str
    """``signed by NAME``, or why it counts for nothing, or why that is not known."""


@dataclass(frozen=True, slots=True)
class Approvers:
    """The approvers' public keys by name, and where they are from."""

    keys: Mapping[str, PublicKey]
    source: str


def approvers_at_hand(client: redis.Redis, policy_file: str) -> Approvers | None:
    """Those of the policy file, or else of the policy that was applied last; None without a policy.

    Raises:
        LedgerUnavailable: the ledger can't be reached.
    """
    if policy_file:
        try:
            return Approvers(_keys(read_policy(policy_file)), "the policy file of this machine")
        except PolicyInvalid:
            pass
    policies = PolicyRecords(client).read().policies
    return Approvers(_keys(policies[-1].policy), "the policy that was applied last") if policies else None


def _keys(policy: Policy) -> Mapping[str, PublicKey]:
    return {name: PublicKey.from_text(text) for name, text in policy.document.approvers.items()}


def told(held: HeldCommand, approvers: Approvers | None, now_ms: int) -> list[Told]:
    """The stored decisions on a held command. What can't be read is told too."""
    found = []
    for text in held.hold.decisions[:MAX_SHOWN]:
        stored = read_decision(text)
        if stored is None:
            found.append(Told("?", "?", "", "counts for nothing: it can't be read"))
            continue
        each = stored.decision
        verdict = _verdict(held, stored, approvers, now_ms)
        found.append(Told(printable(each.who, 100), each.decision, printable(each.reason, 300), verdict))
    return found


def _verdict(held: HeldCommand, stored: StoredDecision, approvers: Approvers | None, now_ms: int) -> str:
    each = stored.decision
    if (each.command_id, each.fingerprint) != (held.record.command_id, held.fingerprint):
        return "counts for nothing: it is about another command, or other arguments"
    if now_ms >= each.until:
        return "counts for nothing: its time is over"
    if approvers is None:
        return "signature not checked: no policy is at hand here"
    key = approvers.keys.get(each.who)
    if key is None:
        return f"counts for nothing: no approver of {approvers.source}"
    if not stored.verifies(key):
        return "BAD SIGNATURE: it counts for nothing"
    if each.approves and each.who == held.hold.sealed_by:
        return "counts for nothing: its sender can't approve it"
    return f"signed by {printable(each.who, 100)}"
