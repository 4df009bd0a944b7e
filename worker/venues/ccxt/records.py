"""Records of orders and withdrawals as ccxt parses them: what they contradict, and what they show of a command."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from producers.commands import Cancel, Submit, Withdraw
from worker.venues.base import Plan
from worker.venues.ccxt.planned import details_of
from worker.venues.json_values import decimal_text, one_line

Parsed = Mapping[str, Any]

NOT_TAKEN = frozenset({"rejected", "expired", "canceled", "failed"})
"""Statuses of an order or a withdrawal that contradict an answer of success."""
NOT_CANCELLED = frozenset({"rejected", "expired", "closed"})


def contradiction(plan: Plan, parsed: Parsed, found_id: str) -> str | None:
    """What in the record of a success contradicts the command, as half a sentence; None for nothing."""
    planned = details_of(plan)
    command, asked, status = plan.command, planned.asked, str(parsed.get("status"))
    if isinstance(command, Cancel):
        if found_id and found_id != command.order_id:
            return "it is about another order"
        return f"its record says {status}" if status in NOT_CANCELLED else None
    if not found_id:
        return "it names no id"
    if status in NOT_TAKEN:
        return f"its record says {status}"
    if isinstance(command, Withdraw):
        return contradicts_withdrawal(command, parsed)
    return contradicts_order(
        parsed, planned.handle, asked.symbol, asked.side, asked.amounts.get("amount"), reduces=asked.reduce_only
    )


def contradicts_order(
    parsed: Parsed, handle: str, symbol: str, side: str, amount: str | None, *, reduces: bool
) -> str | None:
    """What in an order's record contradicts what was asked for. What is empty is not compared."""
    for name, value, expected in (
        ("client order id", parsed.get("clientOrderId"), handle),
        ("market", parsed.get("symbol"), symbol),
        ("side", parsed.get("side"), side),
    ):
        if value and expected and str(value) != expected:
            return f"its record has another {name}"
    shown = readable(parsed.get("amount"))
    if shown and amount is not None:
        # An exchange may cut an order that reduces a position to what is left of it.
        asked = Decimal(amount)
        if shown > asked if reduces else shown != asked:
            return "its record has another amount"
    return None


def contradicts_withdrawal(command: Withdraw, parsed: Parsed) -> str | None:
    """What in a withdrawal's record contradicts the command. Amounts are not compared: some include the fee."""
    asset, address = parsed.get("currency"), parsed.get("addressTo") or parsed.get("address")
    if asset and str(asset) != command.asset:
        return "its record has another asset"
    return "its record has another address" if address and str(address) != command.address else None


def readable(value: Any) -> Decimal | None:
    """A number, or None for what is none."""
    try:
        text = decimal_text(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return Decimal(text) if text is not None else None


def order_was_taken(status: str, filled: Decimal | None) -> bool | None:
    """What an order's record shows of the command that made it; see :attr:`worker.venues.lookups.Sighting.taken`."""
    if status in ("open", "closed", "canceled"):
        return True
    if status == "expired":
        return None if filled is None else bool(filled)
    return False if status == "rejected" and not filled else None


def cancel_was_taken(status: str) -> bool | None:
    """What an order's record shows of the cancel of it; None for an order that is still open or in an unknown state."""
    return {"canceled": True, "closed": False, "rejected": False, "expired": False}.get(status)


def withdrawal_was_taken(status: str) -> bool | None:
    """What a withdrawal's record shows of its command."""
    if status in ("ok", "pending", "open", "closed"):
        return True
    return False if status in ("failed", "canceled", "rejected") else None


def words_of(parsed: Parsed, status: str) -> str:
    """A record in words."""
    filled = readable(parsed.get("filled"))
    found_id = parsed.get("order") or parsed.get("id")
    parts = [one_line(found_id or "without an id", 80), status or "of unknown status"]
    return ", ".join([*parts, *([f"filled {filled:f}"] if filled is not None else [])])


def asked_amount(command: Any) -> str | None:
    """The amount that an order's record must show; None where the command leaves it to the position."""
    return format(command.qty, "f") if isinstance(command, Submit) else None
