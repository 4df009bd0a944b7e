"""Gate: its requests, what its pages document of each answer, and where an order is found again.

Requests are those that ccxt's own recorded fixtures give for the same input (ts/src/test/static/request/gate.json).
"""

import hashlib
import hmac
import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from producers.report import Direction
from tests.unit.worker.venues.ccxt.faked_exchange import HTML, NOW_MS, FakedExchange, respond, venue
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Overload, Plan, PlanFailed, PlanRefused, Proof
from worker.venues.ccxt.exchanges.gate import PAGE, TRAITS
from worker.venues.ccxt.traits import Stop, Wanted
from worker.venues.http.base import SignedRequest
from worker.venues.lookups import Lookup, Sight

KEY, SECRET = "key", "secret"
ACCOUNT = Account("m", "ccxt:gate", TRAITS.base_url, Credentials(KEY, SECRET))
HEDGED = replace(ACCOUNT, hedge=True)
VENUE = venue("gate")
COMMAND_ID = "c-1"
HANDLE = VENUE.handle(COMMAND_ID, ACCOUNT)
SYMBOL = "LTC/USDT:USDT"
FUTURES = "https://api.gateio.ws/api/v4/futures"

ORDER: dict[str, Any] = {
    "id": 15675394,
    "contract": "LTC_USDT",
    "create_time": 1546569968.123,
    "size": "-1",
    "left": "-1",
    "price": "100",
    "fill_price": "0",
    "tif": "gtc",
    "text": HANDLE,
    "status": "open",
    "is_reduce_only": False,
}
"""An order as the page shows one (FuturesOrder)."""


def order(status: str = "open", finish_as: str = "", left: str = "-1", **more: Any) -> dict[str, Any]:
    return {**ORDER, "status": status, "left": left, **({"finish_as": finish_as} if finish_as else {}), **more}


def error(label: str, message: str = "Some message.") -> dict[str, Any]:
    """The envelope of every error."""
    return {"label": label, "message": message}


def signature(method: str, path: str, query: str, body: bytes, timestamp: str) -> str:
    """HMAC-SHA512 of method, path, query without URL encoding, hashed body and time ("API Signature string")."""
    text = "\n".join((method, path, query, hashlib.sha512(body).hexdigest(), timestamp))
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha512).hexdigest()


def check(request: SignedRequest) -> None:
    headers = request.headers
    parts = urlsplit(request.url)
    if "SIGN" not in headers:
        assert parts.path.endswith("/contracts")
        return
    assert headers["KEY"] == KEY
    assert headers["Timestamp"].isdigit()
    expected = signature(request.method, parts.path, unquote(parts.query), request.body or b"", headers["Timestamp"])
    assert headers["SIGN"] == expected


def test_the_signature_is_that_of_the_page() -> None:
    """Its two examples, with the key ``key`` and the secret ``secret``."""
    listing = ("GET", "/api/v4/futures/orders", "contract=BTC_USD&status=finished&limit=50", b"", "1541993715")
    assert signature(*listing).startswith("55f84ea195d6fe57ce62464daaa7c3c02fa9d1dde954e4c898289c9a2407a3d6fb3faf24")
    body = b'{"contract":"BTC_USD","type":"limit","size":100,"price":6800,"time_in_force":"gtc"}'
    placing = ("POST", "/api/v4/futures/orders", "", body, "1541993715")
    assert signature(*placing).startswith("eae42da914a590ddf727473aff25fc87d50b64783941061f47a3fdb92742541fc4c2c140175")


def contract(name: str, kind: str, multiplier: str, tick: str, **more: Any) -> dict[str, Any]:
    """A row of the contracts of a settle currency."""
    sizes = {"order_size_min": "1", "order_size_max": "1000000", "quanto_multiplier": multiplier}
    rates = {"maker_fee_rate": "-0.00025", "taker_fee_rate": "0.00075", "leverage_min": "1", "leverage_max": "100"}
    prices = {"order_price_round": tick, "mark_price": "100", "last_price": "100", "order_price_deviate": "0.5"}
    return {"name": name, "type": kind, **sizes, **rates, **prices, "in_delisting": False, "status": "trading", **more}


CONTRACTS = [
    contract("LTC_USDT", "direct", "0.1", "0.01"),
    contract("XRP_USDT", "direct", "10", "0.0001"),
    contract("HYPE_USDT", "direct", "1", "0.001", enable_decimal=True, order_size_min="0.1"),
]
INVERSE = [contract("BTC_USD", "inverse", "0", "0.1")]


def position(name: str, size: Any, mode: str = "single", **more: Any) -> dict[str, Any]:
    """A row of the position list."""
    shown = {"contract": name, "size": size, "mode": mode, "leverage": "10", "entry_price": "50.5", "mark_price": "55"}
    return {**shown, "value": "11", "margin": "1", "liq_price": "0", "unrealised_pnl": "-0.1", "update_time": 1, **more}


NONE = respond(error("ORDER_NOT_FOUND", "Order not found"), 404)


def exchange(held: Any = (), inverse: Any = (), single: Any = NONE, opened: Any = (), ended: Any = ()) -> FakedExchange:
    """The exchange with these lists; anything that is no tuple or list is the whole answer."""

    def listed(rows: Any) -> Any:
        return list(rows) if isinstance(rows, tuple | list) else rows

    return FakedExchange(
        {
            "GET /api/v4/futures/usdt/contracts": CONTRACTS,
            "GET /api/v4/futures/btc/contracts": INVERSE,
            "GET /api/v4/futures/usdt/positions": listed(held),
            "GET /api/v4/futures/btc/positions": listed(inverse),
            f"GET /api/v4/futures/usdt/orders/{HANDLE}": single,
            "GET /api/v4/futures/usdt/orders/17": single,
            "GET /api/v4/futures/usdt/orders": listed(opened),
            "GET /api/v4/futures/usdt/orders_timerange": listed(ended),
        },
        check,
    )


def submit(**arguments: Any) -> Submit:
    return Submit(**{"account": "m", "pair": "LTC_USDT", "side": "sell", "qty": "1"} | arguments)


def close(**arguments: Any) -> Close:
    return Close(**{"account": "m", "pair": "LTC_USDT"} | arguments)


def planned(command: Command, account: Account = ACCOUNT, **lists: Any) -> Plan:
    """The plan of a command, as of an attempt that begins now."""
    plan = VENUE.plan(command, COMMAND_ID, account, exchange(**lists).send)
    return plan.until(NOW_MS + plan.window_ms)


LONG, SHORT = position("LTC_USDT", "3", "dual_long"), position("LTC_USDT", "-2", "dual_short")
LTC = {"contract": "LTC_USDT"}
FIXTURES = [
    # Each row: the command, the account, the rows of positions, and the body.
    (submit(side="buy", price="50"), ACCOUNT, (), LTC | {"size": 1, "price": "50"}),
    (submit(price="100"), ACCOUNT, (), LTC | {"size": -1, "price": "100"}),
    (submit(side="buy", pair="XRP_USDT"), ACCOUNT, (), {"contract": "XRP_USDT", "size": 1, "price": "0", "tif": "ioc"}),
    (submit(pair="XRP_USDT"), ACCOUNT, (), {"contract": "XRP_USDT", "size": -1, "price": "0", "tif": "ioc"}),
    # These are not among ccxt's recorded ones, but follow from FuturesOrder.
    (
        submit(price="100", post_only=True, reduce_only=True),
        ACCOUNT,
        (),
        LTC | {"size": -1, "price": "100", "tif": "poc", "reduce_only": True},
    ),
    (submit(price="100", time_in_force="FOK"), ACCOUNT, (), LTC | {"size": -1, "price": "100", "tif": "fok"}),
    (
        submit(pair="HYPE_USDT", qty="1.3", price="40"),
        ACCOUNT,
        (),
        {"contract": "HYPE_USDT", "size": "-1.3", "price": "40"},
    ),
    (
        close(),
        ACCOUNT,
        (position("LTC_USDT", "-7"),),
        LTC | {"size": 7, "price": "0", "tif": "ioc", "reduce_only": True},
    ),
    (
        close(direction="short"),
        HEDGED,
        (LONG, SHORT),
        LTC | {"size": 2, "price": "0", "tif": "ioc", "reduce_only": True},
    ),
    (
        close(direction="long", qty="1", price="99"),
        HEDGED,
        (LONG, SHORT),
        LTC | {"size": -1, "price": "99", "reduce_only": True},
    ),
    (submit(price="100"), HEDGED, (), LTC | {"size": -1, "price": "100"}),
]


@pytest.mark.parametrize(("command", "account", "held", "expected"), FIXTURES)
def test_orders_equal_the_recorded_ones(
    command: Command, account: Account, held: tuple[Any, ...], expected: dict[str, Any]
) -> None:
    """With our own client order id, and the time after which the exchange rejects it."""
    plan = planned(command, account, held=held)
    request = VENUE.request(plan, NOW_MS)
    handle = VENUE.handle(COMMAND_ID, account)
    check(request)
    assert (request.method, request.url) == ("POST", f"{FUTURES}/usdt/orders")
    assert json.loads(request.body or b"") == expected | {"text": handle}
    assert request.headers["x-gate-exptime"] == str(NOW_MS + 5000)
    assert plan.lookup is not None
    assert (plan.lookup.handle, plan.lookup.until_ms) == (handle, NOW_MS + 5000)


def test_contracts_settled_in_btc_have_their_own_path() -> None:
    """And so do their positions."""
    request = VENUE.request(planned(close(pair="BTC_USD"), inverse=[position("BTC_USD", "30")]), NOW_MS)
    assert request.url == f"{FUTURES}/btc/orders"
    assert json.loads(request.body or b"")["size"] == -30


def test_a_handle_is_what_the_page_allows() -> None:
    """``t-`` and at most 28 of digits, letters, ``_-.``; ccxt raises at more than 28 with the prefix."""
    handles = {TRAITS.handle_of(bytes([n] * 15 + [m])) for n in range(16) for m in range(16)}
    assert len(handles) == 256
    assert all(re.fullmatch(r"t-[0-9A-Za-z_.-]{26}", each) for each in handles)


def test_the_time_after_which_it_is_rejected_stays_that_of_the_attempt() -> None:
    """Whenever it is sent."""
    plan = planned(submit(price="100"))
    for later_ms in (0, 1200, 4999):
        request = VENUE.request(plan, NOW_MS + later_ms)
        check(request)
        assert request.headers["x-gate-exptime"] == str(NOW_MS + 5000)
        assert request.headers["Timestamp"] == str((NOW_MS + later_ms) // 1000)


def test_a_cancel_names_its_order_in_the_path() -> None:
    """With the same time limit."""
    request = VENUE.request(planned(Cancel(account="m", order_id="17", pair="LTC_USDT")), NOW_MS)
    check(request)
    assert (request.method, urlsplit(request.url).path) == ("DELETE", "/api/v4/futures/usdt/orders/17")
    assert request.headers["x-gate-exptime"] == str(NOW_MS + 5000)


@pytest.mark.parametrize("order_id", ["..", "1/../2", "17?contract=BTC_USDT", "%2e%2e", ".", "1 2"])
def test_an_order_id_can_not_change_the_path(order_id: str) -> None:
    """Without an id the same path cancels every order."""
    with pytest.raises((PlanRefused, PlanFailed, ValueError)):
        VENUE.request(planned(Cancel(account="m", order_id=order_id, pair="LTC_USDT")), NOW_MS)


@pytest.mark.parametrize(
    "command",
    [
        submit(qty="1.5"),
        submit(price="100.001"),
        submit(pair="XYZ_USDT"),
        close(),
        submit(trigger_price="90", trigger_event="MARK_PRICE"),
        close(direction="long", trigger_price="90"),
        Withdraw(account="m", asset="USDT", qty="1.5", address="0xabc", network="ETH"),
    ],
)
def test_what_the_exchange_would_not_take_exactly_is_refused(command: Command) -> None:
    """Nothing is rounded, nothing is closed where nothing is open; stops and withdrawals are not supported."""
    refused = VENUE.unsupported(command)
    if not refused:
        with pytest.raises(PlanRefused):
            planned(command)


def test_stops_have_no_client_order_id_and_are_refused() -> None:
    """``initial.text`` of a price-triggered order is its source, such as ``api`` (FuturesInitialOrder)."""
    assert [TRAITS.stop(Stop("9", event, True, "sell", HANDLE)) for event in ("mark", "last", "index")] == [None] * 3


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (ORDER, ""),
        (order("finished", "ioc"), ""),
        (error("ORDER_NOT_FOUND"), "ORDER_NOT_FOUND"),
        ({"label": "INVALID_ARGUMENT", "detail": "invalid size"}, "INVALID_ARGUMENT"),
    ],
)
def test_the_code_of_a_complete_answer(value: Any, code: str) -> None:
    """An order has none."""
    envelope = TRAITS.read(value)
    assert envelope is not None
    assert envelope.code == code


@pytest.mark.parametrize(
    "value",
    [
        *({}, None, [], [ORDER], "", 0, {"id": 1}, {"label": "ORDER_NOT_FOUND"}, {"label": "", "message": "x"}),
        *({"label": 7, "message": "x"}, {"label": "ORDER_NOT_FOUND", "message": None}, {"message": "x"}),
        *(ORDER | {"id": None}, ORDER | {"id": True}, ORDER | {"id": 0}, ORDER | {"id": ""}, ORDER | {"id": [1]}),
        ORDER | {"succeeded": False},
        *({key: value for key, value in ORDER.items() if key != gone} for gone in ("contract", "status", "size")),
    ],
)
def test_an_incomplete_answer_is_none(value: Any) -> None:
    """Neither a part of the envelope, nor a success without the order."""
    assert TRAITS.read(value) is None


PLANS = {
    "submit": planned(submit(price="100")),
    "close": planned(close(), held=(position("LTC_USDT", "1"),)),
    "cancel": planned(Cancel(account="m", order_id="15675394", pair="LTC_USDT")),
}
TAKEN = {
    "submit": ORDER,
    "close": order("finished", "filled", "0", price="0", tif="ioc", is_reduce_only=True),
    "cancel": order("finished", "cancelled"),
}
REFUSALS = [
    (each, name) for each in TRAITS.listed if each.proof is not Proof.EXECUTED for name in each.commands or PLANS
]


@pytest.mark.parametrize("name", PLANS)
def test_every_listed_code_is_judged_as_listed(name: str) -> None:
    """With its whole envelope; without, or with a status of a breakdown, it is unknown."""
    plan = PLANS[name]
    for each in [listed for listed, command in REFUSALS if command == name]:
        assert VENUE.judge(plan, respond(error(each.code), 400)).proof is each.proof, (name, each)
        broken: tuple[Any, ...] = ({"label": each.code}, {"message": each.code}, [error(each.code)], each.code, {})
        for value in broken:
            assert VENUE.judge(plan, respond(value, 400)).proof is Proof.UNKNOWN, (name, each, value)
        for status in (408, 500, 502, 503, 504):
            assert VENUE.judge(plan, respond(error(each.code), status)).proof is Proof.UNKNOWN, (name, each, status)


@pytest.mark.parametrize(
    ("code", "submit", "cancel"),
    [
        ("REQUEST_EXPIRED", Proof.NOT_EXECUTED, Proof.NOT_EXECUTED),
        ("INVALID_SIGNATURE", Proof.REFUSED, Proof.REFUSED),
        ("INVALID_PARAM_VALUE", Proof.REFUSED, Proof.REFUSED),
        ("PRICE_TOO_DEVIATED", Proof.REFUSED, Proof.UNKNOWN),
        ("REDUCE_EXCEEDED", Proof.REFUSED, Proof.UNKNOWN),
        ("ORDER_NOT_FOUND", Proof.UNKNOWN, Proof.REFUSED),
        ("ORDER_FINISHED", Proof.UNKNOWN, Proof.REFUSED),
        ("CONTRACT_NO_COUNTER", Proof.UNKNOWN, Proof.UNKNOWN),
        ("POSITION_IN_CLOSE", Proof.UNKNOWN, Proof.UNKNOWN),
        ("INTERNAL", Proof.UNKNOWN, Proof.UNKNOWN),
        ("SERVER_ERROR", Proof.UNKNOWN, Proof.UNKNOWN),
        ("TOO_BUSY", Proof.UNKNOWN, Proof.UNKNOWN),
        ("SOMETHING_NEW", Proof.UNKNOWN, Proof.UNKNOWN),
    ],
)
def test_what_a_code_proves_of_each_command(code: str, submit: Proof, cancel: Proof) -> None:
    """A code proves what it is documented for."""
    expected = {"submit": submit, "close": submit, "cancel": cancel}
    body = respond(error(code), 400)
    assert {name: VENUE.judge(plan, body).proof for name, plan in PLANS.items()} == expected


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("name", PLANS)
def test_a_breakdown_proves_nothing(name: str, status: int) -> None:
    """Whatever comes with a 5xx."""
    bodies = [b"", b"{}", b"null", b"[]", HTML, *TAKEN.values()]
    bodies += map(error, ("REQUEST_EXPIRED", "INVALID_KEY", "ORDER_NOT_FOUND", "INSUFFICIENT_AVAILABLE"))
    for body in bodies:
        assert VENUE.judge(PLANS[name], respond(body, status)).proof is Proof.UNKNOWN, body


@pytest.mark.parametrize("name", PLANS)
def test_a_success_counts_with_its_record_alone(name: str) -> None:
    """It is the order, this very one."""
    plan, taken = PLANS[name], TAKEN[name]
    for status in (200, 201):
        assert VENUE.judge(plan, respond(taken, status)).proof is Proof.EXECUTED
    wrong: list[Any] = [{}, [], None, b"", [taken], {"id": 15675394}, taken | {"id": None}]
    wrong += [taken | {"text": "other"}] if name != "cancel" else [taken | {"id": 18}]
    for body in wrong:
        assert VENUE.judge(plan, respond(body)).proof is Proof.UNKNOWN, body


def test_a_limited_rate_is_heeded_by_the_account() -> None:
    """Limits are "based on UID" (Frequency limit rule), and 429 says "Too many requests"."""
    for body in (HTML, error("TOO_MANY_REQUESTS")):
        limited = VENUE.judge(PLANS["submit"], respond(body, 429))
        assert (limited.proof, limited.overload) == (Proof.NOT_EXECUTED, Overload.ACCOUNT)


def test_a_code_is_judged_in_one_way() -> None:
    """No two lines of one command contradict each other."""
    for command in PLANS:
        codes = [each.code for each in TRAITS.listed if not each.commands or command in each.commands]
        assert len(codes) == len(set(codes)), command


def test_a_missing_list_is_no_empty_list() -> None:
    """Only a list of whole records is read."""
    wanted = Wanted("submit", SYMBOL, handle=HANDLE, since_ms=NOW_MS)
    single, *lists = TRAITS.find(wanted)
    assert single.rows(ORDER) == [ORDER]
    for place, row in [(each, ORDER) for each in lists] + [(each, LONG) for each in TRAITS.positions(None)]:
        assert place.rows([]) == []
        assert place.rows([row]) == [row]
        broken: tuple[Any, ...] = (None, {}, [None], [{}], [1], error("USER_NOT_FOUND"), {"list": []}, "", 0)
        assert all(place.rows(value) is None for value in broken)
    assert all(single.rows(value) is None for value in ([], [ORDER], None, {}, error("ORDER_NOT_FOUND")))
    assert TRAITS.find(Wanted("withdraw", "USDT", handle=HANDLE)) == ()
    assert TRAITS.find(Wanted("submit", "", handle=HANDLE)) == ()


def test_a_full_page_of_positions_is_no_list() -> None:
    """What does not fit into it is not known."""
    place = TRAITS.positions(SYMBOL)[0]
    assert place.args[0] == {"settle": "usdt", "holding": "true", "limit": PAGE}
    assert place.rows([LONG] * (PAGE - 1)) is not None
    assert place.rows([LONG] * PAGE) is None


def look(lookup: Lookup, command: Command | None = None, **lists: Any) -> Any:
    return VENUE.look(command or submit(price="100"), lookup, ACCOUNT, exchange(**lists).send)


ORDER_LOOKUP = Lookup(HANDLE, SYMBOL, until_ms=NOW_MS - 10_000)


@pytest.mark.parametrize(
    ("record", "taken"),
    [
        (order(), True),
        (order(left="0"), True),
        (order("finished", "filled", "0"), True),
        (order("finished", "cancelled"), True),
        (order("finished", "ioc", "0"), True),
        (order("finished", "reduce_only"), True),
        (order("finished", "unknown"), None),
        (order("finished"), None),
        (order("something"), None),
        (order("something", "filled", "0"), None),
        (order(size="1"), None),
        (order(size="-2"), None),
        (order(contract="XRP_USDT"), None),
    ],
)
@pytest.mark.parametrize("where", ["single", "opened", "ended"])
def test_an_order_is_found_in_every_state(where: str, record: dict[str, Any], taken: bool | None) -> None:
    """Wherever it is still listed."""
    sighting = look(ORDER_LOOKUP, None, **{where: record if where == "single" else [record]})
    assert (sighting.sight, sighting.taken, sighting.reference) == (Sight.FOUND, taken, "15675394")
    assert sighting.venue_time_ms == NOW_MS


def test_absence_is_proved_by_the_client_order_id_for_a_minute() -> None:
    """So long it finds whatever has ended; later what is not found is no proof."""
    assert look(ORDER_LOOKUP).sight is Sight.ABSENT
    assert look(ORDER_LOOKUP, opened=[order(text="t-other")], ended=[order(text="t-other")]).sight is Sight.ABSENT
    assert look(replace(ORDER_LOOKUP, until_ms=NOW_MS - 56_000)).sight is Sight.UNREADABLE
    assert look(replace(ORDER_LOOKUP, until_ms=NOW_MS - 54_000)).sight is Sight.ABSENT
    answers: tuple[Any, ...] = ({}, None, error("SERVER_ERROR"), error("USER_NOT_FOUND"), HTML, {"id": 1})
    for broken in answers:
        for where in ("single", "opened", "ended"):
            assert look(ORDER_LOOKUP, **{where: broken}).sight is Sight.UNREADABLE, (where, broken)
    hidden = respond(error("ORDER_NOT_FOUND"), 503)
    assert look(ORDER_LOOKUP, single=hidden).sight is Sight.UNREADABLE


def test_what_has_ended_is_listed_since_the_attempt() -> None:
    """A minute earlier, for clocks differ."""
    faked = exchange(ended=[order("finished", "filled", "0")])
    assert VENUE.look(submit(price="100"), ORDER_LOOKUP, ACCOUNT, faked.send).taken is True
    query = parse_qs(urlsplit(faked.seen[-1].url).query)
    assert query == {"from": [str((NOW_MS - 75_000) // 1000)], "limit": [str(PAGE)]}


@pytest.mark.parametrize(
    ("record", "sight", "taken"),
    [
        (order("finished", "cancelled", id=17), Sight.FOUND, True),
        (order("finished", "filled", "0", id=17), Sight.FOUND, False),
        (order(id=17), Sight.ABSENT, None),
        (NONE, Sight.UNREADABLE, None),
    ],
)
def test_a_cancel_is_found_by_its_order(record: Any, sight: Sight, taken: bool | None) -> None:
    """An order that is cancelled shows that the cancel was taken."""
    command = Cancel(account="m", order_id="17", pair="LTC_USDT")
    sighting = look(Lookup("17", SYMBOL, until_ms=NOW_MS), command, single=record)
    assert (sighting.sight, sighting.taken) == (sight, taken)


def test_positions_of_both_currencies_are_exact_and_never_flat_by_mistake() -> None:
    """Every digit of the answers; a list that is missing is unknown; an account that is not there holds nothing."""
    held = [LONG, SHORT, position("HYPE_USDT", "-0.123456789012345678", entry_price="43.123456789012345678")]
    missing = respond(error("USER_NOT_FOUND"), 400)
    for inverse in ([position("BTC_USD", "30")], missing):
        plan = VENUE.plan(Positions(account="m"), COMMAND_ID, HEDGED, exchange(held=held, inverse=inverse).send)
        verdict = VENUE.judge(plan, respond(held))
        assert verdict.positions is not None
        shown = {(each.instrument, each.direction, str(each.size), str(each.entry_price)) for each in verdict.positions}
        assert shown == {
            (SYMBOL, Direction.LONG, "3", "50.5"),
            (SYMBOL, Direction.SHORT, "2", "50.5"),
            ("HYPE/USDT:USDT", Direction.SHORT, "0.123456789012345678", "43.123456789012345678"),
            *([("BTC/USD:BTC", Direction.LONG, "30", "50.5")] if inverse is not missing else []),
        }
        missing_lists: tuple[Any, ...] = (b"", {}, None, [{}], error("INVALID_KEY"), HTML)
        for body in missing_lists:
            assert VENUE.judge(plan, respond(body)).positions is None, body
    with pytest.raises(PlanFailed):
        VENUE.plan(Positions(account="m"), COMMAND_ID, ACCOUNT, exchange(inverse={}).send)


def test_a_close_is_not_planned_by_a_list_that_is_missing() -> None:
    """It fails, and may be tried again; it is not refused as if nothing were open."""
    missing_lists: tuple[Any, ...] = ({}, [{}], None, error("SERVER_ERROR"), HTML)
    for each in missing_lists:
        with pytest.raises(PlanFailed):
            planned(close(), held=each)
