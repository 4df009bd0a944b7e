"""Kraken's spot exchange behind ccxt: positions and cancels, as its pages show them."""

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from producers.commands import Cancel, Close, Positions, Submit, Withdraw
from producers.report import Direction
from tests.unit.worker.venues.ccxt.answering_exchange import (
    NOW_MS,
    AnsweringExchange,
    StoppedClock,
    answered,
    name_of,
    planned,
)
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Overload, Plan, Proof
from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.ccxt.exchanges.kraken import LISTED, TRAITS
from worker.venues.http.base import SignedRequest
from worker.venues.lookups import Lookup, Sight

SECRET = base64.b64encode(b"a secret of Kraken").decode()
ACCOUNT = Account("k", "ccxt:kraken", "https://api.kraken.com", Credentials("the key", SECRET))
ORDER_ID = "OQCLML-BW3P3-BUCMWZ"
PAIR = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "aclass_base": "currency",
    "base": "XXBT",
    "aclass_quote": "currency",
    "quote": "ZUSD",
    "pair_decimals": 1,
    "cost_decimals": 5,
    "lot_decimals": 8,
    "lot_multiplier": 1,
    "leverage_buy": [2, 3],
    "leverage_sell": [2, 3],
    "fees": [[0, 0.26]],
    "fees_maker": [[0, 0.16]],
    "fee_volume_currency": "ZUSD",
    "ordermin": "0.0001",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
}
PAIRS = {"error": [], "result": {"XXBTZUSD": PAIR, "XETHZUSD": {**PAIR, "base": "XETH", "wsname": "ETH/USD"}}}
EXCHANGE = AnsweringExchange({"GET /0/public/AssetPairs": PAIRS})
VENUE = CcxtVenue("kraken", clock=StoppedClock())
CANCEL, QUERY = Cancel(account="k", order_id=ORDER_ID), Positions(account="k")


@pytest.fixture(scope="module")
def cancel() -> Plan:
    """The plan of a cancel."""
    return planned(VENUE, ACCOUNT, CANCEL, EXCHANGE)


@pytest.fixture(scope="module")
def query() -> Plan:
    """The plan of a query."""
    return planned(VENUE, ACCOUNT, QUERY, EXCHANGE)


def failed(*errors: str) -> dict[str, Any]:
    """An answer that says no."""
    return {"error": list(errors)}


ANSWERS = [
    ({"error": [], "result": {"count": 1}}, Proof.EXECUTED),
    (failed("EAPI:Invalid nonce"), Proof.NOT_EXECUTED),
    (failed("EAPI:Rate limit exceeded"), Proof.NOT_EXECUTED),
    (failed("EService: Throttled: 1790000005"), Proof.NOT_EXECUTED),
    (failed("EAPI:Invalid key"), Proof.REFUSED),
    (failed("EAPI:Invalid signature"), Proof.REFUSED),
    (failed("EGeneral:Permission denied"), Proof.REFUSED),
    (failed("EGeneral:Invalid arguments"), Proof.REFUSED),
    (failed("EService:Deadline elapsed"), Proof.UNKNOWN),
    (failed("EService:Unavailable"), Proof.UNKNOWN),
    (failed("EService:Busy"), Proof.UNKNOWN),
    (failed("EGeneral:Internal error"), Proof.UNKNOWN),
    (failed("EGeneral:Temporary lockout"), Proof.UNKNOWN),
    (failed("EGeneral:Too many requests"), Proof.UNKNOWN),
    (failed("EOrder:Rate limit exceeded"), Proof.UNKNOWN),
    (failed("EOrder:Unknown order"), Proof.UNKNOWN),
    (failed("EGeneral:Invalid arguments:txid"), Proof.UNKNOWN),
    (failed("EAPI:Invalid key", "EService:Unavailable"), Proof.UNKNOWN),
    ({"error": ["WGeneral:Something"], "result": {"count": 1}}, Proof.UNKNOWN),
    ({"error": [], "result": {"count": 0}}, Proof.UNKNOWN),
    ({"error": [], "result": {"count": 2}}, Proof.UNKNOWN),
    ({"error": [], "result": {"count": 1, "pending": True}}, Proof.UNKNOWN),
    ({"error": [], "result": {}}, Proof.UNKNOWN),
    ({"error": []}, Proof.UNKNOWN),
    ({"error": "EAPI:Invalid key"}, Proof.UNKNOWN),
    ({"error": [1]}, Proof.UNKNOWN),
    ({"result": {"count": 1}}, Proof.UNKNOWN),
]


@pytest.mark.parametrize(("body", "proof"), ANSWERS)
def test_what_an_answer_proves(cancel: Plan, body: dict[str, Any], proof: Proof) -> None:
    """With a status of 500 and more, or without its envelope, it proves nothing."""
    assert VENUE.judge(cancel, answered(body)).proof is proof
    assert VENUE.judge(cancel, answered({**body, "error": None})).proof is Proof.UNKNOWN
    assert VENUE.judge(cancel, answered(body, 503)).proof is Proof.UNKNOWN


def test_every_listed_code_is_tested() -> None:
    """No line of the traits is without an answer above."""
    codes = {envelope.code for body, _ in ANSWERS if (envelope := TRAITS.read(body)) is not None}
    assert {each.code for each in LISTED} <= codes


def test_a_limit_holds_for_the_account(cancel: Plan) -> None:
    """Whichever of its two words it uses."""
    for text in ("EAPI:Rate limit exceeded", "EService: Throttled: 1790000005"):
        assert VENUE.judge(cancel, answered(failed(text))).overload is Overload.ACCOUNT


def check_signed(request: SignedRequest) -> None:
    """The path, and the SHA-256 of nonce and body, with the decoded secret."""
    body = (request.body or b"").decode()
    nonce = parse_qs(body)["nonce"][0]
    text = urlsplit(request.url).path.encode() + hashlib.sha256((nonce + body).encode()).digest()
    expected = hmac.new(base64.b64decode(SECRET), text, hashlib.sha512).digest()
    assert request.headers["API-Sign"] == base64.b64encode(expected).decode()
    assert (request.headers["API-Key"], nonce) == ("the key", str(NOW_MS))


def test_the_requests(cancel: Plan, query: Plan) -> None:
    """Both are POSTs; one of them only reads."""
    request = VENUE.request(cancel, NOW_MS)
    assert (name_of(request), request.body) == (
        "POST /0/private/CancelOrder",
        f"nonce={NOW_MS}&txid={ORDER_ID}".encode(),
    )
    check_signed(request)
    request = VENUE.request(query, NOW_MS)
    assert (name_of(request), request.body) == ("POST /0/private/OpenPositions", f"nonce={NOW_MS}".encode())
    check_signed(request)


def opened(pair: str, side: str, size: str, closed: str) -> dict[str, Any]:
    """An order that opened a position."""
    return {"ordertxid": ORDER_ID, "posstatus": "open", "pair": pair, "type": side, "vol": size, "vol_closed": closed}


def test_a_position_is_what_is_left_of_its_orders(query: Plan) -> None:
    """Summed by pair and direction, digit by digit."""
    rows = {
        "T1": opened("XXBTZUSD", "buy", "0.5", "0.2"),
        "T2": opened("XXBTZUSD", "buy", "0.50000000000000000000000000000000001", "0"),
        "T3": opened("XXBTZUSD", "sell", "1.00000000", "1.00000000"),
        "T4": opened("XETHZUSD", "sell", "3", "0.5"),
    }
    positions = VENUE.judge(query, answered({"error": [], "result": rows})).positions
    assert [(each.instrument, each.direction, each.size) for each in positions or ()] == [
        ("BTC/USD", Direction.LONG, "0.80000000000000000000000000000000001"),
        ("ETH/USD", Direction.SHORT, "2.5"),
    ]
    assert VENUE.judge(query, answered({"error": [], "result": {}})).positions == ()


@pytest.mark.parametrize(
    "row",
    [
        None,
        {},
        opened("XXBTZUSD", "buy", "0.5", "x"),
        opened("XXBTZUSD", "buy", "0.5", "0.6"),
        opened("XXBTZUSD", "long", "0.5", "0"),
        opened("XXBTZUSD", "buy", "NaN", "0"),
    ],
)
def test_what_can_not_be_read_is_never_flat(query: Plan, row: Any) -> None:
    """Not a list without that row, either."""
    rows = {"T1": row, "T2": opened("XETHZUSD", "sell", "3", "0.5")}
    assert VENUE.judge(query, answered({"error": [], "result": rows})).proof is not Proof.EXECUTED


@pytest.mark.parametrize(
    "body", [{"error": []}, {"error": [], "result": []}, {"error": [], "result": {"count": 1}}, {}]
)
def test_a_list_that_is_missing_is_never_flat(query: Plan, body: dict[str, Any]) -> None:
    """Whatever else is there."""
    assert VENUE.judge(query, answered(body)).positions is None


@pytest.mark.parametrize(
    ("status", "sight", "taken"),
    [
        ("pending", Sight.ABSENT, None),
        ("open", Sight.ABSENT, None),
        ("closed", Sight.FOUND, False),
        ("canceled", Sight.FOUND, True),
        ("expired", Sight.FOUND, False),
        ("a_new_state", Sight.FOUND, None),
    ],
)
def test_what_became_of_a_cancel(status: str, sight: Sight, taken: bool | None) -> None:
    """The order is asked for by its id."""
    row = {
        "status": status,
        "opentm": 1616665496.7808,
        "vol": "1.25",
        "vol_exec": "0",
        "descr": {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "37500.0"},
    }
    exchange = AnsweringExchange(
        {**EXCHANGE.answers, "POST /0/private/QueryOrders": {"error": [], "result": {ORDER_ID: row}}}
    )
    sighting = VENUE.look(CANCEL, Lookup(ORDER_ID, ""), ACCOUNT, exchange)
    assert (sighting.sight, sighting.taken) == (sight, taken)
    assert parse_qs((exchange.requests[-1].body or b"").decode())["txid"] == [ORDER_ID]
    check_signed(exchange.requests[-1])


@pytest.mark.parametrize("answer", [{"error": [], "result": {}}, failed("EService:Unavailable"), answered(b"", 502)])
def test_an_order_that_is_not_shown_proves_nothing(answer: Any) -> None:
    """It may have been cancelled before."""
    exchange = AnsweringExchange({**EXCHANGE.answers, "POST /0/private/QueryOrders": answer})
    assert VENUE.look(CANCEL, Lookup(ORDER_ID, ""), ACCOUNT, exchange).sight is Sight.UNREADABLE


@pytest.mark.parametrize(
    "command",
    [
        Close(account="k", pair="BTC/USD"),
        Submit(account="k", pair="BTC/USD", side="buy", qty="1"),
        Withdraw(account="k", asset="USDT", qty="100", address="TXabc", network="TRC20"),
    ],
)
def test_the_other_commands_are_refused_with_a_reason(command: Any) -> None:
    """And before anything is sent."""
    assert TRAITS.refused[command.name.rpartition(".")[2]] in (VENUE.unsupported(command) or "")


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"error": {}}, {"error": [], "result": 1}, {"error": [""]}])
def test_anything_is_read(value: Any) -> None:
    """Whatever JSON arrives."""
    assert TRAITS.read(value) is None
    assert TRAITS.positions(None)[0].rows(value) is None
