"""What a snapshot of the venue proves of a command: what is found, what is in doubt, what is absent."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from producers.commands import Cancel, Close, Command, Withdraw
from worker.reconciliation.competing import reference_of
from worker.reconciliation.matching import CompetingCommand, match
from worker.venues.records import VenueFill, VenueOrder, VenueSnapshot, VenueTrigger, VenueWithdrawal, Window

T0 = 1_800_000_000_000
WINDOW = Window(T0, T0 + 20_000, T0 + 80_000)
PAIR, OTHER_PAIR = "USD_BTC_PERP", "USD_ETH_PERP"
CLOSE = Close(account="main", pair=PAIR, qty=Decimal("0.5"))
LIMIT_CLOSE = CLOSE.model_copy(update={"price": Decimal(100)})
WHOLE = Close(account="main", pair=PAIR)
STOP = CLOSE.model_copy(update={"trigger_price": Decimal(90)})
WITHDRAW = Withdraw(account="main", asset="ETH", qty=Decimal(1), address="0xAbC")
CANCEL = Cancel(account="main", order_id="o")
ORDER = VenueOrder(
    "o", PAIR, "SELL", "MARKET", Decimal("2.1"), Decimal("0.5"), "COMPLETED", T0 + 100, True, {"id": "o", "x": 1}
)
TRIGGER = VenueTrigger("t", PAIR, Decimal("0.5"), None, Decimal(90), "MARK_PRICE", "UNTRIGGERED", "", T0 + 100)
PAID = VenueWithdrawal("w", "ETH", "0xabc", Decimal(1), Decimal(1), "pending", T0 + 100)
FLAT = (Decimal(0), "")


def order(**changes: Any) -> VenueOrder:
    """An order as a close of 0.5 at market leaves it, with changes."""
    return replace(ORDER, **changes)


def resting(price: int | None = 100, **changes: Any) -> VenueOrder:
    """An order as a limit close leaves it, with changes."""
    return order(**{"type": "LIMIT", "status": "ACTIVE", "price": None if price is None else Decimal(price), **changes})


def trigger(**changes: Any) -> VenueTrigger:
    """A trigger as a stop leaves it, with changes."""
    return replace(TRIGGER, **changes)


def shown(*orders: VenueOrder, **more: Any) -> VenueSnapshot:
    """A snapshot with these orders and an open position."""
    return VenueSnapshot(orders=orders, **{"position": (Decimal("0.5"), "BUY"), **more})


def stops(*triggers: VenueTrigger) -> VenueSnapshot:
    """A snapshot with these triggers and an open position."""
    return shown(triggers=triggers)


def paid(*withdrawals: VenueWithdrawal) -> VenueSnapshot:
    """A snapshot with these withdrawals."""
    return VenueSnapshot(withdrawals=withdrawals)


def other(command: Command = CLOSE, reference: str = "", window: Window = WINDOW) -> CompetingCommand:
    """Another command of the same account."""
    return CompetingCommand("other", command, window, reference)


def check(expected: str, command: Command, snapshot: VenueSnapshot, *competing: CompetingCommand) -> None:
    """``expected`` is the finding and, behind a colon, the reference or some of the words."""
    finding, _, words = expected.partition(": ")
    evidence = match(command, WINDOW, snapshot, competing)
    assert evidence.finding.value == finding, evidence.words
    assert words in f"{evidence.reference} {evidence.words}"


def test_what_is_found_comes_with_its_record() -> None:
    """The venue's id and its record, for the report."""
    evidence = match(CLOSE, WINDOW, shown(ORDER))
    assert (evidence.finding.value, evidence.reference, evidence.record) == ("found", "o", {"id": "o", "x": 1})


FILL = VenueFill("p", PAIR, T0 + 5)
FILLED = (VenueFill("o", PAIR, T0 + 100),)
FIRED = trigger(status="COMPLETED", time=T0 - 3_600_000)
CLOSES = {
    "amounts are compared as decimals": ("found", CLOSE, shown(order(qty=Decimal("0.500")))),
    "the first possible millisecond": ("found", CLOSE, shown(order(time=T0))),
    "the last possible millisecond": ("found", CLOSE, shown(order(time=T0 + 20_000))),
    "of another pair": ("absent", CLOSE, shown(order(pair=OTHER_PAIR))),
    "before it was sent": ("absent", CLOSE, shown(order(time=T0 - 1))),
    "long after": ("absent", CLOSE, shown(order(time=T0 + 80_001))),
    "a close at market does not rest in the book": ("absent", CLOSE, shown(order(type="LIMIT", status="ACTIVE"))),
    "later than it can have arrived": ("ambiguous: later", CLOSE, shown(order(time=T0 + 20_001))),
    "not reduce-only": ("ambiguous: reduce-only", CLOSE, shown(order(reduce_only=False))),
    "the opening side": ("ambiguous: side", CLOSE, shown(order(side="BUY"))),
    "a limit order": ("ambiguous: LIMIT", CLOSE, shown(order(type="LIMIT"))),
    **{
        f"its status is {status}": (f"ambiguous: {status}", CLOSE, shown(order(status=status)))
        for status in ("REJECTED", "rejected", "FAILED", "EXPIRED", "Sleeping")
    },
    "CANCELLED before anything was filled": ("ambiguous: no fill", CLOSE, shown(order(status="CANCELLED"))),
    "canceled before anything was filled": ("ambiguous: no fill", CLOSE, shown(order(status="canceled"))),
    "cancelled when a part was filled": ("found", CLOSE, shown(order(status="CANCELLED"), fills=FILLED)),
    "cancelled while it waited in the book": ("found", LIMIT_CLOSE, shown(resting(status="Cancelled"))),
    "expired while it waited in the book": ("ambiguous", LIMIT_CLOSE, shown(resting(status="EXPIRED"))),
    "a limit close is known by its price": ("found", LIMIT_CLOSE, shown(resting())),
    "an order at another price is not it": ("found: o", LIMIT_CLOSE, shown(resting(101, id="p"), resting())),
    "an order without its price": ("ambiguous: its price is not shown", LIMIT_CLOSE, shown(resting(None))),
    "of two alike nobody can say": ("ambiguous: order o (COMPLETED); order p", CLOSE, shown(ORDER, order(id="p"))),
    "a fill of an order that no list shows yet": ("ambiguous", CLOSE, shown(fills=(FILL,))),
    "a fill of the order itself": ("found", CLOSE, shown(ORDER, fills=(replace(FILL, order_id="o"),))),
    "a fill of another pair": ("absent", CLOSE, shown(fills=(replace(FILL, pair=OTHER_PAIR),))),
    "a fired trigger's order looks like a close": ("ambiguous", CLOSE, shown(ORDER, triggers=(FIRED,))),
    "of whatever status": ("ambiguous", CLOSE, shown(ORDER, triggers=(replace(FIRED, status="Triggered"),))),
    "a fired trigger of another amount": ("found", CLOSE, shown(ORDER, triggers=(replace(FIRED, qty=Decimal(3)),))),
    "a trigger that has not fired": ("found", CLOSE, shown(ORDER, triggers=(TRIGGER,))),
    "any closing order closes a whole position": ("found", WHOLE, shown(order(qty=Decimal(7)), position=FLAT)),
    "but not while some of it is open": ("ambiguous", WHOLE, shown(order(qty=Decimal(7)))),
    "no order and an open position": ("absent", WHOLE, shown()),
    "a flat position proves nothing by itself": ("ambiguous", WHOLE, shown(position=FLAT)),
    "a flat position, after a close of an amount": ("absent", CLOSE, shown(position=FLAT)),
    "a list that was not read whole": ("unreadable", CLOSE, shown(problems=("/fills: 503",))),
    "whatever the others show": ("unreadable", CLOSE, shown(ORDER, problems=("/fills: 503",))),
}
THEIRS = CLOSE.model_copy(update={"qty": Decimal("0.51")})
STRANGE = order(qty=Decimal("0.51"))
# Whether the venue cuts or rounds amounts is not documented: a close that it executed so was settled as not sent.
IN_OTHER_AMOUNTS = {
    "cut to the position": ("ambiguous: another amount", CLOSE, shown(order(qty=Decimal("0.3")), position=FLAT)),
    "rounded": ("ambiguous: another amount", CLOSE, shown(STRANGE)),
    "a price rounded": ("ambiguous: another amount", LIMIT_CLOSE, shown(resting(101))),
    "a stop of another amount": ("ambiguous: another amount", STOP, stops(trigger(qty=Decimal(1)))),
    "a stop at another price": ("ambiguous: another amount", STOP, stops(trigger(trigger_price=Decimal(91)))),
    "an opening order": ("absent", CLOSE, shown(replace(STRANGE, side="BUY"))),
    "not reduce-only": ("absent", CLOSE, shown(replace(STRANGE, reduce_only=False))),
    "of another kind": ("absent", CLOSE, shown(replace(STRANGE, type="LIMIT"))),
    "too late": ("absent", CLOSE, shown(replace(STRANGE, time=T0 + 20_001))),
    "a status that is not listed": ("ambiguous", CLOSE, shown(replace(STRANGE, status="FILLED"))),
    "a rejected order closed nothing": ("absent", CLOSE, shown(replace(STRANGE, status="rejected"))),
    "another command's by its id": ("absent", CLOSE, shown(STRANGE), other(THEIRS, reference="o")),
    "another command's by its amount": ("absent", CLOSE, shown(STRANGE), other(THEIRS)),
    "that has a record of its own": ("ambiguous", CLOSE, shown(STRANGE), other(THEIRS, reference="p")),
}
# The venue's pages don't show a trigger: what it leaves out must not make one that was set look absent.
STOPS = {
    "it is found among the triggers": ("found: t", STOP, stops(TRIGGER)),
    "it was taken and failed later": (
        "found: no margin",
        STOP,
        stops(trigger(status="CANCELLED", message="no margin")),
    ),
    "a price of 0 is none": ("found", STOP, stops(trigger(price=Decimal(0)))),
    **{
        f"its status is {status}": (f"ambiguous: {status}", STOP, stops(trigger(status=status)))
        for status in ("REJECTED", "FAILED", "EXPIRED", "SLEEPING")
    },
    "of another pair": ("absent", STOP, stops(trigger(pair=OTHER_PAIR))),
    "with a price": ("absent", STOP, stops(trigger(price=Decimal(1)))),
    "of another event": ("absent", STOP, stops(trigger(trigger_event="LAST_PRICE"))),
    "before it was sent": ("absent", STOP, stops(trigger(time=T0 - 1))),
    "without its amount": ("ambiguous: its amount is not shown", STOP, stops(trigger(qty=None))),
    "without its price": (
        "ambiguous: its price is not shown",
        STOP.model_copy(update={"price": Decimal(89)}),
        stops(trigger(price=None)),
    ),
    "without its event": (
        "ambiguous: its event is not shown",
        STOP.model_copy(update={"trigger_event": "LAST_PRICE"}),
        stops(trigger(trigger_event="")),
    ),
}
# Two commands are never matched to one record; another does harm only where it can have made the record.
COMPETING = {
    "an open command alike is named": ("ambiguous: other", CLOSE, shown(ORDER), other()),
    "what belongs to another command is not it": ("absent", CLOSE, shown(ORDER), other(reference="o")),
    "and leaves the own one": ("found: p", CLOSE, shown(ORDER, order(id="p")), other(reference="o")),
    "another amount": ("found", CLOSE, shown(ORDER), other(CLOSE.model_copy(update={"qty": Decimal(2)}))),
    "another pair": ("found", CLOSE, shown(ORDER), other(CLOSE.model_copy(update={"pair": OTHER_PAIR}))),
    "another time": ("found", CLOSE, shown(ORDER), other(window=Window(T0 + 10_000, T0 + 30_000, T0 + 90_000))),
    "a record that was not looked for": (
        *("found", CLOSE, shown(ORDER)),
        other(reference="elsewhere", window=replace(WINDOW, start=T0 - 1)),
    ),
    # It was answered with the id of somebody else's record, and any record may be its own.
    "a record that is not there": ("ambiguous", CLOSE, shown(ORDER), other(reference="elsewhere")),
    "a record that is there": (
        *("found", CLOSE, shown(ORDER, order(id="elsewhere", qty=Decimal(7)))),
        other(reference="elsewhere"),
    ),
    "a withdrawal that is not there": ("ambiguous", WITHDRAW, paid(PAID), other(WITHDRAW, "elsewhere")),
    "a whole close may have made it": ("ambiguous", CLOSE, shown(ORDER), other(WHOLE)),
    "alike, and nothing is there": ("absent", CLOSE, shown(), other()),
}
# Found, but never absent; where the venue says anything that is not listed, a person decides.
WITHDRAWALS = {
    "the address in other capitals": ("found: w", WITHDRAW, paid(PAID)),
    "none": ("ambiguous", WITHDRAW, paid()),
    "to another address": ("ambiguous", WITHDRAW, paid(replace(PAID, address="0xdef"))),
    "of another amount": ("ambiguous", WITHDRAW, paid(replace(PAID, qty=Decimal(2), net=None))),
    "two alike": ("ambiguous", WITHDRAW, paid(PAID, replace(PAID, id="v"))),
    "one that failed, and one": ("ambiguous", WITHDRAW, paid(PAID, replace(PAID, id="v", status="REJECTED"))),
    "only its net amount fits": ("ambiguous: net amount", WITHDRAW, paid(replace(PAID, qty=Decimal("1.01")))),
    "another command alike": ("ambiguous", WITHDRAW, paid(PAID), other(WITHDRAW)),
    **{
        f"it came to nothing: {status}": (
            f"ambiguous: its status {status} does not say that it was taken",
            WITHDRAW,
            paid(replace(PAID, status=status)),
        )
        for status in (
            *("REJECTED", "rejected", "Failed", "CANCELLED", "canceled", "EXPIRED", "declined", "no status", "ON_HOLD"),
        )
    },
    **{
        f"it waits or was paid: {status}": ("found", WITHDRAW, paid(replace(PAID, status=status)))
        for status in ("PENDING", "pending confirmation", "Pending_Confirmation", "ACTIVE", "COMPLETED", "completed")
    },
}
STATUSES = {
    "found": ("CANCELLED", "Canceled"),
    "absent": ("ACTIVE", "PENDING", "active"),
    "refuted": ("COMPLETED", "REJECTED", "FILLED", "completed"),
    "ambiguous": ("EXPIRED", "SLEEPING"),
}
# Known by its order alone, whenever that was made.
GONE = VenueSnapshot(orders=(order(status="CANCELLED"),))
CANCELS = {
    **{
        f"of an order that is {status}": (finding, CANCEL, VenueSnapshot(orders=(order(status=status, time=5),)))
        for finding, statuses in STATUSES.items()
        for status in statuses
    },
    "of an order that is gone, perhaps cancelled": ("ambiguous", CANCEL, VenueSnapshot()),
    "that another command may have cancelled": ("ambiguous", CANCEL, GONE, other(CANCEL, reference="o")),
    "beside the cancel of another order": ("found", CANCEL, GONE, other(Cancel(account="main", order_id="p"))),
}


TABLES = {
    "a close": CLOSES,
    "in other amounts": IN_OTHER_AMOUNTS,
    "a stop": STOPS,
    "other commands": COMPETING,
    "a withdrawal": WITHDRAWALS,
    "a cancel": CANCELS,
}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{table}: {name}") for table, cases in TABLES.items() for name, case in cases.items()],
)
def test_what_a_snapshot_proves(case: tuple[Any, ...]) -> None:
    """Any doubt makes it ambiguous, and the words name the doubt; no address gets into the words."""
    check(*case)
    assert "abc" not in match(case[1], WINDOW, case[2], case[3:]).words.lower()


@pytest.mark.parametrize(
    ("raw", "finding"),
    [
        ({"transaction": {"status": "FAILED"}}, "ambiguous"),
        ({"reject_reason": "limit"}, "ambiguous"),
        ({"success": False}, "ambiguous"),
        ({"id": "w", "error": None, "rejected_qty": "0.00", "transaction": {"hash": None}}, "found"),
    ],
    ids=str,
)
def test_a_record_that_says_no_in_another_place_than_its_status(raw: Mapping[str, Any], finding: str) -> None:
    """It settles nothing, whatever its status is."""
    check(finding, WITHDRAW, paid(replace(PAID, raw=raw)))
    check(finding, CLOSE, shown(order(raw=raw)))
    check(finding, CANCEL, VenueSnapshot(orders=(order(status="CANCELLED", raw=raw),)))


@pytest.mark.parametrize(
    ("result", "reference"),
    [({"id": "a"}, "a"), ({"order": {"id": 7}}, "7"), ({}, ""), (None, ""), ([1], ""), ({"order": None}, "")],
)
def test_the_reference_of_an_accepted_report(result: Any, reference: str) -> None:
    """Flat or nested, or none."""
    assert reference_of(result) == reference
