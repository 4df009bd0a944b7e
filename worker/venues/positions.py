"""Positions as reports show them, normalised for every venue in the same way."""

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
    """A venue's position; None if its size is zero, however zero is written and whatever the direction.

    The size is a magnitude, and ``direction`` is one of the keys of ``directions`` (upper case). ``numbers`` are the
    optional fields of the report; one that can't be read becomes None.

    Raises:
        KeyError, TypeError, ValueError, ArithmeticError: the size or the direction can't be read, or the sign of the
        size
            contradicts the direction. It is not known then what is open.
    """
    text = decimal_text(size)
    if text is None:
        raise ValueError("a position without a size")
    amount = Decimal(text)
    if not amount:
        return None
    normalised = directions[_word(direction)]
    if amount < 0 and normalised is Direction.LONG:
        raise ValueError("a long position of negative size")
    readable = {name: _number(value) for name, value in numbers.items()}
    return Position(instrument=instrument, direction=normalised, size=text.lstrip("-"), cross=cross, **readable)


def _word(direction: Any) -> str:
    if isinstance(direction, str):
        return direction.strip().upper()
    return decimal_text(direction) or ""


def _number(value: Any) -> str | None:
    try:
        return decimal_text(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
