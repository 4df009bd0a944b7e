"""JSON from a venue: read within bounds, and without binary floats."""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from producers.commands import plain_notation
from producers.exact_json import MAX_CONTAINERS, MAX_DIGITS
from producers.printable import printable

MAX_DEPTH = 100
"""How many levels of lists and objects a response may have: more than any venue sends, fewer than a report can
repeat."""
MAX_ITEMS = MAX_CONTAINERS
"""How many lists, objects and items a response may have in all; a full list of orders has a tenth of this."""
MAX_REPORT_BITS = 13_000
"""The size of an integer that a report shows as a number (3,900 digits); JSON parsers may refuse more than 4,300
digits."""
MAX_NUMBER_CHARACTERS = 100
"""The length of a number in a position: more than any venue sends, and too short to fill a report."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def read_json(body: bytes, *, fractions: Callable[[str], Any] = Decimal, max_items: int = MAX_ITEMS) -> Any:
    """The JSON value of a body, or ``UNREADABLE``.

    Numbers with a fraction become :class:`Decimal`, so that no amount goes through a binary float; with
    ``fractions=str`` they keep the text in which they were written. A body is unreadable if it contains NaN or
    infinity, which are not JSON (RFC 8259); an exponent beyond the range of a Decimal; more depth than a report can
    repeat; more digits or items than any venue sends, which would take seconds to parse; or an object that repeats a
    name with another value, because nothing defines which of the values counts.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if _is_beyond_bounds(text, max_items):
            return UNREADABLE
        value = _decoder(fractions).decode(text)
    except (ValueError, ArithmeticError, RecursionError):  # UnicodeDecodeError is a ValueError
        return UNREADABLE
    return UNREADABLE if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deep(value) else value


# Digits in a text count as well, because other code may convert it to a number. The lookbehind lets a run of digits be
# examined once.
_LONG_NUMBER = re.compile(rf"(?<![-+.eE0-9])[-+.eE0-9]{{{MAX_DIGITS + 1}}}")


def _is_beyond_bounds(text: str, max_items: int) -> bool:
    """Whether a text has more items or longer numbers than any venue sends; checked before it is parsed."""
    if len(text) <= MAX_DIGITS:
        return False
    items = 0 if len(text) <= max_items else sum(text.count(sign) for sign in "[{,")
    return items > max_items or _LONG_NUMBER.search(text) is not None


def _is_deep(value: Any) -> bool:
    """Whether a JSON value has more than ``MAX_DEPTH`` levels, found without recursion, which such a value might
    exhaust."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


class _Unreadable:
    def __repr__(self) -> str:
        return "UNREADABLE"


UNREADABLE = _Unreadable()
"""The result for a body that can't be read; no JSON value is equal to it."""


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs) and any(value[name] != item for name, item in pairs):
        raise ValueError("an object repeats a name with another value")
    return value


@cache
def _decoder(fractions: Callable[[str], Any]) -> json.JSONDecoder:
    """Made once, because `json.loads` with options makes a decoder for each call, which takes most of the time of a
    small body."""
    return json.JSONDecoder(parse_float=fractions, parse_constant=_not_json, object_pairs_hook=_object)


def to_report_json(value: Any) -> Any:
    """A value read by :func:`read_json` as the plain JSON types of a report.

    A number keeps its type where the JSON number written again says exactly the same and can be read; where a binary
    float would lose digits, or a reader refuse them, it becomes a string with all of them. Half a character, which JSON
    can write and no report can store, becomes a question mark.
    """
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, int) and value.bit_length() > MAX_REPORT_BITS:
        return str(value)
    if isinstance(value, Decimal):
        as_float = float(value)
        return as_float if Decimal(repr(as_float)) == value else str(value)
    if isinstance(value, Mapping):
        return {replace_surrogates(str(key)): to_report_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_report_json(item) for item in value]
    return value


def int_or_none(value: Any) -> int | None:
    """The value if it is an integer that a report can show, else None."""
    is_integer = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= MAX_REPORT_BITS
    return value if is_integer else None


def replace_surrogates(text: str) -> str:
    """The text with a question mark in place of each lone surrogate, which UTF-8 can't encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def decimal_text(value: Any) -> str | None:
    """A number, quoted or not, as a plain decimal string; None for null and for an empty string. Zero is always ``0``.

    Raises:
        TypeError, ValueError, ArithmeticError: the value is not a number of a size that venues send.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError("not a number")
    # Decimal() would also accept blanks, underscores and the digits of other scripts.
    text = str(value) if not isinstance(value, int) or value.bit_length() <= MAX_REPORT_BITS else ""
    if len(text) > MAX_NUMBER_CHARACTERS or not _NUMBER.fullmatch(text):
        raise ValueError("not a number of a size that a venue sends")
    number = Decimal(text)
    if not number:
        return "0"
    if abs(number.adjusted()) > 40:
        raise ValueError("not a number of a size that a venue sends")
    return plain_notation(number)


def one_line(text: object, limit: int = 200) -> str:
    """The text of a venue, made printable in one line of a report or a log."""
    return printable(replace_surrogates(str(text)), limit)
