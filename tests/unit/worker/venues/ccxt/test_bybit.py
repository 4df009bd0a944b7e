"""The traits of Bybit: what its pages document of each answer, and where an order is found again."""

from typing import Any

import pytest

from worker.venues.base import Proof
from worker.venues.ccxt.exchanges.bybit import PAGE, TRAITS
from worker.venues.ccxt.traits import Stop, Wanted

HANDLE = "0123456789abcdef0123456789abcdef"
SYMBOL = "BTC/USDT:USDT"

ORDER = {"orderId": "fd4300ae", "orderLinkId": HANDLE, "symbol": "BTCUSDT", "orderStatus": "New", "cumExecQty": "0.00"}


def answer(result: Any, code: Any = 0, message: Any = "OK") -> dict[str, Any]:
    """The envelope of every answer."""
    return {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": 1672211918471}


def page(rows: Any, cursor: str = "") -> dict[str, Any]:
    """A list's answer."""
    return answer({"category": "linear", "list": rows, "nextPageCursor": cursor})


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
        assert place.rows(page([])) == []
        assert place.rows(page([ORDER])) == [ORDER]
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
