"""Output of `orders policy`: tables for people, JSON documents for programs."""

from collections.abc import Sequence
from typing import Any

from producers.arguments import plain_notation
from producers.cli.output import emit, note, when
from producers.cli.tables import print_table
from producers.printable import printable
from worker.execution.policy.applied import DELAY_MS, AppliedPolicy, InForce
from worker.execution.policy.document import to_json
from worker.execution.policy.rules import Policy
from worker.ledger.limits import Limit
from worker.operations.policy.changes import Change
from worker.operations.policy.service import PolicyView, Proposal, RuledExample, loosenings, signature_of
from worker.public_keys import PublicKeys

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


def emit_view(view: PolicyView) -> None:
    """Print what is in force as one JSON document."""
    in_force = [
        {
            **applied_json(each.applied),
            "until": each.until,
            "signature": signature_of(each.applied, view.keys),
            "policy": to_json(each.applied.policy.document),
        }
        for each in view.counting
    ]
    later = [
        {"at": each.at, "changes": [change.words for change in each.changes]} for each in loosenings(view.counting)
    ]
    file = {"path": view.path, "sha256": view.own.sha256 if view.own else None, "problem": view.problem}
    emit(
        {
            "mode": view.mode,
            "file": file,
            "file_is_applied": view.file_is_applied,
            "in_force": in_force,
            "loosens": later,
            "unreadable": view.unreadable,
        }
    )


def print_view(view: PolicyView) -> None:
    """Print what is in force for people."""
    print(printable(f"Mode (ORDERS_POLICY__MODE): {view.mode}."))
    if view.own is None:
        print(printable(f"This machine's file: {view.problem}."))
    else:
        same = "it is the applied policy" if view.file_is_applied else "it is not the applied policy: both count"
        print(printable(f"This machine's file: {view.path}, SHA-256 {view.own.sha256[:SHORT]}; {same}."))
    if view.unreadable:
        print(f"Records that can't be read: {view.unreadable}. Another version wrote them, or somebody changed them.")
    if view.counting:
        print()
        columns = ("policy", "applied", "counts until", "by", "signature", "why")
        print_table(columns, [_in_force_row(each, view.keys) for each in view.counting])
    else:
        print("No policy was ever applied.")
    for loosening in loosenings(view.counting):
        print(f"\nPermitted from {when(loosening.at)} on:")
        for change in loosening.changes:
            print(printable(f"  {change.words}"))
    shown = view.last if view.counting else view.own
    if shown:
        _print_rules(shown)


def _in_force_row(each: InForce, keys: PublicKeys | None) -> tuple[str, ...]:
    applied = each.applied
    until = when(each.until) or "another is applied"
    signature = signature_of(applied, keys)
    return applied.policy.sha256[:SHORT], when(applied.at), until, applied.who, signature, applied.why


def _print_rules(policy: Policy) -> None:
    for alias, rules in policy.document.withdrawals.items():
        print(printable(f"\n{alias}: other destinations: {rules.unlisted}"))
        if rules.to:
            columns = ("name", "asset", "network", "tag", "max", "approve above", "address")
            rows = [
                (
                    each.name,
                    each.asset,
                    each.network or "",
                    each.tag or "",
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
