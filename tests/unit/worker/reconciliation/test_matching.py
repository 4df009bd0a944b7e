"""What reads at the venue prove: what is found, what is in doubt, what can't be read, and by whose clock."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from email.utils import formatdate
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from producers.commands import Cancel, Close, Command, Withdraw
from producers.report import Outcome, Reason, Report
from worker.ledger.base import Progress, Record, State
from worker.reconciliation.competing import reference_of
from worker.reconciliation.matching import CompetingCommand, Evidence, Finding, match
from worker.reconciliation.window import ClockOffset, ReconcileLimits
from worker.venues.accounts import Account, Credentials
from worker.venues.everstrike.lists import LIMIT
from worker.venues.everstrike.queries import EverstrikeReads
from worker.venues.http.base import NoResponse, Response, SignedRequest, Timing
from worker.venues.records import VenueFill, VenueOrder, VenueSnapshot, VenueTrigger, VenueWithdrawal, Window

T0 = 1_800_000_000_000
WINDOW = Window(T0, T0 + 20_000, T0 + 80_000)
PAIR = "USD_BTC_PERP"
CLOSE = Close(account="main", pair=PAIR, qty=Decimal("0.5"))
LIMIT_CLOSE = Close(account="main", pair=PAIR, qty=Decimal("0.5"), price=Decimal(100))
WHOLE = Close(account="main", pair=PAIR)
STOP = Close(account="main", pair=PAIR, qty=Decimal("0.5"), trigger_price=Decimal(90))
WITHDRAW = Withdraw(account="main", asset="ETH", qty=Decimal(1), address="0xAbC")
CANCEL = Cancel(account="main", order_id="o")
ORDER = VenueOrder(
    "o", PAIR, "SELL", "MARKET", Decimal("2.1"), Decimal("0.5"), "COMPLETED", T0 + 100, True, {"id": "o", "x": 1}
)
TRIGGER = VenueTrigger("t", PAIR, Decimal("0.5"), None, Decimal(90), "MARK_PRICE", "UNTRIGGERED", "", T0 + 100)
PAID = VenueWithdrawal("w", "ETH", "0xabc", Decimal(1), Decimal(1), "pending", T0 + 100)
OPEN = (Decimal("0.5"), "BUY")


def order(**changes: Any) -> VenueOrder:
    """An order as a close of 0.5 at market leaves it, with changes."""
    return replace(ORDER, **changes)


def looked(*orders: VenueOrder, **more: Any) -> VenueSnapshot:
    """A look that saw these orders and an open position."""
    return VenueSnapshot(orders=orders, **{"position": OPEN, **more})


def of(command: Command, look: VenueSnapshot, *rivals: CompetingCommand) -> Evidence:
    """The evidence over the usual window."""
    return match(command, WINDOW, look, rivals)


# -- closes ------------------------------------------------------------------------------------------------------------


def test_one_order_that_fits_is_found() -> None:
    """With the venue's id and its record for the report."""
    evidence = of(CLOSE, looked(ORDER))
    assert (evidence.finding, evidence.reference, evidence.record) == (Finding.FOUND, "o", {"id": "o", "x": 1})


OTHERS = {
    "another pair": order(pair="USD_ETH_PERP"),
    "before it was sent": order(time=T0 - 1),
    "long after": order(time=T0 + 80_001),
    "resting in the book": order(type="LIMIT", status="ACTIVE"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_order_is_not_it(case: str) -> None:
    """What differs in a particular that was asked for."""
    assert of(CLOSE, looked(OTHERS[case])).finding is Finding.ABSENT


DOUBTS = {
    "later than it can have arrived": (order(time=T0 + 20_001), "later"),
    "not reduce-only": (order(reduce_only=False), "reduce-only"),
    "the opening side": (order(side="BUY"), "side"),
    **{status: (order(status=status), status) for status in ("REJECTED", "rejected", "FAILED", "EXPIRED", "Sleeping")},
    "cancelled before anything was filled": (order(status="CANCELLED"), "no fill"),
    "canceled before anything was filled": (order(status="canceled"), "no fill"),
    "a limit order": (order(type="LIMIT"), "LIMIT"),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_an_order_in_doubt_settles_nothing(case: str) -> None:
    """Neither found nor absent, and the doubt is told."""
    seen, word = DOUBTS[case]
    evidence = of(CLOSE, looked(seen))
    assert evidence.finding is Finding.AMBIGUOUS
    assert word in evidence.words


def test_an_order_that_was_taken_and_cancelled_later_is_found() -> None:
    """What closed a part of the position before it was cancelled, or waited in the book until then."""
    filled = (VenueFill("o", PAIR, T0 + 100),)
    assert of(CLOSE, looked(order(status="CANCELLED"), fills=filled)).finding is Finding.FOUND
    waited = order(status="Cancelled", type="LIMIT", price=Decimal(100))
    assert of(LIMIT_CLOSE, looked(waited)).finding is Finding.FOUND
    assert of(LIMIT_CLOSE, looked(replace(waited, status="EXPIRED"))).finding is Finding.AMBIGUOUS


def test_amounts_are_compared_as_decimals() -> None:
    """0.5 and 0.500 are the same amount."""
    assert of(CLOSE, looked(order(qty=Decimal("0.500")))).finding is Finding.FOUND


def test_both_edges_of_the_window_count() -> None:
    """The first and the last possible millisecond."""
    assert of(CLOSE, looked(order(time=T0))).finding is Finding.FOUND
    assert of(CLOSE, looked(order(time=T0 + 20_000))).finding is Finding.FOUND


def test_a_limit_close_is_known_by_its_price() -> None:
    """And an order at another price is not it."""
    resting = order(type="LIMIT", status="ACTIVE", price=Decimal(100))
    assert of(LIMIT_CLOSE, looked(resting)).finding is Finding.FOUND
    assert of(LIMIT_CLOSE, looked(replace(resting, id="p", price=Decimal(101)), resting)).reference == "o"


IN_OTHER_AMOUNTS = {
    "cut to the position": (CLOSE, looked(order(qty=Decimal("0.3")), position=(Decimal(0), ""))),
    "rounded": (CLOSE, looked(order(qty=Decimal("0.51")))),
    "a price rounded": (LIMIT_CLOSE, looked(order(type="LIMIT", status="ACTIVE", price=Decimal(101)))),
    "a stop of another amount": (STOP, looked(triggers=(replace(TRIGGER, qty=Decimal(1)),))),
    "a stop at another price": (STOP, looked(triggers=(replace(TRIGGER, trigger_price=Decimal(91)),))),
}


@pytest.mark.parametrize("case", IN_OTHER_AMOUNTS)
def test_what_fits_but_in_its_amounts_is_not_absent(case: str) -> None:
    """Whether the venue cuts or rounds amounts is not told: a close that it executed so was settled as not sent."""
    command, look = IN_OTHER_AMOUNTS[case]
    evidence = of(command, look)
    assert evidence.finding is Finding.AMBIGUOUS
    assert "another amount" in evidence.words


@pytest.mark.parametrize("changes", [{"side": "BUY"}, {"reduce_only": False}, {"type": "LIMIT"}, {"time": T0 + 20_001}])
def test_an_order_of_another_amount_that_closes_nothing_is_not_it(changes: Mapping[str, Any]) -> None:
    """Opening, or of another kind: nothing but the amount may differ."""
    assert of(CLOSE, looked(order(qty=Decimal("0.51"), **changes))).finding is Finding.ABSENT


@pytest.mark.parametrize(("status", "finding"), [("FILLED", Finding.AMBIGUOUS), ("rejected", Finding.ABSENT)])
def test_an_order_of_another_amount_closed_nothing_only_if_it_was_rejected(status: str, finding: Finding) -> None:
    """A status that is not listed may be that of an order that was executed."""
    assert of(CLOSE, looked(order(qty=Decimal("0.51"), status=status))).finding is finding


def test_an_order_of_another_amount_that_another_command_explains_is_not_it() -> None:
    """By the venue's id, or by the very amount that it asked for."""
    theirs = Close(account="main", pair=PAIR, qty=Decimal("0.51"))
    look = looked(order(qty=Decimal("0.51")))
    assert of(CLOSE, look, rival(theirs, reference="o")).finding is Finding.ABSENT
    assert of(CLOSE, look, rival(theirs)).finding is Finding.ABSENT
    assert of(CLOSE, look, rival(theirs, reference="p")).finding is Finding.AMBIGUOUS


def test_two_orders_alike_settle_nothing() -> None:
    """Nobody can say which is its own."""
    evidence = of(CLOSE, looked(ORDER, order(id="p")))
    assert evidence.finding is Finding.AMBIGUOUS
    assert "order o" in evidence.words
    assert "order p" in evidence.words


def test_a_fill_without_its_order_settles_nothing() -> None:
    """It may be of the very order that no list shows yet."""
    assert of(CLOSE, looked(fills=(VenueFill("p", PAIR, T0 + 5),))).finding is Finding.AMBIGUOUS
    assert of(CLOSE, looked(ORDER, fills=(VenueFill("o", PAIR, T0 + 5),))).finding is Finding.FOUND
    assert of(CLOSE, looked(fills=(VenueFill("p", "USD_ETH_PERP", T0 + 5),))).finding is Finding.ABSENT


def test_an_order_of_a_fired_trigger_looks_like_a_close() -> None:
    """The venue tells no connection between the two."""
    fired = replace(TRIGGER, status="COMPLETED", time=T0 - 3_600_000)
    assert of(CLOSE, looked(ORDER, triggers=(fired,))).finding is Finding.AMBIGUOUS
    assert of(CLOSE, looked(ORDER, triggers=(replace(fired, status="Triggered"),))).finding is Finding.AMBIGUOUS
    assert of(CLOSE, looked(ORDER, triggers=(replace(fired, qty=Decimal(3)),))).finding is Finding.FOUND
    assert of(CLOSE, looked(ORDER, triggers=(TRIGGER,))).finding is Finding.FOUND


def test_a_whole_position() -> None:
    """Any closing order of its time is it, if it left none open; a flat position proves nothing by itself."""
    flat = (Decimal(0), "")
    assert of(WHOLE, looked(order(qty=Decimal(7)), position=flat)).finding is Finding.FOUND
    assert of(WHOLE, looked(order(qty=Decimal(7)))).finding is Finding.AMBIGUOUS
    assert of(WHOLE, looked()).finding is Finding.ABSENT
    assert of(WHOLE, looked(position=(Decimal(0), ""))).finding is Finding.AMBIGUOUS
    assert of(CLOSE, looked(position=(Decimal(0), ""))).finding is Finding.ABSENT


def test_a_stop_is_found_among_the_triggers() -> None:
    """Also one that failed later: it was taken, and why it failed is told."""
    assert of(STOP, looked(triggers=(TRIGGER,))).reference == "t"
    failed = of(STOP, looked(triggers=(replace(TRIGGER, status="CANCELLED", message="no margin"),)))
    assert failed.finding is Finding.FOUND
    assert "no margin" in failed.words


@pytest.mark.parametrize("status", ["REJECTED", "FAILED", "EXPIRED", "SLEEPING"])
def test_a_stop_whose_status_is_not_listed_settles_nothing(status: str) -> None:
    """It may never have been taken."""
    assert status in of(STOP, looked(triggers=(replace(TRIGGER, status=status),))).words
    assert of(STOP, looked(triggers=(replace(TRIGGER, status=status),))).finding is Finding.AMBIGUOUS


@pytest.mark.parametrize(
    "changes",
    [{"pair": "USD_ETH_PERP"}, {"price": Decimal(1)}, {"trigger_event": "LAST_PRICE"}, {"time": T0 - 1}],
)
def test_another_trigger_is_not_it(changes: Mapping[str, Any]) -> None:
    """Each particular counts."""
    assert of(STOP, looked(triggers=(replace(TRIGGER, **changes),))).finding is Finding.ABSENT


@pytest.mark.parametrize(
    ("asked", "untold", "word"),
    [
        (STOP, {"qty": None}, "amount"),
        (STOP.model_copy(update={"price": Decimal(89)}), {"price": None}, "price"),
        (STOP.model_copy(update={"trigger_event": "LAST_PRICE"}), {"trigger_event": ""}, "event"),
    ],
)
def test_what_a_trigger_does_not_tell_is_no_difference(asked: Close, untold: Mapping[str, Any], word: str) -> None:
    """The venue's pages don't show a trigger: a stop that stands must not pass for one that was never taken."""
    evidence = of(asked, looked(triggers=(replace(TRIGGER, **untold),)))
    assert evidence.finding is Finding.AMBIGUOUS
    assert f"its {word} is not told" in evidence.words


def test_a_price_of_nothing_is_none() -> None:
    """Some venues write 0 where there is no price."""
    assert of(STOP, looked(triggers=(replace(TRIGGER, price=Decimal(0)),))).finding is Finding.FOUND


def test_an_order_that_does_not_tell_its_price() -> None:
    """It may be the limit close, and it may not."""
    evidence = of(LIMIT_CLOSE, looked(order(type="LIMIT", status="ACTIVE", price=None)))
    assert evidence.finding is Finding.AMBIGUOUS
    assert "its price is not told" in evidence.words


def test_a_place_that_was_not_read_whole_says_nothing() -> None:
    """Whatever was found elsewhere: a second one may be there."""
    for orders in ((), (ORDER,)):
        assert of(CLOSE, looked(*orders, problems=("/fills: 503",))).finding is Finding.UNREADABLE


# -- other commands ----------------------------------------------------------------------------------------------------


def rival(command: Command = CLOSE, reference: str = "", window: Window = WINDOW) -> CompetingCommand:
    """Another command of the same account."""
    return CompetingCommand("other", command, window, reference)


def test_an_open_command_alike_keeps_it_unknown() -> None:
    """Two commands are never matched to one record, and the words name the other."""
    evidence = of(CLOSE, looked(ORDER), rival())
    assert evidence.finding is Finding.AMBIGUOUS
    assert "other" in evidence.words


def test_what_belongs_to_another_command_is_not_it() -> None:
    """Its report has the venue's id; with that record gone nothing is left, or exactly the own one."""
    assert of(CLOSE, looked(ORDER), rival(reference="o")).finding is Finding.ABSENT
    assert of(CLOSE, looked(ORDER, order(id="p")), rival(reference="o")).reference == "p"


@pytest.mark.parametrize(
    "harmless",
    [
        rival(Close(account="main", pair=PAIR, qty=Decimal(2))),
        rival(Close(account="main", pair="USD_ETH_PERP", qty=Decimal("0.5"))),
        rival(reference="elsewhere", window=replace(WINDOW, start=T0 - 1)),
        rival(window=Window(T0 + 10_000, T0 + 30_000, T0 + 90_000)),
    ],
)
def test_a_command_that_can_not_have_made_it_does_no_harm(harmless: CompetingCommand) -> None:
    """Another amount, another market, another time, or a record of its own."""
    assert of(CLOSE, looked(ORDER), harmless).finding is Finding.FOUND


def test_a_record_that_is_not_there_is_nobodys() -> None:
    """Where all of its command's time was read: that one was answered with another's id, and the order may be its."""
    theirs = rival(reference="elsewhere")
    assert of(CLOSE, looked(ORDER), theirs).finding is Finding.AMBIGUOUS
    assert of(CLOSE, looked(ORDER, order(id="elsewhere", qty=Decimal(7))), theirs).finding is Finding.FOUND
    assert of(WITHDRAW, VenueSnapshot(withdrawals=(PAID,)), rival(WITHDRAW, "elsewhere")).finding is Finding.AMBIGUOUS


def test_a_whole_close_and_one_of_an_amount_may_be_alike() -> None:
    """The order of the one could be the other's."""
    assert of(CLOSE, looked(ORDER), rival(WHOLE)).finding is Finding.AMBIGUOUS


def test_commands_alike_of_which_nothing_is_there_are_both_absent() -> None:
    """Nothing can be matched wrongly."""
    assert of(CLOSE, looked(), rival()).finding is Finding.ABSENT


# -- withdrawals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "finding"),
    [
        *((no, Finding.AMBIGUOUS) for no in ({"transaction": {"status": "FAILED"}}, {"reject_reason": "limit"})),
        ({"success": False}, Finding.AMBIGUOUS),
        ({"id": "w", "error": None, "rejected_qty": "0.00", "transaction": {"hash": None}}, Finding.FOUND),
    ],
    ids=str,
)
def test_a_record_that_says_no_in_another_place_than_its_status(raw: dict[str, Any], finding: Finding) -> None:
    """It settles nothing, whatever its status is."""
    assert of(WITHDRAW, VenueSnapshot(withdrawals=(replace(PAID, raw=raw),))).finding is finding
    assert of(CLOSE, looked(order(raw=raw))).finding is finding
    assert of(CANCEL, looked(order(status="CANCELLED", raw=raw))).finding is finding


def test_a_withdrawal_is_found_but_never_absent() -> None:
    """An address may be written with other capitals; absence proves nothing, whatever is listed."""
    assert of(WITHDRAW, VenueSnapshot(withdrawals=(PAID,))).reference == "w"
    for other in ((), (replace(PAID, address="0xdef"),), (replace(PAID, qty=Decimal(2), net=None),)):
        assert of(WITHDRAW, VenueSnapshot(withdrawals=other)).finding is Finding.AMBIGUOUS


def test_withdrawals_in_doubt() -> None:
    """Two alike, one whose net amount alone fits, and a rival."""
    assert of(WITHDRAW, VenueSnapshot(withdrawals=(PAID, replace(PAID, id="v")))).finding is Finding.AMBIGUOUS
    net = replace(PAID, qty=Decimal("1.01"))
    assert "net amount" in of(WITHDRAW, VenueSnapshot(withdrawals=(net,))).words
    assert of(WITHDRAW, VenueSnapshot(withdrawals=(PAID,)), rival(WITHDRAW)).finding is Finding.AMBIGUOUS


@pytest.mark.parametrize(
    "status",
    [*("REJECTED", "rejected", "Failed", "CANCELLED", "canceled", "EXPIRED", "declined", "no status", "ON_HOLD")],
)
def test_a_withdrawal_that_came_to_nothing_is_not_accepted(status: str) -> None:
    """Or of which the venue says something that is not listed: it is shown, and a person decides."""
    evidence = of(WITHDRAW, VenueSnapshot(withdrawals=(replace(PAID, status=status),)))
    assert evidence.finding is Finding.AMBIGUOUS
    assert f"its status {status} does not say that it was taken" in evidence.words


@pytest.mark.parametrize(
    "status", ["PENDING", "pending confirmation", "Pending_Confirmation", "ACTIVE", "COMPLETED", "completed"]
)
def test_a_withdrawal_that_waits_or_was_paid_is_found(status: str) -> None:
    """The words of the venue's own client, however they are written."""
    assert of(WITHDRAW, VenueSnapshot(withdrawals=(replace(PAID, status=status),))).finding is Finding.FOUND


def test_a_withdrawal_that_failed_beside_one_that_was_paid_settles_nothing() -> None:
    """Somebody tried again by hand, or the venue did."""
    failed = replace(PAID, id="v", status="REJECTED")
    assert of(WITHDRAW, VenueSnapshot(withdrawals=(PAID, failed))).finding is Finding.AMBIGUOUS


def test_no_words_hold_an_address() -> None:
    """Words go into logs."""
    for look in (
        VenueSnapshot(withdrawals=(PAID,)),
        VenueSnapshot(),
        VenueSnapshot(withdrawals=(PAID, replace(PAID, id="v"))),
    ):
        assert "abc" not in of(WITHDRAW, look).words.lower()


# -- cancels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "finding"),
    [
        ("CANCELLED", Finding.FOUND),
        ("ACTIVE", Finding.ABSENT),
        ("PENDING", Finding.ABSENT),
        ("COMPLETED", Finding.REFUTED),
        ("REJECTED", Finding.REFUTED),
        ("FILLED", Finding.REFUTED),
        ("completed", Finding.REFUTED),
        ("active", Finding.ABSENT),
        ("Canceled", Finding.FOUND),
        ("EXPIRED", Finding.AMBIGUOUS),
        ("SLEEPING", Finding.AMBIGUOUS),
    ],
)
def test_a_cancel_by_its_order(status: str, finding: Finding) -> None:
    """Whenever the order was made."""
    assert of(CANCEL, VenueSnapshot(orders=(order(status=status, time=5),))).finding is finding


def test_a_cancel_of_an_order_that_is_gone_stays_unknown() -> None:
    """It may be gone because it was cancelled."""
    assert of(CANCEL, VenueSnapshot()).finding is Finding.AMBIGUOUS


def test_a_cancel_of_an_order_that_another_command_cancelled() -> None:
    """One record, two commands: neither is matched."""
    gone = VenueSnapshot(orders=(order(status="CANCELLED"),))
    assert of(CANCEL, gone, rival(CANCEL, reference="o")).finding is Finding.AMBIGUOUS
    assert of(CANCEL, gone, rival(Cancel(account="main", order_id="p"))).finding is Finding.FOUND


# -- time --------------------------------------------------------------------------------------------------------------

LIMITS = ReconcileLimits(settle=60, apart=30, arrival=15, clock_margin=2)
EXACT = ClockOffset(0, 0)


def unknown(reason: Reason = Reason.LOST_REPLY, **times: int | None) -> Record:
    """An unknown close: begun at T0, its lease over 17 s later."""
    report = Report(
        command_id="x", command="close", outcome=Outcome.UNKNOWN, reason=reason, message="", fingerprint="f", **times
    )
    return Record("x", State.UNKNOWN, "f", "close", "main", 1, Progress(), report, "{}", T0, T0 + 17_000)


def test_the_window_has_a_margin_and_follows_the_venues_clock() -> None:
    """From 2 s before the first begin to 2 s after the last arrival; a venue's clock that is off moves one edge."""
    sent = unknown(first_sent_at=T0 + 10, last_signed_at=T0 + 5_000)
    assert LIMITS.window(sent, EXACT) == Window(T0 - 2_000, T0 + 22_000, T0 + 82_000)
    assert LIMITS.window(sent, ClockOffset(3_000, 3_000)) == Window(T0 - 2_000, T0 + 25_000, T0 + 85_000)
    assert LIMITS.window(sent, ClockOffset(-3_000, -3_000)) == Window(T0 - 5_000, T0 + 22_000, T0 + 82_000)


def test_a_worker_that_died_may_have_signed_until_its_lease_was_over() -> None:
    """Whatever an earlier attempt signed."""
    assert LIMITS.last_arrival(unknown(Reason.CRASHED, last_signed_at=T0 + 5)) == T0 + 32_000
    assert LIMITS.last_arrival(unknown(last_signed_at=None)) == T0 + 32_000


def test_an_owner_that_died_after_a_lost_reply_may_have_signed_once_more() -> None:
    """A reason is that of the first doubt, and the last signature on record is older than the dead owner's last."""
    taken_over = replace(unknown(first_sent_at=T0 + 5, last_signed_at=T0 + 5), fence=2, lease_until=T0 + 117_000)
    assert LIMITS.last_arrival(taken_over) == T0 + 132_000


def test_without_a_time_there_is_no_window() -> None:
    """A record that was lost and put back, of a command that never left."""
    assert LIMITS.window(replace(unknown(), first_begun_at=0), EXACT) is None


@pytest.mark.parametrize(
    ("result", "reference"),
    [({"id": "a"}, "a"), ({"order": {"id": 7}}, "7"), ({}, ""), (None, ""), ([1], ""), ({"order": None}, "")],
)
def test_the_reference_of_an_accepted_report(result: Any, reference: str) -> None:
    """Flat or nested, or none."""
    assert reference_of(result) == reference


# -- reading -----------------------------------------------------------------------------------------------------------

ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key-of-main", "secret-of-main"))
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
STATS = {"stats": {"size": 0.5, "direction": "BUY"}}
EMPTY: dict[str, Any] = {
    "/orders": [],
    "/active_orders": [],
    "/completed_orders": [],
    "/fills": [],
    "/triggers": [],
    "/position": STATS,
    "/withdrawals": [],
    "/time": T0,
}


def envelope(result: Any) -> bytes:
    """As the venue says yes."""
    return json.dumps({"code": 200, "msg": None, "result": result}).encode()


class Shelf:
    """A venue that answers from a table, and remembers who asked for what."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {**EMPTY, **{f"/{path}": answer for path, answer in answers.items()}}
        self.requests: list[SignedRequest] = []
        self.waited: list[float] = []

    def __call__(self, base_url: str, prepare: Any) -> Response | NoResponse:
        """As the transport."""
        request = prepare()
        self.requests.append(request)
        answer = self.answers.get(urlsplit(request.url).path)
        if callable(answer):
            answer = answer()
        if isinstance(answer, Response | NoResponse):
            return answer
        if answer is None:
            return Response(503, b'{"code":503,"msg":"The order was not found","result":{}}')
        return Response(200, envelope(answer))

    def paths(self) -> list[str]:
        """What was asked for."""
        return [str(urlsplit(request.url).path) for request in self.requests]

    def look(self, command: Command) -> VenueSnapshot:
        """Read for this command."""
        visit = EverstrikeReads(self, self.waited.append).visit(ACCOUNT)
        visit.read([(command, WINDOW)])
        return visit.snapshot(command, WINDOW)


def test_reading_for_a_close() -> None:
    """Every place, for the pair and the time, with the key and no signature."""
    shelf = Shelf(orders=[LISTED], fills=[FILLED])
    look = shelf.look(CLOSE)
    assert look.problems == ()
    assert [each.id for each in look.orders] == ["o"]
    assert of(CLOSE, look).finding is Finding.FOUND
    asked = {urlsplit(r.url).path: dict(parse_qsl(urlsplit(r.url).query)) for r in shelf.requests}
    assert set(asked) == {"/orders", "/active_orders", "/completed_orders", "/fills", "/triggers", "/position"}
    assert asked["/orders"] == {"pair": PAIR, "start": str(T0), "end": str(T0 + 80_000), "limit": str(LIMIT)}
    for request in shelf.requests:
        assert request.method == "GET"
        assert request.headers["x-api-key"] == "key-of-main"
        assert request.headers["cache-control"] == "no-cache"
        assert "x-signature" not in request.headers


def test_amounts_never_become_binary_floats() -> None:
    """All digits of a number are there."""
    body = json.dumps([LISTED]).replace("0.5", "0.1000000000000000055511151231257827")
    shelf = Shelf(orders=Response(200, b'{"code":200,"msg":null,"result":' + body.encode() + b"}"))
    assert shelf.look(CLOSE).orders[0].qty == Decimal("0.1000000000000000055511151231257827")


def test_an_order_of_before_explains_its_fill() -> None:
    """A fill of now may be of an order that rested for a week: it is looked up."""
    shelf = Shelf(fills=[FILLED], order={**LISTED, "time": T0 - 604_800_000})
    assert of(CLOSE, shelf.look(CLOSE)).finding is Finding.ABSENT
    assert of(CLOSE, Shelf(fills=[FILLED]).look(CLOSE)).finding is Finding.AMBIGUOUS


def test_a_nested_order_is_read() -> None:
    """As the venue's own client expects it."""
    assert Shelf(orders=[{"order": LISTED}]).look(CLOSE).orders[0].id == "o"


UNREADABLE = {
    "an error": Response(503, b'{"code":503,"msg":"Invalid request","result":{}}'),
    "an error of another's": Response(502, b"<html>"),
    "no answer": NoResponse(bytes_left=True, message="no answer in time"),
    "half an answer": Response(200, b'{"code":200,"result":['),
    "no list": {"orders": []},
    "a full list": [LISTED] * LIMIT,
    "a record without a time": [{**LISTED, "time": None}],
    "a time in seconds": [{**LISTED, "time": T0 // 1000}],
    "a time in words": [{**LISTED, "time": "2027-01-15T08:00:00Z"}],
    "a quantity in words": [{**LISTED, "qty_orig": "much"}],
    "a record that is none": ["o"],
    "no envelope": Response(200, b"[]"),
    "another code": Response(200, b'{"code":503,"msg":"Invalid request","result":[]}'),
    "a code in words": Response(200, b'{"code":"200","msg":null,"result":[]}'),
    "no result": Response(200, b'{"code":200,"msg":null,"result":null}'),
    "no result at all": Response(200, b'{"code":200,"msg":null}'),
    "no content": Response(204, b""),
    "too many requests": Response(429, b""),
    "another pair": [{**LISTED, "pair": "USD_ETH_PERP", "order_id": "o", "trigger_price": 90}],
    "the pair in another spelling": [{**LISTED, "pair": PAIR.lower(), "order_id": "o", "trigger_price": 90}],
    "from a cache": Response(200, b'{"code":200,"msg":null,"result":[]}', {"Age": "600"}),
}


PLACES = ("orders", "completed_orders", "active_orders", "fills", "triggers")


@pytest.mark.parametrize(
    ("place", "case"),
    # Of a fill no quantity is read.
    [(place, case) for place in PLACES for case in UNREADABLE if (place, case) != ("fills", "a quantity in words")],
)
def test_what_can_not_be_read_whole_is_told(case: str, place: str) -> None:
    """And proves nothing, whatever the other places say."""
    look = Shelf(**{place: UNREADABLE[case]}).look(CLOSE)
    assert f"/{place}" in look.problems[0]
    assert of(CLOSE, look).finding is Finding.UNREADABLE


@pytest.mark.parametrize("key", [b"key-of-main", b"key\\u002dof-main"])
def test_no_key_is_in_a_problem(key: bytes) -> None:
    """Even when the venue echoes it, in whichever way JSON can write it."""
    echo = Response(503, b'{"code":503,"msg":"bad key ' + key + b'","result":{}}')
    assert "key-of-main" not in Shelf(orders=echo).look(CLOSE).problems[0]


def test_an_old_order_proves_nothing_of_a_cancel() -> None:
    """Active an hour ago, cancelled since: neither what a cache kept, nor what one says is not there."""
    for kept in (Response(200, envelope(LISTED), {"Age": "600"}), Response(200, envelope(LISTED), {"X-Cache": "HIT"})):
        assert "may be older than the question" in Shelf(order=kept).look(CANCEL).problems[0]
    gone = Response(503, b'{"code":503,"msg":"The order was not found","result":{}}', {"Age": "600"})
    assert Shelf(order=gone).look(CANCEL).problems
    assert Shelf(order=replace(gone, headers={})).look(CANCEL) == VenueSnapshot()


@pytest.mark.parametrize("body", [b"The order was not found", b'{"code":404,"msg":"The order was not found"}'])
def test_only_the_venue_says_that_there_is_no_such_order(body: bytes) -> None:
    """What stands before it knows no orders."""
    assert Shelf(order=Response(503, body)).look(CANCEL).problems


DATED = Timing(50.0, 50.2)


@pytest.mark.parametrize(
    ("later", "off", "read"), [(0, 0, True), (3600, 3600, True), (3600, 0, False), (0, -10, False), (0, 600, False)]
)
def test_answers_are_dated_one_after_the_other(later: int, off: int, read: bool) -> None:
    """A cache that tells no age leaves the date as it was, and a clock that jumps can't be compared by."""

    def dated(result: Any, seconds: int, timing: Timing) -> Response:
        return Response(200, envelope(result), {"Date": formatdate(T0 / 1000 + seconds, usegmt=True)}, timing)

    then = Timing(DATED.first_byte + later, DATED.ended + later)
    shelf = Shelf(time=dated(T0, 0, DATED), order=dated(LISTED, off, then))
    visit = EverstrikeReads(shelf).visit(ACCOUNT)
    assert visit.time() == T0
    visit.read([(CANCEL, WINDOW)])
    assert (visit.snapshot(CANCEL, WINDOW).problems == ()) is read


def test_a_read_that_failed_is_tried_once_more() -> None:
    """All unknowns of an account depend on it."""
    answers = iter([NoResponse(bytes_left=True, message="no answer in time"), Response(200, envelope([]))])
    assert Shelf(fills=lambda: next(answers)).look(CLOSE).problems == ()


def test_a_venue_in_trouble_is_not_asked_for_everything() -> None:
    """A refusal by rate ends the visit at once, and so do failures one after the other."""
    limited = Shelf(active_orders=Response(429, b"", {"Retry-After": "21"}))
    assert "429" in " ".join(limited.look(CLOSE).problems)
    assert (limited.paths(), limited.waited) == (["/active_orders"], [])
    gone = NoResponse(bytes_left=True, message="no answer in time")
    away = Shelf(**dict.fromkeys((*PLACES, "position"), gone))
    assert "after 6 reads that failed" in " ".join(away.look(CLOSE).problems)
    assert len(away.requests) == 6


def test_a_cache_in_the_way_is_no_venue_in_trouble() -> None:
    """Some cached orders would else leave every unknown of their account without an answer."""
    cancels = [Cancel(account="main", order_id=f"order-{number}") for number in range(3)]
    kept = Response(200, envelope(LISTED), {"Age": "600"})
    visit = EverstrikeReads(Shelf(order=kept, time=T0)).visit(ACCOUNT)
    visit.read([(each, WINDOW) for each in cancels])
    assert all("cache" in " ".join(visit.snapshot(each, WINDOW).problems) for each in cancels)
    assert visit.time() == T0


def test_a_visit_waits_as_long_as_the_venue_asks_for() -> None:
    """A second where it does not say, and not for ever."""
    answers = [Response(429, b"", {"Retry-After": "2"}), Response(429, b""), Response(200, envelope([]))]
    patient = Shelf(active_orders=lambda: answers.pop(0))
    assert patient.look(CLOSE).problems == ()
    assert patient.waited == [2.0, 1.0]
    endless = Shelf(active_orders=Response(429, b""))
    assert "429" in " ".join(endless.look(CLOSE).problems)
    assert sum(endless.waited) == 20


def test_of_many_pairs_each_list_is_read_once() -> None:
    """Without naming any; each command sees its own pair's."""
    pairs = [f"USD_{name}_PERP" for name in ("BTC", "ETH", "SOL", "XRP", "ADA")]
    listed = [{**LISTED, "id": pair, "pair": pair, "time": T0 + number} for number, pair in enumerate(pairs)]
    shelf = Shelf(orders=listed, active_positions={pairs[0]: STATS})
    visit = EverstrikeReads(shelf).visit(ACCOUNT)
    wanted = [(CLOSE.model_copy(update={"pair": pair}), WINDOW) for pair in pairs]
    visit.read(wanted)
    assert Counter(shelf.paths()) == {f"/{place}": 1 for place in (*PLACES, "active_positions")} | {"/orders": 2}
    looks = [visit.snapshot(*each) for each in wanted]
    assert [[order.id for order in look.orders] for look in looks] == [[pair] for pair in pairs]
    assert [look.position for look in looks] == [OPEN, *[(Decimal(0), "")] * 4]


@pytest.mark.parametrize("refused", [Response(503, b""), [{**LISTED, "pair": "usd-btc-perp"}]], ids=["", "spelling"])
def test_a_list_that_must_name_a_pair_is_read_pair_by_pair(refused: Any) -> None:
    """That it need not is what the venue's own client shows, and no page."""
    pairs = [f"USD_{name}_PERP" for name in ("BTC", "ETH", "SOL", "XRP", "ADA")]
    shelf = Shelf(active_positions=Response(503, b""))
    shelf.answers["/orders"] = lambda: [] if "pair=" in str(shelf.requests[-1].url) else refused
    visit = EverstrikeReads(shelf).visit(ACCOUNT)
    wanted = [(CLOSE.model_copy(update={"pair": pair}), WINDOW) for pair in pairs]
    visit.read(wanted)
    assert {visit.snapshot(*each).problems for each in wanted} == {()}
    assert shelf.paths().count("/position") == 5


def test_each_list_is_read_once_for_all_commands_of_an_account() -> None:
    """However many there are, and whatever they ask for."""
    later = Window(T0 + 500_000, T0 + 520_000, T0 + 580_000)
    shelf = Shelf(orders=[LISTED], withdrawals=[])
    visit = EverstrikeReads(shelf).visit(ACCOUNT)
    visit.read([(CLOSE, WINDOW), (WHOLE, later), (STOP, WINDOW), (WITHDRAW, WINDOW), (WITHDRAW, later)])
    assert sorted(shelf.paths()) == sorted(f"/{place}" for place in (*PLACES, "position", "withdrawals"))
    assert [order.id for order in visit.snapshot(CLOSE, WINDOW).orders] == ["o"]
    assert visit.snapshot(WHOLE, later).orders == ()


def test_of_many_orders_the_list_is_read_first() -> None:
    """And each that it does not show by itself, also those whose time can't be read."""
    listed = [{**LISTED, "id": f"o{number}", "time": T0 + number} for number in range(40)]
    shelf = Shelf(orders=[{**LISTED, "id": "odd", "time": 0}, *listed], order={**LISTED, "id": "old", "time": 0})
    visit = EverstrikeReads(shelf).visit(ACCOUNT)
    cancels = [(Cancel(account="main", order_id=each), WINDOW) for each in (*[row["id"] for row in listed], "old")]
    visit.read(cancels)
    assert Counter(shelf.paths()) == {"/orders": 2, "/order": 1}
    assert {visit.snapshot(*each).orders[0].id for each in cancels} == {each.order_id for each, _ in cancels}


def test_a_list_that_can_not_be_read_costs_no_cancel_its_answer() -> None:
    """Each order is asked for by itself then."""
    numbers = count()
    shelf = Shelf(orders=Response(503, b""), order=lambda: {**LISTED, "id": str(next(numbers))})
    visit = EverstrikeReads(shelf).visit(ACCOUNT)
    cancels = [(Cancel(account="main", order_id=str(number)), WINDOW) for number in range(8)]
    visit.read(cancels)
    assert {len(visit.snapshot(*each).orders) for each in cancels} == {1}


@pytest.mark.parametrize("time", [0, None, "yesterday", T0 // 1000])
def test_a_cancel_needs_no_time_of_its_order(time: Any) -> None:
    """When it was made says nothing of how it stands."""
    assert Shelf(order={**LISTED, "time": time, "status": "CANCELLED"}).look(CANCEL).orders[0].status == "CANCELLED"


@pytest.mark.parametrize("told", [{**STATS, "pair": "USD_ETH_PERP"}, {"stats": {"size": 1, "direction": "UP"}}])
def test_a_position_that_is_not_the_pairs_says_nothing(told: Any) -> None:
    """Or that is neither long nor short."""
    assert "/position" in Shelf(position=told).look(CLOSE).problems[0]


@pytest.mark.parametrize(
    "beside", [{"msg": "Service unavailable"}, {"success": False}, {"error": "try later"}], ids=str
)
def test_a_list_whose_own_envelope_says_no_is_not_read(beside: dict[str, Any]) -> None:
    """An empty one would be an absence."""
    empty = {"code": 200, "msg": None, "result": [], **beside}
    assert Shelf(orders=Response(200, json.dumps(empty).encode())).look(CLOSE).problems


def test_reading_for_a_cancel_and_a_withdrawal() -> None:
    """One read each; an order that is not there is no problem of the reading."""
    assert Shelf(order=LISTED).look(CANCEL).orders[0].status == "COMPLETED"
    assert Shelf().look(CANCEL) == VenueSnapshot()
    assert Shelf(order={**LISTED, "id": "p"}).look(CANCEL).problems == ("/order answers with another order",)
    row = {"id": "w", "asset": "ETH", "address": "0xabc", "qty": 1, "net": 0.99, "status": "pending", "time": T0}
    shelf = Shelf(withdrawals=[row])
    assert shelf.look(WITHDRAW).withdrawals[0].net == Decimal("0.99")
    assert dict(parse_qsl(urlsplit(shelf.requests[0].url).query)) == {
        "start": str(T0),
        "end": str(T0 + 80_000),
        "limit": str(LIMIT),
    }


def test_the_venues_clock() -> None:
    """Milliseconds, or nothing."""
    assert EverstrikeReads(Shelf()).visit(ACCOUNT).time() == T0
    for broken in (Response(502, b""), NoResponse(bytes_left=False, message="x"), {"now": T0}, T0 // 1000):
        assert EverstrikeReads(Shelf(time=broken)).visit(ACCOUNT).time() is None
