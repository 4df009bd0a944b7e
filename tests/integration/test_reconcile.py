"""From `unknown` to the truth by evidence from the venue: real server, workers and simulator.

What counts as evidence is the business of tests/unit/worker/reconciliation/test_matching.py, when it counts of
tests/contract/test_operator.py.
"""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from producers.errors import OrderNotSent
from tests.integration.conftest import Orders, journal_events
from tests.support.stack import Stack
from worker.simulator.records import Change, Order, Position

KEY = "demo-everstrike-key"
WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}
CLOSE = {"account": "main", "pair": "USD_BTC_PERP", "qty": "0.25"}
NOT_FILLED = (
    {"qty": "0.31", "price": "99"},
    {"qty": "0.32", "trigger_price": "80"},
    {"qty": "0.33", "trigger_price": "79", "price": "78"},
)
"""Closes that rest in the book, or wait as a trigger."""


@pytest.fixture(autouse=True)
def empty_ledger(stack: Stack) -> None:
    stack.ledger.flushdb()


def lost(stack: Stack, task: str, fault: str, **arguments: Any) -> str:
    """Send a command whose reply is lost, with the request or after it was executed; its id."""
    stack.venue.fault(fault, path=task.removeprefix("orders."))
    command_id = stack.send(task, **arguments)
    assert stack.ended(command_id).report["outcome"] == "unknown"
    return command_id


def reconcile(orders: Orders, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """`orders reconcile`: exit code and what was found."""
    ran = orders("reconcile", *words, "--json")
    return ran.code, ran.document["reconciled"]


def test_a_withdrawal_whose_reply_was_lost_is_found(stack: Stack, orders: Orders) -> None:
    """It is found under the venue's id, the sender reads it as accepted, and the venue executed it once."""
    command_id = lost(stack, "orders.withdraw", "cut_after", **WITHDRAW)
    (paid,) = stack.venue.holdings(KEY)["withdrawals"].values()
    code, (found,) = reconcile(orders, command_id)
    assert (code, found["finding"], found["reference"]) == (0, "found", paid["id"])
    report = stack.setup.app.AsyncResult(command_id).get(timeout=30)
    assert (report["outcome"], report["result"]["id"], report["attempts"]) == ("accepted", paid["id"], 1)
    assert len(stack.venue.executions(path="/auth/withdraw")) == 1
    assert journal_events(stack, command_id) == ["begin", "settle", "resolve"]
    assert orders("unknown", "--json").document == {"unknown": []}


def test_a_close_that_never_arrived_is_settled_by_the_second_look(stack: Stack, orders: Orders) -> None:
    """The first look changes nothing; the second says not_sent, and the sender reads it."""
    command_id = lost(stack, "orders.close", "cut_before", **CLOSE)
    code, (found,) = reconcile(orders, command_id)
    assert (code, found["finding"], found["outcome"]) == (5, "absent", "unknown")
    assert stack.ended(command_id).report["outcome"] == "unknown"
    code, (found,) = reconcile(orders, command_id)
    assert (code, found["outcome"]) == (4, "not_sent"), found
    with pytest.raises(OrderNotSent):
        stack.setup.app.AsyncResult(command_id).get(timeout=30)


def test_a_withdrawal_that_never_arrived_stays_unknown(stack: Stack, orders: Orders) -> None:
    command_id = lost(stack, "orders.withdraw", "cut_before", **WITHDRAW)
    for _ in range(3):
        code, (found,) = reconcile(orders, command_id)
        assert (code, found["outcome"]) == (5, "unknown")
    assert "proves nothing" in found["words"]


def test_after_a_bad_night_each_command_finds_its_own_record(stack: Stack, orders: Orders) -> None:
    """Hundreds of unknowns of every kind among other commands: the venue's lists of that time are longer than one read
    shows, and each list is read once for all."""
    pairs = ("USD_BTC_PERP", "USD_ETH_PERP")
    resting = tuple(Order(id=f"rests-{number}", pair=pairs[0]) for number in range(40))
    positions = tuple(Position(pair=pair, size=Decimal(10**6)) for pair in pairs)
    balances = {"ETH": Decimal(10**6)}
    stack.venue.change(Change(api_key=KEY, positions=positions, orders=resting, balances=balances))
    fine = [stack.send("orders.close", **{**CLOSE, "qty": f"2.{number:03}1"}) for number in range(90)]
    assert {end.report["outcome"] for end in stack.all_ended(fine, 300)} == {"accepted"}
    for command in ("close", "withdraw", "cancel"):
        stack.venue.fault("cut_after", path=command, times=None)
    closes = {
        (qty, pair): stack.send("orders.close", account="main", pair=pair, qty=qty)
        for qty in [f"1.{number:03}1" for number in range(65)]
        for pair in pairs
    }
    others = [stack.send("orders.close", account="main", pair=pairs[0], **shape) for shape in NOT_FILLED]
    others += [stack.send("orders.cancel", account="main", order_id=order.id) for order in resting]
    others += [stack.send("orders.withdraw", **{**WITHDRAW, "qty": f"1.{number:03}1"}) for number in range(30)]
    unknown = [*closes.values(), *others]
    assert {end.report["outcome"] for end in stack.all_ended(unknown, 300)} == {"unknown"}
    before = stack.venue.arrivals(limit=1)[-1].seq
    code, found = reconcile(orders, "--all")
    assert code == 0, [each for each in found if each["outcome"] != "accepted"][:3]
    assert sorted(each["command_id"] for each in found) == sorted(unknown)
    asked = stack.venue.arrivals(since=before)
    assert (len(asked) <= 60, {each.method for each in asked}) == (True, {"GET"}), Counter(each.path for each in asked)
    records = stack.all_ended(list(closes.values()), 300)
    assert [(str(end.report["result"]["qty_orig"]), end.report["result"]["pair"]) for end in records] == list(closes)


def test_a_worker_reconciles_on_request(stack: Stack, orders: Orders) -> None:
    """Any Celery client may ask for it: one command, or all; without keys of its own `orders reconcile` does so too."""
    first = lost(stack, "orders.withdraw", "cut_after", **WITHDRAW)
    app = stack.setup.app
    asked = app.send_task("orders.reconcile", kwargs={"command_id": first}, queue="orders.reconcile")
    (found,) = asked.get(timeout=300)
    assert (found["command_id"], found["outcome"]) == (first, "accepted")
    second = lost(stack, "orders.withdraw", "cut_after", **{**WITHDRAW, "qty": "2"})
    (found,) = app.send_task("orders.reconcile", queue="orders.reconcile").get(timeout=300)
    assert (found["command_id"], found["outcome"]) == (second, "accepted")
    code, (found,) = reconcile(orders, first, "--by-worker")
    assert (code, found["finding"]) == (0, "settled")
    ran = orders("reconcile", "nobody", "--by-worker", "--json")
    assert (ran.code, ran.document["error"]["type"]) == (2, "NoSuchCommand")
