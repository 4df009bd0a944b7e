"""Plans at every exchange of ccxt: what is read, what is refused, and the one request that may leave."""

import json
from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from producers.report import Reason
from tests.unit.worker.venues.ccxt.answering_exchange import NOW_MS, answered, query_of
from tests.unit.worker.venues.ccxt.small_exchange import (
    ACCOUNT,
    API,
    CLOSE,
    CONTRACT,
    KEY,
    MARKETS,
    POSITIONS,
    exchange_with,
    instruments,
    position,
    success,
    venue_with,
)
from worker.venues.base import PlanFailed, PlanRefused, Proof
from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.ccxt.reading import MAX_READS
from worker.venues.ccxt.requests import NotAsAsked
from worker.venues.ccxt.traits import Call, Params, Place, Warm, requests_of
from worker.venues.http.base import NoResponse, Response
from worker.venues.lookups import Lookup, Sight

QUERY = Positions(account="k")
ORDER = Submit(account="k", pair=CONTRACT, side="buy", qty="1", price="20000")


def body(value: Any, status: int = 200, **headers: str) -> Response:
    return Response(status, json.dumps(value).encode(), headers)


OPEN = success(openPositions=[position()])
UNREADABLE_POSITIONS: dict[str, Any] = {
    "no list": success(),
    "a null for the list": success(openPositions=None),
    "an error": {"result": "error", "error": "Server Error", "serverTime": "2026-09-21T14:13:20.000Z"},
    "a status": body(OPEN, 500),
    "HTML": answered(b"<html>"),
    "a position that can't be read": success(openPositions=[position(size="many")]),
    "a position without a size": success(openPositions=[{**position(), "size": None}]),
    "a position without a direction": success(openPositions=[{**position(), "side": None}]),
    "an old answer": body(OPEN, age="30"),
    "an answer of an earlier time": body(OPEN, date=formatdate(NOW_MS / 1000 - 60, usegmt=True)),
    "a limited rate": body(OPEN, 429),
}


@pytest.mark.parametrize("name", UNREADABLE_POSITIONS)
def test_a_list_that_can_not_be_read_is_never_flat(name: str) -> None:
    """Neither for a close nor for a query of all positions."""
    answer = UNREADABLE_POSITIONS[name]
    with pytest.raises(PlanFailed):
        venue_with().plan(CLOSE, "id", ACCOUNT, exchange_with({POSITIONS: answer}))


def test_a_limited_rate_says_when_to_come_again() -> None:
    limited = body({}, 429, **{"Retry-After": "7"})
    with pytest.raises(PlanFailed) as failed:
        venue_with().plan(CLOSE, "id", ACCOUNT, exchange_with({POSITIONS: limited}))
    assert failed.value.retry_after == 7


def test_a_connection_that_fails_is_told_in_its_words() -> None:
    with pytest.raises(PlanFailed, match="connection refused"):
        venue_with().plan(CLOSE, "id", ACCOUNT, lambda *_: NoResponse(bytes_left=False, message="connection refused"))


def test_no_word_of_an_answer_shows_a_key() -> None:
    echo = body({"result": "error", "error": f"what is {KEY}", "serverTime": "x"}, 401)
    with pytest.raises(PlanFailed) as failed:
        venue_with().plan(CLOSE, "id", ACCOUNT, exchange_with({POSITIONS: echo}))
    assert "***" in str(failed.value)
    assert KEY not in str(failed.value)


def test_the_reads_of_one_plan_are_bounded() -> None:
    endless = Place(
        "fetch_positions", (None,), lambda value: value["openPositions"], "parse_position", next_args=lambda _: (None,)
    )
    exchange = exchange_with()
    with pytest.raises(PlanFailed, match="reads"):
        venue_with(positions=lambda _: (endless,)).plan(CLOSE, "id", ACCOUNT, exchange)
    assert len(exchange.requests) == MAX_READS + 1  # and the markets


def test_a_read_is_no_post_unless_it_is_listed() -> None:
    by_post = Place("request", ("sendorder", ("private",), "POST", {}), lambda _: [])
    exchange = exchange_with()
    with pytest.raises(PlanFailed, match="no read"):
        venue_with(positions=lambda _: (by_post,)).plan(CLOSE, "id", ACCOUNT, exchange)
    assert exchange.names == [MARKETS]


def test_a_get_that_changes_something_is_no_read() -> None:
    """All requests of Deribit are GETs."""
    exchange = exchange_with()
    with pytest.raises(PlanFailed, match="no read"):
        venue_with(mutating=requests_of(close=POSITIONS)).plan(CLOSE, "id", ACCOUNT, exchange)
    assert exchange.names == [MARKETS]


NOT_AS_ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "a path that is not listed": ({"mutating": requests_of(submit="POST /elsewhere")}, "another request before"),
    "a method that is not listed": ({"mutating": requests_of(submit=f"GET {API}/sendorder")}, "another request"),
    "no client order id": ({"order_handle": lambda handle, _: {"unused": handle[:-1]}}, "client order id"),
    "another price": (
        {"adjust": lambda c: Call(c.method, (*c.args[:4], "20001"), c.params)},
        "price",
    ),
    "another amount": ({"adjust": lambda c: Call(c.method, (*c.args[:3], "2", c.args[4]), c.params)}, "amount"),
    "another market": ({"adjust": lambda c: Call(c.method, ("ETH/USD:USD", *c.args[1:]), c.params)}, "market"),
    "the other side": ({"adjust": lambda c: Call(c.method, (*c.args[:2], "sell", *c.args[3:]), c.params)}, "side"),
    "a market order": ({"adjust": lambda c: Call(c.method, (c.args[0], "market", *c.args[2:]), c.params)}, "price"),
    "a read instead": ({"adjust": lambda _: Call("privateGetOpenpositions", (), {})}, "another request before"),
    "nothing at all": ({"adjust": lambda _: Call("extend", (), {})}, "nothing"),
    "an exception of ccxt's": ({"adjust": lambda _: Call("fetch_nothing", (), {})}, "can't build"),
}


@pytest.mark.parametrize("name", NOT_AS_ASKED)
def test_a_request_that_is_not_the_one_asked_for_is_never_sent(name: str) -> None:
    """ccxt adds requests, drops arguments and rounds at some exchanges."""
    traits, words = NOT_AS_ASKED[name]
    exchange = exchange_with()
    with pytest.raises(PlanRefused, match=words):
        venue_with(**traits).plan(ORDER, "id", ACCOUNT, exchange)
    assert all(name.startswith("GET ") for name in exchange.names)


def test_what_only_reduces_says_so() -> None:
    with pytest.raises(PlanRefused, match="may only reduce"):
        venue_with(reduce_only={}).plan(CLOSE, "id", ACCOUNT, exchange_with())


def test_an_attempt_is_checked_as_its_plan_was() -> None:
    """What ccxt would do may depend on the time."""
    venue = venue_with()
    plan = venue.plan(ORDER, "id", ACCOUNT, exchange_with())
    object.__setattr__(venue, "traits", venue_with(mutating=requests_of(submit="POST /elsewhere")).traits)
    with pytest.raises(NotAsAsked, match="another request before"):
        venue.request(plan, NOW_MS)


def test_each_attempt_is_signed_anew_under_one_handle() -> None:
    venue = venue_with()
    plan = venue.plan(ORDER, "id", ACCOUNT, exchange_with())
    assert plan.lookup is not None
    first, second = (query_of(venue.request(plan.until(until), NOW_MS)) for until in (NOW_MS + 1, NOW_MS + 5000))
    assert first["cliOrdId"] == second["cliOrdId"] == plan.lookup.handle == venue.handle("id", ACCOUNT)
    assert first["processBefore"] < second["processBefore"]
    assert venue.handle("another id", ACCOUNT) != plan.lookup.handle


@pytest.mark.parametrize(
    "changed",
    [{"qty": "0.00001"}, {"price": "20000.3"}, {"qty": "9" * 40}, {"qty": "0." + "1" * 38}],
    ids=["an amount that is cut", "a price that is rounded", "a large amount", "a long fraction"],
)
def test_nothing_is_rounded(changed: dict[str, str]) -> None:
    order = Submit(**{**ORDER.arguments(), **changed})
    with pytest.raises(PlanRefused, match="the exchange takes no"):
        venue_with().plan(order, "id", ACCOUNT, exchange_with())


def hedged(direction: str | None) -> Any:
    both = success(openPositions=[position(), position(side="short", size=2)])
    return venue_with().plan(
        Close(account="k", pair=CONTRACT, direction=direction), "id", ACCOUNT, exchange_with({POSITIONS: both})
    )


@pytest.mark.parametrize(("direction", "side", "size"), [("long", "sell", "1.25"), ("short", "buy", "2")])
def test_of_two_positions_the_one_that_is_named_is_closed(direction: str, side: str, size: str) -> None:
    sent = query_of(venue_with().request(hedged(direction), NOW_MS))
    assert (sent["side"], sent["size"], sent["reduceOnly"]) == (side, size, "true")


def test_of_two_positions_none_is_chosen() -> None:
    with pytest.raises(PlanRefused, match="direction") as refused:
        hedged(None)
    assert refused.value.reason is Reason.INVALID


@pytest.mark.parametrize("close", [CLOSE, Close(account="k", pair=CONTRACT, direction="long")])
@pytest.mark.parametrize("listed", [[], [position("PF_ETHUSD")], [position(size=0)]], ids=["none", "another", "flat"])
def test_where_nothing_is_open_nothing_is_sent(close: Close, listed: list[Any]) -> None:
    with pytest.raises(PlanRefused, match="no open") as refused:
        venue_with().plan(close, "id", ACCOUNT, exchange_with({POSITIONS: success(openPositions=listed)}))
    assert refused.value.reason is Reason.REFUSED


@pytest.mark.parametrize(
    "command",
    [
        Close(account="k", pair="PF_NOPE"),
        Submit(account="k", pair="BTC", side="buy", qty="1"),
        Positions(account="k", pair="XBT"),
    ],
)
def test_a_market_that_is_not_listed_is_refused(command: Command) -> None:
    with pytest.raises(PlanRefused, match=r"is no (contract|market) of this venue"):
        venue_with().plan(command, "id", ACCOUNT, exchange_with())


@pytest.mark.parametrize("listed", [instruments(), success(), answered(b"<html>"), body({}, 503)])
def test_without_markets_nothing_is_known_to_be_missing(listed: Any) -> None:
    with pytest.raises(PlanFailed):
        venue_with().plan(ORDER, "id", ACCOUNT, exchange_with({MARKETS: listed}))


UNSUPPORTED: Mapping[str, Command] = {
    "an argument for Bit-Z": Positions(account="k", contract_id=101),
    "nothing like close_on_trigger": Close(account="k", pair="x", trigger_price="1", close_on_trigger=True),
    "takes no withdraw": Withdraw(account="k", asset="BTC", qty="1", address="a", network="n"),
    "needs a trigger_price": Close(account="k", pair="x", trigger_event="MARK_PRICE"),
}


@pytest.mark.parametrize("words", UNSUPPORTED)
def test_no_argument_is_dropped_in_silence(words: str) -> None:
    assert words in (venue_with().unsupported(UNSUPPORTED[words]) or "")


@pytest.mark.parametrize(
    ("traits", "command", "words"),
    [
        ({"windows": {}}, Close(account="k", pair="x", recv_window=5), "recv_window"),
        ({"time_in_force": {}}, Submit(**{**ORDER.arguments(), "time_in_force": "IOC"}), "time_in_force IOC"),
        ({"post_only": None}, Submit(**{**ORDER.arguments(), "post_only": True}), "post_only"),
        (
            {},
            Submit(**{**ORDER.arguments(), "trigger_price": "1", "post_only": True}),
            "post_only with a trigger_price",
        ),
        ({}, Submit(**{**ORDER.arguments(), "trigger_price": "1", "time_in_force": "FOK"}), "FOK with a trigger_price"),
        ({"cancel_needs_pair": True}, Cancel(account="k", order_id="1"), "pair is missing"),
        (
            {"mutating": requests_of(withdraw="POST /w")},
            Withdraw(account="k", asset="BTC", qty="1", address="a"),
            "network",
        ),
    ],
)
def test_what_an_exchange_can_not_honour_is_refused(traits: dict[str, Any], command: Command, words: str) -> None:
    assert words in (venue_with(**traits).unsupported(command) or "")


def test_an_exchange_that_nobody_has_read_takes_queries_alone() -> None:
    """Its address is ccxt's, and any list counts for one of positions."""
    venue = CcxtVenue("phemex")
    assert (venue.commands, venue.base_url) == (("positions",), "https://api.phemex.com")
    assert "nobody has read" in (venue.unsupported(CLOSE) or "")
    unread = venue_with()
    unread.traits = None
    assert unread.unsupported(QUERY) is None
    plan = unread.plan(QUERY, "id", ACCOUNT, exchange_with())
    shown = [unread.judge(plan, answered(value)) for value in (OPEN, success(openPositions=[]), success())]
    assert [each.proof for each in shown] == [Proof.EXECUTED, Proof.EXECUTED, Proof.UNKNOWN]
    assert [each.positions and len(each.positions) for each in shown] == [1, (), None]
    assert unread.look(CLOSE, Lookup("h"), ACCOUNT, exchange_with()).sight is Sight.UNREADABLE


MODE = Warm("mode", "privateGetAccounts", (), lambda answer: answer["mode"], ("submit",))


def test_what_ccxt_would_read_in_the_middle_is_read_before() -> None:
    """Once for an account; an answer that can't be understood ends the plan."""
    accounts = f"GET {API}/accounts"
    venue = venue_with(warm=(MODE,))
    exchange = exchange_with({accounts: success(mode="unified")})
    plans = [venue.plan(ORDER, name, ACCOUNT, exchange) for name in ("1", "2")]
    assert [plan.details.options for plan in plans] == [{"mode": "unified"}] * 2
    assert exchange.names.count(accounts) == 1
    for answer in (success(), success(mode=None), body({"mode": "x"}, 500)):
        with pytest.raises(PlanFailed):
            venue_with(warm=(MODE,)).plan(ORDER, "3", ACCOUNT, exchange_with({accounts: answer}))


def test_an_account_at_another_address_sends_the_same_path_there() -> None:
    elsewhere = replace(ACCOUNT, base_url="http://127.0.0.1:1/proxied")
    venue, exchange = venue_with(), exchange_with()
    answers = {f"{method} /proxied{path}": exchange.answers[f"{method} {path}"] for method, path in (MARKETS.split(),)}
    plan = venue.plan(ORDER, "id", elsewhere, exchange_with(answers))
    request = venue.request(plan, NOW_MS)
    own = venue.request(venue.plan(ORDER, "id", ACCOUNT, exchange), NOW_MS)
    assert plan.base_url == elsewhere.base_url
    assert request.url.removeprefix("http://127.0.0.1:1/proxied").split("?")[0] == f"{API}/sendorder"
    assert own.url.startswith("https://futures.kraken.com/derivatives")
    assert "host" not in {name.lower() for name in request.headers}


def test_an_order_of_an_account_with_modes_uses_its_options() -> None:
    modes: Mapping[str, Params] = {"one": {"x": 1}, "two": {"x": 2}}
    account = replace(ACCOUNT, mode="two")
    plan = venue_with(account_modes=modes).plan(ORDER, "id", account, exchange_with())
    assert plan.details.options == {"x": 2}
