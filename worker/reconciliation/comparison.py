"""Whether a record at the venue can be what a command asked for.

Each ``fits_`` function returns None when the record can't be the command's, else the doubts as words for a person; they
are empty when there are none.
"""

from collections.abc import Sequence

from producers.commands import Close, Withdraw
from worker.venues.records import VenueOrder, VenueTrigger, VenueWithdrawal, Window

OPEN = ("ACTIVE", "PENDING")
"""What an order or a withdrawal is before its end (``docs/venues.md``, also for the words below)."""


def fits_time(window: Window, time: int) -> str | None:
    """Whether a record of this time, UNIX ms by the venue's clock, can be the command's."""
    if not window.start <= time <= window.suspect_until:
        return None
    return "" if time <= window.end else "it is later than the command can have arrived"


def join_doubts(*doubts: str) -> str:
    """Doubts as one phrase; empty ones are left out."""
    return ", and ".join(filter(None, doubts))


def canonical_status(status: str) -> str:
    """A status in the venue's own spelling."""
    words = " ".join(status.upper().replace("_", " ").replace("-", " ").split())
    return {"CANCELED": "CANCELLED"}.get(words, words)


def not_taken(status: str, taken: Sequence[str]) -> str:
    """The doubt about a record whose own status is none of those of a record that was ``taken``: it may have come to
    nothing."""
    return "" if canonical_status(status) in taken else f"its status {status} does not say that it was taken"


def fits_order(close: Close, window: Window, order: VenueOrder) -> str | None:
    """Whether an order can be that of a close."""
    timely = fits_time(window, order.time)
    if timely is None or order.pair != close.pair:
        return None
    if close.qty is not None and order.qty != close.qty:
        return None
    if close.price is not None and order.price not in (None, close.price):
        return None
    market = order.type == "MARKET"
    if close.price is None and not market and canonical_status(order.status) in OPEN:
        return None  # a close at market does not rest in the order book
    return join_doubts(
        timely,
        "its price is not shown" if close.price is not None and order.price is None else "",
        "it is an order, and a trigger was asked for" if close.trigger_price is not None else "",
        f"it is listed as {order.type}" if market == (close.price is not None) else "",
        "it is not marked reduce-only" if order.reduce_only is False else "",
    )


def fits_trigger(close: Close, window: Window, trigger: VenueTrigger) -> str | None:
    """Whether a trigger can be that of a close with a trigger price."""
    timely = fits_time(window, trigger.time)
    if timely is None or trigger.pair != close.pair or trigger.trigger_price != close.trigger_price:
        return None
    event, price = close.trigger_event or "MARK_PRICE", trigger.price or None
    if close.qty is not None and trigger.qty not in (None, close.qty):
        return None
    if (price is not None and price != close.price) or trigger.trigger_event not in ("", event):
        return None
    # What the venue does not show is no difference: a stop that was set must not be taken for one that never was.
    return join_doubts(
        timely,
        "its amount is not shown" if close.qty is not None and trigger.qty is None else "",
        "its price is not shown" if close.price is not None and price is None else "",
        "its event is not shown" if event != (trigger.trigger_event or "MARK_PRICE") else "",
    )


def fits_withdrawal(withdraw: Withdraw, window: Window, listed: VenueWithdrawal) -> str | None:
    """Whether a withdrawal of the venue's list can be the one that was asked for."""
    timely = fits_time(window, listed.time)
    # Venues write hexadecimal addresses with or without their checksum's capitals.
    same_asset = listed.asset.casefold() == withdraw.asset.casefold()
    same_address = listed.address.casefold() == withdraw.address.casefold()
    if timely is None or not (same_asset and same_address) or withdraw.qty not in (listed.qty, listed.net):
        return None
    return join_doubts(timely, "only its net amount is the same" if listed.qty != withdraw.qty else "")
