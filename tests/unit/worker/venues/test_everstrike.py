"""The adapter of Everstrike: the bytes of a request, its signature, and what each response proves."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from producers.commands import Cancel, Close, Command, Positions, Withdraw
from producers.report import Direction, Position, Reason
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan, Proof, Verdict
from worker.venues.everstrike.adapter import LISTED as LISTED_ANSWERS
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Response

VENUE = Everstrike()
ACCOUNT = Account("main", "everstrike", "https://api.everstrike.io", Credentials("the-key", "the-secret"))
NOW = 1_700_000_000_123
CANCEL = Cancel(account="main", order_id="849cdea0395411e98f54b395ae9c7bb6")


def envelope(code: int = 200, msg: object = "string", result: object = None) -> bytes:
    """The venue's envelope."""
    return json.dumps({"code": code, "msg": msg, "result": {} if result is None else result}).encode()


@pytest.mark.parametrize(
    ("command", "path", "body"),
    [
        (Close(account="a", pair="USD_BTC"), "close", b"pair=USD_BTC&timestamp=1700000000123"),
        (
            Close(
                account="a",
                pair="USD_BTC",
                qty=Decimal("0.00001"),
                price=Decimal(100),
                trigger_price=Decimal("99.5"),
                trigger_event="LAST_PRICE",
                close_on_trigger=True,
                recv_window=5000,
            ),
            "close",
            (
                b"pair=USD_BTC&qty=0.00001&price=100&trigger_price=99.5&trigger_event=LAST_PRICE&close_on_trigger=true"
                b"&timestamp=1700000000123&recv_window=5000"
            ),
        ),
        (CANCEL, "cancel", b"id=849cdea0395411e98f54b395ae9c7bb6"),
        (
            Withdraw(account="a", asset="ETH", qty=Decimal(5), address="0x82&x=1"),
            "withdraw",
            b"asset=ETH&qty=5&address=0x82%26x%3D1&timestamp=1700000000123",
        ),
    ],
)
def test_the_bytes_of_a_request(command: Command, path: str, body: bytes) -> None:
    """Field names and their order are those of the API pages; decimals are plain, times integer milliseconds."""
    request = VENUE.request(Plan(command, ACCOUNT), NOW)
    assert (request.method, request.url) == ("POST", f"https://api.everstrike.io/auth/{path}")
    assert request.body == body
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["x-api-key"] == "the-key"


def test_a_known_signature() -> None:
    """The expected value was computed with ``openssl dgst -sha256 -hmac the-secret -binary | base64``."""
    request = VENUE.request(Plan(Cancel(account="a", order_id="32302131320dqe"), ACCOUNT), NOW)
    assert request.body == b"id=32302131320dqe"
    assert request.headers["x-signature"] == "Ge/wiwhb6lLLKFyQGiG7uAkCMBAgndLavhKAiGNUIEI="


@pytest.mark.parametrize(
    ("command", "url"),
    [
        (Positions(account="a", pair="USD_BTC"), "https://api.everstrike.io/position?pair=USD_BTC"),
        (Positions(account="a"), "https://api.everstrike.io/active_positions"),
    ],
)
def test_positions_are_read_with_the_key_alone(command: Positions, url: str) -> None:
    """These GET requests have neither a signature nor a body."""
    request = VENUE.request(Plan(command, ACCOUNT), NOW)
    assert (request.method, request.url, request.body) == ("GET", url, None)
    assert request.headers["x-api-key"] == "the-key"
    assert "x-signature" not in request.headers


BALANCE = "Your request was rejected due to insufficient balance."
LISTED = ("Invalid request", "The order was not found", "the ORDER was  not found.", BALANCE)
UNCERTAIN = (
    "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    "Your order is being processed",
    "Withdrawal pending",
    "The request timed out",
    "Gateway time-out",
    "It may have been executed",
    "We could not confirm your order",
)


@pytest.mark.parametrize(
    ("status", "body", "proof"),
    [
        (200, envelope(), Proof.EXECUTED),
        (200, envelope(msg="null"), Proof.EXECUTED),
        (200, b'{"code":200,"msg":null,"result":{}}', Proof.EXECUTED),
        (200, b'{"code":200,"code":200,"msg":null,"result":{}}', Proof.EXECUTED),
        *(
            (200, b'{"code":200,"msg":null,"result":%b}' % result, Proof.UNKNOWN)
            for result in (b"null", b"[]", b'"ok"')
        ),
        *((200, b'{"code":%b,"msg":null,"result":{}}' % code, Proof.UNKNOWN) for code in (b'"200"', b"200.0", b"true")),
        (200, b'{"code":200,"msg":7,"result":{}}', Proof.UNKNOWN),
        (200, b'{"code":200,"result":{}}', Proof.UNKNOWN),
        (200, envelope(code=503), Proof.UNKNOWN),
        (200, b'{"code":200,"msg":null}', Proof.UNKNOWN),
        (200, b"<html>", Proof.UNKNOWN),
        (200, b"", Proof.UNKNOWN),
        (200, b"[]", Proof.UNKNOWN),
        (200, b"\xff\xfe", Proof.UNKNOWN),
        (200, b'{"code":200,"msg":null,"result":{"n":NaN}}', Proof.UNKNOWN),
        (200, b'{"code":503,"msg":"Invalid request","result":{},"code":200}', Proof.UNKNOWN),
        (200, b'{"code":200,"msg":null,"result":{"id":"a","id":"b"}}', Proof.UNKNOWN),
        (201, envelope(), Proof.UNKNOWN),
        (201, envelope(201), Proof.UNKNOWN),
        (302, b"", Proof.UNKNOWN),
        (302, envelope(302, "Invalid request"), Proof.UNKNOWN),
        *((status, b"", Proof.UNKNOWN) for status in (400, 401, 403, 404, 408, 418, 422, 500, 502, 503, 504, 520)),
        *((status, b"<html>", Proof.UNKNOWN) for status in (400, 401, 403, 404, 422, 502, 503)),
        *((status, envelope(status, "no"), Proof.UNKNOWN) for status in (400, 403, 404, 418, 422, 500, 502, 503, 504)),
        *((status, envelope(status, "Invalid request"), Proof.UNKNOWN) for status in (500, 502, 504)),
        *((status, envelope(status, "Invalid request"), Proof.REFUSED) for status in (400, 403, 404, 422, 503)),
        *((503, envelope(503, message), Proof.REFUSED) for message in LISTED),
        *((429, body, Proof.NOT_EXECUTED) for body in (b"", b"<html>", envelope(429, "Send status unknown"))),
        (401, envelope(401, "Unauthorized"), Proof.REFUSED),
        (401, envelope(401, ""), Proof.REFUSED),
        (401, envelope(503, "Unauthorized"), Proof.UNKNOWN),
        (401, b'{"code":401,"msg":"Unauthorized"}', Proof.UNKNOWN),
        (401, b'{"code":401,"msg":null,"result":{}}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request"}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request","result":null}', Proof.REFUSED),
        (503, b'{"code":503,"msg":"Invalid request","result":{"id":"7"}}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request","result":{"order":{}}}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request","result":[{"status":"COMPLETED"}]}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request","result":{"field":"qty","id":null}}', Proof.REFUSED),
        *(
            (503, b'{"code":503,"msg":"Invalid request","result":%b}' % result, Proof.UNKNOWN)
            for result in (
                b'"order-7"',
                b"17",
                b"true",
                b'{"orderId":"7"}',
                b'{"data":{"id":"7"}}',
                b'{"success":true}',
            )
        ),
        (503, b'{"code":503,"msg":"Invalid request","result":[[{"Orders":["7"]}]]}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request","result":{},"order":{"id":"7"}}', Proof.UNKNOWN),
        *(
            (503, b'{"code":503,"msg":"Invalid request","result":{%b}}' % each, Proof.UNKNOWN)
            for each in (b'"executed":true', b'"qty":1', b'"fills":[{}]', b'"note":"execution status unknown"')
        ),
        (503, b'{"code":503,"msg":"Invalid request","result":{},"detail":"Send status unknown"}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request","result":{},"success":true}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request","result":{},"success":false,"status":"error"}', Proof.REFUSED),
        *((503, envelope(503, message), Proof.UNKNOWN) for message in ("Invalid\u00a0request", "Invalid reque\u017ft")),
        (503, envelope(503, " Invalid \t request. "), Proof.REFUSED),
        *((status, envelope(status, "Invalid request"), Proof.UNKNOWN) for status in (408, 499)),
        (429, envelope(429, "Too fast", {"id": "7", "status": "ACTIVE"}), Proof.UNKNOWN),
        (429, b'{"code":200,"msg":null,"result":{}}', Proof.UNKNOWN),
        (503, b'{"code":500,"msg":"Invalid request","result":{}}', Proof.UNKNOWN),
        (503, b'{"code":"503","msg":"Invalid request","result":{}}', Proof.UNKNOWN),
        (503, b'{"code":503.0,"msg":"Invalid request","result":{}}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":null,"result":{}}', Proof.UNKNOWN),
        (503, b'{"code":200,"code":503,"msg":"Invalid request","result":{}}', Proof.UNKNOWN),
        # Plausible messages, which no source documents.
        (503, envelope(503, "the position was not found."), Proof.UNKNOWN),
        (503, envelope(503, "Service unavailable"), Proof.UNKNOWN),
        (503, envelope(503, "The system is busy"), Proof.UNKNOWN),
        (503, envelope(503, "Too many requests"), Proof.UNKNOWN),
        (503, envelope(503, "Rate limit exceeded"), Proof.UNKNOWN),
        (503, envelope(503, "Invalid request, or maybe executed"), Proof.UNKNOWN),
        (503, envelope(503, "Invalid request\u200b"), Proof.UNKNOWN),
        (503, envelope(503, ""), Proof.UNKNOWN),
        *((status, envelope(status, message), Proof.UNKNOWN) for status in (401, 503) for message in UNCERTAIN),
    ],
)
def test_what_a_response_proves(status: int, body: bytes, proof: Proof) -> None:
    """A response that is not listed with its source proves nothing; neither does a status alone."""
    verdict = VENUE.judge(Plan(CANCEL, ACCOUNT), Response(status, body))
    assert verdict.proof is proof
    assert verdict.http_status == status


def test_every_listed_answer_names_its_source() -> None:
    """The API page, or the line of the venue's own client; and docs/venues.md has the same list."""
    assert all("API pages" in each.source or "market_maker" in each.source for each in LISTED_ANSWERS)
    page = Path("docs/venues.md").read_text(encoding="utf-8")
    for each in LISTED_ANSWERS:
        listed = each.pattern.pattern.replace("\\", "") if each.pattern else f"code {each.code} with any message"
        assert re.search(rf"^\| `?{listed}`? \| refused \|", page, re.MULTILINE), listed


def test_an_operator_lists_further_refusals_and_the_report_says_so() -> None:
    """They match the whole message in any letter case, only in a complete envelope, and never an uncertain message."""
    venue = Everstrike(refusals=["the [a-z]+ was not found", ".+unavailable"])

    def judged(message: str, status: int = 503) -> Verdict:
        return venue.judge(Plan(CANCEL, ACCOUNT), Response(status, envelope(status, message)))

    verdict = judged("The position was not found.")
    assert (verdict.proof, verdict.own_refusal) == (Proof.REFUSED, True)
    assert verdict.message == (
        "the venue refused it: The position was not found."
        " (listed in ORDERS_VENUES__EVERSTRIKE__REFUSALS: the [a-z]+ was not found)"
    )
    assert judged("Service  UNAVAILABLE", 404).proof is Proof.REFUSED
    assert judged("The order was not found").message == "the venue refused it: The order was not found"
    for message, status in (
        ("The position was not found, perhaps", 503),
        ("Timed out: service unavailable", 503),
        ("Time\u200bd\u00a0out: service unavailable", 503),
        ("x" * 300 + " unavailable", 503),
        ("Service unavailable", 500),
    ):
        assert judged(message, status).proof is Proof.UNKNOWN, message
    assert (
        venue.judge(Plan(CANCEL, ACCOUNT), Response(503, b'{"code":503,"msg":"Service unavailable"}')).proof
        is Proof.UNKNOWN
    )


OTHER_CLOSE = Close(account="a", pair="USD_BTC")
OTHER_WITHDRAW = Withdraw(account="a", asset="ETH", qty=Decimal(5), address="0xAbC")
ORDER_ID = CANCEL.order_id


def with_status(*statuses: object, **record: object) -> list[dict[str, object]]:
    """A record with each of these statuses."""
    return [{**record, "status": status} for status in statuses]


CONTRADICTING: list[tuple[Command, list[dict[str, Any]]]] = [
    (CANCEL, [{"id": "another-order"}, {"id": ORDER_ID.upper()}, {"id": 7}, {"order_id": "another-order"}]),
    (CANCEL, [{"order": {"id": "another-order"}}, {"id": ORDER_ID, "order": [{"id": "another-order"}]}]),
    (CANCEL, [{"orderId": "B"}, {"Id": "B"}, {"data": {"id": "B"}}, {"orders": [{"id": 7}]}]),
    (CANCEL, [{"id": ORDER_ID, "address": "0xabc", "asset": "ETH"}, {"error": "no such order"}, {"success": False}]),
    (CANCEL, with_status("COMPLETED", "filled", " Rejected ", "FAILED", id=ORDER_ID)),
    (CANCEL, with_status("EXPIRED", "CANCEL_REJECTED", "Not cancelled", "FULLY_FILLED", "OrderFilled")),
    (CANCEL, [*with_status("cancelRejected", ["REJECTED"], {"is": "FAILED"}), {"order": {"status": "COMPLETED"}}]),
    (OTHER_CLOSE, [{"pair": "USD_ETH"}, {"Pair": "USD_ETH"}, {"pair": ["USD_BTC"]}, {"address": "0xabc"}]),
    (OTHER_CLOSE, [{"order": {"pair": "USD_ETH"}}, {"order": [[{"pair": "USD_ETH"}]]}]),
    (OTHER_CLOSE, with_status("REJECTED", "CANCELLED", "canceled", "EXPIRED", "ERROR", "UNSUCCESSFUL", "aborted")),
    (OTHER_CLOSE, with_status("notAccepted", "REJ\u200bECTED", "\uff26\uff21\uff29\uff2c\uff25\uff24")),
    (OTHER_CLOSE, [{"trigger": {"pair": "USD_BTC", "status": "CANCELLED"}}]),
    (OTHER_CLOSE, [{name: "REJECTED"} for name in ("Status", "state", "orderStatus", "order_status")]),
    (OTHER_CLOSE, [{name: {"status": "REJECTED"}} for name in ("data", "close", "orders")]),
    (OTHER_CLOSE, [{name: value} for name in ("success", "ok") for value in ("false", 0, False)]),
    (OTHER_CLOSE, [{"reject_reason": "margin"}, {"errors": ["x"]}, {"errorCode": 7}]),
    (OTHER_WITHDRAW, [{"asset": "BTC"}, {"data": {"asset": "BTC"}}, {"address": "0xabcd"}]),
    (OTHER_WITHDRAW, [{"id": "1", "withdrawal": {"address": "0xdef"}}, {"id": "1", "pair": "USD_BTC", "side": "SELL"}]),
    (OTHER_WITHDRAW, [{"id": "1", "transaction": {"status": "FAILED"}}]),
    (OTHER_WITHDRAW, with_status("REJECTED", "Cancelled", "FAILED", "DECLINED")),
]
AGREEING: list[tuple[Command, list[dict[str, Any]]]] = [
    (CANCEL, [{"id": ORDER_ID, "status": "CANCELLED", "qty_orig": 1}, {"order": {"id": ORDER_ID, "status": "ACTIVE"}}]),
    (CANCEL, [{"id": None, "status": None, "order": None, "error": None}]),
    (CANCEL, with_status("PARTIALLY_FILLED", id=ORDER_ID)),
    (CANCEL, with_status("UNFILLED", id=ORDER_ID, account={"id": "7"}, fills=[{"status": "COMPLETED"}])),
    (Cancel(account="a", order_id="7"), [{"id": 7}]),
    (OTHER_CLOSE, [{"error": nothing, "success": True} for nothing in ("null", "", 0, [], {}, "No error")]),
    (OTHER_CLOSE, [{"id": "1", "errors": [], "error_code": 0, "rejected": False, "failed": "0"}]),
    (OTHER_CLOSE, [{"id": "1", "pair": "usd_btc", "status": "COMPLETED"}, {"id": "1", "status": "UNTRIGGERED"}]),
    (OTHER_CLOSE, [{"order": {"pair": "USD_BTC", "status": "PENDING"}}]),
    (OTHER_WITHDRAW, [{"id": "1", "asset": "eth", "address": "0xABC", "qty": 4.9, "status": "PENDING"}]),
    (OTHER_WITHDRAW, [{"id": "1", "transaction": {"hash": None}}, {"id": "1", "status": "NOT_CONFIRMED"}]),
]


@pytest.mark.parametrize(("command", "result"), [(command, each) for command, rows in CONTRADICTING for each in rows])
def test_a_success_that_contradicts_the_command_proves_nothing(command: Command, result: object) -> None:
    """It is about something else, or its record reports a failure, in whatever place and spelling."""
    verdict = VENUE.judge(Plan(command, ACCOUNT), Response(200, envelope(result=result)))
    assert (verdict.proof, verdict.unknown_reason) == (Proof.UNKNOWN, Reason.UNLISTED_ANSWER)


@pytest.mark.parametrize(("command", "result"), [(command, each) for command, rows in AGREEING for each in rows])
def test_a_success_that_agrees_with_the_command_proves_execution(command: Command, result: object) -> None:
    """Amounts may be rounded, the letter case of an address may differ, and an id may be a number."""
    assert VENUE.judge(Plan(command, ACCOUNT), Response(200, envelope(result=result))).proof is Proof.EXECUTED


@pytest.mark.parametrize("command", [CANCEL, OTHER_CLOSE, OTHER_WITHDRAW, Positions(account="a")])
@pytest.mark.parametrize(
    ("beside", "agrees"),
    [
        *(({"msg": message}, False) for message in ("Invalid request", "Order rejected", "The order was not found")),
        *(({"msg": message}, False) for message in ("Send status unknown", "Service unavailable", "Timed out")),
        *(({"msg": message}, True) for message in ("string", "null", "", "Success, no error", "Order placed", "OK")),
        *((beside, False) for beside in ({"success": False}, {"error": "no"}, {"status": "REJECTED"})),
        *((beside, True) for beside in ({"success": True, "error": None}, {"status": "ok", "time": 3, "id": "r"})),
    ],
    ids=str,
)
def test_a_failure_beside_the_result_of_a_success_counts(
    command: Command, beside: dict[str, Any], agrees: bool
) -> None:
    """In the message or another field of the envelope. Positions would otherwise be reported as closed."""
    response = Response(200, json.dumps({"code": 200, "msg": None, "result": {}, **beside}).encode())
    assert (VENUE.judge(Plan(command, ACCOUNT), response).proof is Proof.EXECUTED) is agrees


def test_the_reason_tells_a_lost_reply_from_an_unlisted_answer() -> None:
    """An operator handles them differently."""
    assert VENUE.judge(Plan(CANCEL, ACCOUNT), Response(404, b"<html>")).unknown_reason is Reason.LOST_REPLY
    assert VENUE.judge(Plan(CANCEL, ACCOUNT), Response(418, b"")).unknown_reason is Reason.UNLISTED_ANSWER
    assert (
        VENUE.judge(Plan(CANCEL, ACCOUNT), Response(503, envelope(503, "?"))).unknown_reason is Reason.UNLISTED_ANSWER
    )
    assert VENUE.judge(Plan(CANCEL, ACCOUNT), Response(502, b"")).unknown_reason is Reason.LOST_REPLY


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("7", 7.0), ("0", 0.0), ("007", 7.0), ("1.5", 2.0), ("1.0", 1.0), ("0.043", 1.0), (".5", 1.0), ("2.", 2.0)),
        *(("1.00000000000000000000001", 2.0), ("999999.5", 999_999.0), ("9" * 400, 999_999.0), ("soon", None)),
        *(("-1", None), ("1e3", None), (".", None), ("1.5s", None), ("1,5", None), ("\u0661", None), ("1.5.5", None)),
        *(("1, 5", 5.0), ("5, 1.5", 5.0), ("0, 0", 0.0), ("5, soon", None)),
    ],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    """Decimal seconds, a fraction rounded up, or nothing; never more than eleven days."""
    assert VENUE.judge(Plan(CANCEL, ACCOUNT), Response(429, b"", {"retry-after": value})).retry_after == seconds


DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


@pytest.mark.parametrize(
    ("until", "date", "seconds"),
    [
        ("Fri, 15 Jan 2027 08:00:30 GMT", DATE, 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", DATE, 0.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", "", None),
        ("Fri, 15 Jan 2027 08:00:30 GMT", "today", None),
        ("Fri, 15 Jan 2027 08:00:30", DATE, None),
        ("Fri, 15 Jan 99999 08:00:30 GMT", DATE, None),
        ("Fri, 15 Jan 99999999999 08:00:30 GMT", DATE, None),
        ("Fri, 15 Jan 2027 08:00:30 +99999999999999999", DATE, None),
        ("tomorrow", DATE, None),
    ],
)
def test_retry_after_as_a_time(until: str, date: str, seconds: float | None) -> None:
    """By the venue's own clock (RFC 9110, 10.2.3)."""
    headers = {"Retry-After": until, "Date": date}
    assert VENUE.judge(Plan(CANCEL, ACCOUNT), Response(429, b"", headers)).retry_after == seconds


def test_the_result_is_untouched() -> None:
    """Numbers keep type and digits; one that a float can't hold keeps its digits as a string."""
    body = b'{"code":200,"msg":null,"result":{"qty":0.00001,"n":3,"long":0.1234567890123456789,"b":true,"z":null}}'
    result = VENUE.judge(Plan(CANCEL, ACCOUNT), Response(200, body)).result
    assert json.dumps(result) == '{"qty": 1e-05, "n": 3, "long": "0.1234567890123456789", "b": true, "z": null}'


STATS: dict[str, Any] = {
    "size": 1,
    "notional": 0.14,
    "margin": 1,
    "pnl": 0,
    "upnl": -0.5,
    "rpnl": 0,
    "equity": 1,
    "roe": 0,
    "mark": 2.1,
    "avg_entry": 3.4,
    "leverage": 2.82,
    "lp": 3.7,
    "bankrupt": 3.78,
    "direction": "BUY",
}
POSITION = {"size": 1, "free": 1, "locked": 0, "realized": 0, "funding": 0, "fees": 0, "stats": STATS}
NORMAL = Position(
    instrument="P",
    direction=Direction.LONG,
    size="1",
    entry_price="3.4",
    liquidation_price="3.7",
    leverage="2.82",
    margin="1",
    realized_pnl="0",
    unrealized_pnl="-0.5",
    cross=None,
)


@pytest.mark.parametrize(
    ("command", "result", "positions"),
    [
        (Positions(account="a", pair="P"), POSITION, (NORMAL,)),
        (
            Positions(account="a"),
            {"P": POSITION, "Q": {"stats": {**STATS, "direction": "SELL", "size": "-2"}}},
            (
                NORMAL,
                NORMAL.model_copy(update={"instrument": "Q", "direction": Direction.SHORT, "size": "2"}),
            ),
        ),
        (Positions(account="a", pair="P"), {"stats": {"size": 0}}, ()),
        *(
            (Positions(account="a"), {"P": {"stats": {**STATS, "size": size, "direction": way}}}, ())
            for size in (0, "0", "-0", "0.00000000", "0E-80")
            for way in ("BUY", "NONE", None)
        ),
        (
            Positions(account="a"),
            {"P": POSITION, "Q": {"stats": {**STATS, "lp": "-", "leverage": {}, "upnl": "1_0"}}},
            (
                NORMAL,
                NORMAL.model_copy(
                    update={"instrument": "Q", "liquidation_price": None, "leverage": None, "unrealized_pnl": None}
                ),
            ),
        ),
        (Positions(account="a"), {}, ()),
    ],
)
def test_positions_are_normalised(command: Positions, result: object, positions: tuple[Position, ...]) -> None:
    """They have the same shape for every venue, with decimals as strings; size zero is no position."""
    verdict = VENUE.judge(Plan(command, ACCOUNT), Response(200, envelope(result=result)))
    assert verdict.proof is Proof.EXECUTED
    assert verdict.positions == positions


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "flat",
        {"P": None},
        {"P": {}},
        {"P": {"stats": {}}},
        {"P": {"stats": {"size": "x", "direction": "BUY"}}},
        {"P": {"stats": {"size": 1, "direction": []}}},
        {"P": {"stats": {"size": 1}}},
        *({"P": {"stats": stats}} for stats in ("x", [1], 7, None)),
        {"P": {"stats": {"size": -1, "direction": "BUY"}}},
        *({"P": {"stats": {**STATS, "size": size}}} for size in ("1_0", " 1", "\u0661", True, "", None, "1" * 101)),
        {"P": POSITION, "Q": {"stats": {**STATS, "direction": "NONE"}}},
        {"P": {**POSITION, "pair": "Q"}},
        {"P": {**POSITION, "Pair": "Q"}},
    ],
)
def test_unreadable_positions_prove_nothing(result: object) -> None:
    """They must never be reported as closed."""
    body = json.dumps({"code": 200, "msg": None, "result": result}).encode()
    verdict = VENUE.judge(Plan(Positions(account="a"), ACCOUNT), Response(200, body))
    assert (verdict.proof, verdict.positions) == (Proof.UNKNOWN, None)


def test_a_position_of_another_pair_proves_nothing() -> None:
    """It must not be reported as that of the requested pair."""
    for entry in ({**POSITION, "pair": "Q"}, {"stats": {**STATS, "pair": "Q", "size": 0}}):
        verdict = VENUE.judge(Plan(Positions(account="a", pair="P"), ACCOUNT), Response(200, envelope(result=entry)))
        assert (verdict.proof, verdict.positions) == (Proof.UNKNOWN, None)


def test_contract_ids_belong_to_the_other_venue() -> None:
    """An argument that the venue does not support is refused instead of ignored."""
    assert "contract_id" in (VENUE.unsupported(Positions(account="a", contract_id=1)) or "")
    assert VENUE.unsupported(Positions(account="a")) is None


def test_credentials_are_in_no_representation() -> None:
    """And so in no traceback with local variables."""
    assert "the-secret" not in repr(ACCOUNT)
    assert "the-key" not in repr(ACCOUNT)
