"""What the contract promises of one command: its report, its arguments, its deadline."""

import hashlib
import json
import time
from decimal import Decimal
from typing import Any

import pytest

from producers.errors import OrderRejected
from tests.integration.conftest import REPORT_FIELDS
from tests.support.stack import Stack

KEY = "demo-everstrike-key"
PAIR = "USD_BTC_PERP"
WITHDRAWAL = {"account": "main", "asset": "ETH", "qty": "0.5", "address": "0xabc"}
CANCEL = {"account": "main", "order_id": "order-1"}
CLOSE = {"account": "main", "pair": PAIR}


def fingerprint(task: str, arguments: dict[str, Any]) -> str:
    """The fingerprint as the contract says it is made, by the standard library alone."""
    text = json.dumps([task, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


# -- the report --------------------------------------------------------------------------------------------------------

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("orders.positions", {"account": "main"}),
    ("orders.positions", {"account": "bz", "contract_id": 101}),
    ("orders.cancel", CANCEL),
    ("orders.close", CLOSE),
    ("orders.close", {**CLOSE, "qty": "0.25"}),
    ("orders.withdraw", WITHDRAWAL),
]


@pytest.mark.parametrize(("task", "arguments"), COMMANDS)
def test_the_report_of_an_accepted_command(stack: Stack, task: str, arguments: dict[str, Any]) -> None:
    """Exactly the contract's fields, true to what was sent, and times in the order in which things happen."""
    before = now_ms()
    command_id = stack.send(task, **arguments)
    end = stack.ended(command_id)
    report = end.report
    assert report.keys() == REPORT_FIELDS
    assert (end.state, *end.outcome, report["attempts"]) == ("SUCCESS", "accepted", "ok", 1)
    assert (report["command_id"], report["command"]) == (command_id, task.removeprefix("orders."))
    venue = {"main": "everstrike", "bz": "bitz"}[arguments["account"]]
    assert (report["account"], report["venue"]) == (arguments["account"], venue)
    assert (report["http_status"], report["venue_code"], report["replayed"]) == (200, 200, False)
    assert report["fingerprint"] == fingerprint(task, arguments)
    times = [report[name] for name in ("enqueued_at", "first_sent_at", "last_signed_at", "finished_at")]
    in_order = [before, *times, now_ms()]
    assert in_order == sorted(in_order)
    (arrival,) = stack.venue.arrivals()
    if task != "orders.positions":
        assert len(stack.venue.executions()) == 1
        assert report["positions"] is None
        assert arrival.timestamp_ms in (None, report["last_signed_at"])


def test_a_report_without_enqueued_at(stack: Stack) -> None:
    """The header is optional, and nonsense in it is as good as none."""
    ids = [stack.send("orders.positions", headers=each, account="main") for each in ({}, {"enqueued_at": "yesterday"})]
    ends = stack.all_ended(ids)
    assert [(end.outcome, end.report["enqueued_at"]) for end in ends] == [(("accepted", "ok"), None)] * 2


ANSWERS = {
    "as it is": (
        '{"id": "w-1", "qty": 0.1, "big": 12345678901234567890, "note": "ünïcode", "list": [null, true, {"a": []}]}',
        ("accepted", "ok"),
        {"id": "w-1", "qty": 0.1, "big": 12345678901234567890, "note": "ünïcode", "list": [None, True, {"a": []}]},
    ),
    "half a character": ('{"id": "\\ud83d"}', ("accepted", "ok"), {"id": "?"}),
    "deep": ("[" * 150 + "]" * 150, ("unknown", "lost_reply"), None),
    "deeper": ("[" * 300 + "]" * 300, ("unknown", "lost_reply"), None),
    "deepest": ("[" * 600 + "]" * 600, ("unknown", "lost_reply"), None),
    "huge exponent": ('{"qty": 1e99999999999999999999}', ("unknown", "lost_reply"), None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_the_venue_says_there_is_a_report(stack: Stack, name: str) -> None:
    """`result` is what the venue said, digit by digit. The withdrawal was made: an answer that no report could repeat
    must not leave it without one."""
    said, outcome, kept = ANSWERS[name]
    stack.venue.fault("garbage", path="withdraw", body=f'{{"code": 200, "msg": "string", "result": {said}}}')
    end = stack.ended(stack.send("orders.withdraw", **WITHDRAWAL))
    assert (end.outcome, end.report["result"]) == (outcome, kept)
    assert end.report["attempts"] == len(stack.venue.arrivals()) == 1
    assert end.report["venue_message"] == ("string" if outcome[0] == "accepted" else None)


def test_a_client_rebuilds_the_error(stack: Stack) -> None:
    """A Celery client that has `producers` gets its own classes from `AsyncResult.get`."""
    command_id = stack.send("orders.cancel", account="main", order_id="no")
    with pytest.raises(OrderRejected) as caught:
        stack.setup.app.AsyncResult(command_id).get(timeout=300)
    assert caught.value.report == stack.ended(command_id).report


# -- the arguments -----------------------------------------------------------------------------------------------------

AMOUNTS = {
    # As it is written in JSON, and as it reaches the venue: plain, by its shortest form, without an exponent.
    '"0.001"': "0.001",
    '"1e-5"': "0.00001",
    '"0.50"': "0.5",
    '"1E+0"': "1",
    "0.1": "0.1",
    "0.00001": "0.00001",
    "1": "1",
    '"0.123456789012345678"': "0.123456789012345678",
    # Numbers that no binary float holds: through one, 284578000.00000004 became 284578000.00000006, and that was paid.
    "284578000.00000004": "284578000.00000004",
    "0.30000000000000004": "0.30000000000000004",
    "1234567890123456789": "1234567890123456789",
    "12345678901234567.5": "12345678901234567.5",
    "1.0000000000000001e-2": "0.010000000000000001",
}


def test_amounts_reach_the_venue_digit_by_digit(stack: Stack) -> None:
    """Also where another command's message names the withdrawal to follow."""
    stack.venue.balance(KEY, "ETH", Decimal(10**20))
    ids = []
    for number, written in enumerate(AMOUNTS):
        arguments = f'{{"account": "main", "asset": "ETH", "address": "0x{number}", "qty": {written}}}'
        options = '"immutable": true, "options": {"queue": "orders.withdraw"}'
        link = f'{{"task": "orders.withdraw", "args": [], "kwargs": {arguments}, {options}}}'
        ids.append(stack.send_json("orders.withdraw", arguments, follows=f'{{"callbacks": [{link}]}}'))
    ends = stack.all_ended(ids)
    stack.drained()
    assert {end.outcome for end in ends} == {("accepted", "ok")}
    amounts = list(AMOUNTS.values())
    arguments = [{**WITHDRAWAL, "address": f"0x{number}", "qty": qty} for number, qty in enumerate(amounts)]
    assert [end.report["fingerprint"] for end in ends] == [fingerprint("orders.withdraw", each) for each in arguments]
    told = sorted((each.fields["address"], each.fields["qty"]) for each in stack.venue.executions())
    assert told == sorted([(f"0x{number}", qty) for number, qty in enumerate(amounts)] * 2)


def test_a_close_passes_every_argument_on(stack: Stack) -> None:
    asked = {"pair": PAIR, "qty": "0.5", "price": "99.5", "trigger_price": "100", "trigger_event": "LAST_PRICE"}
    end = stack.ended(stack.send("orders.close", account="main", close_on_trigger=True, recv_window=5000, **asked))
    assert end.outcome == ("accepted", "ok")
    (execution,) = stack.venue.executions()
    timestamp = str(end.report["last_signed_at"])
    told = {**asked, "close_on_trigger": "true", "recv_window": "5000", "timestamp": timestamp}
    assert dict(execution.fields) == told


# -- deadlines ---------------------------------------------------------------------------------------------------------


def test_after_its_deadline_nothing_is_sent(stack: Stack) -> None:
    ends = stack.all_ended([stack.send(task, deadline=now_ms() - 1, **arguments) for task, arguments in COMMANDS])
    told = [(end.outcome, end.report["attempts"], end.report["first_sent_at"]) for end in ends]
    assert told == [(("not_sent", "expired"), 0, None)] * len(COMMANDS)
    assert stack.venue.arrivals() == []


@pytest.mark.parametrize(
    ("first", "outcome"), [(429, ("not_sent", "expired")), (502, ("unknown", "lost_reply"))], ids=["proof", "doubt"]
)
def test_a_deadline_that_passes_between_attempts(stack: Stack, first: int, outcome: tuple[str, str]) -> None:
    """When each attempt is proven not executed, nothing was executed; after one of unknown fate nobody knows."""
    stack.venue.fault("status", path="close", status=first)
    stack.venue.fault("status", path="close", status=429, retry_after="9", times=None)
    deadline = now_ms() + 9_000  # the second attempt's Retry-After ends later, whenever it is made
    end = stack.ended(stack.send("orders.close", **CLOSE, deadline=deadline))
    assert (end.outcome, end.report["attempts"]) == (outcome, 2)
    assert all((arrival.timestamp_ms or 0) < deadline for arrival in stack.venue.arrivals())
