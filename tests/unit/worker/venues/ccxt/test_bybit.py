"""Bybit: its requests, what its pages document of each answer, and where an order is found again.

Requests are those that ccxt's own recorded fixtures give for the same input (ts/src/test/static/request/bybit.json).
"""

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from producers.report import Direction
from tests.unit.worker.venues.ccxt.faked_exchange import HTML, NOW_MS, FakedExchange, name_of, respond, venue
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Overload, Plan, PlanFailed, PlanRefused, Proof
from worker.venues.ccxt.exchanges.bybit import DAY_MS, PAGE, TRAITS
from worker.venues.ccxt.traits import Stop, Wanted
from worker.venues.http.base import SignedRequest
from worker.venues.lookups import Lookup, Sight

KEY, SECRET = "XXXXXXXXXX", "0123456789abcdef"
ACCOUNT = Account("m", "ccxt:bybit", TRAITS.base_url, Credentials(KEY, SECRET))
HEDGED = replace(ACCOUNT, hedge=True)
VENUE = venue("bybit")
COMMAND_ID = "c-1"
HANDLE = VENUE.handle(COMMAND_ID, ACCOUNT)
SYMBOL = "BTC/USDT:USDT"

ORDER = {"orderId": "fd4300ae", "orderLinkId": HANDLE, "symbol": "BTCUSDT", "orderStatus": "New", "cumExecQty": "0.00"}


def answer(result: Any, code: Any = 0, message: Any = "OK") -> dict[str, Any]:
    """The envelope of every answer."""
    return {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": 1672211918471}


def page(rows: Any, cursor: str = "", category: str = "linear") -> dict[str, Any]:
    """A list's answer."""
    return answer({"category": category, "list": rows, "nextPageCursor": cursor})


PUBLIC = {"GET /v5/market/instruments-info", "GET /v5/market/tickers"}


def check(request: SignedRequest) -> None:
    """HMAC SHA-256 of timestamp, key, window, and the query or the body (Integration Guidance, Create A Request)."""
    signature = request.headers.get("X-BAPI-SIGN")
    if signature is None:
        assert name_of(request) in PUBLIC
        return
    assert request.headers["X-BAPI-API-KEY"] == KEY
    payload = request.body.decode() if request.body else urlsplit(request.url).query
    signed = request.headers["X-BAPI-TIMESTAMP"] + KEY + request.headers["X-BAPI-RECV-WINDOW"] + payload
    assert signature == hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()


def instrument(symbol: str, base: str, quote: str, settle: str, step: str, tick: str) -> dict[str, Any]:
    """A row of Get Instruments Info."""
    kind = "LinearPerpetual" if quote != "USD" else "InversePerpetual"
    named = {"symbol": symbol, "baseCoin": base, "quoteCoin": quote, "settleCoin": settle, "contractType": kind}
    lots = {"maxOrderQty": "1190.000", "minOrderQty": step, "qtyStep": step, "maxMktOrderQty": "500.000"}
    prices = {"minPrice": tick, "maxPrice": "199999.80", "tickSize": tick}
    times = {"launchTime": "1585526400000", "deliveryTime": "0"}
    return {**named, **times, "status": "Trading", "priceFilter": prices, "lotSizeFilter": lots}


LINEAR = [
    instrument("BTCUSDT", "BTC", "USDT", "USDT", "0.001", "0.10"),
    instrument("LTCUSDT", "LTC", "USDT", "USDT", "0.1", "0.01"),
    instrument("BTCPERP", "BTC", "USDC", "USDC", "0.001", "0.10"),
]
INVERSE = [instrument("BTCUSD", "BTC", "USD", "BTC", "1", "0.50")]


def position(symbol: str, side: str, size: str, index: int = 0, **more: str) -> dict[str, Any]:
    """A row of Get Position Info."""
    shown = {
        "symbol": symbol,
        "side": side,
        "size": size,
        "positionIdx": index,
        "avgPrice": "50.5",
        "markPrice": "55.00",
    }
    return {**shown, "positionValue": "11", "leverage": "10", "unrealisedPnl": "-0.1", "liqPrice": "", **more}


def by_query(name: str, pages: dict[str, Any]) -> Any:
    """An answer by a word of the query, otherwise an empty list."""

    def answer_to(request: SignedRequest) -> Any:
        query = urlsplit(request.url).query
        return next((found for word, found in pages.items() if word in query), page([]))

    return answer_to


def exchange(held: Any = (), realtime: Any = (), history: Any = (), usdc: Any = (), inverse: Any = ()) -> FakedExchange:
    """The exchange with these lists; anything that is no tuple or list is the whole answer."""

    def listed(rows: Any) -> Any:
        return page(list(rows)) if isinstance(rows, tuple | list) else rows

    positions = {"settleCoin=USDC": listed(usdc), "category=inverse": listed(inverse), "category=linear": listed(held)}
    ticker = {"symbol": "LTCUSDT", "lastPrice": "55.00", "markPrice": "55.00", "indexPrice": "55.00"}
    return FakedExchange(
        {
            "GET /v5/market/instruments-info": by_query(
                "",
                {
                    "PreLaunch": page([]),
                    "category=linear": page(LINEAR),
                    "category=inverse": page(INVERSE, "", "inverse"),
                },
            ),
            "GET /v5/market/tickers": page([ticker]),
            "GET /v5/position/list": by_query("", positions),
            "GET /v5/order/realtime": listed(realtime),
            "GET /v5/order/history": listed(history),
        },
        check,
    )


def submit(**arguments: Any) -> Submit:
    return Submit(**{"account": "m", "pair": "LTCUSDT", "side": "sell", "qty": "0.1"} | arguments)


def close(**arguments: Any) -> Close:
    return Close(**{"account": "m", "pair": "LTCUSDT"} | arguments)


def withdraw(**arguments: Any) -> Withdraw:
    return Withdraw(
        **{"account": "m", "asset": "USDT", "qty": "1.50", "address": "0xabc", "network": "ETH"} | arguments
    )


def planned(command: Command, account: Account = ACCOUNT, **lists: Any) -> Plan:
    """The plan of a command, as of an attempt that begins now."""
    plan = VENUE.plan(command, COMMAND_ID, account, exchange(**lists).send)
    return plan.until(NOW_MS + plan.window_ms)


LTC = {"symbol": "LTCUSDT", "category": "linear"}
FIXTURES = [
    # Each row: the command, the account, the rows of positions, and the body.
    (
        submit(
            side="buy", pair="BTCUSDT", qty="0.001", price="35000", trigger_price="37000", trigger_event="LAST_PRICE"
        ),
        ACCOUNT,
        (),
        {
            "symbol": "BTCUSDT",
            "category": "linear",
            "side": "Buy",
            "orderType": "Limit",
            "qty": "0.001",
            "price": "35000",
        }
        | {"triggerDirection": 1, "triggerPrice": "37000", "triggerBy": "LastPrice"},
    ),
    (
        submit(side="buy", price="100"),
        ACCOUNT,
        (),
        LTC | {"side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "100"},
    ),
    (
        submit(price="100", reduce_only=True, post_only=True),
        ACCOUNT,
        (),
        LTC
        | {"side": "Sell", "orderType": "Limit", "qty": "0.1", "price": "100"}
        | {"timeInForce": "PostOnly", "reduceOnly": True},
    ),
    (
        close(pair="BTCUSD"),
        ACCOUNT,
        (position("BTCUSD", "Buy", "1"),),
        {
            "symbol": "BTCUSD",
            "side": "Sell",
            "orderType": "Market",
            "category": "inverse",
            "qty": "1",
            "reduceOnly": True,
        },
    ),
    (
        close(qty="0.1", price="51", trigger_price="54", trigger_event="MARK_PRICE", close_on_trigger=True),
        ACCOUNT,
        (position("LTCUSDT", "Buy", "0.2"),),
        LTC
        | {"side": "Sell", "orderType": "Limit", "qty": "0.1", "price": "51", "triggerDirection": 2}
        | {"triggerPrice": "54", "reduceOnly": True, "triggerBy": "MarkPrice", "closeOnTrigger": True},
    ),
    (
        close(direction="short"),
        HEDGED,
        (position("LTCUSDT", "Buy", "0.2", 1), position("LTCUSDT", "Sell", "0.1", 2)),
        LTC | {"side": "Buy", "orderType": "Market", "qty": "0.1", "reduceOnly": True, "positionIdx": 2},
    ),
    (submit(side="buy"), HEDGED, (), LTC | {"side": "Buy", "orderType": "Market", "qty": "0.1", "positionIdx": 1}),
]


@pytest.mark.parametrize(("command", "account", "held", "expected"), FIXTURES)
def test_orders_equal_the_recorded_ones(
    command: Command, account: Account, held: tuple[Any, ...], expected: dict[str, Any]
) -> None:
    """With our own client order id, and the price by which a stop is triggered."""
    plan = planned(command, account, held=held, inverse=held)
    request = VENUE.request(plan, NOW_MS)
    handle = VENUE.handle(COMMAND_ID, account)
    check(request)
    assert (request.method, request.url) == ("POST", "https://api.bybit.com/v5/order/create")
    assert json.loads(request.body or b"") == expected | {"orderLinkId": handle}
    assert plan.lookup is not None
    assert (plan.lookup.handle, plan.lookup.until_ms) == (handle, NOW_MS + 5000)


def test_the_signature_is_that_of_the_bytes_sent() -> None:
    """The rule of Integration Guidance; its examples do not tell their secret."""
    check(VENUE.request(planned(submit(price="100")), NOW_MS))
    with pytest.raises(AssertionError):
        check(replace(VENUE.request(planned(submit(price="100")), NOW_MS), body=b"{}"))


def test_an_attempt_may_be_taken_until_the_end_of_its_window() -> None:
    """Later attempts within it have less time left."""
    plan = planned(submit(price="100"))
    for later_ms, window in ((0, "5000"), (1200, "3800"), (4999, "1")):
        headers = VENUE.request(plan, NOW_MS + later_ms).headers
        assert (headers["X-BAPI-TIMESTAMP"], headers["X-BAPI-RECV-WINDOW"]) == (str(NOW_MS + later_ms), window)


def test_a_cancel_and_a_withdrawal() -> None:
    """A withdrawal has every digit, and the chain as the exchange names it."""
    cancel = VENUE.request(planned(Cancel(account="m", order_id="8caeea8c-cf80", pair="LTCUSDT")), NOW_MS)
    paid = VENUE.request(planned(withdraw(tag="7")), NOW_MS)
    for request in (cancel, paid):
        check(request)
    assert (name_of(cancel), json.loads(cancel.body or b"")) == (
        "POST /v5/order/cancel",
        LTC | {"orderId": "8caeea8c-cf80"},
    )
    named = {"coin": "USDT", "address": "0xabc", "amount": "1.5", "chain": "ETH", "tag": "7", "accountType": "UTA"}
    assert name_of(paid) == "POST /v5/asset/withdraw/create"
    assert json.loads(paid.body or b"") == named | {"requestId": HANDLE, "timestamp": NOW_MS}


@pytest.mark.parametrize(
    "command",
    [submit(qty="0.15"), submit(price="100.001"), submit(pair="XYZUSDT"), close()],
)
def test_what_the_exchange_would_not_take_exactly_is_refused(command: Command) -> None:
    """Nothing is rounded, and nothing is closed where nothing is open."""
    with pytest.raises(PlanRefused):
        planned(command, held=(position("LTCUSDT", "", "0"),))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (answer({"orderId": "1321003749386327552", "orderLinkId": HANDLE}), "0"),
        (answer({}, 110007, "Available balance is insufficient"), "110007"),
        (answer(None, 10006, "Too many visits!"), "10006"),
        (answer({}, -2015, "Your api key has expired"), "-2015"),
    ],
)
def test_the_code_of_a_complete_answer(value: Any, code: str) -> None:
    """``retCode`` as text."""
    envelope = TRAITS.read(value)
    assert envelope is not None
    assert envelope.code == code


@pytest.mark.parametrize(
    "value",
    [
        {},
        None,
        [],
        "0",
        answer({}),
        answer(None),
        answer({"orderId": "1"}, "0"),
        answer({"orderId": "1"}, True),
        answer({}, 110007, None),
        {"retCode": 110007, "retMsg": "Available balance is insufficient"},
        {name: value for name, value in answer({}, 110007).items() if name != "time"},
    ],
)
def test_an_incomplete_answer_is_none(value: Any) -> None:
    """Neither a part of the envelope, nor a success without a record."""
    assert TRAITS.read(value) is None


PLANS = {
    "submit": planned(submit(price="100")),
    "close": planned(close(), held=(position("LTCUSDT", "Buy", "0.1"),)),
    "cancel": planned(Cancel(account="m", order_id="17", pair="LTCUSDT")),
    "withdraw": planned(withdraw()),
}
TAKEN: dict[str, dict[str, Any]] = {
    "submit": {"orderId": "5", "orderLinkId": HANDLE},
    "close": {"orderId": "5", "orderLinkId": HANDLE},
    "cancel": {"orderId": "17", "orderLinkId": ""},
    "withdraw": {"id": "10195"},
}
REFUSALS = [
    (each, name) for each in TRAITS.listed if each.proof is not Proof.EXECUTED for name in each.commands or PLANS
]


@pytest.mark.parametrize("name", PLANS)
def test_every_listed_code_is_judged_as_listed(name: str) -> None:
    """With its whole envelope; without, with an order in it, or with a status of a breakdown, it is unknown."""
    plan = PLANS[name]
    for each in [listed for listed, command in REFUSALS if command == name]:
        body = answer({}, int(each.code), "Some message.")
        verdict = VENUE.judge(plan, respond(body))
        assert verdict.proof is each.proof, (name, each)
        assert (verdict.overload is Overload.ACCOUNT) == each.overload, (name, each)
        broken = [{key: value for key, value in body.items() if key != missing} for missing in body]
        for value in broken:
            assert VENUE.judge(plan, respond(value)).proof is Proof.UNKNOWN, (name, each, value)
        for status in (408, 500, 502, 503, 504):
            assert VENUE.judge(plan, respond(body, status)).proof is Proof.UNKNOWN, (name, each, status)


@pytest.mark.parametrize(
    ("code", "submit", "cancel", "withdraw"),
    [
        (10002, Proof.NOT_EXECUTED, Proof.NOT_EXECUTED, Proof.NOT_EXECUTED),
        (10004, Proof.REFUSED, Proof.REFUSED, Proof.REFUSED),
        (110072, Proof.SEEN, Proof.UNKNOWN, Proof.UNKNOWN),
        (110017, Proof.REFUSED, Proof.UNKNOWN, Proof.UNKNOWN),
        (110001, Proof.UNKNOWN, Proof.REFUSED, Proof.UNKNOWN),
        (110008, Proof.UNKNOWN, Proof.REFUSED, Proof.UNKNOWN),
        (131096, Proof.UNKNOWN, Proof.UNKNOWN, Proof.REFUSED),
        (131082, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
        (10014, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
        (10006, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
        (10019, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
        (10403, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
        (10429, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
        (999999, Proof.UNKNOWN, Proof.UNKNOWN, Proof.UNKNOWN),
    ],
)
def test_what_a_code_proves_of_each_command(code: int, submit: Proof, cancel: Proof, withdraw: Proof) -> None:
    """A code proves what it is documented for."""
    expected = {"submit": submit, "close": submit, "cancel": cancel, "withdraw": withdraw}
    body = respond(answer({}, code, "Some message."))
    assert {name: VENUE.judge(plan, body).proof for name, plan in PLANS.items()} == expected


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("name", PLANS)
def test_a_breakdown_proves_nothing(name: str, status: int) -> None:
    """Whatever comes with a 5xx."""
    bodies = [b"", b"{}", b"null", b"[]", HTML, *map(answer, TAKEN.values())]
    bodies += [answer({}, code, "x") for code in (10002, 10006, 110001, 110007, 110072, 131085)]
    for body in bodies:
        assert VENUE.judge(PLANS[name], respond(body, status)).proof is Proof.UNKNOWN, body


@pytest.mark.parametrize("name", PLANS)
def test_a_success_counts_with_its_record_alone(name: str) -> None:
    """It has an id, and is about this very order."""
    plan, taken = PLANS[name], TAKEN[name]
    assert VENUE.judge(plan, respond(answer(taken))).proof is Proof.EXECUTED
    wrong: list[Any] = [
        {},
        [],
        None,
        b"",
        taken,
        answer({}),
        answer(None),
        answer([]),
        answer(dict.fromkeys(taken, "")),
    ]
    if name in ("submit", "close"):
        wrong.append(answer(taken | {"orderLinkId": "other"}))
    if name == "cancel":
        wrong.append(answer(taken | {"orderId": "18"}))
    for body in wrong:
        assert VENUE.judge(plan, respond(body)).proof is Proof.UNKNOWN, body


def test_a_limited_rate_is_heeded_by_the_account() -> None:
    """429 by its status; 10006 is a listed overload, of which no page says that nothing was executed."""
    limited = VENUE.judge(PLANS["submit"], respond(HTML, 429))
    visits = VENUE.judge(PLANS["submit"], respond(answer({}, 10006, "Too many visits!")))
    assert (limited.proof, limited.overload) == (Proof.NOT_EXECUTED, Overload.ACCOUNT)
    assert (visits.proof, visits.overload) == (Proof.UNKNOWN, Overload.ACCOUNT)


@pytest.mark.parametrize(
    "code",
    ["429", "10000", "10006", "10016", "110079", "170001", "170005", "170007", "170032", "170146", "170147", "131201"],
)
def test_what_no_page_calls_a_refusal_is_unknown(code: str) -> None:
    """Timeouts, server errors and a rate limit, of which no page says that nothing was executed."""
    assert [(each.proof, each.commands) for each in TRAITS.listed if each.code == code] == [(Proof.UNKNOWN, ())]


@pytest.mark.parametrize(
    "code", ["-1", "10008", "10018", "10019", "10403", "10429", "110005", "110066", "20003", "20006", "500000"]
)
def test_what_says_nothing_is_not_listed(code: str) -> None:
    """Codes of other services, and codes whose texts name no reason."""
    assert not [each for each in TRAITS.listed if each.code == code]


def test_a_code_is_judged_in_one_way() -> None:
    """No two lines of one command contradict each other."""
    for command in ("close", "submit", "cancel", "withdraw"):
        codes = [each.code for each in TRAITS.listed if not each.commands or command in each.commands]
        assert len(codes) == len(set(codes)), command


def test_an_order_is_looked_for_in_real_time_and_in_the_history() -> None:
    """Not by ``fetch_closed_orders``, which asks for filled ones alone. A withdrawal's record has no id of ours."""
    for wanted, query in (
        (Wanted("submit", SYMBOL, handle=HANDLE), {"orderLinkId": HANDLE}),
        (Wanted("close", SYMBOL, handle=HANDLE, is_stop=True), {"orderLinkId": HANDLE}),
        (Wanted("cancel", SYMBOL, order_id="fd4300ae"), {"orderId": "fd4300ae"}),
    ):
        places = TRAITS.find(wanted)
        assert [each.method for each in places] == ["fetch_open_orders", "fetch_canceled_and_closed_orders"]
        assert {each.args for each in map(_frozen, places)} == {(SYMBOL, None, None, (*query.items(), ("limit", PAGE)))}
    assert TRAITS.find(Wanted("submit", "", handle=HANDLE)) == ()
    assert TRAITS.find(Wanted("withdraw", "USDT", handle=HANDLE)) == ()


def _frozen(place: Any) -> Any:
    return type(place)(place.method, (*place.args[:-1], tuple(place.args[-1].items())), place.rows)


def test_positions_of_all_markets_are_those_of_every_settle_coin() -> None:
    """Without a symbol the exchange lists one settle coin at a time."""
    assert [each.args[0] for each in TRAITS.positions(None)] == [
        {"category": "linear", "settleCoin": "USDT", "limit": 200},
        {"category": "linear", "settleCoin": "USDC", "limit": 200},
        {"category": "inverse", "limit": 200},
    ]
    assert [each.args for each in TRAITS.positions(SYMBOL)] == [([SYMBOL], {})]


def test_a_missing_list_is_no_empty_list() -> None:
    """Only a list of records is read."""
    for place in (*TRAITS.positions(None), *TRAITS.find(Wanted("submit", SYMBOL, handle=HANDLE))):
        row = ORDER | position("BTCUSDT", "Buy", "1")
        assert place.rows(page([])) == []
        assert place.rows(page([row])) == [row]
        broken: tuple[Any, ...] = (page(None), page({}), page([1]), answer({}), answer(None), answer([]), {}, None, [])
        assert all(place.rows(value) is None for value in broken)


def test_a_full_page_is_followed_by_the_next() -> None:
    """A cursor is given with the last page as well (Get Position Info, example), so that it alone asks for no other."""
    place = TRAITS.find(Wanted("submit", SYMBOL, handle=HANDLE))[0]
    assert place.next_args is not None
    assert place.next_args(page([ORDER] * PAGE, "next")) == (*place.args[:-1], place.args[-1] | {"cursor": "next"})
    assert [place.next_args(each) for each in (page([ORDER], "next"), page([ORDER] * PAGE), page(None), {})] == [
        None
    ] * 4


@pytest.mark.parametrize(
    ("status", "filled", "word"),
    [
        *((each, "0", "open") for each in ("New", "PartiallyFilled", "Untriggered", "Triggered")),
        ("Filled", "0.10", "closed"),
        ("Cancelled", "0.10", "canceled"),
        ("Deactivated", "0", "canceled"),
        ("Rejected", "0.000", "rejected"),
        ("Rejected", "", "rejected"),
        ("Rejected", "0.001", ""),
        ("Created", "0", ""),
    ],
)
def test_statuses_are_those_of_the_page(status: str, filled: str, word: str) -> None:
    """A rejected order with fills contradicts itself."""
    assert TRAITS.status is not None
    assert TRAITS.status(ORDER | {"orderStatus": status, "cumExecQty": filled}) == word


@pytest.mark.parametrize(("now_ms", "until_ms", "window"), [(1000, 6000, 5000), (1000, 1000, 1), (2000, 1000, 1)])
def test_the_window_ends_when_the_exchange_shall_refuse(now_ms: int, until_ms: int, window: int) -> None:
    """``X-BAPI-RECV-WINDOW`` comes from ccxt's options; a parameter would end in the body."""
    in_time = TRAITS.in_time("submit", now_ms, until_ms)
    assert (in_time.options, in_time.params) == ({"recvWindow": window}, {})


def test_a_stop_is_not_reduce_only_by_itself() -> None:
    """ccxt's ``stopLossPrice`` would make it so."""
    params = {"triggerPrice": "9", "triggerDirection": "descending", "triggerBy": "IndexPrice"}
    assert TRAITS.stop(Stop("9", "index", False, "buy", HANDLE)) == params
    assert TRAITS.stop(Stop("9", "mark", True, "sell", HANDLE)) == params | {
        "triggerDirection": "ascending",
        "triggerBy": "MarkPrice",
    }


def order(status: str, filled: str = "0", **more: Any) -> dict[str, Any]:
    """A record of Get Open & Closed Orders, or of Get Order History."""
    named = {"orderId": "fd4300ae", "orderLinkId": HANDLE, "symbol": "LTCUSDT", "side": "Sell", "orderType": "Limit"}
    return {**named, "orderStatus": status, "qty": "0.1", "cumExecQty": filled, "price": "100", **more}


def look(lookup: Lookup, command: Command | None = None, realtime: Any = (), history: Any = ()) -> Any:
    faked = exchange(realtime=realtime, history=history)
    return VENUE.look(command or submit(price="100"), lookup, ACCOUNT, faked.send)


UNTIL_MS = NOW_MS - 10_000
ORDER_LOOKUP = Lookup(HANDLE, "LTC/USDT:USDT", until_ms=UNTIL_MS)


@pytest.mark.parametrize("where", ["realtime", "history"])
@pytest.mark.parametrize(
    ("record", "taken"),
    [
        (order("New"), True),
        (order("PartiallyFilled", "0.05"), True),
        (order("Untriggered", triggerPrice="90"), True),
        (order("Filled", "0.1"), True),
        (order("Cancelled"), True),
        (order("Cancelled", "0.05"), True),
        (order("Deactivated"), True),
        (order("Rejected", rejectReason="EC_PostOnlyWillTakeLiquidity"), False),
        (order("Rejected", "0.05"), None),
        (order("Something"), None),
        (order("New", side="Buy"), None),
        (order("New", symbol="BTCUSDT"), None),
        (order("New", qty="0.2"), None),
    ],
)
def test_an_order_is_found_in_every_state(where: str, record: dict[str, Any], taken: bool | None) -> None:
    """In whichever list it is; stops are in the same ones."""
    for is_stop in (False, True):
        sighting = look(replace(ORDER_LOOKUP, is_stop=is_stop), None, **{where: [record]})
        assert (sighting.sight, sighting.taken, sighting.reference) == (Sight.FOUND, taken, "fd4300ae")
        assert sighting.venue_time_ms == NOW_MS


def test_absence_is_two_empty_lists() -> None:
    """Of a time of which everything is still listed; a list that is missing can't be read."""
    assert look(ORDER_LOOKUP).sight is Sight.ABSENT
    assert look(ORDER_LOOKUP, realtime=[order("New", orderLinkId="other")]).sight is Sight.ABSENT
    assert look(replace(ORDER_LOOKUP, until_ms=NOW_MS - DAY_MS)).sight is Sight.UNREADABLE
    broken: tuple[Any, ...] = (answer({}), answer({}, 10002), answer({}, 110001), page(None), {}, HTML)
    for each in broken:
        assert look(ORDER_LOOKUP, realtime=each).sight is Sight.UNREADABLE, each
        assert look(ORDER_LOOKUP, history=each).sight is Sight.UNREADABLE, each


@pytest.mark.parametrize(
    ("lists", "sight", "taken"),
    [
        ({"history": [order("Cancelled") | {"orderId": "17"}]}, Sight.FOUND, True),
        ({"history": [order("Filled", "0.1") | {"orderId": "17"}]}, Sight.FOUND, False),
        ({"realtime": [order("New") | {"orderId": "17"}]}, Sight.ABSENT, None),
        ({}, Sight.UNREADABLE, None),
    ],
)
def test_a_cancel_is_found_by_its_order(lists: dict[str, Any], sight: Sight, taken: bool | None) -> None:
    """An order that is cancelled shows that the cancel was taken."""
    sighting = look(Lookup("17", "LTCUSDT"), Cancel(account="m", order_id="17", pair="LTCUSDT"), **lists)
    assert (sighting.sight, sighting.taken) == (sight, taken)


def test_a_withdrawal_can_not_be_looked_for() -> None:
    """Its record has no id of ours (Get Withdrawal Records): it stays unknown."""
    assert PLANS["withdraw"].lookup is None
    assert look(Lookup(HANDLE, "USDT"), withdraw()).sight is Sight.UNREADABLE


def test_positions_of_every_settle_coin_are_exact_and_never_flat_by_mistake() -> None:
    """Every digit of the answers; flat rows are no positions; a list that is missing is unknown."""
    linear = [
        position("BTCUSDT", "Buy", "0.123456789012345678", 1, avgPrice="43210.123456789012345"),
        position("BTCUSDT", "", "0", 2),
    ]
    lists = {"usdc": [position("BTCPERP", "Sell", "0.002")], "inverse": [position("BTCUSD", "Sell", "300")]}
    plan = VENUE.plan(Positions(account="m"), COMMAND_ID, ACCOUNT, exchange(held=linear, **lists).send)
    verdict = VENUE.judge(plan, respond(page(linear)))
    assert verdict.positions is not None
    shown = {(each.instrument, each.direction, str(each.size), str(each.entry_price)) for each in verdict.positions}
    assert shown == {
        (SYMBOL, Direction.LONG, "0.123456789012345678", "43210.123456789012345"),
        ("BTC/USDC:USDC", Direction.SHORT, "0.002", "50.5"),
        ("BTC/USD:BTC", Direction.SHORT, "300", "50.5"),
    }
    for body in (b"", {}, page(None), page([{}]), answer({}), answer({}, 10006), HTML):
        assert VENUE.judge(plan, respond(body)).positions is None, body
    for missing in ("usdc", "inverse"):
        with pytest.raises(PlanFailed):
            VENUE.plan(Positions(account="m"), COMMAND_ID, ACCOUNT, exchange(**{missing: page(None)}).send)


def test_a_close_is_not_planned_by_a_list_that_is_missing() -> None:
    """It fails, and may be tried again; it is not refused as if nothing were open."""
    for each in (answer({}), page(None), page([{}]), answer({}, 10016), HTML):
        with pytest.raises(PlanFailed):
            planned(close(), held=each)
