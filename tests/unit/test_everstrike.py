"""Everstrike's adapter: the bytes, the signature, and what each answer proves."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import requests

from producers.commands import Cancel, Close, Command, Positions, Withdraw
from producers.report import Direction, Position, Reason
from worker.venues.base import Account, Answer, Credentials, Proof, post
from worker.venues.everstrike import Everstrike, EverstrikeAuth

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
    """Field names and order of the pages, plain decimals, integer milliseconds, values escaped."""
    request = VENUE.request(command, ACCOUNT, NOW)
    assert (request.method, request.url) == ("POST", f"https://api.everstrike.io/auth/{path}")
    assert request.body == body
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["x-api-key"] == "the-key"


def test_the_signature_covers_exactly_the_body() -> None:
    """x-signature = base64(HMAC-SHA256(secret, body bytes)), computed here a second time."""
    request = VENUE.request(CANCEL, ACCOUNT, NOW)
    assert isinstance(request.body, bytes)
    expected = base64.b64encode(hmac.new(b"the-secret", request.body, hashlib.sha256).digest()).decode()
    assert request.headers["x-signature"] == expected


def test_a_known_signature() -> None:
    """A known answer, pinned: computed with ``openssl dgst -sha256 -hmac the-secret -binary | base64``."""
    request = VENUE.request(Cancel(account="a", order_id="32302131320dqe"), ACCOUNT, NOW)
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
    """These GETs carry no signature and no body."""
    request = VENUE.request(command, ACCOUNT, NOW)
    assert (request.method, request.url, request.body) == ("GET", url, None)
    assert request.headers["x-api-key"] == "the-key"
    assert "x-signature" not in request.headers


@pytest.mark.parametrize(
    ("status", "body", "proof"),
    [
        (200, envelope(), Proof.EXECUTED),
        (200, envelope(msg="null"), Proof.EXECUTED),
        (200, b'{"code":200,"msg":null,"result":null}', Proof.EXECUTED),
        (200, envelope(code=503), Proof.UNKNOWN),
        (200, b'{"code":200,"msg":null}', Proof.UNKNOWN),
        (200, b"<html>", Proof.UNKNOWN),
        (200, b"", Proof.UNKNOWN),
        (200, b"[]", Proof.UNKNOWN),
        (200, b"\xff\xfe", Proof.UNKNOWN),
        (200, b'{"code":200,"result":NaN}', Proof.UNKNOWN),
        (200, b'{"code":503,"msg":"Invalid request","result":{},"code":200}', Proof.UNKNOWN),
        (200, b'{"code":200,"result":{"id":"a","id":"b"}}', Proof.UNKNOWN),
        (200, b'{"code":200,"code":200,"msg":null,"result":null}', Proof.EXECUTED),
        (201, envelope(), Proof.UNKNOWN),
        (302, b"", Proof.UNKNOWN),
        (400, envelope(400, "bad"), Proof.REFUSED),
        (401, b"", Proof.REFUSED),
        (403, b"<html>", Proof.REFUSED),
        (404, b"", Proof.REFUSED),
        (422, b"", Proof.REFUSED),
        (418, b"", Proof.UNKNOWN),
        (429, b"", Proof.NOT_EXECUTED),
        (500, envelope(500, "error"), Proof.UNKNOWN),
        (502, b"<html>", Proof.UNKNOWN),
        (504, b"", Proof.UNKNOWN),
        (503, b"<html>Service Unavailable</html>", Proof.UNKNOWN),
        (503, b'{"code":503,"msg":"Invalid request"}', Proof.UNKNOWN),
        (503, b'{"code":500,"msg":"Invalid request","result":{}}', Proof.UNKNOWN),
        (503, b'{"code":503,"msg":null,"result":{}}', Proof.UNKNOWN),
        (503, b'{"code":200,"code":503,"msg":"Invalid request","result":{}}', Proof.UNKNOWN),
        (503, envelope(503, "Invalid request"), Proof.REFUSED),
        (503, envelope(503, "The order was not found"), Proof.REFUSED),
        (503, envelope(503, "the position was not found."), Proof.REFUSED),
        (503, envelope(503, "Your request was rejected due to insufficient balance."), Proof.REFUSED),
        (503, envelope(503, "Service unavailable"), Proof.NOT_EXECUTED),
        (503, envelope(503, "Too many requests"), Proof.NOT_EXECUTED),
        (503, envelope(503, "Invalid request, or maybe executed"), Proof.UNLISTED_REFUSAL),
        (503, envelope(503, "Order executed but service unavailable"), Proof.UNLISTED_REFUSAL),
        (503, envelope(503, ""), Proof.UNLISTED_REFUSAL),
    ],
)
def test_what_an_answer_proves(status: int, body: bytes, proof: Proof) -> None:
    """Every row of the sheet; what is not listed proves nothing."""
    verdict = VENUE.judge(CANCEL, Answer(status, body))
    assert verdict.proof is proof
    assert verdict.http_status == status


def test_an_unlisted_answer_is_called_so() -> None:
    """A lost reply and an answer that nobody knows are different things to an operator."""
    assert VENUE.judge(CANCEL, Answer(418, b"")).unknown_reason is Reason.UNLISTED_ANSWER
    assert VENUE.judge(CANCEL, Answer(503, envelope(503, "?"))).unknown_reason is Reason.UNLISTED_ANSWER
    assert VENUE.judge(CANCEL, Answer(502, b"")).unknown_reason is Reason.LOST_REPLY


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("-1", None), ("1e3", None)])
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    """Whole seconds or nothing."""
    assert VENUE.judge(CANCEL, Answer(429, b"", {"retry-after": value})).retry_after == seconds


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
    assert VENUE.judge(CANCEL, Answer(429, b"", headers)).retry_after == seconds


def test_the_result_is_untouched() -> None:
    """Numbers keep type and digits; one that a float can't hold keeps its digits as a string."""
    body = b'{"code":200,"msg":null,"result":{"qty":0.00001,"n":3,"long":0.1234567890123456789,"b":true,"z":null}}'
    result = VENUE.judge(CANCEL, Answer(200, body)).result
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
        (Positions(account="a"), {}, ()),
    ],
)
def test_positions_are_normalised(command: Positions, result: object, positions: tuple[Position, ...]) -> None:
    """One shape for every venue, decimals as strings; a size of zero is no position."""
    verdict = VENUE.judge(command, Answer(200, envelope(result=result)))
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
    ],
)
def test_positions_that_can_not_be_read_are_never_flat(result: object) -> None:
    """An unreadable reply says nothing about positions."""
    body = json.dumps({"code": 200, "msg": None, "result": result}).encode()
    verdict = VENUE.judge(Positions(account="a"), Answer(200, body))
    assert (verdict.proof, verdict.positions) == (Proof.UNKNOWN, None)


def test_contract_ids_belong_to_the_other_venue() -> None:
    """An argument that this venue knows not is refused, not dropped."""
    assert "contract_id" in (VENUE.unsupported(Positions(account="a", contract_id=1)) or "")
    assert VENUE.unsupported(Positions(account="a")) is None


def test_credentials_show_themselves_to_nobody() -> None:
    """Not in a repr, and so in no traceback with locals."""
    assert "the-secret" not in repr(ACCOUNT)
    assert "the-key" not in repr(ACCOUNT)


@pytest.mark.parametrize(
    "base_url", ["https://api.everstrike.io", "http://127.0.0.1:8080", "https://VENUE.test:443/v1"]
)
def test_a_post_is_what_requests_itself_prepares(base_url: str) -> None:
    """It is put together by hand, for speed; on the wire nobody can tell."""
    account = replace(ACCOUNT, base_url=base_url)
    body, auth = b"pair=USD_BTC_PERP&qty=0.5", EverstrikeAuth(account.credentials)
    theirs = requests.Request("POST", f"{base_url}/auth/close", data=body, headers={"a": "b"}, auth=auth).prepare()
    ours = post(f"{base_url}/auth/close", body, {"a": "b"}, auth)
    for name in ("method", "url", "body", "headers", "hooks"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.copy().headers == theirs.headers
