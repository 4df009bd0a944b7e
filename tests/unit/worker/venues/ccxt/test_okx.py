"""OKX behind ccxt: its answers, requests and lists, as its pages show them."""

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
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
from worker.venues.base import Overload, Plan, PlanFailed, Proof
from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.ccxt.binding import Captured, call, copy_for
from worker.venues.ccxt.exchanges.okx import LISTED, TRAITS
from worker.venues.ccxt.traits import Wanted
from worker.venues.http.base import Response, SignedRequest
from worker.venues.lookups import Lookup, Sight, Sighting

SECRET = "a secret of OKX"
CREDENTIALS = Credentials("the key", SECRET, "a passphrase")
ACCOUNT = Account("o", "ccxt:okx", "https://www.okx.com", CREDENTIALS, mode="futures")
SYMBOL, CONTRACT = "BTC/USDT:USDT", "BTC-USDT-SWAP"
API = "/api/v5"
ORDER_ID, ALGO_ID = "312269865356374016", "1753184812254216192"

ORDER = Submit(account="o", pair=CONTRACT, side="sell", qty="0.5", price="55000")
CLOSE = Close(account="o", pair=CONTRACT)
CANCEL = Cancel(account="o", order_id=ORDER_ID, pair=CONTRACT)
WITHDRAW = Withdraw(account="o", asset="USDT", qty="100", address="TXabc", network="USDT-TRC20")
QUERY = Positions(account="o")


def listing(*rows: dict[str, Any]) -> dict[str, Any]:
    """The envelope of an answer that says yes."""
    return {"code": "0", "msg": "", "data": list(rows)}


def instrument(contract: str, kind: str = "SWAP", lot: str = "0.01", tick: str = "0.1") -> dict[str, Any]:
    """A market as "Get instruments" lists it."""
    base, quote = contract.split("-")[:2]
    linear = quote == "USDT"
    return {
        "instId": contract,
        "instType": kind,
        "uly": f"{base}-{quote}",
        "instFamily": f"{base}-{quote}",
        "baseCcy": "",
        "quoteCcy": "",
        "settleCcy": quote if linear else base,
        "ctVal": "0.01" if linear else "100",
        "ctMult": "1",
        "ctValCcy": base if linear else "USD",
        "ctType": "linear" if linear else "inverse",
        "lotSz": lot,
        "minSz": lot,
        "tickSz": tick,
        "lever": "100",
        "state": "live",
        "listTime": "1573557408000",
        "expTime": "1790323200000" if kind == "FUTURES" else "",
    }


def instruments(request: SignedRequest) -> dict[str, Any]:
    """Swaps or dated futures."""
    if query_of(request) == {"instType": "FUTURES"}:
        return listing(instrument("BTC-USDT-260925", "FUTURES"))
    return listing(
        instrument(CONTRACT),
        instrument("BTC-USD-SWAP", lot="1"),
        instrument("LTC-USDT-SWAP", lot="1", tick="0.01"),
        instrument("ETH-USDT-SWAP"),
    )


LONG = {
    "instId": CONTRACT,
    "instType": "SWAP",
    "mgnMode": "isolated",
    "posSide": "net",
    "pos": "1.25",
    "avgPx": "43210.5",
    "markPx": "43000",
    "lever": "10",
    "liqPx": "39000.1",
    "margin": "5.4",
    "upl": "-0.0000033452492717",
    "realizedPnl": "0.5",
    "ccy": "USDT",
    "uTime": "1724742632153",
    "cTime": "1724740225685",
}


def order_of(**more: Any) -> dict[str, Any]:
    """A record of "Order details"."""
    return {
        "ordId": ORDER_ID,
        "clOrdId": HANDLE,
        "instId": CONTRACT,
        "instType": "SWAP",
        "side": "sell",
        "posSide": "net",
        "ordType": "limit",
        "px": "55000",
        "sz": "0.5",
        "accFillSz": "0",
        "avgPx": "",
        "state": "live",
        "reduceOnly": "false",
        "tdMode": "cross",
        "cTime": "1708587373361",
        "uTime": "1708587373362",
        **more,
    }


def algo_of(**more: Any) -> dict[str, Any]:
    """A record of "Algo order details"."""
    return {
        "algoId": ALGO_ID,
        "algoClOrdId": HANDLE,
        "clOrdId": "",
        "ordId": "",
        "instId": CONTRACT,
        "instType": "SWAP",
        "side": "sell",
        "ordType": "conditional",
        "sz": "0.5",
        "slTriggerPx": "40000",
        "slOrdPx": "-1",
        "state": "live",
        "reduceOnly": "true",
        "actualSz": "0",
        "cTime": "1724751378980",
        "uTime": "1724751378980",
        **more,
    }


ORDERS, ALGOS = f"GET {API}/trade/order", f"GET {API}/trade/order-algo"
WITHDRAWALS, POSITIONS = f"GET {API}/asset/withdrawal-history", f"GET {API}/account/positions"
NO_ORDER = {"code": "51603", "msg": "Order does not exist", "data": []}


def exchange_with(**answers: Any) -> AnsweringExchange:
    """OKX with these answers; it lists one long position, and no orders."""
    return AnsweringExchange(
        {
            f"GET {API}/public/instruments": instruments,
            f"GET {API}/market/ticker": listing({"instId": CONTRACT, "instType": "SWAP", "last": "43100", "ts": "1"}),
            POSITIONS: listing(LONG),
            ORDERS: NO_ORDER,
            ALGOS: NO_ORDER,
            **answers,
        }
    )


def new_venue() -> CcxtVenue:
    """Its markets are not read yet."""
    return CcxtVenue("okx", clock=StoppedClock())


VENUE = new_venue()
HANDLE = VENUE.handle("0b1ed6f0-0f3e-4d8e-9a35-6bb7c1e7a111", ACCOUNT)


@cache
def plan_of(command: Command) -> Plan:
    """Made once."""
    return planned(VENUE, ACCOUNT, command, exchange_with())


def judged(command: Command, response: Response) -> Any:
    """What an answer to a command proves."""
    return VENUE.judge(plan_of(command), response)


def refused(code: str, message: str = "refused") -> dict[str, Any]:
    """A refusal of one order, in its record."""
    row = {"clOrdId": HANDLE, "ordId": "", "tag": "", "ts": "1", "sCode": code, "sMsg": message, "subCode": ""}
    return {"code": "1", "msg": "All operations failed", "data": [row], "inTime": "1", "outTime": "2"}


def turned_away(code: str, message: str = "refused") -> dict[str, Any]:
    """A refusal of the gateway."""
    return {"code": code, "msg": message}


TAKEN = listing({"clOrdId": HANDLE, "ordId": ORDER_ID, "tag": "", "ts": "1695190491421", "sCode": "0", "sMsg": ""})
REQUESTS = "50000 50002 50006 50014 50015 50016 50024 50025 50115"
ACCOUNTS = (
    "50007 50008 50012 50027 50029 50030 50032 50033 50035 50038 50041 50051 50052 50059 50060 50100 50101 50103 50104 "
    "50105 50106 50107 50110 50111 50112 50113 50114 50119 50120 50121"
)
ORDER_RULES = (
    "50028 51000 51001 51004 51005 51006 51007 51008 51009 51010 51012 51015 51020 51021 51022 51023 51024 51025 51027 "
    "51028 51031 51033 51046 51047 51048 51049 51050 51051 51052 51053 51087 51088 51101 51102 51103 51104 51105 51106 "
    "51107 51108 51109 51112 51116 51117 51120 51121 51122 51124 51127 51129 51131 51137 51138 51148 51150 51155 51169 "
    "51170 51174 51185 51186 51187 51201 51202 51203 51204 51205 51250 51252 51277 51278 51279 51280 51300 51302 51303 "
    "51304 51305 51306 51307 51308 54030 54031"
)
WITHDRAWAL_RULES = (
    "58004 58008 58010 58013 58200 58201 58203 58204 58205 58206 58207 58208 58209 58210 58212 58214 58217 58219 58221 "
    "58222 58224 58226 58229 58230 58233 58235 58237 58238 58239 58240 58241 58248 58249 58252 58254 58256 58257 58258 "
    "58350 58405"
)
NOT_KNOWN = (
    "50001 50004 50005 50009 50013 50026 50040 50042 51002 51014 51026 51054 51113 51119 51130 51149 51410 51412 51502 "
    "51736 51763 51764 51772 51773 58002 58101 50017 50037 51030 99999"
)

ANSWERS = [
    (ORDER, TAKEN, Proof.EXECUTED),
    (CANCEL, TAKEN, Proof.EXECUTED),
    (WITHDRAW, listing({"amt": "100", "wdId": "67485", "ccy": "USDT", "clientId": HANDLE}), Proof.EXECUTED),
    *((ORDER, refused(code), Proof.REFUSED) for code in ORDER_RULES.split()),
    *((ORDER, turned_away(code), Proof.REFUSED) for code in f"{REQUESTS} {ACCOUNTS}".split()),
    *((command, turned_away("50113"), Proof.REFUSED) for command in (CLOSE, CANCEL, WITHDRAW)),
    *((CANCEL, refused(code), Proof.REFUSED) for code in ("51400", "51403", "51416", "51603", "51001")),
    *((WITHDRAW, turned_away(code), Proof.REFUSED) for code in WITHDRAWAL_RULES.split()),
    *((ORDER, refused(code), Proof.SEEN) for code in ("51016", "51065", "51068", "50071")),
    (WITHDRAW, turned_away("58404"), Proof.SEEN),
    (ORDER, turned_away("50036"), Proof.NOT_EXECUTED),
    *((command, turned_away("50102"), Proof.NOT_EXECUTED) for command in (ORDER, CANCEL, WITHDRAW)),
    *((command, turned_away("50011"), Proof.NOT_EXECUTED) for command in (ORDER, CANCEL, WITHDRAW)),
    (ORDER, turned_away("50061"), Proof.NOT_EXECUTED),
    (WITHDRAW, turned_away("58102"), Proof.NOT_EXECUTED),
    *((command, refused(code), Proof.UNKNOWN) for code in NOT_KNOWN.split() for command in (ORDER, CANCEL)),
    *((command, turned_away(code), Proof.UNKNOWN) for code in NOT_KNOWN.split() for command in (ORDER, WITHDRAW)),
    # Codes of other commands, and those of two things.
    (ORDER, refused("51400"), Proof.UNKNOWN),
    (ORDER, refused("51603"), Proof.UNKNOWN),
    (WITHDRAW, turned_away("51008"), Proof.UNKNOWN),
    (ORDER, refused("51000", "Parameter clOrdId error"), Proof.UNKNOWN),
    (ORDER, {"code": "1", "msg": "Operation failed.", "data": []}, Proof.UNKNOWN),
    (ORDER, {**TAKEN, "code": "1"}, Proof.UNKNOWN),
    (ORDER, {**refused("51008"), "code": "0"}, Proof.UNKNOWN),
    (ORDER, listing(), Proof.UNKNOWN),
    (ORDER, {"code": "0", "msg": ""}, Proof.UNKNOWN),
    (ORDER, listing(*TAKEN["data"], *TAKEN["data"]), Proof.UNKNOWN),
    (ORDER, listing({**TAKEN["data"][0], "clOrdId": "another"}), Proof.UNKNOWN),
]


@pytest.mark.parametrize(("command", "body", "proof"), ANSWERS)
def test_what_an_answer_proves(command: Command, body: dict[str, Any], proof: Proof) -> None:
    """With its whole envelope; with less of it, or with a status of 500 and more, it proves nothing."""
    assert judged(command, answered(body)).proof is proof
    for without in ("code", "msg"):
        assert judged(command, answered({**body, without: None})).proof is Proof.UNKNOWN
    for status in (500, 503):
        assert judged(command, answered(body, status)).proof is Proof.UNKNOWN


def test_every_listed_code_is_tested() -> None:
    """No line of the traits is without an answer above."""
    codes = {envelope.code for _, body, _ in ANSWERS if (envelope := TRAITS.read(body)) is not None}
    assert {each.code for each in LISTED} <= codes


@pytest.mark.parametrize(
    ("status", "code"), [(503, "50001"), (400, "50004"), (429, "50013"), (500, "50026"), (500, "51054"), (500, "51149")]
)
def test_a_failure_with_its_own_status_proves_nothing(status: int, code: str) -> None:
    """50013, "Systems are busy", comes with the status that means a rate limit otherwise."""
    for command in (ORDER, CLOSE, CANCEL, WITHDRAW):
        assert judged(
            command, answered(turned_away(code, "Systems are busy. Please try again later."), status)
        ).proof is (Proof.UNKNOWN)


def test_a_limit_holds_for_the_account() -> None:
    """ "Rate limit rule: User ID"; cancels have a limit of their own."""
    for response in (answered(turned_away("50011"), 429), answered(turned_away("50011")), answered(b"", 429)):
        verdict = judged(ORDER, response)
        assert (verdict.proof, verdict.overload) == (Proof.NOT_EXECUTED, Overload.ACCOUNT)
    assert VENUE.passes_cool_down == {"cancel"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"code": 0, "msg": ""}', b'{"code": "0"}', b"null"])
def test_what_is_not_its_own_answer_proves_nothing(status: int, body: bytes) -> None:
    """Whatever the status."""
    assert judged(ORDER, answered(body, status)).proof is Proof.UNKNOWN


def signature(request: SignedRequest) -> str:
    """By the rule of "Making Requests" and "Signature": time, method, path with query, and body."""
    parts = urlsplit(request.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    text = request.headers["OK-ACCESS-TIMESTAMP"] + request.method + path + (request.body or b"").decode()
    return base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()).decode()


def check_signed(request: SignedRequest) -> None:
    """As of now, over the bytes that are sent."""
    assert request.headers["OK-ACCESS-SIGN"] == signature(request)
    assert request.headers["OK-ACCESS-TIMESTAMP"] == "2026-09-21T14:13:20.000Z"
    assert request.headers["OK-ACCESS-PASSPHRASE"] == "a passphrase"
    assert "x-simulated-trading" not in request.headers


WHOLE = {
    "instId": CONTRACT,
    "side": "sell",
    "ordType": "market",
    "sz": "1.25",
    "tdMode": "isolated",
    "clOrdId": HANDLE,
    "reduceOnly": True,
}
STOPPED = {**WHOLE, "ordType": "conditional", "algoClOrdId": HANDLE}


@pytest.mark.parametrize(
    ("arguments", "path", "expected"),
    [
        ({}, "order", WHOLE),
        ({"qty": "0.5", "price": "55000.1"}, "order", {**WHOLE, "sz": "0.5", "ordType": "limit", "px": "55000.1"}),
        (
            {"trigger_price": "40000"},
            "order-algo",
            {**STOPPED, "slTriggerPx": "40000", "slOrdPx": "-1", "slTriggerPxType": "mark"},
        ),
        (
            {"trigger_price": "45000", "trigger_event": "LAST_PRICE", "price": "45100"},
            "order-algo",
            {**STOPPED, "tpTriggerPx": "45000", "tpOrdPx": "45100", "tpTriggerPxType": "last"},
        ),
    ],
)
def test_the_request_of_a_close(arguments: dict[str, str], path: str, expected: dict[str, Any]) -> None:
    """In the position's own margin mode. Only orders have an ``expTime``, which stops do not know."""
    plan = planned(VENUE, ACCOUNT, Close(account="o", pair=CONTRACT, **arguments), exchange_with())  # type: ignore[arg-type]
    request = VENUE.request(plan, NOW_MS)
    assert name_of(request) == f"POST {API}/trade/{path}"
    assert json.loads(request.body or b"") == expected
    assert request.headers.get("expTime") == (str(NOW_MS + 10_000) if path == "order" else None)
    check_signed(request)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"price": "55000"}, {"ordType": "limit", "px": "55000"}),
        ({"price": "55000", "post_only": True}, {"ordType": "post_only", "px": "55000"}),
        ({"price": "55000", "time_in_force": "IOC"}, {"ordType": "ioc", "px": "55000"}),
        ({"price": "55000", "time_in_force": "FOK"}, {"ordType": "fok", "px": "55000"}),
        ({"reduce_only": True}, {"ordType": "market", "reduceOnly": True}),
        (
            {"trigger_price": "45000", "trigger_event": "INDEX_PRICE"},
            {
                "ordType": "conditional",
                "slTriggerPx": "45000",
                "slOrdPx": "-1",
                "slTriggerPxType": "index",
                "algoClOrdId": HANDLE,
            },
        ),
    ],
)
def test_the_request_of_an_order(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    """No broker, no tag, no list of orders: nothing that ccxt adds."""
    command = Submit(account="o", pair=SYMBOL, side="buy", qty="0.5", **arguments)
    request = VENUE.request(planned(VENUE, ACCOUNT, command, exchange_with()), NOW_MS)
    common = {"instId": CONTRACT, "side": "buy", "sz": "0.5", "tdMode": "cross", "clOrdId": HANDLE}
    assert json.loads(request.body or b"") == {**common, **expected}
    check_signed(request)


def test_a_hedged_account_names_the_position() -> None:
    """In long/short mode, every order that closes only reduces."""
    hedged = Account("o", ACCOUNT.venue, ACCOUNT.base_url, CREDENTIALS, mode="futures", hedge=True)
    exchange = exchange_with(**{POSITIONS: listing({**LONG, "posSide": "short", "mgnMode": "cross"})})
    request = VENUE.request(planned(VENUE, hedged, CLOSE, exchange), NOW_MS)
    sent = json.loads(request.body or b"")
    assert (sent["side"], sent["posSide"], sent["tdMode"]) == ("buy", "short", "cross")
    assert "reduceOnly" not in sent


@pytest.mark.parametrize(
    ("answers", "path", "body"),
    [
        ({ORDERS: lambda request: listing(order_of())}, "cancel-order", {"instId": CONTRACT, "ordId": ORDER_ID}),
        (
            {ALGOS: lambda request: listing(algo_of(algoId=ORDER_ID))},
            "cancel-algos",
            [{"algoId": ORDER_ID, "instId": CONTRACT}],
        ),
        ({}, "cancel-order", {"instId": CONTRACT, "ordId": ORDER_ID}),
    ],
)
def test_the_request_of_a_cancel(answers: dict[str, Any], path: str, body: Any) -> None:
    """A stop is cancelled in another way, so that it is looked for before."""
    request = VENUE.request(planned(VENUE, ACCOUNT, CANCEL, exchange_with(**answers)), NOW_MS)
    assert (name_of(request), json.loads(request.body or b"")) == (f"POST {API}/trade/{path}", body)
    assert "expTime" not in request.headers
    check_signed(request)


def test_a_cancel_is_not_sent_while_its_order_can_not_be_read() -> None:
    """It may be a stop."""
    with pytest.raises(PlanFailed):
        planned(VENUE, ACCOUNT, CANCEL, exchange_with(**{ORDERS: turned_away("50001")}))


def test_the_request_of_a_withdrawal() -> None:
    """The chain by OKX' own name; a tag belongs to the address."""
    request = VENUE.request(planned(VENUE, ACCOUNT, WITHDRAW, exchange_with()), NOW_MS)
    expected = {"ccy": "USDT", "amt": "100", "dest": "4", "toAddr": "TXabc", "chain": "USDT-TRC20", "clientId": HANDLE}
    assert name_of(request) == f"POST {API}/asset/withdrawal"
    assert json.loads(request.body or b"") == expected
    check_signed(request)


def test_a_test_network_is_a_header() -> None:
    """ "x-simulated-trading: 1 needs to be added to the header of the Demo Trading request"."""
    demo = Account("o", ACCOUNT.venue, ACCOUNT.base_url, CREDENTIALS, mode="futures", testnet=True)
    exchange = exchange_with()
    request = VENUE.request(planned(VENUE, demo, CLOSE, exchange), NOW_MS)
    private = [each for each in exchange.requests if "OK-ACCESS-KEY" in each.headers]
    assert private
    assert {each.headers["x-simulated-trading"] for each in (request, *private)} == {"1"}


RECORDED = [
    (
        "BTC/USDT:USDT",
        "market",
        "sell",
        "1",
        None,
        {"posSide": "long", "reduceOnly": True},
        "order",
        {"ordType": "market", "posSide": "long", "reduceOnly": True},
    ),
    (
        "LTC/USDT:USDT",
        "market",
        "buy",
        "1",
        None,
        {"posSide": "long"},
        "order",
        {"ordType": "market", "posSide": "long"},
    ),
    (
        "BTC/USD:BTC",
        "limit",
        "buy",
        "1",
        "25000",
        {"posSide": "net"},
        "order",
        {"ordType": "limit", "px": "25000", "posSide": "net"},
    ),
    (
        "LTC/USDT:USDT",
        "limit",
        "sell",
        "1",
        "100",
        {"takeProfitPrice": "105", "posSide": "long"},
        "order-algo",
        {
            "ordType": "conditional",
            "tpTriggerPx": "105",
            "tpOrdPx": "100",
            "tpTriggerPxType": "last",
            "posSide": "long",
        },
    ),
    (
        "LTC/USDT:USDT",
        "limit",
        "sell",
        "1",
        "49",
        {"stopLossPrice": "50", "posSide": "long"},
        "order-algo",
        {"ordType": "conditional", "slTriggerPx": "50", "slOrdPx": "49", "slTriggerPxType": "last", "posSide": "long"},
    ),
    (
        "ETH/USDT:USDT",
        "market",
        "sell",
        "1",
        None,
        {"stopLossPrice": "2000", "hedged": True},
        "order-algo",
        {
            "ordType": "conditional",
            "slTriggerPx": "2000",
            "slOrdPx": "-1",
            "slTriggerPxType": "last",
            "posSide": "long",
        },
    ),
    (
        "ETH/USDT:USDT",
        "market",
        "sell",
        "1",
        None,
        {"reduceOnly": True, "hedged": True},
        "order",
        {"ordType": "market", "posSide": "long"},
    ),
]
"""Orders of swaps in ccxt's fixture ``ts/src/test/static/request/okx.json``: its inputs, with text for numbers, and
what it records of the request. ``clOrdId`` and ``tag`` are left out of the comparison there; the endpoint for several
orders is not used here."""


@pytest.mark.parametrize(("symbol", "kind", "side", "amount", "price", "params", "path", "expected"), RECORDED)
def test_ccxt_builds_the_requests_that_it_records(
    symbol: str,
    kind: str,
    side: str,
    amount: str,
    price: str | None,
    params: dict[str, Any],
    path: str,
    expected: dict[str, Any],
) -> None:
    """An upgrade of ccxt that changes a request fails here."""
    markets = VENUE.markets(ACCOUNT, exchange_with())
    exchange = copy_for(markets.exchange, CREDENTIALS, NOW_MS, {})
    with pytest.raises(Captured) as captured:
        call(exchange, "create_order", [symbol, kind, side, amount, price, {**params, "clOrdId": "id"}])
    request = captured.value.request
    contract = markets.exchange.market(symbol)["id"]
    common = {"instId": contract, "side": side, "sz": amount, "tdMode": "cross", "clOrdId": "id"}
    assert urlsplit(request.url).path == f"{API}/trade/{path}"
    assert json.loads(request.body or "") == {**common, **expected}


BEGUN, STOP_BEGUN = (Lookup(HANDLE, SYMBOL, is_stop, NOW_MS) for is_stop in (False, True))
STOP = Submit(account="o", pair=CONTRACT, side="sell", qty="0.5", trigger_price="40000")


def looked(answers: dict[str, Any], command: Command, lookup: Lookup) -> tuple[Sighting, list[SignedRequest]]:
    """What a look shows, and the requests that it made, but for the markets."""
    exchange = exchange_with(**answers)
    sighting = new_venue().look(command, lookup, ACCOUNT, exchange)
    return sighting, exchange.requests[2:]


@pytest.mark.parametrize(
    ("state", "filled", "taken"),
    [
        ("live", "0", True),
        ("partially_filled", "0.2", True),
        ("filled", "0.5", True),
        ("canceled", "0", True),
        ("canceled", "0.2", True),
        ("mmp_canceled", "0", True),
        ("a_new_state", "0", None),
    ],
)
def test_an_order_is_found(state: str, filled: str, taken: bool | None) -> None:
    """Open, filled, cancelled and filled in part."""
    sighting, (request,) = looked({ORDERS: listing(order_of(state=state, accFillSz=filled))}, ORDER, BEGUN)
    assert (sighting.sight, sighting.taken, sighting.reference) == (Sight.FOUND, taken, ORDER_ID)
    assert query_of(request) == {"instId": CONTRACT, "clOrdId": HANDLE}
    check_signed(request)


@pytest.mark.parametrize(
    ("state", "taken"),
    [
        ("live", True),
        ("pause", True),
        ("partially_effective", True),
        ("effective", True),
        ("canceled", True),
        ("order_failed", True),
        ("partially_failed", True),
        ("a_new_state", None),
    ],
)
def test_a_stop_is_found_at_its_own_place(state: str, taken: bool | None) -> None:
    """A stop whose order failed at the trigger had been taken."""
    sighting, (request,) = looked({ALGOS: listing(algo_of(state=state))}, STOP, STOP_BEGUN)
    assert (sighting.sight, sighting.taken, sighting.reference) == (Sight.FOUND, taken, ALGO_ID)
    assert (name_of(request), query_of(request)) == (ALGOS, {"instId": CONTRACT, "algoClOrdId": HANDLE})


def test_an_order_that_contradicts_the_command_is_not_believed() -> None:
    """Another command's, under the same id."""
    for other in ({"side": "buy"}, {"sz": "0.7"}, {"instId": "ETH-USDT-SWAP"}):
        assert looked({ORDERS: listing(order_of(**other))}, ORDER, BEGUN)[0].taken is None


@pytest.mark.parametrize(
    ("until_ms", "sight"),
    [
        (NOW_MS, Sight.ABSENT),
        (NOW_MS - 7_100_000, Sight.ABSENT),
        (NOW_MS - 7_200_000, Sight.UNREADABLE),
        (0, Sight.UNREADABLE),
    ],
)
def test_what_is_not_listed_is_absent_for_two_hours(until_ms: int, sight: Sight) -> None:
    """After which an order that was cancelled without a fill is listed no more."""
    assert looked({}, ORDER, Lookup(HANDLE, SYMBOL, until_ms=until_ms))[0].sight is sight


def test_the_absence_of_a_stop_proves_nothing() -> None:
    """Its plan has no time after which OKX takes it no more."""
    plan = planned(VENUE, ACCOUNT, STOP, exchange_with())
    assert (plan.window_ms, plan.lookup) == (0, Lookup(HANDLE, SYMBOL, is_stop=True))
    assert looked({}, STOP, Lookup(HANDLE, SYMBOL, is_stop=True))[0].sight is Sight.UNREADABLE


@pytest.mark.parametrize(
    "answer",
    [
        {"code": "0", "msg": ""},
        {"code": "0", "msg": "", "data": None},
        {"code": "0", "msg": "", "data": {}},
        turned_away("50001"),
        turned_away("50011"),
        {"code": "51603", "data": []},
        answered(NO_ORDER, 500),
        answered(b"", 502),
    ],
)
def test_a_list_that_is_missing_is_never_empty(answer: Any) -> None:
    """Only the exchange's own "Order does not exist" is an absence."""
    assert looked({ORDERS: answer}, ORDER, BEGUN)[0].sight is Sight.UNREADABLE
    assert judged(QUERY, answer if isinstance(answer, Response) else answered(answer)).positions is None


@pytest.mark.parametrize("rows", [[], [None], ["x"], [{}], [{"clOrdId": "other", "ordId": ORDER_ID}]])
def test_an_answer_about_something_else_is_no_absence(rows: list[Any]) -> None:
    assert looked({ORDERS: {"code": "0", "msg": "", "data": rows}}, ORDER, BEGUN)[0].sight is Sight.UNREADABLE
    cancelled = judged(CANCEL, answered({"code": "0", "msg": "", "data": rows}))
    assert (cancelled.proof is Proof.EXECUTED) == (rows == [{"clOrdId": "other", "ordId": ORDER_ID}])


@pytest.mark.parametrize(
    ("answers", "sight", "taken"),
    [
        ({ORDERS: listing(order_of(state="canceled"))}, Sight.FOUND, True),
        ({ORDERS: listing(order_of(state="filled", accFillSz="0.5"))}, Sight.FOUND, False),
        ({ORDERS: listing(order_of())}, Sight.ABSENT, None),
        ({ALGOS: listing(algo_of(algoId=ORDER_ID, state="canceled"))}, Sight.FOUND, True),
        ({}, Sight.UNREADABLE, None),
    ],
)
def test_what_became_of_a_cancel(answers: dict[str, Any], sight: Sight, taken: bool | None) -> None:
    """By the order's id, whether it is a stop or not."""
    sighting, _ = looked(answers, CANCEL, Lookup(ORDER_ID, CONTRACT))
    assert (sighting.sight, sighting.taken) == (sight, taken)


@pytest.mark.parametrize(
    ("state", "taken"),
    [("2", True), ("0", True), ("17", True), ("1", True), ("-3", True), ("-1", False), ("-2", False)],
)
def test_a_withdrawal_is_found_by_its_client_id(state: str, taken: bool) -> None:
    """Failed and cancelled ones were not taken."""
    row = {"wdId": "67485", "clientId": HANDLE, "ccy": "USDT", "amt": "100", "to": "TXabc", "state": state, "ts": "1"}
    sighting, (request,) = looked({WITHDRAWALS: listing(row)}, WITHDRAW, Lookup(HANDLE, "USDT"))
    assert (sighting.sight, sighting.taken, sighting.reference) == (Sight.FOUND, taken, "67485")
    assert query_of(request) == {"ccy": "USDT", "clientId": HANDLE}


def test_positions_digit_by_digit() -> None:
    """Long and short, net and hedged; a position of size 0 is none."""
    short = {**LONG, "instId": "ETH-USDT-SWAP", "pos": "-0.10000000000000000001", "mgnMode": "cross"}
    hedged = {**LONG, "instId": "LTC-USDT-SWAP", "posSide": "short", "pos": "3"}
    verdict = judged(QUERY, answered(listing(LONG, short, hedged, {**LONG, "instId": "BTC-USD-SWAP", "pos": "0"})))
    shown = [(each.instrument, each.direction, each.size, each.cross) for each in verdict.positions]
    assert shown == [
        (SYMBOL, Direction.LONG, "1.25", False),
        ("ETH/USDT:USDT", Direction.SHORT, "0.10000000000000000001", True),
        ("LTC/USDT:USDT", Direction.SHORT, "3", False),
    ]
    assert verdict.positions[0].unrealized_pnl == "-0.0000033452492717"
    assert judged(QUERY, answered(listing())).positions == ()


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"code": 0, "msg": ""}, {"code": "0", "msg": "", "data": 1}])
def test_anything_is_read(value: Any) -> None:
    """Whatever JSON arrives."""
    assert TRAITS.read(value) is None
    assert TRAITS.status is not None
    assert TRAITS.status(value) == ""
    for place in TRAITS.find(Wanted("submit", SYMBOL, HANDLE)):
        assert not place.rows(value)
