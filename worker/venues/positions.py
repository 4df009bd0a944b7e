"""Positions as reports tell them: one normalisation for every venue."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from producers.report import Direction, Position
from worker.venues.json_values import decimal_text


def read_position(
    instrument: str,
    size: Any,
    direction: Any,
    directions: Mapping[str, Direction],
    *,
    cross: bool | None = None,
    **numbers: Any,
) -> Position | None:
    """A venue's position; None for one of size zero, however it is written and wherever it points.

    The size is a magnitude, and where it points is said by the venue's ``direction``, one of ``directions`` (upper
    case). ``numbers`` are the report's other fields: one that can't be read is null, and hides nothing.

    Raises:
        KeyError, TypeError, ValueError, ArithmeticError: when size or direction can't be read, or the sign of the size
            contradicts the direction. Nobody can then tell what is open.
    """
    text = decimal_text(size)
    if text is None:
        raise ValueError("a position without a size")
    amount = Decimal(text)
    if not amount:
        return None
    way = directions[_word(direction)]
    if amount < 0 and way is Direction.LONG:
        raise ValueError("a long position of negative size")
    told = {name: _number(value) for name, value in numbers.items()}
    return Position(instrument=instrument, direction=way, size=text.lstrip("-"), cross=cross, **told)


def _word(direction: Any) -> str:
    if isinstance(direction, str):
        return direction.strip().upper()
    return decimal_text(direction) or ""


def _number(value: Any) -> str | None:
    try:
        return decimal_text(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
