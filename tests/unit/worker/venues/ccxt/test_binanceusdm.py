"""The traits of Binance USDⓈ-M futures: what its pages document of each answer, and where an order is found again."""

from typing import Any

import pytest

from worker.venues.base import Proof
from worker.venues.ccxt.exchanges.binanceusdm import STATUSES, THROTTLED, TRAITS
from worker.venues.ccxt.traits import Listed, Stop, Wanted

HANDLE = "0123456789abcdef0123456789abcdef"
SYMBOL = "BTC/USDT:USDT"

ORDER = {"orderId": 22542179, "symbol": "BTCUSDT", "status": "NEW", "clientOrderId": HANDLE, "executedQty": "0"}
STOP = {"algoId": 2146760, "clientAlgoId": HANDLE, "symbol": "BTCUSDT", "algoStatus": "NEW", "orderType": "STOP_MARKET"}


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
        ([], ""),
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
    broken: tuple[Any, ...] = ({}, None, {"code": 0, "msg": ""}, [1], "[]")
    positions, withdrawals = TRAITS.positions(None)[0], TRAITS.find(Wanted("withdraw", "", handle=HANDLE))[0]
    for place in (positions, withdrawals):
        assert place.rows([]) == []
        assert all(place.rows(value) is None for value in broken)
    order = TRAITS.find(Wanted("submit", SYMBOL, handle=HANDLE))[0]
    assert order.rows(ORDER) == [ORDER]
    assert all(order.rows(value) is None for value in ([], {}, None, {"code": -2013, "msg": ""}))


def test_statuses_are_those_of_the_pages() -> None:
    """What no page lists is no status."""
    assert TRAITS.status is not None
    assert {TRAITS.status(ORDER | {"status": each}) for each in ("NEW", "PARTIALLY_FILLED")} == {"open"}
    assert TRAITS.status(ORDER | {"status": "EXPIRED_IN_MATCH"}) == "expired"
    assert TRAITS.status(STOP | {"algoStatus": "FINISHED"}) == "closed"
    assert TRAITS.status({"id": "b6", "status": 3}) == "rejected"
    assert [TRAITS.status(each) for each in ({}, {"status": None}, {"status": "new"}, {"status": 5})] == [""] * 4
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
