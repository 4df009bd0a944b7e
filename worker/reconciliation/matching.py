"""What a venue's reads prove of a command whose fate is unknown. Pure: records in, evidence out.

A venue without client order ids can only be asked what it has, so a command is recognised by what it asked for and
when. That is evidence under three conditions, which this module holds:

* every place where the command could stand was read whole, else nothing is said (``UNREADABLE``);
* exactly one record fits, in every particular that is told, and no other command could have made it (``FOUND``);
  anything in doubt is told as ``AMBIGUOUS`` and settles nothing;
* nothing fits, not even in doubt, nor would in another amount: ``ABSENT``, which the reconciler counts only late enough
  and twice, and which for a withdrawal does not exist.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from producers.commands import Cancel, Close, Command, Withdraw
from worker.venues.contradictions import failure_within
from worker.venues.records import VenueOrder, VenueSnapshot, VenueTrigger, VenueWithdrawal, Window

OPEN = ("ACTIVE", "PENDING")
"""What an order or a withdrawal is before its end (``docs/venues.md``, also for the words below)."""
TAKEN = (*OPEN, "COMPLETED", "CANCELLED")
"""States of an order that the venue has taken; it may have been cancelled later."""
SET = ("UNTRIGGERED", "ACTIVE", "COMPLETED", "CANCELLED")
"""States of a trigger that the venue has taken."""
SUBMITTED = (*OPEN, "PENDING CONFIRMATION", "COMPLETED")
"""States of a withdrawal that the venue has taken and that has not come to nothing."""


class Finding(StrEnum):
    """What a look at the venue says."""

    FOUND = "found"
    """Executed: one record is the command's."""
    REFUTED = "refuted"
    """Not executed, and never will be: what it wanted to change has come to another end."""
    ABSENT = "absent"
    """Nothing is like it, now, in any place."""
    AMBIGUOUS = "ambiguous"
    """There is something like it, and it can't be told whether it is the command's."""
    UNREADABLE = "unreadable"
    """A place could not be read whole: this look says nothing."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one look proves, in words for a person; no address, no secret."""

    finding: Finding
    words: str
    reference: str = ""
    """The venue's id of what was found."""
    record: Any = None
    """What was found, as the venue tells it."""


@dataclass(frozen=True, slots=True)
class CompetingCommand:
    """Another command that could have made the same record: any that is not proven not executed."""

    command_id: str
    command: Command
    window: Window
    reference: str = ""
    """The venue's id of its own record, where it is known: then only that record is its."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    id: str
    words: str
    doubt: str
    record: VenueOrder | VenueTrigger | VenueWithdrawal


def match(command: Command, window: Window, look: VenueSnapshot, rivals: Sequence[CompetingCommand] = ()) -> Evidence:
    """What this look proves of ``command``, given every other command that could have made the same record."""
    if look.problems:
        return Evidence(Finding.UNREADABLE, f"could not be read whole: {'; '.join(look.problems)}")
    if isinstance(command, Cancel):
        return _weigh_cancel(command, look, rivals)
    if isinstance(command, Close):
        candidates = [*_closing_orders(command, window, look), *_stops(command, window, look)]
    elif isinstance(command, Withdraw):
        candidates = _withdrawals(command, window, look)
    else:
        return Evidence(Finding.UNREADABLE, f"there is nothing to look for after {command.task}")
    owned = {rival.reference for rival in rivals}
    candidates = [each for each in candidates if each.id not in owned]
    able = [replace(each, reference="") if _is_missing(each, window, look) else each for each in rivals]
    return _verdict(candidates, able) if candidates else _nothing(command, window, look, rivals)


def _is_missing(rival: CompetingCommand, window: Window, look: VenueSnapshot) -> bool:
    """Whether a rival's record is not there, though every place was read for all of its time: the venue answered it
    with another's id, and any record may be its."""
    if not rival.reference or rival.window.start < window.start or rival.window.end > window.late:
        return False
    seen = {each.id for each in look.orders} | {each.id for each in look.triggers}
    seen |= {each.id for each in look.withdrawals} | {fill.order_id for fill in look.fills}
    return rival.reference not in seen


def _verdict(candidates: Sequence[_Candidate], rivals: Sequence[CompetingCommand]) -> Evidence:
    if len(candidates) > 1:
        named = "; ".join(each.words for each in candidates[:4])
        return Evidence(Finding.AMBIGUOUS, f"{len(candidates)} records at the venue may be it: {named}")
    (only,) = candidates
    if only.doubt:
        return Evidence(Finding.AMBIGUOUS, f"{only.words} may be it, but {only.doubt}")
    alike = [rival.command_id for rival in rivals if not rival.reference and _could_be(rival, only.record)]
    if alike:
        return Evidence(Finding.AMBIGUOUS, f"{only.words} may as well be that of {', '.join(alike[:4])}")
    denied = failure_within(only.record.raw)
    if denied:
        return Evidence(Finding.AMBIGUOUS, f"{only.words} may be it, but {denied}")
    return Evidence(Finding.FOUND, only.words, only.id, only.record.raw)


def _nothing(command: Command, window: Window, look: VenueSnapshot, rivals: Sequence[CompetingCommand]) -> Evidence:
    if isinstance(command, Withdraw):
        return Evidence(Finding.AMBIGUOUS, "no such withdrawal is listed, which for a withdrawal proves nothing")
    if isinstance(command, Close) and command.repeatable and not (look.position and look.position[0]):
        words = "the position is flat, and no order in its time shows who closed it"
        return Evidence(Finding.AMBIGUOUS, words)
    changed = _of_other_amounts(command, window, look, rivals) if isinstance(command, Close) else ""
    if changed:
        words = f"{changed} may be it, if the venue took it for another amount or price; no command here asked for that"
        return Evidence(Finding.AMBIGUOUS, words)
    return Evidence(Finding.ABSENT, "no order, fill or trigger like it is listed")


def _could_be(rival: CompetingCommand, record: VenueOrder | VenueTrigger | VenueWithdrawal) -> bool:
    if isinstance(rival.command, Withdraw):
        return isinstance(record, VenueWithdrawal) and _fits_withdrawal(rival.command, rival.window, record) is not None
    if not isinstance(rival.command, Close):
        return False
    if isinstance(record, VenueTrigger):
        return _fits_trigger(rival.command, rival.window, record) is not None
    return isinstance(record, VenueOrder) and _fits_order(rival.command, rival.window, record) is not None


# -- what fits: None when it can't be the command's, else the doubts, empty when there are none ------------------------


def _fits_time(window: Window, time: int) -> str | None:
    if not window.start <= time <= window.late:
        return None
    return "" if time <= window.end else "it is later than the command can have arrived"


def _doubts(*doubts: str) -> str:
    return ", and ".join(filter(None, doubts))


def _state(status: str) -> str:
    """A status in the venue's own spelling."""
    words = " ".join(status.upper().replace("_", " ").replace("-", " ").split())
    return {"CANCELED": "CANCELLED"}.get(words, words)


def _not_taken(status: str, taken: Sequence[str]) -> str:
    """A record whose own status says no, or nothing that is listed, is no yes: it may have come to nothing."""
    return "" if _state(status) in taken else f"its status {status} does not say that it was taken"


def _fits_order(close: Close, window: Window, order: VenueOrder) -> str | None:
    timely = _fits_time(window, order.time)
    if timely is None or order.pair != close.pair:
        return None
    if close.qty is not None and order.qty != close.qty:
        return None
    if close.price is not None and order.price not in (None, close.price):
        return None
    market = order.type == "MARKET"
    if close.price is None and not market and _state(order.status) in OPEN:
        return None  # what closes at market does not rest in the book
    return _doubts(
        timely,
        "its price is not told" if close.price is not None and order.price is None else "",
        "it is an order, and a trigger was asked for" if close.trigger_price is not None else "",
        f"it is listed as {order.type}" if market == (close.price is not None) else "",
        "it is not marked reduce-only" if order.reduce_only is False else "",
    )


def _fits_trigger(close: Close, window: Window, trigger: VenueTrigger) -> str | None:
    timely = _fits_time(window, trigger.time)
    if timely is None or trigger.pair != close.pair or trigger.trigger_price != close.trigger_price:
        return None
    event, price = close.trigger_event or "MARK_PRICE", trigger.price or None
    if close.qty is not None and trigger.qty not in (None, close.qty):
        return None
    if (price is not None and price != close.price) or trigger.trigger_event not in ("", event):
        return None
    # What is not told is no difference: a stop that stands must not be taken for one that was never set.
    return _doubts(
        timely,
        "its amount is not told" if close.qty is not None and trigger.qty is None else "",
        "its price is not told" if close.price is not None and price is None else "",
        "its event is not told" if event != (trigger.trigger_event or "MARK_PRICE") else "",
    )


def _of_other_amounts(close: Close, window: Window, look: VenueSnapshot, rivals: Sequence[CompetingCommand]) -> str:
    """The record that fits a close without a doubt but in its amounts, and that no other command explains. Whether the
    venue cuts an amount to the position, or rounds one to its steps, is not told (``docs/venues.md``)."""
    strange: list[VenueOrder | VenueTrigger] = []
    for order in look.orders:
        price = order.price if close.price is not None else None
        asked = close.model_copy(update={"qty": None, "price": price})
        rejected = _state(order.status) == "REJECTED"
        if _fits_order(asked, window, order) == "" and not rejected and not _wrong_side(look, order):
            strange.append(order)
    for trigger in look.triggers if close.trigger_price is not None else ():
        price = trigger.price if close.price is not None else None
        asked = close.model_copy(update={"qty": None, "price": price, "trigger_price": trigger.trigger_price})
        if _fits_trigger(asked, window, trigger) == "":
            strange.append(trigger)
    owned = {rival.reference for rival in rivals}
    for each in strange:
        if each.id not in owned and not any(_could_be(rival, each) for rival in rivals if not rival.reference):
            return f"{'order' if isinstance(each, VenueOrder) else 'trigger'} {each.id} ({each.status})"
    return ""


def _fits_withdrawal(wanted: Withdraw, window: Window, seen: VenueWithdrawal) -> str | None:
    timely = _fits_time(window, seen.time)
    # Venues write hexadecimal addresses with or without their checksum's capitals.
    same = seen.asset.casefold() == wanted.asset.casefold() and seen.address.casefold() == wanted.address.casefold()
    if timely is None or not same or wanted.qty not in (seen.qty, seen.net):
        return None
    return _doubts(timely, "only its net amount is the same" if seen.qty != wanted.qty else "")


# -- candidates --------------------------------------------------------------------------------------------------------


def _closing_orders(close: Close, window: Window, look: VenueSnapshot) -> list[_Candidate]:
    found = []
    listed = {order.id: order for order in look.orders}
    filled = {fill.order_id for fill in look.fills}
    for order in listed.values():
        doubt = _fits_order(close, window, order)
        if doubt is not None:
            taken = _not_taken(order.status, TAKEN)
            if close.price is None and _state(order.status) == "CANCELLED" and order.id not in filled:
                taken = "it was cancelled, and no fill of it is listed"
            doubt = _doubts(
                doubt, taken, _wrong_side(look, order), _still_open(close, look), _fired(close, order, look.triggers)
            )
            found.append(_Candidate(order.id, f"order {order.id} ({order.status})", doubt, order))
    for fill in {fill.order_id: fill for fill in look.fills if fill.order_id not in listed}.values():
        if fill.pair == close.pair and _fits_time(window, fill.time) is not None:
            order = VenueOrder(fill.order_id, fill.pair, "", "", None, Decimal(0), "", fill.time, None)
            doubt = "only a fill of it is listed"
            found.append(_Candidate(fill.order_id, f"order {fill.order_id}", doubt, order))
    return found


def _wrong_side(look: VenueSnapshot, order: VenueOrder) -> str:
    size, direction = look.position or (Decimal(0), "")
    return "its side is not the closing one" if size and order.side == direction else ""


def _still_open(close: Close, look: VenueSnapshot) -> str:
    """What closes a whole position leaves none: an order beside one that is open may have closed a part of it."""
    return "the position is still open" if close.repeatable and look.position and look.position[0] else ""


def _fired(close: Close, order: VenueOrder, triggers: Iterable[VenueTrigger]) -> str:
    """An order of a trigger that has fired looks like a close, and the venue tells no connection."""
    fired = [
        trigger.id
        for trigger in triggers
        if close.trigger_price is None
        and _state(trigger.status) not in ("UNTRIGGERED", "CANCELLED")
        and trigger.pair == order.pair
        and trigger.time <= order.time
        and trigger.qty in (None, order.qty)
    ]
    return f"it may be that of trigger {fired[0]}, which has fired" if fired else ""


def _stops(close: Close, window: Window, look: VenueSnapshot) -> list[_Candidate]:
    if close.trigger_price is None:
        return []
    found = []
    for trigger in look.triggers:
        doubt = _fits_trigger(close, window, trigger)
        if doubt is not None:
            doubt = _doubts(doubt, _not_taken(trigger.status, SET))
            said = f" ({trigger.status}{': ' + trigger.message if trigger.message else ''})"
            found.append(_Candidate(trigger.id, f"trigger {trigger.id}{said}", doubt, trigger))
    return found


def _withdrawals(wanted: Withdraw, window: Window, look: VenueSnapshot) -> list[_Candidate]:
    found = []
    for seen in look.withdrawals:
        doubt = _fits_withdrawal(wanted, window, seen)
        if doubt is not None:
            doubt = _doubts(doubt, _not_taken(seen.status, SUBMITTED))
            found.append(_Candidate(seen.id, f"withdrawal {seen.id} ({seen.status})", doubt, seen))
    return found


def _weigh_cancel(cancel: Cancel, look: VenueSnapshot, rivals: Sequence[CompetingCommand]) -> Evidence:
    order = next((each for each in look.orders if each.id == cancel.order_id), None)
    if order is None:
        words = "the venue knows no such order, which may be because it was cancelled"
        return Evidence(Finding.AMBIGUOUS, words)
    state = _state(order.status)
    if state in OPEN:
        return Evidence(Finding.ABSENT, f"order {order.id} is still {order.status}")
    if state in ("COMPLETED", "FILLED", "REJECTED"):
        words = f"order {order.id} is {order.status}: there was nothing left to cancel"
        return Evidence(Finding.REFUTED, words, order.id, order.raw)
    if state != "CANCELLED":
        return Evidence(Finding.AMBIGUOUS, f"order {order.id} is {order.status}, which is not listed")
    same = [rival for rival in rivals if isinstance(rival.command, Cancel) and rival.command.order_id == order.id]
    others = [rival.command_id for rival in same]
    if others:
        words = f"order {order.id} is CANCELLED, and may have been by {', '.join(others[:4])}"
        return Evidence(Finding.AMBIGUOUS, words)
    denied = failure_within(order.raw)
    if denied:
        return Evidence(Finding.AMBIGUOUS, f"order {order.id} is CANCELLED, but {denied}")
    return Evidence(Finding.FOUND, f"order {order.id} is CANCELLED", order.id, order.raw)
