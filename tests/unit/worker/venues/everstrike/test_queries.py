"""What is read at Everstrike for a reconcile: which lists, how often, and what can't be read."""

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from email.utils import formatdate
from itertools import count
from typing import Any

import pytest

from producers.commands import Cancel, Close, Command, Withdraw
from tests.unit.worker.venues.everstrike.fake_venue import (
    ACCOUNT,
    LISTS,
    NO_ORDER,
    STATS,
    T0,
    WINDOW,
    FakeVenue,
    no,
    yes,
)
from worker.reconciliation.matching import match
from worker.venues.everstrike.lists import LIMIT
from worker.venues.http.base import NoResponse, Response, Timing
from worker.venues.records import VenueSnapshot, Window

LATER = Window(T0 + 500_000, T0 + 520_000, T0 + 580_000)
PAIR, OTHER_PAIR = "USD_BTC_PERP", "USD_ETH_PERP"
PAIRS = [f"USD_{name}_PERP" for name in ("BTC", "ETH", "SOL", "XRP", "ADA")]
CLOSE = Close(account="main", pair=PAIR, qty=Decimal("0.5"))
WHOLE = Close(account="main", pair=PAIR)
STOP = CLOSE.model_copy(update={"trigger_price": Decimal(90)})
CLOSES = [(CLOSE.model_copy(update={"pair": pair}), WINDOW) for pair in PAIRS]
WITHDRAW = Withdraw(account="main", asset="ETH", qty=Decimal(1), address="0xAbC")
CANCEL = Cancel(account="main", order_id="o")
LISTED = {
    "id": "o",
    "pair": PAIR,
    "side": "SELL",
    "type": "MARKET",
    "price": 2.1,
    "qty_orig": 0.5,
    "status": "COMPLETED",
    "time": T0 + 100,
    "reduce_only": True,
}
FILLED = {"id": "f", "order_id": "o", "pair": PAIR, "time": T0 + 100}
IN_THE_RANGE = {"start": str(T0), "end": str(T0 + 80_000), "limit": str(LIMIT)}
NO_ANSWER = NoResponse(bytes_left=True, message="no answer in time")


def cancels(*order_ids: str) -> list[tuple[Command, Window]]:
    """Cancels to look for."""
    return [(Cancel(account="main", order_id=each), WINDOW) for each in order_ids]


def test_reading_for_a_close() -> None:
    """Every list, for the pair and the time, with the key and no signature; an order may be nested, as the venue's own
    client expects it."""
    venue = FakeVenue(orders=[{"order": LISTED}], fills=[FILLED])
    snapshot = venue.snapshot(CLOSE)
    assert ([each.id for each in snapshot.orders], snapshot.problems) == (["o"], ())
    assert match(CLOSE, WINDOW, snapshot).finding.value == "found"
    assert set(venue.paths) == {*LISTS, "position"}
    assert venue.asked(venue.paths.index("orders")) == {"pair": PAIR, **IN_THE_RANGE}
    for request in venue.requests:
        assert (request.method, request.headers["x-api-key"]) == ("GET", "key-of-main")
        assert request.headers["cache-control"] == "no-cache"
        assert "x-signature" not in request.headers


def test_reading_for_a_cancel_and_a_withdrawal() -> None:
    """One read each; an order that is not there is no problem of the reading, and its time does not count."""
    for time in (T0, 0, None, "yesterday", T0 // 1000):
        order = {**LISTED, "time": time, "status": "CANCELLED"}
        assert FakeVenue(order=order).snapshot(CANCEL).orders[0].status == "CANCELLED"
    assert FakeVenue().snapshot(CANCEL) == VenueSnapshot()
    assert FakeVenue(order={**LISTED, "id": "p"}).snapshot(CANCEL).problems == ("/order answers with another order",)
    row = {"id": "w", "asset": "ETH", "address": "0xabc", "qty": 1, "net": 0.99, "status": "pending", "time": T0}
    venue = FakeVenue(withdrawals=[row])
    assert venue.snapshot(WITHDRAW).withdrawals[0].net == Decimal("0.99")
    assert venue.asked(0) == IN_THE_RANGE


def test_amounts_never_become_binary_floats() -> None:
    """All digits of a number are there."""
    body = json.dumps([LISTED]).replace("0.5", "0.1000000000000000055511151231257827")
    venue = FakeVenue(orders=Response(200, b'{"code":200,"msg":null,"result":' + body.encode() + b"}"))
    assert venue.snapshot(CLOSE).orders[0].qty == Decimal("0.1000000000000000055511151231257827")


def test_an_order_of_before_explains_its_fill() -> None:
    """A fill of now may be of an order that rested for a week: it is looked up."""
    assert FakeVenue(fills=[FILLED], order={**LISTED, "time": T0 - 604_800_000}).finding(CLOSE) == "absent"
    assert FakeVenue(fills=[FILLED]).finding(CLOSE) == "ambiguous"


def test_the_venues_clock() -> None:
    """Milliseconds, or nothing."""
    assert FakeVenue().reads.visit(ACCOUNT).time() == T0
    for broken in (Response(502, b""), NO_ANSWER, {"now": T0}, T0 // 1000):
        assert FakeVenue(time=broken).reads.visit(ACCOUNT).time() is None


UNREADABLE = {
    "an error": no(503, "Invalid request"),
    "an error of another's": Response(502, b"<html>"),
    "no answer": NO_ANSWER,
    "half an answer": Response(200, b'{"code":200,"result":['),
    "no list": {"orders": []},
    "a full list": [LISTED] * LIMIT,
    "a record without a time": [{**LISTED, "time": None}],
    "a time in seconds": [{**LISTED, "time": T0 // 1000}],
    "a time in words": [{**LISTED, "time": "2027-01-15T08:00:00Z"}],
    "a quantity in words": [{**LISTED, "qty_orig": "much"}],
    "a record that is none": ["o"],
    "no envelope": Response(200, b"[]"),
    "another code": yes([], code=503, msg="Invalid request"),
    "a code in words": yes([], code="200"),
    "no result": yes(None),
    "no result at all": Response(200, b'{"code":200,"msg":null}'),
    "no content": Response(204, b""),
    "too many requests": Response(429, b""),
    "another pair": [{**LISTED, "pair": OTHER_PAIR, "order_id": "o", "trigger_price": 90}],
    "the pair in another spelling": [{**LISTED, "pair": PAIR.lower(), "order_id": "o", "trigger_price": 90}],
    "from a cache": yes([], {"Age": "600"}),
    "a message beside a yes": yes([], msg="Service unavailable"),
    "no success beside a yes": yes([], success=False),
    "an error beside a yes": yes([], error="try later"),
}


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        *(
            pytest.param(path, answer, id=f"{path}: {case}")
            for path in LISTS
            for case, answer in UNREADABLE.items()
            if (path, case) != ("fills", "a quantity in words")  # no quantity is read of a fill
        ),
        pytest.param("position", {**STATS, "pair": OTHER_PAIR}, id="position: another pair"),
        pytest.param("position", {"stats": {"size": 1, "direction": "UP"}}, id="position: neither long nor short"),
    ],
)
def test_what_can_not_be_read_whole_proves_nothing(path: str, answer: Any) -> None:
    """Whatever the other lists say."""
    snapshot = FakeVenue(**{path: answer}).snapshot(CLOSE)
    assert f"/{path}" in snapshot.problems[0]
    assert match(CLOSE, WINDOW, snapshot).finding.value == "unreadable"


@pytest.mark.parametrize("key", [b"key-of-main", b"key\\u002dof-main"])
def test_no_key_is_in_a_problem(key: bytes) -> None:
    """Even when the venue echoes it, in whichever way JSON can write it."""
    echo = Response(503, b'{"code":503,"msg":"bad key ' + key + b'","result":{}}')
    assert "key-of-main" not in FakeVenue(orders=echo).snapshot(CLOSE).problems[0]


def test_an_old_order_proves_nothing_of_a_cancel() -> None:
    """Active an hour ago, cancelled since: neither what a cache kept, nor what one says is not there."""
    for headers in ({"Age": "600"}, {"X-Cache": "HIT"}):
        assert "may be older than the question" in FakeVenue(order=yes(LISTED, headers)).snapshot(CANCEL).problems[0]
    assert FakeVenue(order=replace(NO_ORDER, headers={"Age": "600"})).snapshot(CANCEL).problems
    assert FakeVenue(order=NO_ORDER).snapshot(CANCEL) == VenueSnapshot()
    # Only the venue says that there is no such order: what stands before it knows no orders.
    for body in (b"The order was not found", b'{"code":404,"msg":"The order was not found"}'):
        assert FakeVenue(order=Response(503, body)).snapshot(CANCEL).problems


@pytest.mark.parametrize(
    ("later", "off", "read"), [(0, 0, True), (3600, 3600, True), (3600, 0, False), (0, -10, False), (0, 600, False)]
)
def test_answers_are_dated_one_after_the_other(later: int, off: int, read: bool) -> None:
    """A cache that tells no age leaves the date as it was, and a clock that jumps can't be compared by."""

    def dated(result: Any, seconds: int, at: float) -> Response:
        date = formatdate(T0 / 1000 + seconds, usegmt=True)
        return replace(yes(result, {"Date": date}), timing=Timing(at, at + 0.2))

    visit = FakeVenue(time=dated(T0, 0, 50.0), order=dated(LISTED, off, 50.0 + later)).reads.visit(ACCOUNT)
    assert visit.time() == T0
    visit.read([(CANCEL, WINDOW)])
    assert (visit.snapshot(CANCEL, WINDOW).problems == ()) is read


def test_a_venue_in_trouble_is_not_asked_for_everything() -> None:
    """A refusal by rate ends the visit at once, and so do failures one after the other."""
    limited = FakeVenue(active_orders=Response(429, b"", {"Retry-After": "21"}))
    assert "429" in " ".join(limited.snapshot(CLOSE).problems)
    assert (limited.paths, limited.waited) == (["active_orders"], [])
    away = FakeVenue(**dict.fromkeys((*LISTS, "position"), NO_ANSWER))
    assert "after 6 reads that failed" in " ".join(away.snapshot(CLOSE).problems)
    assert len(away.requests) == 6


def test_a_cache_in_the_way_is_no_venue_in_trouble() -> None:
    """Some cached orders would else leave every unknown of their account without an answer."""
    visit = FakeVenue(order=yes(LISTED, {"Age": "600"})).reads.visit(ACCOUNT)
    wanted = cancels("order-0", "order-1", "order-2")
    visit.read(wanted)
    assert all("cache" in " ".join(visit.snapshot(*each).problems) for each in wanted)
    assert visit.time() == T0


def test_a_visit_waits_as_long_as_the_venue_asks_for() -> None:
    """A second where it does not say, and not for ever. A read that failed is tried once more, for all unknowns of an
    account depend on it."""
    failed = iter([NO_ANSWER, yes([])])
    assert FakeVenue(fills=lambda: next(failed)).snapshot(CLOSE).problems == ()
    answers = [Response(429, b"", {"Retry-After": "2"}), Response(429, b""), yes([])]
    patient = FakeVenue(active_orders=lambda: answers.pop(0))
    assert patient.snapshot(CLOSE).problems == ()
    assert patient.waited == [2.0, 1.0]
    endless = FakeVenue(active_orders=Response(429, b""))
    assert "429" in " ".join(endless.snapshot(CLOSE).problems)
    assert sum(endless.waited) == 20


def test_of_many_pairs_each_list_is_read_once() -> None:
    """Without naming any; each command sees its own pair's."""
    listed = [{**LISTED, "id": pair, "pair": pair, "time": T0 + number} for number, pair in enumerate(PAIRS)]
    venue = FakeVenue(orders=listed, active_positions={PAIR: STATS})
    snapshots = venue.look_for(*CLOSES)
    assert Counter(venue.paths) == dict.fromkeys((*LISTS, "active_positions"), 1) | {"orders": 2}
    assert [[order.id for order in each.orders] for each in snapshots] == [[pair] for pair in PAIRS]
    assert [each.position for each in snapshots] == [(Decimal("0.5"), "BUY"), *[(Decimal(0), "")] * 4]


@pytest.mark.parametrize("refused", [Response(503, b""), [{**LISTED, "pair": "usd-btc-perp"}]], ids=["", "spelling"])
def test_a_list_that_must_name_a_pair_is_read_pair_by_pair(refused: Any) -> None:
    """That it need not is what the venue's own client shows, and no page."""
    venue = FakeVenue(active_positions=Response(503, b""))
    venue.answers["orders"] = lambda: yes([]) if "pair=" in str(venue.requests[-1].url) else refused
    assert {each.problems for each in venue.look_for(*CLOSES)} == {()}
    assert venue.paths.count("position") == 5


def test_each_list_is_read_once_for_all_commands_of_an_account() -> None:
    """However many there are, and whatever they ask for."""
    venue = FakeVenue(orders=[LISTED])
    now, then, *_ = venue.look_for(
        (CLOSE, WINDOW), (WHOLE, LATER), (STOP, WINDOW), (WITHDRAW, WINDOW), (WITHDRAW, LATER)
    )
    assert sorted(venue.paths) == sorted((*LISTS, "position", "withdrawals"))
    assert ([order.id for order in now.orders], then.orders) == (["o"], ())


def test_of_many_orders_the_list_is_read_first() -> None:
    """And each that it does not show by itself, also those whose time can't be read."""
    listed = [{**LISTED, "id": f"o{number}", "time": T0 + number} for number in range(40)]
    venue = FakeVenue(orders=[{**LISTED, "id": "odd", "time": 0}, *listed], order={**LISTED, "id": "old", "time": 0})
    wanted = [*(str(row["id"]) for row in listed), "old"]
    assert [each.orders[0].id for each in venue.look_for(*cancels(*wanted))] == wanted
    assert Counter(venue.paths) == {"orders": 2, "order": 1}
    # A list that can't be read costs no cancel its answer: each order is asked for by itself then.
    numbers = count()
    venue = FakeVenue(orders=Response(503, b""), order=lambda: yes({**LISTED, "id": str(next(numbers))}))
    assert {len(each.orders) for each in venue.look_for(*cancels(*"01234567"))} == {1}
