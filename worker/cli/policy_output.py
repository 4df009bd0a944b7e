"""Output of `orders policy`: tables for people, JSON documents for programs."""

from collections.abc import Sequence
from typing import Any

from producers.arguments import plain_notation
from producers.cli.output import emit, note, print_table, when
from producers.printable import printable
from worker.execution.policy.applied import DELAY_MS, AppliedPolicy, InForce
from worker.execution.policy.document import to_json
from worker.execution.policy.rules import Policy
from worker.ledger.base import Limit
from worker.operations.policy.changes import Change
from worker.operations.policy.service import Proposal, RuledExample, loosenings

SHORT = 12
"""Characters of a SHA-256 in tables."""


def applied_json(applied: AppliedPolicy) -> dict[str, Any]:
    """A policy on record; ``at`` is UNIX ms."""
    return {"at": applied.at, "sha256": applied.policy.sha256, "who": applied.who, "why": applied.why}


def change_json(change: Change) -> dict[str, Any]:
    """A change in words."""
    return {"change": change.words, "loosens": change.loosens}


def example_json(example: RuledExample) -> dict[str, Any]:
    """How a withdrawal is ruled."""
    ruling = example.ruling
    return {
        "ruling": example.verdict,
        "rule": example.rule,
        "why": ruling.denied,
        "limits": [{"name": each.name, **_limit_fields(each)} for each in ruling.limits],
        "approvals": [
            {"rule": each.rule, "needed": each.needed, "approvers": sorted(each.approvers), "hold_ms": each.hold_ms}
            for each in ruling.approvals
        ],
    }


def _limit_fields(limit: Limit) -> dict[str, Any]:
    total = None if limit.total is None else plain_notation(limit.total)
    return {name: value for name, value in (("total", total), ("count", limit.count)) if value is not None}


def emit_checked(policy: Policy, warnings: Sequence[str], notes: Sequence[str], example: RuledExample | None) -> None:
    """Print what was checked as one JSON document."""
    accounts = [alias.lower() for alias in policy.document.withdrawals]
    ruled = {"withdrawal": example_json(example)} if example else {}
    emit({"sha256": policy.sha256, "accounts": accounts, "warnings": warnings, "notes": notes, **ruled})


def print_checked(policy: Policy, warnings: Sequence[str], notes: Sequence[str], example: RuledExample | None) -> None:
    """Print what was checked for people."""
    names = ", ".join(policy.document.withdrawals) or "no account"
    print(printable(f"The policy is valid, for {names}. SHA-256 {policy.sha256}"))
    for each in warnings:
        note(f"warning: {each}")
    for each in notes:
        note(f"note: {each}")
    if example:
        print_example(example)


def print_example(example: RuledExample) -> None:
    """Print how a withdrawal is ruled, and by what."""
    ruling = example.ruling
    if ruling.denied:
        print(printable(f"Denied: {ruling.denied}."))
        return
    print(printable(f"{example.verdict.capitalize()} by the rule {example.rule}."))
    for approval in ruling.approvals:
        names = ", ".join(sorted(approval.approvers))
        hours = f"{approval.hold_ms / 3_600_000:g} h"
        print(printable(f"It needs {approval.needed} of the approvers {names}, within {hours}."))
    for limit in ruling.limits:
        fields = ", ".join(f"{name} {value}" for name, value in _limit_fields(limit).items())
        print(printable(f"It counts for the limit {limit.name}: {fields}."))


def shown_json(
    mode: str, path: str, own: Policy | None, problem: str, counting: Sequence[InForce], unreadable: int
) -> dict[str, Any]:
    """What is in force on this machine and on record."""
    return {
        "mode": mode,
        "file": {"path": path, "sha256": own.sha256 if own else None, "problem": problem},
        "file_is_applied": _is_applied(own, counting),
        "in_force": [
            {**applied_json(each.applied), "until": each.until, "policy": to_json(each.applied.policy.document)}
            for each in counting
        ],
        "loosens": [
            {"at": each.at, "changes": [change.words for change in each.changes]} for each in loosenings(counting)
        ],
        "unreadable": unreadable,
    }


def _is_applied(own: Policy | None, counting: Sequence[InForce]) -> bool:
    return own is not None and bool(counting) and counting[-1].applied.policy.sha256 == own.sha256


def print_shown(
    mode: str, path: str, own: Policy | None, problem: str, counting: Sequence[InForce], unreadable: int
) -> None:
    """Print what is in force on this machine and on record."""
    print(printable(f"Mode (ORDERS_POLICY__MODE): {mode}."))
    if own is None:
        print(printable(f"This machine's file: {problem}."))
    else:
        same = "it is the applied policy" if _is_applied(own, counting) else "it is not the applied policy: both count"
        print(printable(f"This machine's file: {path}, SHA-256 {own.sha256[:SHORT]}; {same}."))
    if unreadable:
        print(f"Records that can't be read: {unreadable}. Another version wrote them, or somebody changed them.")
    if not counting:
        print("No policy was ever applied.")
    else:
        print()
        rows = [
            (
                each.applied.policy.sha256[:SHORT],
                when(each.applied.at),
                when(each.until) or "another is applied",
                each.applied.who,
                each.applied.why,
            )
            for each in counting
        ]
        print_table(("policy", "applied", "counts until", "by", "why"), rows)
    for loosening in loosenings(counting):
        print(f"\nPermitted from {when(loosening.at)} on:")
        for change in loosening.changes:
            print(printable(f"  {change.words}"))
    shown = counting[-1].applied.policy if counting else own
    if shown:
        _print_rules(shown)


def _print_rules(policy: Policy) -> None:
    for alias, rules in policy.document.withdrawals.items():
        print(printable(f"\n{alias}: other destinations: {rules.unlisted}"))
        if rules.to:
            columns = ("name", "asset", "network", "max", "approve above", "address")
            rows = [
                (
                    each.name,
                    each.asset,
                    each.network or "",
                    "" if each.max is None else plain_notation(each.max),
                    "" if each.approve_above is None else plain_notation(each.approve_above),
                    each.address,
                )
                for each in rules.to
            ]
            print_table(columns, rows)
        for each in rules.limit:
            total = "" if each.total is None else f" total {plain_notation(each.total)}"
            count = "" if each.count is None else f" count {each.count}"
            print(printable(f"limit: {each.asset} in {each.window}:{total}{count}"))


def print_changes(proposal: Proposal) -> None:
    """Print what a policy would change, and when each change would count."""
    first = proposal.is_first
    print("This is the first policy that is applied: all of it counts at once.\n" if first else "Changes:\n")
    delay = f"loosens: counts in {DELAY_MS // 3_600_000} h"
    rows = [
        ("at once" if first else delay if each.loosens else "tightens: at once", each.words)
        for each in proposal.changes
    ]
    print_table(("counts", "change"), rows)
    print()


def print_applied(applied: AppliedPolicy, proposal: Proposal) -> None:
    """Print what was done."""
    print(f"Applied: policy {applied.policy.sha256[:SHORT]}.")
    if not proposal.is_first and any(each.loosens for each in proposal.changes):
        print(f"What it loosens counts from {when(applied.at + DELAY_MS)} on. Give the workers the same file.")
    else:
        print("It counts at once, as soon as workers have read it. Give them the same file.")
