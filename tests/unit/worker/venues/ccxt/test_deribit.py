"""Deribit behind ccxt: positions and cancels, as its pages show them."""

import hashlib
import hmac
import re
from typing import Any
from urllib.parse import urlsplit

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
    query_of,
)
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Overload, Plan, Proof
from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.ccxt.binding import new_exchange
from worker.venues.ccxt.exchanges.deribit import LISTED, TRAITS
from worker.venues.ccxt.judging import NOT_NOW, REFUSING
from worker.venues.ccxt.traits import Wanted
from worker.venues.http.base import SignedRequest
from worker.venues.lookups import Lookup, Sight

SECRET = "a secret of Deribit"
ACCOUNT = Account("d", "ccxt:deribit", "https://www.deribit.com", Credentials("the key", SECRET))
ORDER_ID = "ETH-349249"
INVERSE = {
    "instrument_name": "BTC-PERPETUAL",
    "kind": "future",
    "base_currency": "BTC",
    "quote_currency": "USD",
    "counter_currency": "USD",
    "settlement_currency": "BTC",
    "instrument_type": "reversed",
    "settlement_period": "perpetual",
    "contract_size": 10.0,
    "min_trade_amount": 10.0,
    "tick_size": 0.5,
    "is_active": True,
    "creation_timestamp": 1534167754000,
    "expiration_timestamp": 32503708800000,
    "maker_commission": 0.0,
    "taker_commission": 0.0005,
}
LINEAR = {
    **INVERSE,
    "instrument_name": "ETH_USDC-PERPETUAL",
    "base_currency": "ETH",
    "quote_currency": "USDC",
    "counter_currency": "USDC",
    "settlement_currency": "USDC",
    "instrument_type": "linear",
    "contract_size": 0.001,
    "min_trade_amount": 0.001,
}
POSITION = {
    "instrument_name": "BTC-PERPETUAL",
    "kind": "future",
    "direction": "buy",
    "size": 50,
    "size_currency": 0.006687487,
    "average_price": 7440.18,
    "estimated_liquidation_price": 1.74,
    "floating_profit_loss": 0,
    "realized_profit_loss": 0,
    "initial_margin": 0.000197283,
    "maintenance_margin": 0.000143783,
    "leverage": 34,
}
ORDER = {
    "order_id": ORDER_ID,
    "order_state": "cancelled",
    "order_type": "limit",
    "instrument_name": "BTC-PERPETUAL",
    "direction": "sell",
    "label": "",
    "price": 65000.5,
    "amount": 40,
    "filled_amount": 0,
    "average_price": 0,
    "time_in_force": "good_til_cancelled",
    "creation_timestamp": 1550657341322,
    "last_update_timestamp": 1550657341322,
}


def result(value: Any) -> dict[str, Any]:
    """An answer that says yes."""
    return {"jsonrpc": "2.0", "id": 1, "result": value, "usIn": 1, "usOut": 2, "usDiff": 1, "testnet": False}


def failed(code: int, message: str = "a message") -> dict[str, Any]:
    """An answer that says no."""
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "usIn": 1, "usOut": 2, "usDiff": 1}


EXCHANGE = AnsweringExchange({"GET /api/v2/public/get_instruments": result([INVERSE, LINEAR])})
VENUE = CcxtVenue("deribit", clock=StoppedClock())
CANCEL, QUERY = Cancel(account="d", order_id=ORDER_ID), Positions(account="d")


@pytest.fixture(scope="module")
def cancel() -> Plan:
    """The plan of a cancel."""
    return planned(VENUE, ACCOUNT, CANCEL, EXCHANGE)


@pytest.fixture(scope="module")
def query() -> Plan:
    """The plan of a query."""
    return planned(VENUE, ACCOUNT, QUERY, EXCHANGE)


REFUSED = (10004, 10010, 10025, 10029, 10045, 11008, 11044, 10000, 13004, 13021, -32601, -32602, -32700)
NOT_KNOWN = (
    *(10001, 10041, 10047, 11051, 11094, 13025, 13028, 13503, 13888, 11030, 11031, 13008, 12345, 10013, 10014, 10015),
    *(10016, 10017, 10018, 10019, 11035, 11042, 11090, 11091, 11092, 11093, 12001, 13002, 13012, 9999),
)
ANSWERS = [
    (result(ORDER), 200, Proof.EXECUTED),
    (failed(10028, "too_many_requests"), 400, Proof.NOT_EXECUTED),
    (failed(10040, "retry"), 400, Proof.NOT_EXECUTED),
    (failed(13009, "unauthorized"), 400, Proof.NOT_EXECUTED),
    *((failed(code), 400, Proof.REFUSED) for code in REFUSED),
    *((failed(code), 400, Proof.UNKNOWN) for code in NOT_KNOWN),
    (result({**ORDER, "order_state": "open"}), 200, Proof.UNKNOWN),
    (result({**ORDER, "order_state": "filled"}), 200, Proof.UNKNOWN),
    (result({**ORDER, "order_id": "ETH-1"}), 200, Proof.UNKNOWN),
    (result({}), 200, Proof.UNKNOWN),
    (result("ok"), 200, Proof.UNKNOWN),
    ({**result(ORDER), "error": {"code": 11094, "message": "internal_server_error"}}, 200, Proof.UNKNOWN),
    ({"jsonrpc": "2.0", "error": {"code": "10004", "message": "order_not_found"}}, 400, Proof.UNKNOWN),
    ({"jsonrpc": "2.0", "error": {"code": 10004}}, 400, Proof.UNKNOWN),
]


@pytest.mark.parametrize(("body", "status", "proof"), ANSWERS)
def test_what_an_answer_proves(cancel: Plan, body: dict[str, Any], status: int, proof: Proof) -> None:
    """With a status of 500 and more, or without its envelope, it proves nothing."""
    assert VENUE.judge(cancel, answered(body, status)).proof is proof
    assert VENUE.judge(cancel, answered({**body, "jsonrpc": None}, status)).proof is Proof.UNKNOWN
    assert VENUE.judge(cancel, answered(body, 503)).proof is Proof.UNKNOWN


def test_every_listed_code_is_tested() -> None:
    """No line of the traits is without an answer above."""
    codes = {envelope.code for body, _, _ in ANSWERS if (envelope := TRAITS.read(body)) is not None}
    assert {each.code for each in LISTED} <= codes


def test_no_code_is_judged_by_ccxt_alone() -> None:
    """Whatever ccxt takes for a refusal, or for "not now", is listed here with what its page says."""
    table = new_exchange("deribit", {}).exceptions
    believed = {code for code, error in table.items() if not (REFUSING | NOT_NOW).isdisjoint(_names(error))}
    assert believed <= {each.code for each in LISTED} | {"10009"}, "10009 is an order's: no funds"


def _names(error: type) -> set[str]:
    return {each.__name__ for each in error.__mro__}


def test_a_limit_holds_for_the_account(cancel: Plan) -> None:
    """Its credits are a sub-account's."""
    assert VENUE.judge(cancel, answered(failed(10028), 400)).overload is Overload.ACCOUNT


def check_signed(request: SignedRequest) -> None:
    """Time, nonce, method, path with query, and body; each on a line."""
    found = re.fullmatch(
        r"deri-hmac-sha256 id=the key,ts=([0-9]+),sig=([0-9a-f]{64}),nonce=([0-9]+)", request.headers["Authorization"]
    )
    assert found is not None
    parts = urlsplit(request.url)
    text = f"{found[1]}\n{found[3]}\n{request.method}\n{parts.path}?{parts.query}\n\n"
    assert found[2] == hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    assert found[1] == str(NOW_MS)


def test_the_requests(cancel: Plan, query: Plan) -> None:
    """Of positions those in every currency."""
    request = VENUE.request(cancel, NOW_MS)
    assert (name_of(request), query_of(request)) == ("GET /api/v2/private/cancel", {"order_id": ORDER_ID})
    check_signed(request)
    request = VENUE.request(query, NOW_MS)
    assert (name_of(request), query_of(request)) == ("GET /api/v2/private/get_positions", {"currency": "any"})
    check_signed(request)


def test_the_test_network_has_its_own_address() -> None:
    """And its own keys."""
    address = str(TRAITS.testnet_url)
    demo = Account("d", "ccxt:deribit", address, Credentials("the key", SECRET), testnet=True)
    plan = planned(VENUE, demo, CANCEL, AnsweringExchange(EXCHANGE.answers))
    assert VENUE.request(plan, NOW_MS).url == f"https://test.deribit.com/api/v2/private/cancel?order_id={ORDER_ID}"


def test_positions_as_the_exchange_counts_them(query: Plan) -> None:
    """In USD, or in the base; a short one has a negative size."""
    short = {**POSITION, "instrument_name": "ETH_USDC-PERPETUAL", "direction": "sell", "size": -0.303}
    flat = {**POSITION, "direction": "zero", "size": 0}
    verdict = VENUE.judge(query, answered(result([POSITION, short, flat])))
    assert [(each.instrument, each.direction, each.size) for each in verdict.positions or ()] == [
        ("BTC/USD:BTC", Direction.LONG, "50"),
        ("ETH/USDC:USDC", Direction.SHORT, "0.303"),
    ]
    assert "10" not in verdict.message
    assert VENUE.judge(query, answered(result([]))).positions == ()


@pytest.mark.parametrize(
    "body", [{"jsonrpc": "2.0"}, result(None), result({}), result([None]), result([{}]), failed(10028), failed(11094)]
)
def test_a_list_that_is_missing_is_never_flat(query: Plan, body: dict[str, Any]) -> None:
    """Whatever the status says."""
    assert VENUE.judge(query, answered(body)).positions is None


@pytest.mark.parametrize(
    ("state", "sight", "taken"),
    [
        ("open", Sight.ABSENT, None),
        ("untriggered", Sight.ABSENT, None),
        ("filled", Sight.FOUND, False),
        ("cancelled", Sight.FOUND, True),
        ("a_new_state", Sight.FOUND, None),
    ],
)
def test_what_became_of_a_cancel(state: str, sight: Sight, taken: bool | None) -> None:
    """The order is asked for by its id."""
    row = {**ORDER, "order_state": state}
    exchange = AnsweringExchange({**EXCHANGE.answers, "GET /api/v2/private/get_order_state": result(row)})
    sighting = VENUE.look(CANCEL, Lookup(ORDER_ID, ""), ACCOUNT, exchange)
    assert (sighting.sight, sighting.taken) == (sight, taken)
    assert query_of(exchange.requests[-1]) == {"order_id": ORDER_ID}


@pytest.mark.parametrize("answer", [answered(failed(10004), 400), answered(failed(11094), 400), answered(b"", 502)])
def test_an_order_that_is_not_shown_proves_nothing(answer: Any) -> None:
    """It may have been cancelled before."""
    exchange = AnsweringExchange({**EXCHANGE.answers, "GET /api/v2/private/get_order_state": answer})
    assert VENUE.look(CANCEL, Lookup(ORDER_ID, ""), ACCOUNT, exchange).sight is Sight.UNREADABLE


@pytest.mark.parametrize(
    "command",
    [
        Close(account="d", pair="BTC-PERPETUAL"),
        Submit(account="d", pair="BTC-PERPETUAL", side="buy", qty="10"),
        Withdraw(account="d", asset="USDT", qty="100", address="TXabc", network="TRC20"),
    ],
)
def test_the_other_commands_are_refused_with_a_reason(command: Any) -> None:
    """And before anything is sent."""
    assert TRAITS.refused[command.name.rpartition(".")[2]] in (VENUE.unsupported(command) or "")


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"jsonrpc": "2.0", "error": 1}, {"jsonrpc": "2.0"}])
def test_anything_is_read(value: Any) -> None:
    """Whatever JSON arrives."""
    assert TRAITS.read(value) is None
    assert TRAITS.positions(None)[0].rows(value) is None
    assert TRAITS.find(Wanted("cancel", "", order_id=ORDER_ID))[0].rows(value) is None
