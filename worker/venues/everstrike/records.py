"""One record each of what Everstrike's reads show. What can't be read raises one of ``UNREADABLE_RECORD``.

A time is integer milliseconds (``docs/venues.md``): in another unit it would put a record out of its window unnoticed.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from worker.venues.json_values import decimal_text, one_line, to_report_json
from worker.venues.records import VenueFill, VenueOrder, VenueTrigger, VenueWithdrawal

UNREADABLE_RECORD = (AttributeError, KeyError, TypeError, ValueError, ArithmeticError)


def unnested(row: Any) -> Any:
    """The venue's own client expects an order as ``result.order``; its pages show it flat."""
    inner = row.get("order") if isinstance(row, Mapping) else None
    return inner if isinstance(inner, Mapping) else row


def read_order(row: Any) -> VenueOrder:
    """An order of a list."""
    flag = row.get("reduce_only")
    return VenueOrder(
        id=_word(row["id"]),
        pair=_word(row["pair"]),
        side=_word(row["side"]).upper(),
        type=_word(row["type"]).upper(),
        price=_optional(row.get("price")),
        qty=_amount(row["qty_orig"]),
        status=_word(row["status"], 60),
        time=read_time(row["time"]),
        reduce_only=flag if isinstance(flag, bool) else None,
        raw=to_report_json(row),
    )


def read_state(row: Any) -> VenueOrder:
    """An order of which nothing but its state is asked: how old it is does not matter, nor whether it tells."""
    return VenueOrder(
        id=_word(row["id"]),
        pair=_word(row["pair"]),
        side="",
        type="",
        price=None,
        qty=Decimal(0),
        status=_word(row["status"], 60),
        time=0,
        reduce_only=None,
        raw=to_report_json(row),
    )


def read_trigger(row: Any) -> VenueTrigger:
    """A stop."""
    return VenueTrigger(
        id=_word(row["id"]),
        pair=_word(row["pair"]),
        qty=_optional(row.get("qty")),
        price=_optional(row.get("price")),
        trigger_price=_amount(row["trigger_price"]),
        trigger_event=_word(row["trigger_event"]).upper() if row.get("trigger_event") else "",
        status=_word(row["status"], 60),
        message=one_line(row.get("msg") or "", 120),
        time=read_time(row["time"]),
        raw=to_report_json(row),
    )


def read_fill(row: Any) -> VenueFill:
    """An execution of an order."""
    own = _word(row["id"]) if row.get("id") else ""
    return VenueFill(_word(row["order_id"]), _word(row["pair"]), read_time(row["time"]), own)


def read_withdrawal(row: Any) -> VenueWithdrawal:
    """A withdrawal."""
    return VenueWithdrawal(
        id=_word(row["id"]),
        asset=_word(row["asset"]),
        address=_word(row["address"]),
        qty=_amount(row["qty"]),
        net=_optional(row.get("net")),
        status=one_line(row.get("status") or "no status", 60),
        time=read_time(row["time"]),
        raw=to_report_json(row),
    )


def read_size(result: Any) -> tuple[Decimal, str]:
    """A position's size, never negative, and BUY (long) or SELL; an empty word when there is none."""
    stats = result["stats"]
    size = abs(_amount(stats["size"]))
    direction = _word(stats["direction"]).upper() if size else ""
    if direction not in ("", "BUY", "SELL"):
        raise ValueError("a direction that is not listed")
    return size, direction


def read_time(value: Any) -> int:
    """UNIX ms, quoted or not."""
    number = _amount(value)
    if number != int(number) or not 10**12 <= number < 10**14:
        raise ValueError("not a time in milliseconds")
    return int(number)


def _word(value: Any, limit: int = 300) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise TypeError("not a word")
    return one_line(value, limit)


def _amount(value: Any) -> Decimal:
    text = decimal_text(value)
    if text is None:
        raise TypeError("not a number")
    return Decimal(text)


def _optional(value: Any) -> Decimal | None:
    return None if value is None or value == "" else _amount(value)
