"""A withdrawal's limits as ``counters.lua`` takes them: exact whole numbers in place of decimals."""

import json
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from worker.ledger.base import MAX_COUNTED_UNITS, Claim, Limit

BILLION = 10**9
_UP, _DOWN = Context(prec=60, rounding=ROUND_CEILING), Context(prec=60, rounding=ROUND_FLOOR)


def limits_argument(claim: Claim) -> str:
    """JSON of the amount and of the limits of a claim; empty where there are none, for most commands have none."""
    if not claim.limits:
        return ""
    return json.dumps({"amount": _text(counted(claim.amount)), "limits": [_limit(each) for each in claim.limits]})


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
