"""Types of command arguments: amounts, words, aliases and times, with validation and JSON Schema."""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from producers.printable import first_invisible, invisible_character_class

MAX_DECIMAL_CHARS = 40
"""The longest plain notation accepted. Venues use at most 18 decimal places; a longer number is a mistake, or an attack
on the memory of whoever writes ``1e400000`` out in full."""

_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)

_POSITIVE = r"^\+?([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)([eE][-+]?[0-9]+)?$"
"""A positive number for schemas: it has a digit other than zero. Only syntax that every regular-expression dialect
has."""


def _excludes(characters: str) -> dict[str, Any]:
    """A schema for texts without any of these characters. A pattern for the whole text would accept a line break at the
    end: in Python and PCRE, ``$`` also matches before it."""
    return {"not": {"pattern": f"[{characters}]"}}


def plain_notation(value: Decimal) -> str:
    """A decimal in plain notation, without exponent and trailing zeros: ``Decimal("1.50e-5")`` gives ``"0.000015"``.
    Everstrike accepts no exponent (``docs/venues.md``), and equal amounts get equal fingerprints."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


FLOAT_DIGITS = 15
"""Significant decimal digits that survive a round trip through a binary float (C11, ``DBL_DIG``)."""


def is_exact(number: float) -> bool:
    """Whether a float's shortest decimal form is certainly the number that was written. ``0.1`` is;
    ``284578000.00000004`` has become ``284578000.00000006``, which has more digits than a float can hold."""
    return len(Decimal(float.__repr__(number)).normalize().as_tuple().digits) <= FLOAT_DIGITS


def _amount(value: object) -> Decimal:
    """Accept a decimal string, a Decimal, an integer, or an exact float; refuse everything else with a reason."""
    text = str(value) if isinstance(value, str) else _text_of_number(value)
    if len(text) > 2 * MAX_DECIMAL_CHARS or not _DECIMAL.fullmatch(text):
        if text.lower().lstrip("+-").startswith(("nan", "snan", "inf")):
            raise PydanticCustomError("amount_finite", "must be finite, not NaN or infinity")
        raise PydanticCustomError("amount_parse", "is not a decimal number")
    try:
        amount = Decimal(text)
    except InvalidOperation:  # an exponent that Decimal cannot hold
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS}) from None
    if amount <= 0:
        raise PydanticCustomError("amount_sign", "must be greater than zero")
    exponent = amount.as_tuple().exponent
    # The exponent is checked first: Decimal("1e400000") is small, its plain notation is not.
    if (
        not isinstance(exponent, int)
        or abs(exponent) > MAX_DECIMAL_CHARS
        or len(plain := plain_notation(amount)) > MAX_DECIMAL_CHARS
    ):
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS})
    return Decimal(plain)


def _text_of_number(value: object) -> str:
    """The text of a Decimal, an integer, or an exact float."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise PydanticCustomError("amount_type", "must be a decimal: a string like '0.001', or a number")
    if isinstance(value, float) and math.isfinite(value) and not is_exact(value):
        raise PydanticCustomError("amount_float", "is a binary float of more than 15 digits: write it as a string")
    if isinstance(value, int) and abs(value) >= 10**MAX_DECIMAL_CHARS:
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS})
    # Subclasses of float, such as NumPy's, have a repr of their own.
    return float.__repr__(value) if isinstance(value, float) else str(value)


Amount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(plain_notation, return_type=str),
    WithJsonSchema(
        {
            "description": "A decimal above zero: a string, or a JSON number, read digit by digit. Written out "
            f"without exponent it has at most {MAX_DECIMAL_CHARS} characters.",
            "anyOf": [
                {
                    "type": "string",
                    "pattern": _POSITIVE,
                    "maxLength": 2 * MAX_DECIMAL_CHARS,
                    **_excludes("^0-9.eE+-"),
                },
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**MAX_DECIMAL_CHARS},
            ],
        }
    ),
]
"""A finite decimal above zero; never a binary float after validation."""

AmountInput = Decimal | int | str
"""An amount as a caller may pass it. The commands declare it in their ``__init__`` for type checkers, which otherwise
know only the type after validation (PEP 681 has no converters)."""

TriggerEvent = Literal["MARK_PRICE", "INDEX_PRICE", "LAST_PRICE"]

PositionDirection = Literal["long", "short"]
OrderSide = Literal["buy", "sell"]
TimeInForce = Literal["GTC", "IOC", "FOK"]
"""Good till cancelled; immediate or cancel; fill or kill."""

ALIAS = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""Pattern of an account's alias."""

Account = Annotated[
    str,
    Field(
        pattern=ALIAS,
        description="Alias of an account; case does not matter.",
        json_schema_extra=_excludes("^A-Za-z0-9_-"),
    ),
    # Environment variables name the accounts, and their case is ignored.
    AfterValidator(str.lower),
]


def _word(text: str) -> str:
    """Refuse a text with an invisible character: the address that is paid would not be the address that is read."""
    found = first_invisible(text)
    if found == "U+0020":
        raise PydanticCustomError("word_blank", "must be one word without blanks")
    if found:
        raise PydanticCustomError("word_invisible", "contains the invisible character {found}", {"found": found})
    return text


Word = Annotated[
    str,
    Field(min_length=1, max_length=256, json_schema_extra=_excludes(invisible_character_class())),
    AfterValidator(_word),
]
"""A name at the venue, made of visible characters (:mod:`producers.printable`)."""
UnixMilliseconds = Annotated[int, Field(gt=0, lt=10**15, description="UNIX milliseconds, without point or exponent.")]
