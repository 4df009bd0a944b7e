"""The checker sees every kind of wrong: one that calls everything clean would make the suites above it worthless."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from producers.commands import parse_command
from tests.support.checker.commands import ALL_KEYS, KEYS, KRAKEN, PATHS, Sent, handle_of
from tests.support.checker.processes import ERRORS, Evidence, check

WITHDRAW = Sent(
    "w-1", "orders.withdraw", {"account": "Main", "asset": "ETH", "qty": "0.50", "address": "0xa", "deadline": 1500}
)


def execution(path: str = "withdraw", time_ms: int = 1000, account: str = "main", **fields: str) -> SimpleNamespace:
    """Something that took effect at the venue: the withdrawal, unless said otherwise."""
    withdrawal = {"asset": "ETH", "qty": "0.5", "address": "0xa", "timestamp": "999"} if path == "withdraw" else {}
    return SimpleNamespace(
        method="POST", path=f"/auth/{path}", fields={**withdrawal, **fields}, time_ms=time_ms, api_key=KEYS[account]
    )


def entry(at: int, event: str, outcome: str = "", token: str = "host:1:aa") -> tuple[int, dict[str, str]]:
    """An entry of the journal."""
    return at, {"event": event, "id": "w-1", "token": token, "outcome": outcome}


BEGIN, SETTLED_REJECTED = entry(998, "begin"), entry(1001, "settle", "rejected")
SETTLED = entry(1001, "settle", "accepted")


def stored(command: Sent = WITHDRAW, **changes: Any) -> dict[str, Any]:
    """The results in the backend: one, as Celery stores it."""
    report = {
        "command_id": command.command_id,
        "command": command.kind,
        "account": "main",
        "venue": "everstrike",
        "outcome": "accepted",
        "reason": "ok",
        "http_status": 200,
        "result": {"address": "0xa"},
        "positions": None,
        "attempts": 1,
        "fingerprint": parse_command(command.task, command.kwargs).fingerprint,
        **changes,
    }
    if error := ERRORS.get(report["outcome"]):
        return {"w-1": {"status": "FAILURE", "result": {"exc_type": error, "exc_message": [report]}}}
    return {"w-1": {"status": "SUCCESS", "result": report}}


TRUE = Evidence(
    sent={"w-1": WITHDRAW},
    results=stored(),
    journal=[BEGIN, SETTLED],
    executions=[execution()],
    arrivals=[execution()],
    requests={"w-1": 1},
)
REJECTED = {"results": stored(outcome="rejected", reason="refused"), "journal": [BEGIN, SETTLED_REJECTED]}
NO_REPORT = {"status": "FAILURE", "result": {"exc_type": "KeyError", "exc_message": ["x"]}}


def test_evidence_without_contradiction_is_clean() -> None:
    """Executed once, reported once, recorded before it was sent."""
    findings = check(TRUE)
    assert findings.clean, findings.first()
    assert findings.outcomes == {("withdraw", "accepted", "ok"): 1}


def test_what_was_held_and_approved_is_clean() -> None:
    journal = [entry(997, "held", token=""), entry(998, "approved", token=""), BEGIN, SETTLED]
    assert check(replace(TRUE, journal=journal)).clean


def test_an_unknown_is_true_whether_or_not_it_was_executed() -> None:
    """An unknown claims nothing."""
    ended = [BEGIN, entry(1001, "settle", "unknown")]
    unknown = replace(TRUE, results=stored(outcome="unknown", reason="lost_reply"), journal=ended)
    assert check(unknown).clean
    assert check(replace(unknown, executions=[])).clean
    assert check(unknown).unknown == {"lost_reply": 1}


UNTRUE: dict[str, dict[str, Any]] = {
    "accepted and never executed": {"executions": [], "arrivals": []},
    "rejected and executed": REJECTED,
    "another command's report": {"results": stored(command_id="w-2")},
    "another command's fingerprint": {"results": stored(fingerprint="0" * 64)},
    "another command's answer": {"results": stored(result={"address": "0xb"})},
    "no report": {"results": {"w-1": NO_REPORT}},
    "Celery says otherwise": {"results": {"w-1": {**stored()["w-1"], "status": "FAILURE"}}},
    "attempts counted low": {"requests": {"w-1": 2}},
    "attempts counted high": {"results": stored(attempts=2)},
    "executed and nothing sent": {"results": stored(attempts=0), "requests": {}},
    "more arrived than is reported": {"arrivals": [execution(), execution()]},
    "signed too late": {"executions": [execution(timestamp="1500")]},
    "executed before it was recorded": {"executions": [execution(time_ms=900)]},
    "executed and never begun": {"journal": []},
    "the journal never ends it": {"journal": [BEGIN]},
    "the journal ends it otherwise": {"journal": [BEGIN, SETTLED_REJECTED]},
    "the journal ends it twice": {"journal": [BEGIN, SETTLED_REJECTED, entry(1002, "settle", "accepted")]},
    "begun by two": {
        "journal": [BEGIN, entry(999, "begin", token="other"), entry(1001, "settle", "accepted", "other")]
    },
    "settled by one that did not begin it": {"journal": [BEGIN, entry(1001, "settle", "accepted", "other")]},
    "refused after it was begun": {"journal": [BEGIN, entry(1001, "refuse", "accepted")]},
    "begun though nobody approved it": {"journal": [entry(998, "held"), BEGIN, SETTLED]},
    "abandoned without a begin": {"journal": [entry(998, "abandon", "unknown"), BEGIN, SETTLED]},
    "of another account": {"executions": [execution(), execution(account="desk-1")]},
    "an answer about another asset": {"results": stored(result={"address": "0xa", "asset": "BTC"})},
    "a record that says no": {"results": stored(result={"address": "0xa", "status": "REJECTED"})},
    "a record that says no, found by a reconcile": {
        "results": stored(result={"address": "0xa", "status": "FAILED"}, http_status=None),
        "undone": frozenset({"w-1"}),
    },
    "the beginning of a key": {"results": stored(message=f"no {KEYS['desk-1'][:20]}…")},
    "a key in a log": {"leaks": ["a key is in the log w0-1.log"]},
    "nobody asked for it": {"executions": [execution(), execution(qty="7")]},
}


@pytest.mark.parametrize("lie", UNTRUE)
def test_an_untrue_report_is_seen(lie: str) -> None:
    """Each by itself, in evidence that is true otherwise."""
    findings = check(replace(TRUE, **UNTRUE[lie]))
    assert findings.untrue
    assert not findings.lost
    assert not findings.twice


def test_what_the_venue_undid_may_be_called_rejected_or_accepted() -> None:
    """The venue executed it and rejected it later: either word is true."""
    undone = replace(TRUE, undone=frozenset({"w-1"}))
    assert check(undone).clean
    assert check(replace(undone, **REJECTED)).clean


@pytest.mark.parametrize(
    ("task", "arguments", "executed", "repeatable"),
    [
        ("orders.cancel", {"order_id": "order-1"}, execution("cancel", id="order-1"), True),
        ("orders.close", {"pair": "P_1"}, execution("close", pair="P_1"), True),
        ("orders.close", {"pair": "P_1", "qty": "1"}, execution("close", pair="P_1", qty="1"), False),
        ("orders.withdraw", WITHDRAW.kwargs, execution(), False),
    ],
    ids=["a cancel", "a whole close", "a close in part", "a withdrawal"],
)
def test_a_second_execution_is_seen_unless_it_changes_nothing(
    task: str, arguments: dict[str, Any], executed: SimpleNamespace, repeatable: bool
) -> None:
    """A cancel and a close of a whole position at market have the effect of one when they are executed twice."""
    command = Sent("w-1", task, {"account": "main", **arguments})
    again = SimpleNamespace(**{**vars(executed), "time_ms": 1001})
    found = check(replace(TRUE, sent={"w-1": command}, executions=[executed, again]))
    assert len(found.twice) == (not repeatable)


ORDER = Sent("w-1", "orders.submit", {"account": "kraken-1", "pair": "PF_XBTUSD", "side": "buy", "qty": "1"})
HANDLE = handle_of(ORDER, "http://localhost:1")


def order_made(handle: str = HANDLE) -> SimpleNamespace:
    """An order that took effect at an exchange."""
    path, key = PATHS[KRAKEN, "submit"], ALL_KEYS["kraken-1"]
    return SimpleNamespace(method="POST", path=path, fields={"cliOrdId": handle}, time_ms=1000, api_key=key)


AT_EXCHANGE = replace(
    TRUE,
    sent={"w-1": ORDER},
    results=stored(ORDER, account="kraken-1", venue=KRAKEN, result={"status": "placed", "cliOrdId": HANDLE}),
    executions=[order_made()],
    arrivals=[order_made()],
    exchange_url="http://localhost:1",
    orders_made={HANDLE: 1},
)


def test_an_order_at_an_exchange_is_known_by_its_client_order_id() -> None:
    """By 128 bits of the SHA-256 of the account and the command's id."""
    assert check(AT_EXCHANGE).clean, check(AT_EXCHANGE).first()
    assert check(AT_EXCHANGE).by_venue == {(KRAKEN, "submit", "accepted"): 1}
    assert HANDLE == "772be7f85ad2a24e8355580db8bf6d4f"


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("twice", {"executions": [order_made(), order_made()], "orders_made": {HANDLE: 2}}),
        ("untrue", {"executions": [order_made("another")], "orders_made": {"another": 1}}),
        ("untrue", {"orders_made": {HANDLE: 2}}),
        ("untrue", {"orders_made": {}}),
        ("untrue", {"exchange_url": "http://localhost:2"}),
        ("untrue", {"arrivals": [order_made(), order_made()]}),
        ("untrue", {"sent": {"w-1": replace(ORDER, kwargs={**ORDER.kwargs, "deadline": 1000})}}),
    ],
)
def test_what_is_wrong_at_an_exchange_is_seen(kind: str, changes: dict[str, Any]) -> None:
    """By the executions and by the exchange's own book."""
    assert getattr(check(replace(AT_EXCHANGE, **changes)), kind)


@pytest.mark.parametrize("leverage", ["7777", "10"])
def test_positions_from_a_stale_answer_are_seen(leverage: str) -> None:
    """By the mark that the rig puts into each."""
    query = Sent("w-1", "orders.positions", {"account": "bz", "contract_id": 101})
    results = stored(query, account="bz", venue="bitz", positions=[{"leverage": leverage}])
    findings = check(Evidence(sent={"w-1": query}, results=results))
    assert bool(findings.untrue) is (leverage == "7777"), findings.first()


def test_a_worker_that_ended_by_itself_is_seen() -> None:
    """Even if every report is true."""
    assert not check(replace(TRUE, ended_workers=["worker 7"])).clean


@pytest.mark.parametrize("executed", [True, False])
def test_a_command_without_a_result_is_lost(executed: bool) -> None:
    """Whatever happened at the venue."""
    assert check(replace(TRUE, results={}, executions=[execution()] if executed else [])).lost
