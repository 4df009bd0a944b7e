"""The judge sees every kind of wrong: a judge that calls everything clean would make the whole suite worthless."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from producers.commands import parse_command
from tests.faults.schedule import EVERY, LIES_ABOUT, draw
from tests.faults.traffic import KEYS, Mix, Sent
from tests.support.checker.processes import Evidence, judge

WITHDRAW = Sent(
    "w-1", "orders.withdraw", {"account": "Main", "asset": "ETH", "qty": "0.50", "address": "0xa", "deadline": 1500}
)
TOKEN = "host:1:aa"


@dataclass(frozen=True)
class Happened:
    """One thing in the venue's book, or one request."""

    path: str
    fields: Mapping[str, str]
    time_ms: int = 1000
    api_key: str = "demo-everstrike-key"


TOOK_EFFECT = Happened(
    "/auth/withdraw", {"asset": "ETH", "qty": "0.5", "address": "0xa", "timestamp": "999"}, time_ms=1000
)
REPORT: dict[str, Any] = {
    "command_id": "w-1",
    "command": "withdraw",
    "account": "main",
    "venue": "everstrike",
    "outcome": "accepted",
    "reason": "ok",
    "http_status": 200,
    "result": {"address": "0xa"},
    "positions": None,
    "attempts": 1,
    "fingerprint": parse_command(WITHDRAW.task, WITHDRAW.kwargs).fingerprint,
}


def entry(at: int, event: str, outcome: str = "", token: str = TOKEN) -> tuple[int, dict[str, str]]:
    """A line of the journal."""
    return at, {"event": event, "id": "w-1", "token": token, "outcome": outcome}


def stored(**changes: Any) -> dict[str, Any]:
    """A result as Celery stores it."""
    report = {**REPORT, **changes}
    error = {"rejected": "OrderRejected", "not_sent": "OrderNotSent", "unknown": "OrderUnknown"}.get(report["outcome"])
    if error is None:
        return {"status": "SUCCESS", "result": report}
    return {"status": "FAILURE", "result": {"exc_type": error, "exc_message": [report]}}


TRUE = Evidence(
    sent={"w-1": WITHDRAW},
    results={"w-1": stored()},
    journal=[entry(998, "begin"), entry(1001, "settle", "accepted")],
    executions=[TOOK_EFFECT],
    arrivals=[TOOK_EFFECT],
    left={"w-1": 1},
)


def test_what_is_true_is_clean() -> None:
    """Executed once, reported once, written down before."""
    findings = judge(TRUE)
    assert findings.clean, findings.first()
    assert findings.outcomes == {("withdraw", "accepted", "ok"): 1}


def test_an_unknown_is_true_either_way() -> None:
    """Executed or not: nothing was claimed."""
    ended = [entry(998, "begin"), entry(1001, "settle", "unknown")]
    doubt = replace(TRUE, results={"w-1": stored(outcome="unknown", reason="lost_reply")}, journal=ended)
    assert judge(doubt).clean
    assert judge(replace(doubt, executions=[])).clean
    assert judge(doubt).unknown == {"lost_reply": 1}


REJECTED = stored(outcome="rejected", reason="refused")
SETTLED_REJECTED = [entry(998, "begin"), entry(1001, "settle", "rejected")]

STRAY = replace(TOOK_EFFECT, fields={**TOOK_EFFECT.fields, "qty": "7"})

UNTRUE: dict[str, dict[str, Any]] = {
    "accepted and never executed": {"executions": [], "arrivals": []},
    "rejected and executed": {"results": {"w-1": REJECTED}, "journal": SETTLED_REJECTED},
    "another command's report": {"results": {"w-1": stored(command_id="w-2")}},
    "another command's fingerprint": {"results": {"w-1": stored(fingerprint="0" * 64)}},
    "another command's answer": {"results": {"w-1": stored(result={"address": "0xb"})}},
    "no report": {"results": {"w-1": {"status": "FAILURE", "result": {"exc_type": "KeyError", "exc_message": ["x"]}}}},
    "Celery says otherwise": {"results": {"w-1": {"status": "FAILURE", "result": REPORT}}},
    "attempts counted low": {"left": {"w-1": 2}},
    "attempts counted high": {"results": {"w-1": stored(attempts=2)}},
    "executed and nothing sent": {"results": {"w-1": stored(attempts=0)}, "left": {}},
    "more arrived than is told": {"arrivals": [TOOK_EFFECT, TOOK_EFFECT]},
    "signed too late": {"executions": [replace(TOOK_EFFECT, fields={**TOOK_EFFECT.fields, "timestamp": "1500"})]},
    "executed before it was written down": {"executions": [replace(TOOK_EFFECT, time_ms=900)]},
    "the journal never ends it": {"journal": [entry(998, "begin")]},
    "the journal ends it otherwise": {"journal": SETTLED_REJECTED},
    "the journal ends it twice": {"journal": [*SETTLED_REJECTED, entry(1002, "settle", "accepted")]},
    "begun by two": {
        "journal": [entry(998, "begin"), entry(999, "begin", token="other"), entry(1001, "settle", "accepted")]
    },
    "of another account": {"executions": [TOOK_EFFECT, replace(TOOK_EFFECT, api_key=KEYS["desk-1"])]},
    "an answer about another asset": {"results": {"w-1": stored(result={"address": "0xa", "asset": "BTC"})}},
    "a record that says no": {"results": {"w-1": stored(result={"address": "0xa", "status": "REJECTED"})}},
    "a record that says no, found by a reconcile": {
        "results": {"w-1": stored(result={"address": "0xa", "status": "FAILED"}, http_status=None)},
        "undone": frozenset({"w-1"}),
    },
    "the beginning of a key": {"results": {"w-1": stored(message=f"no {KEYS['desk-1'][:20]}…")}},
    "a key in a log": {"leaks": ["a key is in the log w0-1.log"]},
    "nobody asked for it": {"executions": [TOOK_EFFECT, STRAY]},
}


@pytest.mark.parametrize("lie", UNTRUE)
def test_an_untrue_report_is_seen(lie: str) -> None:
    """Each by itself, in evidence that is true otherwise."""
    findings = judge(replace(TRUE, **UNTRUE[lie]))
    assert findings.untrue
    assert not findings.lost
    assert not findings.twice


def test_what_the_venue_undid_may_be_called_rejected() -> None:
    """It was in the book, and is no more: `rejected` and `not_sent` are true of it, like an `accepted` from before."""
    undone = replace(TRUE, undone=frozenset({"w-1"}))
    assert judge(undone).clean
    assert judge(replace(undone, results={"w-1": REJECTED}, journal=SETTLED_REJECTED)).clean


def test_a_cancel_and_a_whole_close_may_be_executed_again() -> None:
    """Twice has the effect of once; of a close in part it has not."""
    cancel = Sent("w-1", "orders.cancel", {"account": "main", "order_id": "order-1"})
    executed = Happened("/auth/cancel", {"id": "order-1"})
    told = replace(TRUE, sent={"w-1": cancel}, executions=[executed, executed])
    assert not judge(told).twice
    close = {"account": "main", "pair": "P_1"}
    whole, part = (Sent("w-1", "orders.close", close | qty) for qty in ({}, {"qty": "1"}))
    closed = Happened("/auth/close", {"pair": "P_1"})
    assert not judge(replace(told, sent={"w-1": whole}, executions=[closed, closed])).twice
    closed = replace(closed, fields={"pair": "P_1", "qty": "1"})
    assert judge(replace(told, sent={"w-1": part}, executions=[closed, closed])).twice


@pytest.mark.parametrize("leverage", ["7777", "10"])
def test_positions_from_a_stale_answer_are_seen(leverage: str) -> None:
    """By the mark that the rig puts into each."""
    query = Sent("w-1", "orders.positions", {"account": "bz", "contract_id": 101})
    told = stored(command="positions", account="bz", venue="bitz", positions=[{"leverage": leverage}])
    told["result"]["fingerprint"] = parse_command(query.task, query.kwargs).fingerprint
    findings = judge(replace(TRUE, sent={"w-1": query}, results={"w-1": told}, executions=[], arrivals=[], journal=[]))
    assert bool(findings.untrue) is (leverage == "7777"), findings.first()


def test_a_lost_command_is_seen() -> None:
    """No result is the loss, whatever happened at the venue."""
    assert judge(replace(TRUE, results={})).lost
    assert judge(replace(TRUE, results={}, executions=[], journal=[])).lost


def test_a_second_execution_is_seen() -> None:
    """The same amount to the same address."""
    again = judge(replace(TRUE, executions=[TOOK_EFFECT, replace(TOOK_EFFECT, time_ms=1001)]))
    assert len(again.twice) == 1


def test_everything_drawn_from_a_seed_is_drawn_again() -> None:
    """A run that found something can be repeated."""
    assert draw(7, 600) == draw(7, 600) != draw(8, 600)
    assert {event.kind for event in draw(7, 600)} == set(EVERY)
    assert all(LIES_ABOUT[command] for command in ("close", "cancel", "withdraw", "positions"))
    first, second = Mix(7, deadlines=0), Mix(7, deadlines=0)
    assert first.take(100) == second.take(100)
    ids = [command.command_id for command in (*first.take(500), *Mix(8, deadlines=0).take(500))]
    assert len(set(ids)) == len(ids)
