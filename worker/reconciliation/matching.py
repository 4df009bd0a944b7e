"""What a venue's lists prove about a command whose fate is unknown. Pure functions from records to evidence.

A venue without client order ids can only list what it has, so a command is recognised by its arguments and the time of
its record. That is evidence under three conditions:

* every list that could have the command's record was read whole, else nothing is proven (``UNREADABLE``);
* exactly one record fits, in every field that the venue shows, and no other command could have made it
  (``FOUND``); anything in doubt is ``AMBIGUOUS`` and settles nothing;
* nothing fits, not even in doubt, nor would in another amount: ``ABSENT``, which the reconciler counts only late enough
  and twice. A withdrawal is never absent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from producers.commands import Cancel, Close, Command, Withdraw
from worker.reconciliation.comparison import (
    OPEN,
    canonical_status,
    fits_order,
    fits_time,
    fits_trigger,
    fits_withdrawal,
    join_doubts,
    not_taken,
)
from worker.venues.contradictions import failure_within
from worker.venues.records import VenueOrder, VenueSnapshot, VenueTrigger, VenueWithdrawal, Window

ORDER_TAKEN = (*OPEN, "COMPLETED", "CANCELLED")
"""States of an order that the venue has taken; it may have been cancelled later."""
TRIGGER_TAKEN = ("UNTRIGGERED", "ACTIVE", "COMPLETED", "CANCELLED")
"""States of a trigger that the venue has taken."""
WITHDRAWAL_TAKEN = (*OPEN, "PENDING CONFIRMATION", "COMPLETED")
"""States of a withdrawal that the venue has taken and that has not come to nothing."""


class Finding(StrEnum):
    """What a look at the venue proves."""

    FOUND = "found"
    """Executed: one record is the command's."""
    REFUTED = "refuted"
    """Not executed, and it can't be any more: the order that it was to cancel has ended in another way."""
    ABSENT = "absent"
    """No list has anything like it now."""
    AMBIGUOUS = "ambiguous"
    """There is a similar record, and nothing shows whether it is the command's."""
    UNREADABLE = "unreadable"
    """A list could not be read whole: this look proves nothing."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one look proves. ``words`` is a phrase for people, without addresses and secrets."""

    finding: Finding
    words: str
    reference: str = ""
    """The venue's id of what was found."""
    record: Any = None
    """The record that was found, as the venue shows it."""


@dataclass(frozen=True, slots=True)
class CompetingCommand:
    """Another command that could have made the same record: any that is not proven not executed."""

    command_id: str
    command: Command
    window: Window
    reference: str = ""
    """The venue's id of this command's own record, where it is known: then no other record is its."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    id: str
    words: str
    doubt: str
    record: VenueOrder | VenueTrigger | VenueWithdrawal


def match(
    command: Command, window: Window, snapshot: VenueSnapshot, competing: Sequence[CompetingCommand] = ()
) -> Evidence:
    """What this look proves of ``command``, given every other command that could have made the same record."""
    if snapshot.problems:
        return Evidence(Finding.UNREADABLE, f"could not be read whole: {'; '.join(snapshot.problems)}")
    if isinstance(command, Cancel):
        return _match_cancel(command, snapshot, competing)
    if isinstance(command, Close):
        candidates = [*_order_candidates(command, window, snapshot), *_trigger_candidates(command, window, snapshot)]
    elif isinstance(command, Withdraw):
        candidates = _withdrawal_candidates(command, window, snapshot)
    else:
        return Evidence(Finding.UNREADABLE, f"there is nothing to look for after {command.task}")
    known_ids = {other.reference for other in competing}
    candidates = [each for each in candidates if each.id not in known_ids]
    possible = [replace(each, reference="") if _is_missing(each, window, snapshot) else each for each in competing]
    return _verdict(candidates, possible) if candidates else _none_fits(command, window, snapshot, competing)


def _is_missing(other: CompetingCommand, window: Window, snapshot: VenueSnapshot) -> bool:
    """Whether another command's record is not there, though every list was read for all of its time: the venue answered
    it with the id of somebody else's record, and any record may be its own."""
    if not other.reference or other.window.start < window.start or other.window.end > window.suspect_until:
        return False
    listed = {each.id for each in snapshot.orders} | {each.id for each in snapshot.triggers}
    listed |= {each.id for each in snapshot.withdrawals} | {fill.order_id for fill in snapshot.fills}
    return other.reference not in listed


def _verdict(candidates: Sequence[_Candidate], competing: Sequence[CompetingCommand]) -> Evidence:
    if len(candidates) > 1:
        named = "; ".join(each.words for each in candidates[:4])
        return Evidence(Finding.AMBIGUOUS, f"{len(candidates)} records at the venue may be it: {named}")
    (only,) = candidates
    if only.doubt:
        return Evidence(Finding.AMBIGUOUS, f"{only.words} may be it, but {only.doubt}")
    alike = [other.command_id for other in competing if not other.reference and _could_be(other, only.record)]
    if alike:
        return Evidence(Finding.AMBIGUOUS, f"{only.words} may as well be that of {', '.join(alike[:4])}")
    denied = failure_within(only.record.raw)
    if denied:
        return Evidence(Finding.AMBIGUOUS, f"{only.words} may be it, but {denied}")
    return Evidence(Finding.FOUND, only.words, only.id, only.record.raw)


def _none_fits(
    command: Command, window: Window, snapshot: VenueSnapshot, competing: Sequence[CompetingCommand]
) -> Evidence:
    if isinstance(command, Withdraw):
        return Evidence(Finding.AMBIGUOUS, "no such withdrawal is listed, which for a withdrawal proves nothing")
    if isinstance(command, Close) and command.repeatable and not (snapshot.position and snapshot.position[0]):
        words = "the position is flat, and no order in its time shows who closed it"
        return Evidence(Finding.AMBIGUOUS, words)
    changed = _other_amounts(command, window, snapshot, competing) if isinstance(command, Close) else ""
    if changed:
        words = f"{changed} may be it, if the venue took it for another amount or price; no command here asked for that"
        return Evidence(Finding.AMBIGUOUS, words)
    return Evidence(Finding.ABSENT, "no order, fill or trigger like it is listed")


def _could_be(other: CompetingCommand, record: VenueOrder | VenueTrigger | VenueWithdrawal) -> bool:
    if isinstance(other.command, Withdraw):
        return isinstance(record, VenueWithdrawal) and fits_withdrawal(other.command, other.window, record) is not None
    if not isinstance(other.command, Close):
        return False
    if isinstance(record, VenueTrigger):
        return fits_trigger(other.command, other.window, record) is not None
    return isinstance(record, VenueOrder) and fits_order(other.command, other.window, record) is not None


def _other_amounts(close: Close, window: Window, snapshot: VenueSnapshot, competing: Sequence[CompetingCommand]) -> str:
    """The record that fits a close without a doubt but in its amounts, and that no other command explains. Whether the
    venue cuts an amount to the position, or rounds one to its steps, is not documented (``docs/venues.md``)."""
    unexplained: list[VenueOrder | VenueTrigger] = []
    for order in snapshot.orders:
        price = order.price if close.price is not None else None
        without_amounts = close.model_copy(update={"qty": None, "price": price})
        rejected = canonical_status(order.status) == "REJECTED"
        if fits_order(without_amounts, window, order) == "" and not rejected and not _wrong_side(snapshot, order):
            unexplained.append(order)
    for trigger in snapshot.triggers if close.trigger_price is not None else ():
        price = trigger.price if close.price is not None else None
        without_amounts = close.model_copy(update={"qty": None, "price": price, "trigger_price": trigger.trigger_price})
        if fits_trigger(without_amounts, window, trigger) == "":
            unexplained.append(trigger)
    known_ids = {other.reference for other in competing}
    for each in unexplained:
        if each.id not in known_ids and not any(_could_be(other, each) for other in competing if not other.reference):
            return f"{'order' if isinstance(each, VenueOrder) else 'trigger'} {each.id} ({each.status})"
    return ""


# -- candidates --------------------------------------------------------------------------------------------------------


def _order_candidates(close: Close, window: Window, snapshot: VenueSnapshot) -> list[_Candidate]:
    found = []
    listed = {order.id: order for order in snapshot.orders}
    filled = {fill.order_id for fill in snapshot.fills}
    for order in listed.values():
        doubt = fits_order(close, window, order)
        if doubt is not None:
            taken = not_taken(order.status, ORDER_TAKEN)
            if close.price is None and canonical_status(order.status) == "CANCELLED" and order.id not in filled:
                taken = "it was cancelled, and no fill of it is listed"
            doubt = join_doubts(
                doubt,
                taken,
                _wrong_side(snapshot, order),
                _still_open(close, snapshot),
                _fired(close, order, snapshot.triggers),
            )
            found.append(_Candidate(order.id, f"order {order.id} ({order.status})", doubt, order))
    for fill in {fill.order_id: fill for fill in snapshot.fills if fill.order_id not in listed}.values():
        if fill.pair == close.pair and fits_time(window, fill.time) is not None:
            order = VenueOrder(fill.order_id, fill.pair, "", "", None, Decimal(0), "", fill.time, None)
            doubt = "only a fill of it is listed"
            found.append(_Candidate(fill.order_id, f"order {fill.order_id}", doubt, order))
    return found


def _wrong_side(snapshot: VenueSnapshot, order: VenueOrder) -> str:
    size, direction = snapshot.position or (Decimal(0), "")
    return "its side is not the closing one" if size and order.side == direction else ""


def _still_open(close: Close, snapshot: VenueSnapshot) -> str:
    """What closes a whole position leaves none: an order beside one that is open may have closed a part of it."""
    return "the position is still open" if close.repeatable and snapshot.position and snapshot.position[0] else ""


def _fired(close: Close, order: VenueOrder, triggers: Iterable[VenueTrigger]) -> str:
    """The doubt that an order is that of a trigger that has fired: it looks like a close, and the venue does not show
    which trigger made an order."""
    fired = [
        trigger.id
        for trigger in triggers
        if close.trigger_price is None
        and canonical_status(trigger.status) not in ("UNTRIGGERED", "CANCELLED")
        and trigger.pair == order.pair
        and trigger.time <= order.time
        and trigger.qty in (None, order.qty)
    ]
    return f"it may be that of trigger {fired[0]}, which has fired" if fired else ""


def _trigger_candidates(close: Close, window: Window, snapshot: VenueSnapshot) -> list[_Candidate]:
    if close.trigger_price is None:
        return []
    found = []
    for trigger in snapshot.triggers:
        doubt = fits_trigger(close, window, trigger)
        if doubt is not None:
            doubt = join_doubts(doubt, not_taken(trigger.status, TRIGGER_TAKEN))
            message = f": {trigger.message}" if trigger.message else ""
            words = f"trigger {trigger.id} ({trigger.status}{message})"
            found.append(_Candidate(trigger.id, words, doubt, trigger))
    return found


def _withdrawal_candidates(withdraw: Withdraw, window: Window, snapshot: VenueSnapshot) -> list[_Candidate]:
    found = []
    for listed in snapshot.withdrawals:
        doubt = fits_withdrawal(withdraw, window, listed)
        if doubt is not None:
            doubt = join_doubts(doubt, not_taken(listed.status, WITHDRAWAL_TAKEN))
            found.append(_Candidate(listed.id, f"withdrawal {listed.id} ({listed.status})", doubt, listed))
    return found


def _match_cancel(cancel: Cancel, snapshot: VenueSnapshot, competing: Sequence[CompetingCommand]) -> Evidence:
    order = next((each for each in snapshot.orders if each.id == cancel.order_id), None)
    if order is None:
        words = "the venue knows no such order, which may be because it was cancelled"
        return Evidence(Finding.AMBIGUOUS, words)
    state = canonical_status(order.status)
    if state in OPEN:
        return Evidence(Finding.ABSENT, f"order {order.id} is still {order.status}")
    if state in ("COMPLETED", "FILLED", "REJECTED"):
        words = f"order {order.id} is {order.status}: there was nothing left to cancel"
        return Evidence(Finding.REFUTED, words, order.id, order.raw)
    if state != "CANCELLED":
        return Evidence(Finding.AMBIGUOUS, f"order {order.id} is {order.status}, which is not listed")
    same = [other for other in competing if isinstance(other.command, Cancel) and other.command.order_id == order.id]
    others = [other.command_id for other in same]
    if others:
        words = f"order {order.id} is CANCELLED, and may have been by {', '.join(others[:4])}"
        return Evidence(Finding.AMBIGUOUS, words)
    denied = failure_within(order.raw)
    if denied:
        return Evidence(Finding.AMBIGUOUS, f"order {order.id} is CANCELLED, but {denied}")
    return Evidence(Finding.FOUND, f"order {order.id} is CANCELLED", order.id, order.raw)
