"""What one withdrawal policy changes against another, in words, and whether it loosens.

The words are for people. When a change counts does not depend on them: see :mod:`worker.execution.policy.applied`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from worker.execution.policy.document import PolicyDocument, duration_ms, to_json
from worker.execution.policy.rules import Policy

_UNLIMITED = Decimal("Infinity")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two policies."""

    words: str
    loosens: bool
    """Whether it permits what was not permitted before; then it counts only after the delay."""


def changes(before: Policy | None, after: Policy) -> list[Change]:
    """What ``after`` changes against ``before``; all of it is new where there was none."""
    old, new = _entries(before.document) if before else {}, _entries(after.document)
    found = []
    for name in sorted(old.keys() | new.keys()):
        is_limit = ": limit " in name
        if name not in old:
            found.append(Change(f"added {name} ({_in_words(new[name])})", loosens=not is_limit))
        elif name not in new:
            found.append(Change(f"removed {name} ({_in_words(old[name])})", loosens=is_limit))
        else:
            found += _field_changes(name, old[name], new[name])
    return found


def _entries(document: PolicyDocument) -> dict[str, Mapping[str, str]]:
    """The entries of a policy by their names, each with its fields as texts."""
    found: dict[str, Mapping[str, str]] = {}
    stored = to_json(document).get("withdrawals", {})
    for alias, rules in document.withdrawals.items():
        account = {"unlisted": rules.unlisted, "approvals": str(rules.approvals), "hold": rules.hold}
        found[f"account {alias.lower()}"] = account
        fields = stored[alias]
        for each in fields.get("to", []):
            asked = {name: account[name] for name in ("approvals", "hold") if "approve_above" in each}
            found[f"{alias.lower()}: to {each['name']}"] = {**asked, **_texts(each, "name")}
        for rule, each in zip(rules.limit, fields.get("limit", []), strict=True):
            found[f"{alias.lower()}: limit {rule.asset} {rule.window}"] = _texts(each, "asset", "window")
    found |= {f"approver {name}": {"key": key} for name, key in document.approvers.items()}
    return found


def _texts(entry: Mapping[str, object], *without: str) -> dict[str, str]:
    return {name: str(value) for name, value in entry.items() if name not in without}


def _in_words(fields: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())


def _field_changes(entry: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    return [
        Change(f"{entry}: {name} {old.get(name, 'none')} -> {new.get(name, 'none')}", _loosens(name, old, new))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _loosens(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether a field's new value permits more; what is not known to be tighter counts as looser."""
    if name in ("max", "approve_above", "total", "count"):
        return Decimal(new.get(name, _UNLIMITED)) > Decimal(old.get(name, _UNLIMITED))
    if name == "approvals":
        return int(new.get(name, 0)) < int(old.get(name, 0))
    if name == "hold":
        return duration_ms(new.get(name, "")) > duration_ms(old.get(name, ""))
    return not (name == "unlisted" and new[name] == "deny")
