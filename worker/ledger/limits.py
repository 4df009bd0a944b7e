"""Limits on how much is withdrawn, and how ``counters.lua`` takes them: exact whole numbers in place of decimals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from enum import StrEnum
from typing import Any

BILLION = 10**9
_UP, _DOWN = Context(prec=60, rounding=ROUND_CEILING), Context(prec=60, rounding=ROUND_FLOOR)


MAX_COUNTED_UNITS = 9 * 10**15
"""The most units of an asset that a counter can hold."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much may be withdrawn within a time, counted once for each command, at its last begin.

    Amounts are counted in billionths of a unit, rounded up, and a total is rounded down. More than
    :data:`MAX_COUNTED_UNITS` is never permitted, whatever the total.
    """

    name: str
    """The rule's name, for people."""
    key: str
    """Names the counter, ``<account>/<asset>/<window in ms>``: limits with one key share it."""
    window_ms: int
    total: Decimal | None = None
    """The most that all withdrawals within the window may add up to; None does not limit it."""
    count: int | None = None
    """The most withdrawals within the window; None does not limit them."""


class Excess(StrEnum):
    """Which part of a limit a withdrawal would exceed; the values are the ledger's."""

    TOTAL = "total"
    COUNT = "count"
    DAMAGED = "damaged"
    """Neither: the limit's counter can't be read, and nothing is sent past a limit that can't be checked."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The answer when a limit on withdrawals forbids a begin: nothing was begun or counted."""

    limit: Limit
    excess: Excess
    room_at: int | None
    """When there is room for it again, UNIX ms on the ledger's clock; None when that is never, or far off."""


def limits_argument(amount: Decimal, limits: Sequence[Limit]) -> str:
    """JSON of the amount and of the limits of a claim; empty where there are none, for most commands have none."""
    if not limits:
        return ""
    return json.dumps({"amount": _text(counted(amount)), "limits": [_limit(each) for each in limits]})


def counted(amount: Decimal) -> int:
    """An amount in billionths of a unit, rounded up; not more than what no counter can hold."""
    return _billionths(min(amount, Decimal(MAX_COUNTED_UNITS + 1)), _UP)


def permitted(total: Decimal | None) -> int:
    """A limit's total in billionths of a unit, rounded down; not more than a counter can hold."""
    most = Decimal(MAX_COUNTED_UNITS)
    return _billionths(most if total is None else max(Decimal(0), min(total, most)), _DOWN)


def _billionths(amount: Decimal, context: Context) -> int:
    return int(context.multiply(amount, Decimal(BILLION)).to_integral_value(context.rounding))


def _limit(limit: Limit) -> dict[str, Any]:
    made: dict[str, Any] = {"key": limit.key, "window_ms": limit.window_ms, "total": _text(permitted(limit.total))}
    return made if limit.count is None else {**made, "count": limit.count}


def _text(billionths: int) -> str:
    return "{}:{}".format(*divmod(billionths, BILLION))
