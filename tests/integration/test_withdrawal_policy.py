"""Withdrawals under a policy, by real workers: denied, capped, permitted; a policy that changes; a broken one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import logs, run_orders
from tests.support.policies import POLICY, TREASURY
from tests.support.stack import Stack
from tests.support.waiting import until

WITHDRAWAL = {"account": "main", "asset": "ETH", "qty": "0.01", "address": "0xabc"}
ELSEWHERE = {**WITHDRAWAL, "address": "0xa77ac4e5", "qty": "0.123456"}
NEW = TREASURY.replace("treasury", "new").replace("0xabc", "0xa77ac4e5")
LOOSE = POLICY.replace("[approvers]", f"{NEW}\n[approvers]")


def write(path: Path, text: str) -> None:
    """Replace the file in one step."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)  # noqa: PTH105


def end_of(stack: Stack, arguments: dict[str, str]) -> tuple[str, str]:
    return stack.ended(stack.send("orders.withdraw", **arguments)).outcome


SENT, DENIED = ("accepted", "ok"), ("not_sent", "denied")


def test_a_policy_denies_caps_permits_and_changes_while_the_worker_runs(
    make_bed: Callable[..., Stack],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "policy.toml"
    write(path, POLICY)
    soon = {"ORDERS_LEDGER__INTENT_SECONDS": "1"}  # the records are read twice as often as this
    stack = make_bed(ORDERS_POLICY__MODE="require", ORDERS_POLICY_FILE=str(path), **soon)
    stack.reset_venue()
    orders = run_orders(stack.worker.environment, capsys, monkeypatch)
    applied = orders("policy", "apply", "--reason", "the first", "--who", "ann", "--yes", "--json")
    assert (applied.code, applied.document["first"]) == (0, True)

    assert end_of(stack, WITHDRAWAL) == SENT
    assert end_of(stack, {**WITHDRAWAL, "qty": "5.1"}) == DENIED
    denied = stack.ended(stack.send("orders.withdraw", **ELSEWHERE))
    assert denied.outcome == DENIED
    assert "no entry [[withdrawals.main.to]]" in denied.report["message"]
    assert len(stack.venue.executions(path="/auth/withdraw")) == len(stack.venue.arrivals(path="/auth/withdraw")) == 1
    text = logs(stack)
    assert "denied id=" in text
    assert (ELSEWHERE["address"] in text, ELSEWHERE["qty"] in text) == (False, False)

    write(path, LOOSE)
    until(lambda: "is not the applied policy" in logs(stack), "the worker sees the file")
    assert end_of(stack, ELSEWHERE) == DENIED, "the applied policy still denies it"
    applied = orders("policy", "apply", "--reason", "a new address", "--yes", "--json")
    assert [each["loosens"] for each in applied.document["changes"]] == [True]
    until(lambda: logs(stack).count("file is the applied policy") == 2, "the worker sees the record")
    assert end_of(stack, ELSEWHERE) == DENIED, "it loosens, and counts tomorrow"
    (loosens,) = orders("policy", "show", "--json").document["loosens"]
    assert loosens["at"] == applied.document["applied"]["at"] + 86_400_000

    write(path, POLICY.replace('max = "5"', 'max = "0.005"'))
    until(lambda: end_of(stack, WITHDRAWAL) == DENIED, "what is tighter counts at once", every=0.2)
    write(path, "[withdrawals")
    until(lambda: "can't be used, the last valid one counts" in logs(stack), "the worker sees the broken file")
    assert end_of(stack, {**WITHDRAWAL, "qty": "0.004"}) == SENT


def test_warn_sends_everything_and_says_what_would_be_denied(make_bed: Callable[..., Stack], tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write(path, POLICY)
    stack = make_bed(ORDERS_POLICY__MODE="warn", ORDERS_POLICY_FILE=str(path))
    stack.reset_venue()
    assert [end_of(stack, each) for each in (WITHDRAWAL, ELSEWHERE, {**WITHDRAWAL, "qty": "2"})] == [SENT] * 3
    warnings = [line for line in logs(stack).splitlines() if "policy_warning id=" in line]
    assert ["denied" in line for line in warnings] == [True, False]
    assert "held for approval by the rule treasury" in warnings[1]
    assert not any(ELSEWHERE["address"] in line for line in warnings)


def test_require_does_not_start_with_a_broken_policy(make_bed: Callable[..., Stack], tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write(path, POLICY.replace('max = "5"', "max = 5.0"))
    stack = make_bed(started=0, ORDERS_POLICY__MODE="require", ORDERS_POLICY_FILE=str(path))
    stack.workers[0].container.start()
    until(lambda: stack.workers[0].container.status == "exited", "the worker ends")
    assert "the worker does not start: ORDERS_POLICY__MODE is require, and the file" in logs(stack)
    assert "to[1].max must be a text in quotes" in logs(stack)
