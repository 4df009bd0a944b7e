"""What an argument of a command may be: amounts, words, aliases and times, for the models and for their schemas."""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from producers.printable import first_invisible, invisible_character_class

MAX_DECIMAL_CHARS = 40
"""The longest plain notation taken. Venues use at most 18 places; what is longer is a mistake, or an attack on
the memory of whoever writes ``1e400000`` out in full."""

_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)

_ABOVE_ZERO = r"^\+?([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)([eE][-+]?[0-9]+)?$"
"""The same for schemas: with a digit that is no zero, and in what all dialects of expressions have."""


def _nowhere(characters: str) -> dict[str, Any]:
    """In a schema, that none of these characters is in a text. A pattern that is to match the whole would let a line
    break pass at its end: in Python and PCRE, ``$`` stands before it as well."""
    return {"not": {"pattern": f"[{characters}]"}}


def plain_notation(value: Decimal) -> str:
    """A decimal in plain notation, without exponent and without trailing zeros: ``Decimal("1.50e-5")`` gives
    ``"0.000015"``. Everstrike takes no exponent (``venues.md``), and equal amounts get equal fingerprints."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


FLOAT_DIGITS = 15
"""Significant decimal digits that every number keeps on its way through a binary float and back (C11, ``DBL_DIG``)."""


def is_exact(number: float) -> bool:
    """Whether the shortest decimal form of a float is the number that was written: ``0.1`` is, and what was written as
    ``284578000.00000004`` has become ``284578000.00000006``, whose digits are more than a float holds."""
    return len(Decimal(float.__repr__(number)).normalize().as_tuple().digits) <= FLOAT_DIGITS


def _amount(value: object) -> Decimal:
    """Take a decimal string, a Decimal, an integer, or a float that says what was written; refuse the rest with a
    reason."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise PydanticCustomError("amount_type", "must be a decimal: a string like '0.001', or a number")
    if isinstance(value, float) and math.isfinite(value) and not is_exact(value):
        raise PydanticCustomError("amount_float", "is a binary float of more than 15 digits: write it as a string")
    if isinstance(value, int) and abs(value) >= 10**MAX_DECIMAL_CHARS:
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS})
    # Its subclasses, NumPy's for one, have a representation of their own.
    text = float.__repr__(value) if isinstance(value, float) else str(value)
    if text.lower().lstrip("+-").startswith(("nan", "snan", "inf")):
        raise PydanticCustomError("amount_finite", "must be finite, not NaN or infinity")
    if len(text) > 2 * MAX_DECIMAL_CHARS or not _DECIMAL.fullmatch(text):
        raise PydanticCustomError("amount_parse", "is not a decimal number")
    try:
        amount = Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal itself can hold
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS}) from None
    if amount <= 0:
        raise PydanticCustomError("amount_sign", "must be greater than zero")
    exponent = amount.as_tuple().exponent
    # Bounded before it is written out: Decimal("1e400000") is small, its plain notation is not.
    if (
        not isinstance(exponent, int)
        or abs(exponent) > MAX_DECIMAL_CHARS
        or len(plain_notation(amount)) > MAX_DECIMAL_CHARS
    ):
        raise PydanticCustomError("amount_long", "has more than {n} digits", {"n": MAX_DECIMAL_CHARS})
    return Decimal(plain_notation(amount))


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
                    "pattern": _ABOVE_ZERO,
                    "maxLength": 2 * MAX_DECIMAL_CHARS,
                    **_nowhere("^0-9.eE+-"),
                },
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**MAX_DECIMAL_CHARS},
            ],
        }
    ),
]
"""A finite decimal above zero, never a binary float once it is taken."""

AmountInput = Decimal | int | str
"""An amount as a caller may give it. Type checkers are told by the commands' ``__init__``, for they know a field by one
type alone, the one that it has afterwards (PEP 681 has no converters)."""

TriggerEvent = Literal["MARK_PRICE", "INDEX_PRICE", "LAST_PRICE"]

ALIAS = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""What an alias of an account looks like."""

Account = Annotated[
    str,
    Field(
        pattern=ALIAS,
        description="Alias of an account; case does not matter.",
        json_schema_extra=_nowhere("^A-Za-z0-9_-"),
    ),
    # Environment variables, which name the accounts, know no case either.
    AfterValidator(str.lower),
]


def _word(text: str) -> str:
    """Refuse what holds a character that nobody sees: the address that is paid would not be the one that is read."""
    unseen = first_invisible(text)
    if unseen == "U+0020":
        raise PydanticCustomError("word_blank", "must be one word without blanks")
    if unseen:
        raise PydanticCustomError("word_unseen", "holds {unseen}, a character that nobody sees", {"unseen": unseen})
    return text


Word = Annotated[
    str,
    Field(min_length=1, max_length=256, json_schema_extra=_nowhere(invisible_character_class())),
    AfterValidator(_word),
]
"""A name at the venue, of characters that a person can see (:mod:`producers.printable`)."""
UnixMilliseconds = Annotated[int, Field(gt=0, lt=10**15, description="UNIX milliseconds, without point or exponent.")]
