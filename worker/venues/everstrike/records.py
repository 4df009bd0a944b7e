"""Parsers of the records that Everstrike's reads return. A record that can't be read raises one of
``UNREADABLE_RECORD``.

A time must be integer milliseconds (``docs/venues.md``); in another unit it would silently move a record out of its
window.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from worker.venues.json_values import decimal_text, one_line, to_report_json
from worker.venues.records import VenueFill, VenueOrder, VenueTrigger, VenueWithdrawal

UNREADABLE_RECORD = (AttributeError, KeyError, TypeError, ValueError, ArithmeticError)


def unnested(row: Any) -> Any:
    """The order itself: the venue's own client expects it in ``result.order``, and the API pages show it as
    ``result``."""
    inner = row.get("order") if isinstance(row, Mapping) else None
    return inner if isinstance(inner, Mapping) else row


def read_order(row: Any) -> VenueOrder:
    """An order with everything that identifies a command."""
    flag = row.get("reduce_only")
    return VenueOrder(
        id=_text(row["id"]),
        pair=_text(row["pair"]),
        side=_text(row["side"]).upper(),
        type=_text(row["type"]).upper(),
        price=_optional_amount(row.get("price")),
        qty=_amount(row["qty_orig"]),
        status=_text(row["status"], 60),
        time=read_time(row["time"]),
        reduce_only=flag if isinstance(flag, bool) else None,
        raw=to_report_json(row),
    )


def read_state(row: Any) -> VenueOrder:
    """An order of which only the status is needed; other fields may be missing."""
    return VenueOrder(
        id=_text(row["id"]),
        pair=_text(row["pair"]),
        side="",
        type="",
        price=None,
        qty=Decimal(0),
        status=_text(row["status"], 60),
        time=0,
        reduce_only=None,
        raw=to_report_json(row),
    )


def read_trigger(row: Any) -> VenueTrigger:
    """A stop."""
    return VenueTrigger(
        id=_text(row["id"]),
        pair=_text(row["pair"]),
        qty=_optional_amount(row.get("qty")),
        price=_optional_amount(row.get("price")),
        trigger_price=_amount(row["trigger_price"]),
        trigger_event=_text(row["trigger_event"]).upper() if row.get("trigger_event") else "",
        status=_text(row["status"], 60),
        message=one_line(row.get("msg") or "", 120),
        time=read_time(row["time"]),
        raw=to_report_json(row),
    )


def read_fill(row: Any) -> VenueFill:
    """An execution of an order."""
    fill_id = _text(row["id"]) if row.get("id") else ""
    return VenueFill(_text(row["order_id"]), _text(row["pair"]), read_time(row["time"]), fill_id)


def read_withdrawal(row: Any) -> VenueWithdrawal:
    """A withdrawal."""
    return VenueWithdrawal(
        id=_text(row["id"]),
        asset=_text(row["asset"]),
        address=_text(row["address"]),
        qty=_amount(row["qty"]),
        net=_optional_amount(row.get("net")),
        status=one_line(row.get("status") or "no status", 60),
        time=read_time(row["time"]),
        raw=to_report_json(row),
    )


def read_size(result: Any) -> tuple[Decimal, str]:
    """The size of a position, never negative, and BUY (long) or SELL (short); the direction of size zero is empty."""
    stats = result["stats"]
    size = abs(_amount(stats["size"]))
    direction = _text(stats["direction"]).upper() if size else ""
    if direction not in ("", "BUY", "SELL"):
        raise ValueError("an unknown direction")
    return size, direction


def read_time(value: Any) -> int:
    """A time in UNIX ms, quoted or not."""
    number = _amount(value)
    if number != int(number) or not 10**12 <= number < 10**14:
        raise ValueError("not a time in milliseconds")
    return int(number)


def _text(value: Any, limit: int = 300) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise TypeError("not a text")
    return one_line(value, limit)


def _amount(value: Any) -> Decimal:
    text = decimal_text(value)
    if text is None:
        raise TypeError("not a number")
    return Decimal(text)


def _optional_amount(value: Any) -> Decimal | None:
    return None if value is None or value == "" else _amount(value)
