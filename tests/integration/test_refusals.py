"""What is refused before anything is sent: bad input, and withdrawals over a ledger that may forget them."""

import json
import re
from collections.abc import Callable
from typing import Any

from tests.integration.conftest import REPORT_FIELDS, logs
from tests.support.stack import Ended, Stack

PAIR = "USD_BTC_PERP"
WITHDRAWAL = {"account": "main", "asset": "ETH", "qty": "0.5", "address": "0xabc"}
CANCEL = {"account": "main", "order_id": "order-1"}
CLOSE = {"account": "main", "pair": PAIR}
SUBMIT = {"account": "main", "pair": PAIR, "side": "buy", "qty": "1"}
TO_ABC = '{"account": "main", "asset": "ETH", "address": "0xabc", '
QTY_TEXTS = ("-1", "0.000", "NaN", "Infinity", "1e400000", "1e-400000", "1e99999999999999999999", " 1", "much", "٣")
QTY_JSON = ("NaN", "-Infinity", "1e400000", "1e400", "-0.0", "0", "-1", "1e-400", "true", "null", '["1"]')
LONG_JSON = ("1" * 4000, "1" * 5000)  # Python reads no integer of more than 4300 digits
TWICE = ('"qty": "1", "qty": "100"', '"qty": 1, "qty": "1"', '"qty": "1", "qty": null')
"""Readers of JSON take the first or the last, and which of them its sender meant nobody knows."""
NAMES = ("task", "self", "args", "a line\nbreak")
"""Names that functions on an argument's way through Celery have for theirs, too."""
REFUSED: dict[str, tuple[str, dict[str, Any] | str, str]] = {
    # What is sent, as arguments or as their JSON, and what the report has to name.
    **{f"qty {each!r}": ("orders.withdraw", {**WITHDRAWAL, "qty": each}, "qty") for each in QTY_TEXTS},
    "many digits": ("orders.withdraw", {**WITHDRAWAL, "qty": "9" * 40_000}, "qty"),
    **{f"qty of JSON {each:.12}": ("orders.withdraw", f'{TO_ABC}"qty": {each}}}', "qty") for each in QTY_JSON},
    **{f"{len(each)} digits": ("orders.withdraw", f'{TO_ABC}"qty": {each}}}', "qty") for each in LONG_JSON},
    **{f"twice: {each}": ("orders.withdraw", f"{TO_ABC}{each}}}", "qty") for each in TWICE},
    **{
        f"an argument {name!a}": ("orders.withdraw", json.dumps({**WITHDRAWAL, name: "1"}), "is not an argument")
        for name in NAMES
    },
    "half a character for a name": ("orders.withdraw", {**WITHDRAWAL, "\ud800": 1}, "argument"),
    "no address": ("orders.withdraw", {"account": "main", "asset": "ETH", "qty": "1"}, "address"),
    "empty address": ("orders.withdraw", {**WITHDRAWAL, "address": ""}, "address"),
    "line break": ("orders.withdraw", {**WITHDRAWAL, "address": "0xabc\r\nx-api-key: 1"}, "address"),
    "number for address": ("orders.withdraw", {**WITHDRAWAL, "address": 7}, "address"),
    "half a character for account": ("orders.withdraw", {**WITHDRAWAL, "account": "\ud800"}, "account"),
    "huge string": ("orders.cancel", {"account": "main", "order_id": "x" * 40_000}, "order_id"),
    "half a character": ("orders.cancel", {"account": "main", "order_id": "\ud800"}, "order_id"),
    "no order": ("orders.cancel", {"account": "main"}, "order_id"),
    "unknown argument": ("orders.cancel", {**CANCEL, "orderId": "1"}, "orderId"),
    "unknown account": ("orders.cancel", {**CANCEL, "account": "nobody"}, "nobody"),
    "no account": ("orders.cancel", {"order_id": "1"}, "account"),
    "account of a wrong type": ("orders.cancel", {**CANCEL, "account": {"api_key": "k"}}, "account"),
    "no pair": ("orders.close", {"account": "main"}, "pair"),
    "unknown event": ("orders.close", {**CLOSE, "trigger_event": "FULL_MOON"}, "trigger_event"),
    "window too long": ("orders.close", {**CLOSE, "recv_window": 60_000}, "recv_window"),
    "window as text": ("orders.close", {**CLOSE, "recv_window": "5000"}, "recv_window"),
    "price as boolean": ("orders.close", {**CLOSE, "price": False}, "price"),
    "deadline as text": ("orders.close", {**CLOSE, "deadline": "soon"}, "deadline"),
    "deadline a fraction": ("orders.close", {**CLOSE, "deadline": 1.5}, "deadline"),
    "no contract": ("orders.positions", {"account": "bz"}, "contract_id"),
    "contract as text": ("orders.positions", {"account": "bz", "contract_id": "101"}, "contract_id"),
    "contract for Everstrike": ("orders.positions", {"account": "main", "contract_id": 101}, "contract_id"),
    "post-only at market": ("orders.submit", {**SUBMIT, "post_only": True}, "post_only needs price"),
    "submit at Everstrike": ("orders.submit", SUBMIT, "Everstrike takes no submit"),
    "submit at Bit-Z": ("orders.submit", {**SUBMIT, "account": "bz"}, "Bit-Z takes no submit"),
    "direction at Everstrike": ("orders.close", {**CLOSE, "direction": "long"}, "direction"),
    "cancel by pair at Everstrike": ("orders.cancel", {**CANCEL, "pair": PAIR}, "pair"),
    "network at Everstrike": ("orders.withdraw", {**WITHDRAWAL, "network": "ethereum"}, "network"),
    "tag at Everstrike": ("orders.withdraw", {**WITHDRAWAL, "tag": "7"}, "tag"),
    "close at Bit-Z": ("orders.close", {"account": "bz", "pair": PAIR}, "close"),
}


def check_refusal(end: Ended, names: str) -> None:
    """Not sent, invalid, in words that name what is wrong."""
    report = end.report
    assert report.keys() == REPORT_FIELDS
    assert (end.state, end.error) == ("FAILURE", "producers.errors.OrderNotSent")
    assert (end.outcome, report["attempts"]) == (("not_sent", "invalid"), 0)
    assert report["first_sent_at"] is report["last_signed_at"] is report["http_status"] is None
    assert names in report["message"]
    assert re.fullmatch(r"[^\n]{10,500}", report["message"])
    assert "pydantic" not in report["message"]
    assert re.fullmatch("[0-9a-f]{64}", report["fingerprint"])


def test_bad_input_is_refused(stack: Stack) -> None:
    """Each ends in a report that says what is wrong, and the venue never hears of it."""
    ids = {
        name: stack.send_json(task, sent) if isinstance(sent, str) else stack.send(task, **sent)
        for name, (task, sent, _) in REFUSED.items()
    }
    ids["positional"] = stack.send("orders.cancel", args=("main", "order-1"))
    names = {**{name: row[2] for name, row in REFUSED.items()}, "positional": "positional"}
    for name, end in zip(ids, stack.all_ended(list(ids.values())), strict=True):
        try:
            check_refusal(end, names[name])
        except AssertionError as error:
            error.add_note(f"{name}: {end}")
            raise
    assert stack.venue.arrivals() == []


def test_nothing_that_a_sender_writes_forges_a_line_of_the_log(make_bed: Callable[..., Stack]) -> None:
    """Not by a line break, an escape sequence or a mark of direction, in the line for people or for programs; nor is a
    line long, or a report, or a record."""
    stack = make_bed(workers=2, started=0, TEST_LOG_LEVEL="DEBUG")
    stack.reset_venue()
    formats = {"console": "orders.cancel", "json": "orders.close"}
    for worker, (log, queue) in zip(stack.workers, formats.items(), strict=True):
        worker.container.environment["ORDERS_LOG__FORMAT"] = log
        worker.container.options = ("--queues", queue)
        worker.container.start()
    forged = "main\n2026-01-01 00:00:00,000 INFO orders.executor end id=forged outcome=accepted \x1b[2J\x9b1A\u202e"
    many = {f"name{number}": 1 for number in range(2000)}
    arguments = {"account": forged, "order_id": forged, "pair": forged, forged: 1, **many}
    ids = [stack.send(queue, **arguments) for queue in formats.values()]
    for end, named in zip(stack.all_ended(ids, 60), ("order_id", "pair"), strict=True):
        check_refusal(end, named)
        assert len(str(stack.ledger.hgetall(f"orders:command:{end.command_id}"))) < 4000
        assert len(str(stack.results.get(f"celery-task-meta-{end.command_id}"))) < 6000
    stack.drained()
    text = logs(stack)
    assert all(command_id in text for command_id in ids)
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01 00")]
    assert not set("\x1b\x9b\u202e") & set(text)
    assert max(map(len, text.splitlines())) < 6000


def test_no_withdrawal_over_a_ledger_that_may_forget(make_bed: Callable[..., Stack]) -> None:
    """On a server that evicts, a withdrawal is denied before anything is sent; what reduces risk goes on."""
    stack = make_bed(started=0)
    stack.reset_venue()
    stack.ledger.config_set("maxmemory", "100mb")
    stack.ledger.config_set("maxmemory-policy", "allkeys-lru")
    stack.worker.start()
    denied, cancelled = stack.all_ended(
        [stack.send("orders.withdraw", **WITHDRAWAL), stack.send("orders.cancel", **CANCEL)], 60
    )
    assert (denied.outcome, cancelled.outcome) == (("not_sent", "denied"), ("accepted", "ok"))
    assert "evicts" in denied.report["message"]
    assert stack.venue.arrivals(path="/auth/withdraw") == []
