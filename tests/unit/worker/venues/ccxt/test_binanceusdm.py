"""Binance USDⓈ-M futures: its requests, what its pages document of each answer, and where an order is found again.

Requests are those that ccxt's own recorded fixtures give for the same input (ts/src/test/static/request/binance.json).
"""

import hashlib
import hmac
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from producers.report import Direction
from tests.unit.worker.venues.ccxt.faked_exchange import HTML, NOW_MS, FakedExchange, name_of, respond, venue
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Overload, Plan, PlanFailed, PlanRefused, Proof
from worker.venues.ccxt.exchanges.binanceusdm import DAY_MS, STATUSES, THROTTLED, TRAITS
from worker.venues.ccxt.traits import Listed, Stop, Wanted
from worker.venues.http.base import SignedRequest
from worker.venues.lookups import Lookup, Sight

KEY, SECRET = "dbefbc809e3e83c283a984c3a1459732", "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
ACCOUNT = Account("m", "ccxt:binanceusdm", TRAITS.base_url, Credentials(KEY, SECRET))
HEDGED = replace(ACCOUNT, hedge=True)
VENUE = venue("binanceusdm")
COMMAND_ID = "c-1"
HANDLE = VENUE.handle(COMMAND_ID, ACCOUNT)
SYMBOL = "BTC/USDT:USDT"


def signature_of(payload: str, secret: str) -> str:
    """HMAC SHA-256 of query and body (General Info, SIGNED Endpoint Security)."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def check(request: SignedRequest) -> None:
    """The signature ends the query or the body, and is that of all that comes before it."""
    payload = request.body.decode() if request.body else urlsplit(request.url).query
    if request.headers.get("X-MBX-APIKEY") is None:
        assert name_of(request) in PUBLIC
        return
    signed, _, signature = payload.rpartition("&signature=")
    assert request.headers["X-MBX-APIKEY"] == KEY
    assert signature == signature_of(signed, SECRET)


def fields(request: SignedRequest) -> dict[str, str]:
    """What is sent, without what differs between attempts."""
    payload = request.body.decode() if request.body else urlsplit(request.url).query
    sent = dict(parse_qsl(payload, strict_parsing=True))
    assert int(sent.pop("timestamp")) == NOW_MS
    del sent["signature"], sent["recvWindow"]
    return sent


def market(symbol: str, base: str, step: str, tick: str) -> dict[str, Any]:
    """A row of ``exchangeInfo``."""
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000", "stepSize": step},
        {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "120", "stepSize": step},
    ]
    types = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"]
    named = {"symbol": symbol, "pair": symbol, "baseAsset": base, "quoteAsset": "USDT", "marginAsset": "USDT"}
    more = {"contractType": "PERPETUAL", "status": "TRADING", "deliveryDate": 4133404800000, "quantityPrecision": 3}
    return {**named, **more, "pricePrecision": 2, "orderTypes": types, "filters": filters}


MARKETS = {"symbols": [market("BTCUSDT", "BTC", "0.001", "0.10"), market("LTCUSDT", "LTC", "0.001", "0.01")]}
PUBLIC = {"GET /fapi/v1/exchangeInfo", "GET /fapi/v1/ticker/24hr"}


def position(symbol: str, amount: str, side: str = "BOTH", **more: str) -> dict[str, Any]:
    """A row of Position Information V3."""
    shown = {"symbol": symbol, "positionSide": side, "positionAmt": amount, "entryPrice": "50.5", "markPrice": "55.00"}
    notional = "-11" if amount.startswith("-") else "11"
    return {**shown, "notional": notional, "unRealizedProfit": "0.9", "liquidationPrice": "0", "updateTime": 1, **more}


NO_ORDER = {"code": -2013, "msg": "Order does not exist."}
TICKER = {"symbol": "LTCUSDT", "lastPrice": "55.00", "openTime": 1, "closeTime": 2}


def exchange(**answers: Any) -> FakedExchange:
    """The exchange with these rows of positions, order and stop."""
    return FakedExchange(
        {
            "GET /fapi/v1/exchangeInfo": MARKETS,
            "GET /fapi/v1/ticker/24hr": TICKER,
            "GET /fapi/v3/positionRisk": answers.get("positions", []),
            "GET /fapi/v1/order": answers.get("order", NO_ORDER),
            "GET /fapi/v1/algoOrder": answers.get("stop", NO_ORDER),
            "GET /sapi/v1/capital/withdraw/history": answers.get("withdrawals", []),
        },
        check,
    )


def submit(**arguments: Any) -> Submit:
    return Submit(**{"account": "m", "pair": "LTCUSDT", "side": "buy", "qty": "0.2"} | arguments)


def close(**arguments: Any) -> Close:
    return Close(**{"account": "m", "pair": "LTCUSDT"} | arguments)


def withdraw(**arguments: Any) -> Withdraw:
    return Withdraw(
        **{"account": "m", "asset": "USDT", "qty": "1.50", "address": "0xabc", "network": "ETH"} | arguments
    )


def planned(command: Command, account: Account = ACCOUNT, **answers: Any) -> Plan:
    """The plan of a command, as of an attempt that begins now."""
    plan = VENUE.plan(command, COMMAND_ID, account, exchange(**answers).send)
    return plan.until(NOW_MS + plan.window_ms)


ORDER = {"orderId": 22542179, "symbol": "BTCUSDT", "status": "NEW", "clientOrderId": HANDLE, "executedQty": "0"}
STOP = {"algoId": 2146760, "clientAlgoId": HANDLE, "symbol": "BTCUSDT", "algoStatus": "NEW", "orderType": "STOP_MARKET"}


FIXTURES = [
    # Each row: the command, the account, the rows of positions, the request, and its fields.
    (submit(qty="0.1"), ACCOUNT, [], "order", {"side": "BUY", "type": "MARKET", "quantity": "0.1"}),
    (
        submit(qty="0.1", price="55"),
        ACCOUNT,
        [],
        "order",
        {"side": "BUY", "type": "LIMIT", "quantity": "0.1", "price": "55", "timeInForce": "GTC"},
    ),
    (
        submit(price="50", post_only=True),
        ACCOUNT,
        [],
        "order",
        {"side": "BUY", "type": "LIMIT", "quantity": "0.2", "price": "50", "timeInForce": "GTX"},
    ),
    (
        submit(price="50", post_only=True, time_in_force="GTC"),
        ACCOUNT,
        [],
        "order",
        {"side": "BUY", "type": "LIMIT", "quantity": "0.2", "price": "50", "timeInForce": "GTX"},
    ),
    (
        close(qty="0.2", price="60"),
        ACCOUNT,
        [position("LTCUSDT", "-0.3")],
        "order",
        {"side": "BUY", "type": "LIMIT", "quantity": "0.2", "price": "60", "timeInForce": "GTC", "reduceOnly": "true"},
    ),
    (
        close(pair="BTCUSDT", direction="long"),
        HEDGED,
        [position("BTCUSDT", "0.010", "LONG"), position("BTCUSDT", "-0.020", "SHORT")],
        "order",
        {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.01", "positionSide": "LONG"},
    ),
    (
        close(pair="BTCUSDT", direction="short"),
        HEDGED,
        [position("BTCUSDT", "0.020", "LONG"), position("BTCUSDT", "-0.010", "SHORT")],
        "order",
        {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", "positionSide": "SHORT"},
    ),
    (
        submit(side="sell", qty="0.21", price="50", trigger_price="51", trigger_event="LAST_PRICE"),
        ACCOUNT,
        [],
        "algoOrder",
        {"side": "SELL", "type": "STOP", "quantity": "0.21", "price": "50", "triggerPrice": "51"},
    ),
    (
        submit(side="sell", qty="0.21", price="104", trigger_price="108", trigger_event="LAST_PRICE"),
        ACCOUNT,
        [],
        "algoOrder",
        {"side": "SELL", "type": "TAKE_PROFIT", "quantity": "0.21", "price": "104", "triggerPrice": "108"},
    ),
]


@pytest.mark.parametrize(("command", "account", "held", "path", "expected"), FIXTURES)
def test_orders_equal_the_recorded_ones(
    command: Command, account: Account, held: list[Any], path: str, expected: dict[str, str]
) -> None:
    """With our own client order id; a stop has ``clientAlgoId``, and says by which price it is triggered."""
    plan = planned(command, account, positions=held)
    request = VENUE.request(plan, NOW_MS)
    handle = VENUE.handle(COMMAND_ID, account)
    more = {"symbol": "LTCUSDT", "newOrderRespType": "RESULT"}
    stop = {"clientAlgoId": handle, "algoType": "CONDITIONAL", "workingType": "CONTRACT_PRICE"}
    check(request)
    assert (request.method, request.url) == ("POST", f"https://fapi.binance.com/fapi/v1/{path}")
    assert fields(request) == more | expected | (stop if path == "algoOrder" else {"newClientOrderId": handle})
    assert plan.lookup is not None
    assert plan.lookup == Lookup(handle, plan.lookup.symbol, path == "algoOrder", NOW_MS + 5000)


def test_the_documented_signature() -> None:
    """The example of General Info, "SIGNED Endpoint Examples for POST /fapi/v1/order"."""
    order = "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
    assert (
        signature_of(f"{order}&recvWindow=5000&timestamp=1591702613943", SECRET)
        == "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
    )


def test_an_attempt_may_be_taken_until_the_end_of_its_window() -> None:
    """Later attempts within it have less time left."""
    plan = planned(submit(price="50"))
    for later_ms, window in ((0, "5000"), (1200, "3800"), (4999, "1")):
        sent = dict(parse_qsl((VENUE.request(plan, NOW_MS + later_ms).body or b"").decode()))
        assert (sent["timestamp"], sent["recvWindow"]) == (str(NOW_MS + later_ms), window)


@pytest.mark.parametrize(
    ("answers", "path", "query"),
    [
        (
            {"order": {"orderId": 17, "symbol": "LTCUSDT", "status": "NEW"}},
            "order",
            {"symbol": "LTCUSDT", "orderId": "17"},
        ),
        (
            {"stop": {"algoId": 17, "symbol": "LTCUSDT", "algoStatus": "NEW"}},
            "algoOrder",
            {"symbol": "LTCUSDT", "algoId": "17"},
        ),
        ({}, "order", {"symbol": "LTCUSDT", "orderId": "17"}),
    ],
)
def test_a_stop_is_cancelled_where_stops_are(answers: dict[str, Any], path: str, query: dict[str, str]) -> None:
    """The order is looked for first; one that is in neither list is cancelled as an order, and refused."""
    request = VENUE.request(planned(Cancel(account="m", order_id="17", pair="LTCUSDT"), **answers), NOW_MS)
    check(request)
    assert name_of(request) == f"DELETE /fapi/v1/{path}"
    assert fields(request) == query


def test_a_withdrawal_is_made_of_the_words_of_the_command() -> None:
    """At the wallet's host, with every digit, and the network as the exchange names it."""
    plan = planned(withdraw(tag="7"))
    request = VENUE.request(plan, NOW_MS)
    check(request)
    assert request.url == "https://api.binance.com/sapi/v1/capital/withdraw/apply"
    assert plan.base_url == "https://api.binance.com"
    named = {"coin": "USDT", "address": "0xabc", "amount": "1.5", "network": "ETH", "addressTag": "7"}
    assert fields(request) == named | {"withdrawOrderId": HANDLE}


def test_an_account_at_another_address_sends_everything_there() -> None:
    """A proxy or the test network; the path stays as signed."""
    account = replace(ACCOUNT, base_url=TRAITS.testnet_url, testnet=True)
    plan = VENUE.plan(submit(price="50"), COMMAND_ID, account, exchange().send)
    assert VENUE.request(plan, NOW_MS).url == "https://demo-fapi.binance.com/fapi/v1/order"


@pytest.mark.parametrize(
    "command",
    [
        submit(qty="0.0005"),
        submit(price="50.001"),
        submit(side="sell", price="50", trigger_price="51.005"),
        submit(pair="XYZUSDT"),
        submit(side="sell", price="50", trigger_price="51", trigger_event="INDEX_PRICE"),
        close(),
    ],
)
def test_what_the_exchange_would_not_take_exactly_is_refused(command: Command) -> None:
    """Nothing is rounded, and a trigger event is not replaced; nothing is closed where nothing is open."""
    with pytest.raises(PlanRefused):
        planned(command)


def test_two_directions_are_not_chosen_from() -> None:
    """In hedge mode the command must name one."""
    rows = [position("LTCUSDT", "0.2", "LONG"), position("LTCUSDT", "-0.2", "SHORT")]
    with pytest.raises(PlanRefused, match="direction"):
        planned(close(), HEDGED, positions=rows)


def listed(code: str) -> list[Listed]:
    return [each for each in TRAITS.listed if each.code == code]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"code": -2019, "msg": "Margin is insufficient."}, "-2019"),
        (
            {"code": -1001, "msg": "Internal error; unable to process your request. Please try again."},
            "unable to process",
        ),
        ({"code": -1001, "msg": "Service Unavailable."}, "service unavailable"),
        ({"code": -1000, "msg": "Unknown error, please check your request or try again later."}, "-1000"),
        ({"algoId": 2146760, "clientAlgoId": HANDLE, "code": "200", "msg": "success"}, "200"),
        (ORDER, ""),
        (STOP, ""),
        ({"id": "7213fea8e94b4a5593d507237e5a555b"}, ""),
    ],
)
def test_the_code_of_a_complete_answer(value: Any, code: str) -> None:
    """A refusal is ``code`` and ``msg``; a success has no code, but for a cancelled stop."""
    envelope = TRAITS.read(value)
    assert envelope is not None
    assert envelope.code == code


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "ok",
        -2019,
        {"code": -2019},
        {"msg": "Margin is insufficient."},
        {"code": "-2019", "msg": "Margin is insufficient."},
        {"code": True, "msg": ""},
        {"code": -2019, "msg": None},
        {"code": -2019, "msg": "Margin is insufficient.", "orderId": 1},
        {"orderId": None, "status": "NEW"},
        {"orderId": "", "status": "NEW"},
        {"code": "200", "msg": "success"},
        {"code": 200, "msg": None, "algoId": 1},
    ],
)
def test_an_incomplete_answer_is_none(value: Any) -> None:
    """Nothing is concluded from a part of an envelope, nor from one that says two things."""
    assert TRAITS.read(value) is None


PLANS = {
    "submit": planned(submit(price="50")),
    "close": planned(close(), positions=[position("LTCUSDT", "0.2")]),
    "cancel": planned(Cancel(account="m", order_id="17", pair="LTCUSDT")),
    "withdraw": planned(withdraw()),
}
TAKEN: dict[str, dict[str, Any]] = {
    "submit": {
        "orderId": 5,
        "symbol": "LTCUSDT",
        "status": "NEW",
        "clientOrderId": HANDLE,
        "side": "BUY",
        "origQty": "0.2",
    },
    "close": {
        "orderId": 5,
        "symbol": "LTCUSDT",
        "status": "FILLED",
        "clientOrderId": HANDLE,
        "side": "SELL",
        "origQty": "0.2",
    },
    "cancel": {"orderId": 17, "symbol": "LTCUSDT", "status": "CANCELED", "clientOrderId": "x"},
    "withdraw": {"id": "7213fea8e94b4a5593d507237e5a555b"},
}
TEXTS = {
    "service unavailable": "Service Unavailable.",
    "unable to process": "Internal error; unable to process your request. Please try again.",
}


def body_of(each: Listed) -> dict[str, Any]:
    """A refusal as it is documented."""
    if each.code in TEXTS:
        return {"code": -1001, "msg": TEXTS[each.code]}
    return {"code": int(each.code), "msg": each.message or "Some message."}


REFUSALS = [
    (each, name) for each in TRAITS.listed if each.proof is not Proof.EXECUTED for name in each.commands or PLANS
]


@pytest.mark.parametrize("name", PLANS)
def test_every_listed_code_is_judged_as_listed(name: str) -> None:
    """With its whole envelope and its status; without, or with another status of a breakdown, it is unknown."""
    plan = PLANS[name]
    for each in [listed for listed, command in REFUSALS if command == name]:
        status, body = each.status or 400, body_of(each)
        verdict = VENUE.judge(plan, respond(body, status))
        assert verdict.proof is each.proof, (name, each)
        assert (verdict.overload is Overload.ADDRESS) == each.overload, (name, each)
        broken = [
            {"code": body["code"]},
            {"msg": body["msg"]},
            body | {"orderId": 5, "clientOrderId": HANDLE},
            body | {"id": "1"},
        ]
        for other in (
            *(respond(value, status) for value in broken),
            *(respond(body, each) for each in (408, 500, 502, 504)),
        ):
            assert VENUE.judge(plan, other).proof is Proof.UNKNOWN, (name, each, other)


@pytest.mark.parametrize(
    ("code", "submit", "cancel", "withdraw"),
    [
        (-1003, Proof.NOT_EXECUTED, Proof.NOT_EXECUTED, Proof.NOT_EXECUTED),
        (-1015, Proof.NOT_EXECUTED, Proof.UNKNOWN, Proof.UNKNOWN),
        (-1021, Proof.NOT_EXECUTED, Proof.NOT_EXECUTED, Proof.NOT_EXECUTED),
        (-5028, Proof.NOT_EXECUTED, Proof.UNKNOWN, Proof.UNKNOWN),
        (-4116, Proof.SEEN, Proof.UNKNOWN, Proof.UNKNOWN),
        (-1022, Proof.REFUSED, Proof.REFUSED, Proof.REFUSED),
        (-2015, Proof.REFUSED, Proof.REFUSED, Proof.REFUSED),
        (-2019, Proof.REFUSED, Proof.UNKNOWN, Proof.UNKNOWN),
        (-2022, Proof.REFUSED, Proof.UNKNOWN, Proof.UNKNOWN),
        (-2011, Proof.UNKNOWN, Proof.REFUSED, Proof.UNKNOWN),
        (-2013, Proof.UNKNOWN, Proof.REFUSED, Proof.UNKNOWN),
        (-4106, Proof.UNKNOWN, Proof.UNKNOWN, Proof.REFUSED),
        (-1008, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
        (-2020, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
        (-9999, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
    ],
)
def test_what_a_code_proves_of_each_command(code: int, submit: Proof, cancel: Proof, withdraw: Proof) -> None:
    """A code proves what it is documented for."""
    expected = {"submit": submit, "close": submit, "cancel": cancel, "withdraw": withdraw}
    answer = respond({"code": code, "msg": "Some message."}, 400)
    assert {name: VENUE.judge(plan, answer).proof for name, plan in PLANS.items()} == expected


BODIES = [
    b"",
    b"{}",
    b"null",
    b"[]",
    HTML,
    *({"code": code, "msg": "x"} for code in (-2019, -2011, -1003, -1021, -4116, 0)),
    *TAKEN.values(),
]


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("name", PLANS)
def test_a_breakdown_proves_nothing(name: str, status: int) -> None:
    """Whatever comes with a 5xx, but for the documented texts of 503."""
    unknown_503 = {"code": -1001, "msg": "Unknown error, please check your request or try again later."}
    other_1008 = {
        "code": -1008,
        "msg": "Server is currently overloaded with other requests. Please try again in a few minutes.",
    }
    for body in (*BODIES, unknown_503, other_1008):
        assert VENUE.judge(PLANS[name], respond(body, status)).proof is Proof.UNKNOWN, body


@pytest.mark.parametrize("name", PLANS)
def test_a_success_counts_with_its_record_alone(name: str) -> None:
    """It has an id, and is about this very order; an expired one was not taken."""
    plan, taken = PLANS[name], TAKEN[name]
    assert VENUE.judge(plan, respond(taken)).proof is Proof.EXECUTED
    wrong: list[Any] = [{}, [], None, b"", {"code": 200, "msg": "success"}, dict.fromkeys(taken)]
    if name in ("submit", "close"):
        wrong += [taken | more for more in ({"clientOrderId": "other"}, {"symbol": "BTCUSDT"}, {"status": "EXPIRED"})]
        wrong += [taken | {"origQty": "0.3"}, taken | {"side": {"BUY": "SELL", "SELL": "BUY"}[str(taken["side"])]}]
    if name == "cancel":
        wrong += [taken | {"orderId": 18}, taken | {"status": "FILLED"}]
    for body in wrong:
        assert VENUE.judge(plan, respond(body)).proof is Proof.UNKNOWN, body


def test_a_cancelled_stop_is_answered_in_another_way() -> None:
    """``code`` "200" with the id of the stop."""
    plan = planned(
        Cancel(account="m", order_id="17", pair="LTCUSDT"),
        stop={"algoId": 17, "symbol": "LTCUSDT", "algoStatus": "NEW"},
    )
    answer = {"algoId": 17, "clientAlgoId": "x", "code": "200", "msg": "success"}
    assert VENUE.judge(plan, respond(answer)).proof is Proof.EXECUTED
    assert VENUE.judge(plan, respond(answer | {"msg": "failed"})).proof is Proof.UNKNOWN


def test_a_limited_rate_is_heeded_by_every_account_at_the_address() -> None:
    """429 proves that nothing was executed; a ban proves nothing by itself. Both are about the address."""
    for status, body in ((429, HTML), (429, {"code": -1015, "msg": "Too many new orders."})):
        verdict = VENUE.judge(PLANS["submit"], respond(body, status))
        assert (verdict.proof, verdict.overload) == (Proof.NOT_EXECUTED, Overload.ADDRESS)
    assert VENUE.judge(PLANS["submit"], respond(HTML, 418)).overload is Overload.ADDRESS


@pytest.mark.parametrize("code", ["-1000", "-1001", "-1006", "-1007"])
def test_what_the_pages_call_unknown_is_unknown(code: str) -> None:
    """Execution status unknown, with whatever message."""
    assert [(each.proof, each.message) for each in listed(code)] == [(Proof.UNKNOWN, "")]


def test_status_503_fails_by_three_documented_texts_alone() -> None:
    """100 % failure: "Service Unavailable.", "Internal error; …" and -1008; each with status 503 and no other."""
    failures = {(each.code, each.message, each.proof) for each in TRAITS.listed if each.status}
    assert failures == {
        ("service unavailable", "", Proof.NOT_EXECUTED),
        ("unable to process", "", Proof.NOT_EXECUTED),
        ("-1008", THROTTLED, Proof.NOT_EXECUTED),
    }
    assert {each.status for each in TRAITS.listed} == {0, 503}


def test_a_code_is_judged_in_one_way() -> None:
    """No two lines of one command contradict each other."""
    for command in ("close", "submit", "cancel", "withdraw"):
        codes = [each.code for each in TRAITS.listed if not each.commands or command in each.commands]
        assert len(codes) == len(set(codes)), command


def test_an_order_is_looked_for_where_it_is() -> None:
    """Orders by the symbol, stops at their own endpoint, a withdrawal in the history; by an id of either kind both."""
    order = TRAITS.find(Wanted("submit", SYMBOL, handle=HANDLE))
    stop = TRAITS.find(Wanted("close", SYMBOL, handle=HANDLE, is_stop=True))
    by_id = TRAITS.find(Wanted("cancel", SYMBOL, order_id="17"))
    withdrawal = TRAITS.find(Wanted("withdraw", "USDT", handle=HANDLE))
    assert [(each.method, each.args) for each in order] == [
        ("fetch_order", (None, SYMBOL, {"origClientOrderId": HANDLE}))
    ]
    assert [(each.method, each.args) for each in stop] == [("fapiPrivateGetAlgoOrder", ({"clientAlgoId": HANDLE},))]
    assert [(each.method, each.is_stop) for each in by_id] == [
        ("fetch_order", False),
        ("fapiPrivateGetAlgoOrder", True),
    ]
    assert [each.args for each in withdrawal] == [({"withdrawOrderId": HANDLE},)]
    assert TRAITS.find(Wanted("submit", "", handle=HANDLE)) == ()


def test_a_missing_list_is_no_empty_list() -> None:
    """Only a list of records is read; what a list must not be is never taken for "nothing"."""
    broken: tuple[Any, ...] = ({}, None, {"code": -2013, "msg": ""}, [1], "[]")
    positions, withdrawals = TRAITS.positions(None)[0], TRAITS.find(Wanted("withdraw", "", handle=HANDLE))[0]
    for place in (positions, withdrawals):
        assert place.rows([]) == []
        assert all(place.rows(value) is None for value in broken)
    order = TRAITS.find(Wanted("submit", SYMBOL, handle=HANDLE))[0]
    assert order.rows(ORDER) == [ORDER]
    assert all(order.rows(value) is None for value in (*broken, []))


def test_statuses_are_those_of_the_pages() -> None:
    """What no page lists is no status."""
    assert TRAITS.status is not None
    assert {TRAITS.status(ORDER | {"status": each}) for each in ("NEW", "PARTIALLY_FILLED")} == {"open"}
    assert TRAITS.status(ORDER | {"status": "EXPIRED_IN_MATCH"}) == "expired"
    assert TRAITS.status(STOP | {"algoStatus": "FINISHED"}) == "closed"
    assert [TRAITS.status(each) for each in ({}, {"status": None}, {"status": "new"}, {"status": 3})] == [""] * 4
    assert set(STATUSES.values()) == {"open", "closed", "canceled", "expired", "rejected"}


@pytest.mark.parametrize(
    ("now_ms", "until_ms", "window"), [(1000, 6000, 5000), (1000, 1000, 1), (2000, 1000, 1), (0, 10**9, 60_000)]
)
def test_the_window_ends_when_the_exchange_shall_refuse(now_ms: int, until_ms: int, window: int) -> None:
    """``recvWindow`` counts from the timestamp; at least 1 and at most 60000."""
    assert TRAITS.in_time("submit", now_ms, until_ms).params == {"recvWindow": window}


@pytest.mark.parametrize(
    ("event", "rises", "side", "params"),
    [
        ("mark", False, "sell", {"stopLossPrice": "9", "workingType": "MARK_PRICE"}),
        ("last", True, "buy", {"stopLossPrice": "9", "workingType": "CONTRACT_PRICE"}),
        ("mark", True, "sell", {"takeProfitPrice": "9", "workingType": "MARK_PRICE"}),
        ("last", False, "buy", {"takeProfitPrice": "9", "workingType": "CONTRACT_PRICE"}),
        ("index", False, "buy", None),
    ],
)
def test_a_stop_and_a_take_profit(event: str, rises: bool, side: str, params: dict[str, str] | None) -> None:
    """A stop of a sell is triggered by a fall; the index price triggers nothing."""
    assert TRAITS.stop(Stop("9", event, rises, side, HANDLE)) == params


def order(status: str, filled: str = "0", **more: Any) -> dict[str, Any]:
    """A record of Query Order."""
    named = {"orderId": 22542179, "symbol": "LTCUSDT", "clientOrderId": HANDLE, "side": "BUY", "type": "LIMIT"}
    return {**named, "status": status, "origQty": "0.2", "executedQty": filled, "price": "50", "time": NOW_MS, **more}


def stop(status: str, **more: Any) -> dict[str, Any]:
    """A record of Query Algo Order."""
    named = {"algoId": 2146760, "clientAlgoId": HANDLE, "symbol": "LTCUSDT", "side": "BUY", "orderType": "STOP"}
    return {**named, "algoStatus": status, "quantity": "0.2", "triggerPrice": "60", "actualOrderId": "", **more}


def look(lookup: Lookup, command: Command | None = None, **answers: Any) -> Any:
    return VENUE.look(command or submit(price="50"), lookup, ACCOUNT, exchange(**answers).send)


UNTIL_MS = NOW_MS - 10_000
ORDER_LOOKUP = Lookup(HANDLE, "LTC/USDT:USDT", until_ms=UNTIL_MS)
STOP_LOOKUP = replace(ORDER_LOOKUP, is_stop=True)


@pytest.mark.parametrize(
    ("record", "taken"),
    [
        (order("NEW"), True),
        (order("PARTIALLY_FILLED", "0.1"), True),
        (order("FILLED", "0.2"), True),
        (order("CANCELED"), True),
        (order("CANCELED", "0.1"), True),
        (order("EXPIRED", "0.1"), True),
        (order("EXPIRED"), False),
        (order("EXPIRED_IN_MATCH"), False),
        (order("REJECTED"), False),
        (order("REJECTED", "0.1"), None),
        (order("SOMETHING"), None),
        (order("NEW", side="SELL"), None),
        (order("NEW", symbol="BTCUSDT"), None),
        (order("NEW", origQty="0.3"), None),
    ],
)
def test_an_order_is_found_in_every_state(record: dict[str, Any], taken: bool | None) -> None:
    """Absence is no state: whatever is listed is found."""
    sighting = look(ORDER_LOOKUP, order=record)
    assert (sighting.sight, sighting.taken) == (Sight.FOUND, taken)
    assert sighting.venue_time_ms == NOW_MS


@pytest.mark.parametrize(
    ("status", "taken"),
    [
        ("NEW", True),
        ("TRIGGERING", True),
        ("TRIGGERED", True),
        ("FINISHED", True),
        ("CANCELED", True),
        ("REJECTED", False),
        ("X", None),
    ],
)
def test_a_stop_is_found_at_its_own_endpoint(status: str, taken: bool | None) -> None:
    """And nowhere else: among orders it does not exist (nautilus_trader PR 4411)."""
    sighting = look(STOP_LOOKUP, stop=stop(status), order=NO_ORDER)
    assert (sighting.sight, sighting.taken, sighting.reference) == (Sight.FOUND, taken, "2146760")


@pytest.mark.parametrize("lookup", [ORDER_LOOKUP, STOP_LOOKUP])
def test_absence_is_what_the_exchange_says(lookup: Lookup) -> None:
    """-2013, while everything of that time is still listed; anything else can't be read."""
    assert look(lookup).sight is Sight.ABSENT
    old = replace(lookup, until_ms=NOW_MS - 3 * DAY_MS)
    assert look(old).sight is Sight.UNREADABLE
    broken: tuple[Any, ...] = (
        {},
        [],
        None,
        {"code": -2011, "msg": "Unknown order sent."},
        {"code": -1000, "msg": "x"},
        HTML,
        {**order("NEW"), "clientOrderId": "other"},
        {**stop("NEW"), "clientAlgoId": None},
    )
    for answer in broken:
        assert look(lookup, order=answer, stop=answer).sight is Sight.UNREADABLE, answer


def test_a_withdrawal_is_found_by_its_id() -> None:
    """In the history of seven days; a missing list is not an empty one."""
    lookup = Lookup(HANDLE, "USDT")
    row = {
        "id": "b6",
        "coin": "USDT",
        "address": "0xabc",
        "amount": "1.5",
        "withdrawOrderId": HANDLE,
        "applyTime": "2023-11-14 22:13:20",
    }
    for status, taken in ((0, True), (2, True), (4, True), (6, True), (3, False), (9, None)):
        sighting = look(lookup, withdraw(), withdrawals=[row | {"status": status}])
        assert (sighting.sight, sighting.taken) == (Sight.FOUND, taken), status
    assert look(lookup, withdraw(), withdrawals=[row | {"status": 6, "address": "0xother"}]).taken is None
    assert look(lookup, withdraw(), withdrawals={}).sight is Sight.UNREADABLE
    assert look(lookup, withdraw()).sight is Sight.UNREADABLE


@pytest.mark.parametrize(
    ("answers", "sight", "taken"),
    [
        ({"order": {**order("CANCELED"), "orderId": 17}}, Sight.FOUND, True),
        ({"order": {**order("FILLED", "0.2"), "orderId": 17}}, Sight.FOUND, False),
        ({"order": {**order("NEW"), "orderId": 17}}, Sight.ABSENT, None),
        ({"stop": {**stop("CANCELED"), "algoId": 17}}, Sight.FOUND, True),
        ({}, Sight.UNREADABLE, None),
    ],
)
def test_a_cancel_is_found_by_its_order(answers: dict[str, Any], sight: Sight, taken: bool | None) -> None:
    """An order or a stop that is cancelled shows that the cancel was taken."""
    sighting = look(Lookup("17", "LTCUSDT"), Cancel(account="m", order_id="17", pair="LTCUSDT"), **answers)
    assert (sighting.sight, sighting.taken) == (sight, taken)


def test_positions_are_exact_and_never_flat_by_mistake() -> None:
    """Every digit of the answer; rows of no size are no positions; a list that is missing is unknown."""
    rows = [
        position("BTCUSDT", "0.123456789012345678", "LONG", entryPrice="43210.123456789012345"),
        position("BTCUSDT", "-0.002", "SHORT"),
        position("LTCUSDT", "0.000", entryPrice="0.0", notional="0"),
    ]
    plan = VENUE.plan(Positions(account="m"), COMMAND_ID, ACCOUNT, exchange().send)
    assert name_of(VENUE.request(plan, NOW_MS)) == "GET /fapi/v3/positionRisk"
    verdict = VENUE.judge(plan, respond(rows))
    assert verdict.positions is not None
    shown = [(each.instrument, each.direction, str(each.size), str(each.entry_price)) for each in verdict.positions]
    assert shown == [
        (SYMBOL, Direction.LONG, "0.123456789012345678", "43210.123456789012345"),
        (SYMBOL, Direction.SHORT, "0.002", "50.5"),
    ]
    assert VENUE.judge(plan, respond([])).positions == ()
    broken: tuple[Any, ...] = (b"", {}, None, {"code": 0}, [1], [{}], [{"symbol": "BTCUSDT"}], HTML, rows[:1] * 2)
    for body in broken:
        assert VENUE.judge(plan, respond(body)).positions is None, body


def test_a_close_is_not_planned_by_a_list_that_is_missing() -> None:
    """It fails, and may be tried again; it is not refused as if nothing were open."""
    for answer in ({}, None, [1], {"code": -1000, "msg": "x"}):
        with pytest.raises(PlanFailed):
            planned(close(), positions=answer)
