"""Whether the persons that a policy asks for have approved a command. Pure: what the ledger's server stores is verified
here against the public keys in the policy, and counts for nothing else."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from producers.printable import printable
from worker.execution.policy.rulings import Approval
from worker.ledger.decisions import StoredDecision, read_decision

MAX_REASON_CHARACTERS = 300
MAX_DECISIONS = 100
"""How many stored decisions are looked at."""


@dataclass(frozen=True, slots=True)
class HeldCommand:
    """What an approval must be about."""

    command_id: str
    fingerprint: str
    senders: frozenset[str]
    """Who has sealed it, whose own approval does not count."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the persons have decided so far."""

    denied: str = ""
    """Who has denied it and why; empty when nobody has."""
    missing: tuple[str, ...] = ()
    """Whose approval is still needed, a phrase for each rule."""

    @property
    def approved(self) -> bool:
        """Whether it may be sent."""
        return not self.denied and not self.missing


def standing(approvals: Sequence[Approval], stored: Iterable[str], command: HeldCommand, now_ms: int) -> Standing:
    """What these stored decisions amount to under all of these rules. One denial by anyone who may approve counts."""
    about = list(_about(islice(stored, MAX_DECISIONS), command, now_ms))
    for each in about:
        if not each.decision.approves and any(_signed_by_approver(rule, each) for rule in approvals):
            reason = printable(each.decision.reason, MAX_REASON_CHARACTERS)
            return Standing(denied=f"denied by {each.decision.who}{': ' if reason else ''}{reason}")
    given = [each for each in about if each.decision.approves and each.decision.who not in command.senders]
    return Standing(missing=tuple(words for rule in approvals if (words := _missing(rule, given))))


def _about(stored: Iterable[str], command: HeldCommand, now_ms: int) -> Iterator[StoredDecision]:
    """The decisions on this command that still count, whoever has written them."""
    for each in filter(None, map(read_decision, stored)):
        decision = each.decision
        same = (decision.command_id, decision.fingerprint) == (command.command_id, command.fingerprint)
        if same and now_ms < decision.until:
            yield each


def _signed_by_approver(rule: Approval, stored: StoredDecision) -> bool:
    key = rule.approvers.get(stored.decision.who)
    return key is not None and stored.verifies(key)


def _missing(rule: Approval, given: Sequence[StoredDecision]) -> str:
    """Who else must approve by this rule; empty when enough have. Two names with one key are one person."""
    persons = {each.decision.who for each in given if _signed_by_approver(rule, each)}
    left = rule.needed - len({rule.approvers[who].to_text() for who in persons})
    if left <= 0:
        return ""
    others = ", ".join(sorted(set(rule.approvers) - persons)) or "nobody"
    return f"rule {printable(rule.rule, 100)}: {left} more of {others}"
