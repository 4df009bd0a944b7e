"""Kraken Futures behind ccxt: its answers, requests and lists, as its pages show them."""

import base64
import hashlib
import hmac
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest

from producers.commands import Cancel, Close, Command, Positions, Submit
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
from worker.venues.base import Overload, Proof
from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.ccxt.binding import Captured, call, copy_for
from worker.venues.ccxt.exchanges.krakenfutures import LISTED, TRAITS
from worker.venues.ccxt.traits import Stop, Wanted
from worker.venues.http.base import Response, SignedRequest
from worker.venues.lookups import Lookup, Sight, Sighting

SECRET = base64.b64encode(b"a secret of Kraken's").decode()
CREDENTIALS = Credentials("the key", SECRET)
ACCOUNT = Account("k", "ccxt:krakenfutures", "https://futures.kraken.com", CREDENTIALS)
SYMBOL, CONTRACT, SERVER_TIME = "BTC/USD:USD", "PF_XBTUSD", "2026-09-21T14:13:20.000Z"
API, HISTORY = "/derivatives/api/v3", "/api/history/v3"
ORDER_ID = "179f9af8-e45e-469d-b3e9-2fd4675cb7d0"

ORDER = Submit(account="k", pair=CONTRACT, side="sell", qty="0.5", price="55000", reduce_only=True)
CLOSE = Close(account="k", pair=CONTRACT)
CANCEL = Cancel(account="k", order_id=ORDER_ID)
QUERY = Positions(account="k")


def success(**content: Any) -> dict[str, Any]:
    """The envelope of an answer that says yes."""
    return {"result": "success", **content, "serverTime": SERVER_TIME}


def instrument(contract: str, tick: float = 0.5, digits: int = 4) -> dict[str, Any]:
    """A market as "Get instruments" lists it."""
    return {
        "symbol": contract,
        "type": "flexible_futures",
        "tickSize": tick,
        "contractSize": 1,
        "tradeable": True,
        "contractValueTradePrecision": digits,
    }


INSTRUMENTS = success(
    instruments=[
        instrument(CONTRACT),
        instrument("PF_LTCUSD", 0.01, 2),
        instrument("PF_DOGEUSD", 0.000001, 0),
        instrument("PF_PEPEUSD", 0.0000000001, -3),
    ]
)
LONG = {"side": "long", "symbol": CONTRACT, "price": 43210.5, "fillTime": SERVER_TIME, "size": 1.25}


def exchange_with(**answers: Any) -> AnsweringExchange:
    """Kraken with these answers to paths below the API's own, and its markets and one long position."""
    return AnsweringExchange(
        {
            f"GET {API}/instruments": INSTRUMENTS,
            f"GET {API}/openpositions": success(openPositions=[LONG]),
            f"GET {API}/tickers/{CONTRACT}": success(
                ticker={"symbol": CONTRACT, "markPrice": 43000, "indexPrice": 42900, "last": 43100}
            ),
            **answers,
        }
    )


def new_venue() -> CcxtVenue:
    """Its markets are not read yet."""
    return CcxtVenue("krakenfutures", clock=StoppedClock())


VENUE = new_venue()


def judged(command: Command, response: Response) -> Any:
    """What an answer to a command proves."""
    return VENUE.judge(planned(VENUE, ACCOUNT, command, exchange_with()), response)


def sent(status: str, *events: str, command: str = "send") -> dict[str, Any]:
    """An answer to an order, or to a cancel."""
    record = {"status": status, "receivedTime": SERVER_TIME, "orderEvents": [{"type": each} for each in events]}
    return success(**{f"{command}Status": record})


def failed(error: str) -> dict[str, Any]:
    """The envelope of an error."""
    return {"result": "error", "error": error, "serverTime": SERVER_TIME}


PLACED = success(
    sendStatus={
        "order_id": ORDER_ID,
        "status": "placed",
        "receivedTime": SERVER_TIME,
        "orderEvents": [
            {
                "type": "PLACE",
                "order": {
                    "orderId": ORDER_ID,
                    "cliOrdId": None,
                    "type": "lmt",
                    "symbol": CONTRACT,
                    "side": "sell",
                    "quantity": 0.5,
                    "filled": 0,
                    "limitPrice": 55000,
                    "reduceOnly": True,
                    "timestamp": SERVER_TIME,
                    "lastUpdateTimestamp": SERVER_TIME,
                },
                "reducedQuantity": None,
            }
        ],
    }
)

REFUSED_ORDERS = [
    "invalidOrderType",
    "invalidSide",
    "invalidSize",
    "invalidPrice",
    "insufficientAvailableFunds",
    "selfFill",
    "tooManySmallOrders",
    "maxPositionViolation",
    "marketSuspended",
    "marketInactive",
    "clientOrderIdTooLong",
    "outsidePriceCollar",
    "postWouldExecute",
    "iocWouldNotExecute",
    "wouldCauseLiquidation",
    "wouldNotReducePosition",
]
UNDESCRIBED = [
    "tooManyOrders",
    "marketIsPostOnly",
    "wouldIncreasePriceDislocation",
    "fixedLeverageTooHigh",
    "clientOrderIdInvalid",
    "clientOrderIdTooBig",
    "partiallyFilled",
    "cancelled",
    "aNewWord",
]
REFUSED = ["accountInactive", "authenticationError", "invalidArgument", "requiredArgumentMissing", "Json Parse Error"]
NOT_KNOWN = [
    "Server Error",
    "unknownError",
    "Unavailable",
    "marketUnavailable",
    "nonceBelowThreshold",
    "nonceDuplicate",
    "insufficientFunds",
    "invalidAccount",
    "invalidAmount",
    "invalidUnit",
    "aNewError",
]

ANSWERS = [
    *((ORDER, sent(word), Proof.REFUSED) for word in REFUSED_ORDERS),
    *((ORDER, sent(word), Proof.UNKNOWN) for word in UNDESCRIBED),
    (ORDER, sent("clientOrderIdAlreadyExist"), Proof.SEEN),
    (ORDER, sent("wouldProcessAfterSpecifiedTime"), Proof.NOT_EXECUTED),
    (ORDER, sent("iocWouldNotExecute", "EXECUTION"), Proof.UNKNOWN),
    (ORDER, sent("invalidSize", "PLACE"), Proof.UNKNOWN),
    (ORDER, sent("placed", "REJECT"), Proof.UNKNOWN),
    (ORDER, sent("placed"), Proof.UNKNOWN),  # without an order
    (ORDER, sent("notFound"), Proof.UNKNOWN),
    (ORDER, PLACED, Proof.EXECUTED),
    *((command, failed(word), Proof.REFUSED) for word in REFUSED for command in (ORDER, CLOSE, CANCEL)),
    *((command, failed(word), Proof.UNKNOWN) for word in NOT_KNOWN for command in (ORDER, CANCEL)),
    *((command, failed("apiLimitExceeded"), Proof.NOT_EXECUTED) for command in (ORDER, CLOSE, CANCEL)),
    (CANCEL, sent("notFound", command="cancel"), Proof.REFUSED),
    (CANCEL, sent("filled", command="cancel"), Proof.REFUSED),
    (CANCEL, sent("cancelled", "REJECT", command="cancel"), Proof.UNKNOWN),
    (CANCEL, sent("aNewWord", command="cancel"), Proof.UNKNOWN),
    (CANCEL, sent("cancelled", "CANCEL", command="cancel"), Proof.EXECUTED),
]


@pytest.mark.parametrize(("command", "body", "proof"), ANSWERS)
def test_what_an_answer_proves(command: Command, body: dict[str, Any], proof: Proof) -> None:
    """With its whole envelope; with less of it, or with a status of 500 and more, it proves nothing."""
    assert judged(command, answered(body)).proof is proof
    for without in ("serverTime", "result"):
        assert judged(command, answered({**body, without: None})).proof is Proof.UNKNOWN
    for status in (500, 502, 503, 504, 520):
        assert judged(command, answered(body, status)).proof is Proof.UNKNOWN


def test_every_listed_word_is_tested() -> None:
    """No line of the traits is without an answer above."""
    words = {TRAITS.read(body).code for _, body, _ in ANSWERS}  # type: ignore[union-attr]
    assert {each.code for each in LISTED} - words == {"success"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"success"', b"{}", b'{"result": "success"}', b"null"])
def test_what_is_not_its_own_answer_proves_nothing(status: int, body: bytes) -> None:
    """Whatever the status."""
    assert judged(ORDER, answered(body, status)).proof is Proof.UNKNOWN


def test_a_limit_holds_for_the_address() -> None:
    """ "The API limit for the calling IP address has been exceeded"."""
    assert judged(ORDER, answered(failed("apiLimitExceeded"))).overload is Overload.ADDRESS
    assert judged(ORDER, answered(b"", 429)).proof is Proof.NOT_EXECUTED


def authent(request: SignedRequest) -> str:
    """The signature by the rule of "Futures REST", without a nonce."""
    parts = urlsplit(request.url)
    message = f"{parts.query}{parts.path.removeprefix('/derivatives')}".encode()
    digest = hmac.new(base64.b64decode(SECRET), hashlib.sha256(message).digest(), hashlib.sha512).digest()
    return base64.b64encode(digest).decode()


HANDLE = VENUE.handle("0b1ed6f0-0f3e-4d8e-9a35-6bb7c1e7a111", ACCOUNT)
IN_TIME = {"processBefore": "2026-09-21T14:13:30.000Z"}
WHOLE = {"symbol": CONTRACT, "side": "sell", "size": "1.25", "cliOrdId": HANDLE, "reduceOnly": "true", **IN_TIME}
PART = {**WHOLE, "size": "0.5"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {**WHOLE, "orderType": "mkt"}),
        ({"qty": "0.5", "price": "55000.5"}, {**PART, "orderType": "lmt", "limitPrice": "55000.5"}),
        (
            {"trigger_price": "40000", "trigger_event": "MARK_PRICE"},
            {**WHOLE, "orderType": "stp", "stopPrice": "40000", "triggerSignal": "mark"},
        ),
        (
            {"trigger_price": "45000", "trigger_event": "INDEX_PRICE", "price": "45100"},
            {
                **WHOLE,
                "orderType": "take_profit",
                "stopPrice": "45000",
                "triggerSignal": "index",
                "limitPrice": "45100",
            },
        ),
    ],
)
def test_the_request_of_a_close(arguments: dict[str, str], expected: dict[str, str]) -> None:
    """The order reduces only, and the exchange is told until when it may take it."""
    plan = planned(VENUE, ACCOUNT, Close(account="k", pair=CONTRACT, **arguments), exchange_with())  # type: ignore[arg-type]
    request = VENUE.request(plan, NOW_MS)
    assert (name_of(request), request.body) == (f"POST {API}/sendorder", b"")
    assert query_of(request) == expected
    assert (request.headers["APIKey"], request.headers["Authent"]) == ("the key", authent(request))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"price": "55000"}, {"orderType": "lmt", "limitPrice": "55000"}),
        ({"price": "55000", "post_only": True}, {"orderType": "post", "limitPrice": "55000"}),
        ({"price": "55000", "time_in_force": "IOC"}, {"orderType": "ioc", "limitPrice": "55000"}),
        ({"price": "55000", "time_in_force": "FOK"}, {"orderType": "fok", "limitPrice": "55000"}),
        ({"trigger_price": "45000"}, {"orderType": "stp", "stopPrice": "45000", "triggerSignal": "mark"}),
        ({"trigger_price": "40000"}, {"orderType": "take_profit", "stopPrice": "40000", "triggerSignal": "mark"}),
    ],
)
def test_the_request_of_an_order(arguments: dict[str, Any], expected: dict[str, str]) -> None:
    """A stop that opens a position does not reduce one, though ccxt's ``stopLossPrice`` would."""
    command = Submit(account="k", pair=SYMBOL, side="buy", qty="0.5", **arguments)
    request = VENUE.request(planned(VENUE, ACCOUNT, command, exchange_with()), NOW_MS)
    common = {"symbol": CONTRACT, "side": "buy", "size": "0.5", "cliOrdId": HANDLE, **IN_TIME}
    assert query_of(request) == {**common, **expected}
    assert request.headers["Authent"] == authent(request)


def test_the_request_of_a_cancel() -> None:
    """By the order's id; no market is needed."""
    request = VENUE.request(planned(VENUE, ACCOUNT, CANCEL, exchange_with()), NOW_MS)
    assert name_of(request) == f"POST {API}/cancelorder"
    assert query_of(request) == {"order_id": ORDER_ID, **IN_TIME}
    assert request.headers["Authent"] == authent(request)


LTC, DOGE = "LTC/USD:USD", "DOGE/USD:USD"
RECORDED = [
    (DOGE, "limit", "buy", "100", None, {"limitPrice": "0.07"}, "orderType=lmt&limitPrice=0.07"),
    (DOGE, "market", "buy", "100", "0.07", {}, "orderType=mkt"),
    (LTC, "limit", "buy", "0.5", "71", {}, "orderType=lmt&limitPrice=71"),
    (LTC, "market", "buy", "0.1", None, {}, "orderType=mkt"),
    ("PEPE/USD:USD", "market", "buy", "98123", None, {}, "orderType=mkt"),
    (
        SYMBOL,
        "limit",
        "buy",
        "0.0001",
        "46000",
        {"triggerPrice": "45000"},
        "triggerSignal=last&stopPrice=45000&orderType=stp&limitPrice=46000",
    ),
    (
        SYMBOL,
        "limit",
        "sell",
        "0.01",
        "37000",
        {"stopLossPrice": "38000"},
        "triggerSignal=last&reduceOnly=true&stopPrice=38000&orderType=stp&limitPrice=37000",
    ),
    (
        SYMBOL,
        "limit",
        "sell",
        "0.01",
        "50000",
        {"takeProfitPrice": "49000"},
        "triggerSignal=last&reduceOnly=true&stopPrice=49000&orderType=take_profit&limitPrice=50000",
    ),
    (LTC, "limit", "buy", "0.1", "50", {"clientOrderId": "myid1"}, "cliOrdId=myid1&orderType=lmt&limitPrice=50"),
    (LTC, "limit", "buy", "0.1000000000000001", "55.000001", {}, "orderType=lmt&limitPrice=55"),
    (DOGE, "market", "sell", "200.4234234", None, {"reduceOnly": True}, "reduceOnly=true&orderType=mkt"),
]
"""The orders of ccxt's fixture ``ts/src/test/static/request/krakenfutures.json``: its inputs, with text for numbers,
and what follows the contract, the side and the size in the request that it records."""
SIZES = {"98123": "98000", "0.1000000000000001": "0.1", "200.4234234": "200"}


@pytest.mark.parametrize(("symbol", "kind", "side", "amount", "price", "params", "expected"), RECORDED)
def test_ccxt_builds_the_requests_that_it_records(
    symbol: str, kind: str, side: str, amount: str, price: str | None, params: dict[str, Any], expected: str
) -> None:
    """An upgrade of ccxt that changes a request fails here."""
    markets = VENUE.markets(ACCOUNT, exchange_with())
    exchange = copy_for(markets.exchange, CREDENTIALS, NOW_MS, {})
    with pytest.raises(Captured) as captured:
        call(exchange, "create_order", [symbol, kind, side, amount, price, params])
    contract = markets.exchange.market(symbol)["id"]
    size = SIZES.get(amount, amount)
    pairs = {f"symbol={contract}", f"side={side}", f"size={size}", *expected.split("&")}
    parts = urlsplit(captured.value.request.url)
    assert parts.path == f"{API}/sendorder"
    assert set(parts.query.split("&")) == pairs


def record_of(status: str, filled: float = 0, *, error: str | None = None, kind: str = "ORDER") -> dict[str, Any]:
    """A record of "Get Specific Orders' Status"."""
    order = {
        "type": kind,
        "orderId": ORDER_ID,
        "cliOrdId": HANDLE,
        "symbol": CONTRACT,
        "side": "sell",
        "quantity": 0.5,
        "filled": filled,
        "limitPrice": 55000,
        "reduceOnly": True,
        "timestamp": SERVER_TIME,
        "lastUpdateTimestamp": SERVER_TIME,
        "priceTriggerOptions": None,
        "triggerTime": None,
    }
    return {"order": order, "status": status, "updateReason": "NEW_USER_ORDER", "error": error}


OPEN_ORDER = {
    "order_id": ORDER_ID,
    "cliOrdId": HANDLE,
    "status": "partiallyFilled",
    "side": "sell",
    "orderType": "lmt",
    "symbol": CONTRACT,
    "limitPrice": 55000,
    "filledSize": 0.2,
    "unfilledSize": 0.3,
    "reduceOnly": True,
    "lastUpdateTime": SERVER_TIME,
    "receivedTime": SERVER_TIME,
}
FILL = {
    "fill_id": "3d57ed09-fbd6-44f1-8e8b-b10e551c5e73",
    "order_id": ORDER_ID,
    "cliOrdId": HANDLE,
    "symbol": CONTRACT,
    "side": "sell",
    "size": 0.2,
    "price": 55000,
    "fillTime": SERVER_TIME,
    "fillType": "taker",
}


def event(name: str, **more: Any) -> dict[str, Any]:
    """An event of "Get order events" or "Get trigger events"."""
    order = {
        "uid": ORDER_ID,
        "accountUid": "f7d5571c-6d10-4cf1-944a-048d25682ed0",
        "tradeable": CONTRACT,
        "direction": "Sell",
        "quantity": "0.5",
        "filled": "0",
        "timestamp": NOW_MS,
        "limitPrice": "55000",
        "orderType": "Limit",
        "clientId": HANDLE,
        "reduceOnly": True,
        "lastUpdateTimestamp": NOW_MS,
    }
    content = {"order": {**order, **more}, "reason": "cancelled_by_user"}
    return {"uid": "5d5a4c7e-8a1f-4c1e-9b59-2b8f0f0f0f0f", "timestamp": NOW_MS, "event": {name: content}}


def history(*events: dict[str, Any], token: str = "") -> dict[str, Any]:
    """A page of the history."""
    more = {"continuationToken": token} if token else {}
    return {"accountUid": "f7d5571c", "len": len(events), "elements": list(events), "serverTime": SERVER_TIME, **more}


STATUS, OPEN, FILLS = f"POST {API}/orders/status", f"GET {API}/openorders", f"GET {API}/fills"
EVENTS, TRIGGERS = f"GET {HISTORY}/orders", f"GET {HISTORY}/triggers"
NOWHERE = {
    STATUS: success(orders=[]),
    OPEN: success(openOrders=[]),
    FILLS: success(fills=[]),
    EVENTS: history(),
    TRIGGERS: history(),
}
BEGUN = Lookup(HANDLE, SYMBOL, until_ms=NOW_MS)
OPENING = Submit(account="k", pair=CONTRACT, side="sell", qty="0.5", price="55000")
STOP = Submit(account="k", pair=CONTRACT, side="sell", qty="0.5", trigger_price="40000")


def looked(answers: dict[str, Any], command: Command = OPENING, lookup: Lookup = BEGUN) -> tuple[Sighting, list[str]]:
    """What a look shows, and the requests that it made."""
    exchange = exchange_with(**{**NOWHERE, **answers})
    sighting = new_venue().look(command, lookup, ACCOUNT, exchange)
    return sighting, exchange.names[1:]


@pytest.mark.parametrize(
    ("answers", "taken"),
    [
        ({STATUS: success(orders=[record_of("ENTERED_BOOK")])}, True),
        ({STATUS: success(orders=[record_of("FULLY_EXECUTED", 0.5)])}, True),
        ({STATUS: success(orders=[record_of("CANCELLED")])}, True),
        ({STATUS: success(orders=[record_of("CANCELLED", 0.2)])}, True),
        ({STATUS: success(orders=[record_of("REJECTED", error="WOULD_NOT_REDUCE_POSITION")])}, False),
        ({STATUS: success(orders=[record_of("REJECTED", error="REJECTED_AFTER_EXECUTION")])}, None),
        ({STATUS: success(orders=[record_of("REJECTED", 0.2)])}, None),
        ({STATUS: success(orders=[record_of("A_NEW_WORD")])}, None),
        ({OPEN: success(openOrders=[OPEN_ORDER])}, True),
        ({FILLS: success(fills=[FILL])}, True),
        ({EVENTS: history(event("OrderCancelled"), event("OrderPlaced"))}, True),
        ({EVENTS: history(event("OrderCancelled", filled="0.2"), event("OrderPlaced"))}, True),
        ({EVENTS: history(event("OrderRejected"))}, False),
        ({EVENTS: history(event("OrderRejected", filled="0.2"))}, None),
        ({EVENTS: history(event("AnEventOfANewKind"))}, None),
    ],
)
def test_an_order_is_found_wherever_it_is_listed(answers: dict[str, Any], taken: bool | None) -> None:
    """Open, filled, cancelled and filled in part; a rejected one was not taken, unless something of it was executed."""
    sighting, _ = looked(answers)
    assert (sighting.sight, sighting.taken) == (Sight.FOUND, taken)
    assert sighting.reference == ORDER_ID or taken is None


@pytest.mark.parametrize(
    "answers",
    [
        {STATUS: success(orders=[record_of("TRIGGER_PLACED", kind="TRIGGER_ORDER")])},
        {STATUS: success(orders=[record_of("TRIGGER_ACTIVATION_FAILURE", kind="TRIGGER_ORDER")])},
        {OPEN: success(openOrders=[{**OPEN_ORDER, "orderType": "stop", "status": "untouched", "stopPrice": 40000}])},
        {TRIGGERS: history(event("OrderTriggerPlaced"))},
        {TRIGGERS: history(event("OrderTriggerCancelled"), event("OrderTriggerPlaced"))},
        {TRIGGERS: history(event("OrderTriggerActivated"), event("OrderTriggerPlaced"))},
    ],
)
def test_a_stop_is_found_wherever_it_is_listed(answers: dict[str, Any]) -> None:
    """Stops are in the lists of orders, and have a history of their own."""
    sighting, _ = looked(answers, STOP, Lookup(HANDLE, SYMBOL, is_stop=True, until_ms=NOW_MS))
    assert (sighting.sight, sighting.taken) == (Sight.FOUND, True)


def test_what_is_nowhere_is_absent() -> None:
    """Every place was read: what has ended leaves the first one after 5 s."""
    sighting, names = looked({})
    assert (sighting.sight, names) == (Sight.ABSENT, [STATUS, OPEN, FILLS, EVENTS])
    stop = Lookup(HANDLE, SYMBOL, is_stop=True, until_ms=NOW_MS)
    assert looked({}, STOP, stop)[1] == [STATUS, OPEN, FILLS, EVENTS, TRIGGERS]


@pytest.mark.parametrize("place", [STATUS, OPEN, FILLS, EVENTS])
@pytest.mark.parametrize(
    "answer", [success(), success(orders=None, openOrders=None, fills=None), failed("unknownError"), answered(b"", 502)]
)
def test_a_list_that_is_missing_is_never_empty(place: str, answer: Any) -> None:
    """One place that can't be read makes the look prove nothing."""
    assert looked({place: answer})[0].sight is Sight.UNREADABLE


@pytest.mark.parametrize("row", [None, 1, "x", [], [["x"]]])
def test_a_list_whose_records_can_not_be_read_is_never_empty(row: Any) -> None:
    """Nor is a page of the history that says it has more of them than it shows."""
    lists = {STATUS: success(orders=[row]), OPEN: success(openOrders=[row]), FILLS: success(fills=[row])}
    for place, answer in {**lists, EVENTS: {**history(), "len": 1, "elements": [row]}}.items():
        assert looked({place: answer})[0].sight is Sight.UNREADABLE
    assert looked({EVENTS: {**history(), "len": 1}})[0].sight is Sight.UNREADABLE


def test_a_list_without_end_of_one_order_proves_nothing() -> None:
    """Unless one of its records shows the order taken; a rejection among so many is not believed."""
    rejected, placed = record_of("REJECTED", error="WOULD_NOT_REDUCE_POSITION"), record_of("ENTERED_BOOK")
    for rows, sight in (([rejected] * 2000, Sight.UNREADABLE), ([rejected, placed] * 1000, Sight.FOUND)):
        assert looked({STATUS: success(orders=rows)})[0].sight is sight


def test_every_page_is_read() -> None:
    """The history by its token, and the fills back to the time before the attempt."""
    asked: list[dict[str, str]] = []

    def page(request: SignedRequest) -> dict[str, Any]:
        asked.append(query_of(request))
        other = {"cliOrdId": "another", "fill_id": "x", "clientId": "another"}
        if "continuation_token" in asked[-1]:
            return history(event("OrderPlaced"))
        if "lastFillTime" in asked[-1]:
            return success(fills=[{**FILL, **other, "fillTime": "2026-09-21T13:00:00.000Z"}] * 100)
        if name_of(request) == FILLS:
            return success(fills=[{**FILL, **other}] * 100)
        return history(event("OrderPlaced", clientId="another", uid="another"), token="c2ltYg==")

    sighting, names = looked({FILLS: page, EVENTS: page})
    assert sighting.taken is True
    assert names == [STATUS, OPEN, FILLS, FILLS, EVENTS, EVENTS]
    since = str(NOW_MS - 10_000 - 60_000)
    assert asked == [
        {},
        {"lastFillTime": "2026-09-21T14:13:20.001Z"},
        {"since": since, "sort": "desc"},
        {"since": since, "sort": "desc", "continuation_token": "c2ltYg=="},
    ]


def test_fills_that_never_end_prove_nothing() -> None:
    """A hundred fills within one millisecond may hide others."""
    fill = {**FILL, "cliOrdId": "another"}
    assert looked({FILLS: success(fills=[fill] * 100)})[0].sight is Sight.UNREADABLE


def test_reads_are_signed() -> None:
    """The place that is read by POST, and the history under its own path."""
    exchange = exchange_with(**NOWHERE)
    new_venue().look(ORDER, BEGUN, ACCOUNT, exchange)
    for request in exchange.requests[1:]:
        assert request.headers["Authent"] == authent(request)
    assert query_of(exchange.requests[1]) == {"cliOrdIds": HANDLE}


@pytest.mark.parametrize(
    ("answers", "sight", "taken"),
    [
        ({STATUS: success(orders=[record_of("CANCELLED")])}, Sight.FOUND, True),
        ({STATUS: success(orders=[record_of("FULLY_EXECUTED", 0.5)])}, Sight.FOUND, False),
        ({STATUS: success(orders=[record_of("ENTERED_BOOK")])}, Sight.ABSENT, None),
        ({EVENTS: history(event("OrderCancelled"))}, Sight.FOUND, True),
        ({TRIGGERS: history(event("OrderTriggerCancelled"))}, Sight.FOUND, True),
        ({}, Sight.UNREADABLE, None),
    ],
)
def test_what_became_of_a_cancel(answers: dict[str, Any], sight: Sight, taken: bool | None) -> None:
    """By the order's id, whether it is a stop or not."""
    sighting, _ = looked(answers, CANCEL, Lookup(ORDER_ID, until_ms=NOW_MS))
    assert (sighting.sight, sighting.taken) == (sight, taken)


def test_positions_digit_by_digit() -> None:
    """Kraken does not quote its numbers."""
    body = b'{"result":"success","serverTime":"2026-09-21T14:13:20.000Z","openPositions":[{"side":"short","symbol":'
    body += b'"PF_XBTUSD","price":43210.123456789012345,"fillTime":"x","size":1.00000000000000000001,'
    body += b'"unrealizedFunding":-8.15e-8,"pnlCurrency":null,"maxFixedLeverage":10.0}]}'
    verdict = judged(QUERY, answered(body))
    assert verdict.proof is Proof.EXECUTED
    (position,) = verdict.positions
    assert (position.instrument, position.direction) == (SYMBOL, Direction.SHORT)
    assert (position.size, position.entry_price) == ("1.00000000000000000001", "43210.123456789012345")
    assert Decimal(position.leverage or 0) == 10


@pytest.mark.parametrize("content", [{}, {"openPositions": None}, {"openPositions": {}}, {"positions": []}])
def test_positions_that_are_missing_are_not_flat(content: dict[str, Any]) -> None:
    """Only an empty list is."""
    assert judged(QUERY, answered(success(**content))).proof is Proof.UNKNOWN
    assert judged(QUERY, answered(success(openPositions=[]))).positions == ()


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"result": "success"}, {"result": ["error"]}, [success()]])
def test_anything_is_read(value: Any) -> None:
    """Whatever JSON arrives."""
    assert TRAITS.read(value) is None
    assert TRAITS.status is not None
    assert TRAITS.status(value) == ""
    for place in TRAITS.find(Wanted("submit", SYMBOL, HANDLE)):
        assert not place.rows(value)


def test_a_stop_says_on_which_side_it_lies() -> None:
    """Of an order that sells, a trigger below the price is a stop and one above takes profit."""
    below, above = (Stop("1", "last", rises, "sell", HANDLE) for rises in (False, True))
    assert TRAITS.stop(below) == {"stopPrice": "1", "orderType": "stp", "triggerSignal": "last"}
    assert TRAITS.stop(above) == {"stopPrice": "1", "orderType": "take_profit", "triggerSignal": "last"}
