"""What a look shows at every exchange of ccxt."""

from typing import Any

import pytest

from producers.commands import Cancel, Submit
from tests.unit.worker.venues.ccxt.answering_exchange import NOW_MS, AnsweringExchange
from tests.unit.worker.venues.ccxt.small_exchange import (
    ACCOUNT,
    API,
    CONTRACT,
    MARKETS,
    SYMBOL,
    MovableClock,
    instruments,
    success,
    venue_with,
)
from worker.venues.ccxt.records import order_was_taken, withdrawal_was_taken
from worker.venues.ccxt.traits import Place
from worker.venues.http.base import Response
from worker.venues.lookups import Lookup, Sight, Sighting

ORDER = Submit(account="k", pair=CONTRACT, side="buy", qty="1")
HANDLE, WINDOW_MS = "h" * 32, 10_000
LOOKUP = Lookup(HANDLE, SYMBOL, until_ms=NOW_MS + WINDOW_MS)


def row(**changed: Any) -> dict[str, Any]:
    return {"cliOrdId": HANDLE, "order_id": "7", "symbol": CONTRACT, "side": "buy", "quantity": 1, **changed}


def places(*names: str) -> Any:
    """Lists at made-up paths of Kraken's."""
    return lambda _: tuple(Place(f"privateGet{name.title()}", (), lambda value: value.get("rows")) for name in names)


def seen(lists: dict[str, Any], *, now_ms: int = NOW_MS, command: Any = ORDER, **traits: Any) -> Sighting:
    """The look of a venue with these lists; ``lists`` maps names of Kraken's own paths to rows or answers."""
    answers = {
        f"GET {API}/{name}": each if isinstance(each, Response) else success(rows=each) for name, each in lists.items()
    }
    own = {"find": places(*lists), "status": lambda each: each.get("status", ""), "complete_for_ms": 60_000}
    clock = MovableClock()
    clock.seconds = (now_ms - NOW_MS) / 1000
    lookup = LOOKUP if command is ORDER else Lookup("7", CONTRACT)
    exchange = AnsweringExchange({MARKETS: instruments(CONTRACT), **answers})
    return venue_with(clock, **{**own, **traits}).look(command, lookup, ACCOUNT, exchange)


@pytest.mark.parametrize(
    ("status", "filled", "taken"),
    [
        ("open", None, True),
        ("closed", "1", True),
        ("canceled", "0", True),
        ("expired", "0", False),
        ("expired", "0.5", True),
        ("expired", None, None),
        ("rejected", None, False),
        ("rejected", "0.5", None),
        ("", "0", None),
        ("NEW", "0", None),
    ],
)
def test_what_a_status_says_of_the_command(status: str, filled: str | None, taken: bool | None) -> None:
    from decimal import Decimal

    assert order_was_taken(status, None if filled is None else Decimal(filled)) is taken


def test_a_withdrawal_that_failed_was_not_taken() -> None:
    statuses = {"ok": True, "pending": True, "failed": False, "canceled": False, "": None}
    assert {each: withdrawal_was_taken(each) for each in statuses} == statuses


def test_it_is_found_wherever_it_is() -> None:
    """A record with another handle is another order's."""
    for lists in ({"openorders": [row(status="open")], "fills": []}, {"openorders": [], "fills": [row(status="open")]}):
        found = seen({**lists, "accounts": [row(cliOrdId="other", status="open")]})
        assert (found.sight, found.taken, found.reference) == (Sight.FOUND, True, "7")
        assert found.record["cliOrdId"] == HANDLE
        assert found.venue_time_ms == NOW_MS


def test_the_record_that_shows_it_taken_counts_more() -> None:
    found = seen({"openorders": [row(status="rejected")], "fills": [row(status="closed")]})
    assert (found.sight, found.taken) == (Sight.FOUND, True)


@pytest.mark.parametrize(
    "record",
    [
        row(status="open", side="sell"),
        row(status="open", symbol="PF_ETHUSD"),
        row(status="open", quantity=2),
        row(status="a new word"),
        {"cliOrdId": HANDLE, "symbol": ["x"]},
    ],
)
def test_a_record_that_contradicts_the_command_says_neither(record: Any) -> None:
    found = seen({"openorders": [record]})
    assert (found.sight, found.taken) == (Sight.FOUND, None)


def test_absence_needs_every_list() -> None:
    assert seen({"openorders": [], "fills": []}).sight is Sight.ABSENT
    for answer in (Response(500, b""), Response(200, b"{}"), Response(200, b"<"), Response(429, b"")):
        for lists in ({"openorders": answer, "fills": []}, {"openorders": [], "fills": answer}):
            assert seen(lists).sight is Sight.UNREADABLE


def test_absence_proves_nothing_once_the_exchange_may_have_forgotten() -> None:
    """An attempt begins no later than at ``until`` less its window."""
    assert seen({"openorders": []}, now_ms=NOW_MS + 16_000 - 1).sight is Sight.ABSENT
    assert seen({"openorders": []}, complete_for_ms=0).sight is Sight.UNREADABLE
    assert seen({"openorders": []}, windows={}, now_ms=NOW_MS).sight is Sight.ABSENT
    assert seen({"openorders": []}, complete_for_ms=5_000, now_ms=NOW_MS + 5_001).sight is Sight.UNREADABLE


def test_where_nothing_lists_it_nothing_is_known() -> None:
    assert seen({}).sight is Sight.UNREADABLE


CANCEL = Cancel(account="k", order_id="7")


@pytest.mark.parametrize(
    ("status", "sight", "taken"),
    [
        ("canceled", Sight.FOUND, True),
        ("closed", Sight.FOUND, False),
        ("rejected", Sight.FOUND, False),
        ("expired", Sight.FOUND, False),
        ("open", Sight.ABSENT, None),
        ("", Sight.FOUND, None),
        (None, Sight.UNREADABLE, None),
    ],
)
def test_a_cancel_is_known_by_its_order(status: str | None, sight: Sight, taken: bool | None) -> None:
    """An order that is not listed may have been cancelled some time ago."""
    found = seen({"openorders": [] if status is None else [row(status=status)]}, command=CANCEL)
    assert (found.sight, found.taken) == (sight, taken)
