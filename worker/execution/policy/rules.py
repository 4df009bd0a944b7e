"""How one policy rules a withdrawal."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from producers.commands import Withdraw, canonical_json
from producers.signing import PublicKey
from worker.execution.policy.document import AccountRules, Destination, PolicyDocument, duration_ms, to_json
from worker.execution.policy.rulings import Approval, Ruling
from worker.ledger.limits import Limit

UNLISTED = "unlisted"
"""The name of the rule for destinations that are not listed."""


@dataclass(frozen=True, slots=True)
class _Account:
    rules: AccountRules
    destinations: dict[tuple[str | None, ...], Destination]


class Policy:
    """A valid policy. It rules without asking anybody, and can't fail."""

    def __init__(self, document: PolicyDocument) -> None:
        self.document = document
        self.text = canonical_json(to_json(document)).decode()
        """The document as canonical JSON: comments, and the order and form of what is in a file, don't matter."""
        self._accounts = {
            alias.lower(): _Account(rules, {entry.key: entry for entry in rules.to})
            for alias, rules in document.withdrawals.items()
        }
        self._approvers = {name: PublicKey.from_text(text) for name, text in document.approvers.items()}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of :attr:`text`: by this a policy is named."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def has_account(self, alias: str) -> bool:
        """Whether there is a section for an account."""
        return alias.lower() in self._accounts

    def rule_of(self, command: Withdraw) -> str:
        """The name of the rule that applies to a withdrawal: its destination's, or :data:`UNLISTED`."""
        account = self._accounts.get(command.account)
        entry = account.destinations.get(_destination(command)) if account else None
        return entry.name if entry else UNLISTED

    def ruling(self, command: Withdraw) -> Ruling:
        """The ruling. It names rules, and no amount or address, because log lines show it.

        The limits count whichever rule permits the withdrawal.
        """
        account = self._accounts.get(command.account)
        if account is None:
            return Ruling(denied=f"it has no section [withdrawals.{command.account}]")
        rules, entry = account.rules, account.destinations.get(_destination(command))
        if entry is None and rules.unlisted == "deny":
            where = f"[[withdrawals.{command.account}.to]]"
            return Ruling(denied=f"no entry {where} has exactly this asset, address, network and tag")
        if entry is not None and entry.max is not None and command.qty > entry.max:
            return Ruling(denied=f"it is more than the rule {entry.name} permits in one withdrawal")
        return Ruling(limits=_limits(command, rules), approvals=self._approvals(command, rules, entry))

    def _approvals(self, command: Withdraw, rules: AccountRules, entry: Destination | None) -> tuple[Approval, ...]:
        if entry is None:
            return (Approval(UNLISTED, self._approvers, rules.approvals, duration_ms(rules.hold)),)
        if entry.approve_above is None or command.qty <= entry.approve_above:
            return ()
        needed, hold = entry.approvals or rules.approvals, entry.hold or rules.hold
        return (Approval(entry.name, self._approvers, needed, duration_ms(hold)),)


def _destination(command: Withdraw) -> tuple[str | None, ...]:
    return command.asset, command.address, command.network, command.tag


def _limits(command: Withdraw, rules: AccountRules) -> tuple[Limit, ...]:
    asset = command.asset.upper()
    return tuple(
        Limit(
            name=f"{each.asset} {each.window}",
            key=f"{command.account}/{each.key}",
            window_ms=each.window_ms,
            total=each.total,
            count=each.count,
        )
        for each in rules.limit
        if each.asset.upper() == asset
    )
