"""JSON from a venue: read within bounds, and without binary floats."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from producers.commands import plain_notation
from producers.printable import printable

DEEPEST = 100
"""How many levels of lists and objects an answer may have: more than any venue's, less than a report's JSON can."""


LONGEST_DIGITS = 4_300
"""Of a number in an answer: Python's own default bound, which a worker raises for its messages alone."""


MOST_ITEMS = 50_000
"""Lists, objects and their items in an answer, all together: a full list of orders has a tenth of them."""


LONGEST_BITS = 13_000
"""Of a number that a report repeats as one: 3,900 digits. Python and JSON readers refuse to read 4,300."""


LONGEST_NUMBER = 100
"""Characters of a position's number that is believed: more than any venue's, and no report is filled with one."""


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def read_json(body: bytes) -> Any:
    """The JSON value of a body, or ``UNREADABLE``.

    Numbers with a fraction become :class:`Decimal`, so that no amount goes through a binary float. NaN and infinity,
    which are not JSON (RFC 8259), make the body unreadable; so do an exponent beyond what a Decimal holds, a depth
    that no report could repeat, more digits or items than any venue sends, which would take seconds to read, and an
    object that says one name twice, and not the same: which of them counts is anybody's guess.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if _is_beyond_bounds(text):
            return UNREADABLE
        value = _JSON.decode(text)
    except (ValueError, ArithmeticError, RecursionError):  # UnicodeDecodeError is a ValueError
        return UNREADABLE
    return UNREADABLE if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deep(value) else value


# Digits in a text count as well: somebody may make a number of them.
# Looked for where a run of them begins, so that none is read twice.
_LONG_NUMBER = re.compile(rf"(?<![-+.eE0-9])[-+.eE0-9]{{{LONGEST_DIGITS + 1}}}")


def _is_beyond_bounds(text: str) -> bool:
    """Whether there is more in it than any venue sends; looked at before anything is made of it."""
    if len(text) <= LONGEST_DIGITS:
        return False
    items = 0 if len(text) <= MOST_ITEMS else sum(text.count(sign) for sign in "[{,")
    return items > MOST_ITEMS or _LONG_NUMBER.search(text) is not None


def _is_deep(value: Any) -> bool:
    """Whether a JSON value has more than ``DEEPEST`` levels; without recursion, which would end at the same."""
    level = [value]
    for _ in range(DEEPEST + 1):
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
"""Stands for a body that is not JSON; no JSON value is equal to it."""


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs) and any(value[name] != item for name, item in pairs):
        raise ValueError("it contradicts itself")
    return value


# Made once: with options of its own `json.loads` makes one for each body, in which a small answer's time goes.
_JSON = json.JSONDecoder(parse_float=Decimal, parse_constant=_not_json, object_pairs_hook=_object)


def to_report_json(value: Any) -> Any:
    """A value read by :func:`read_json` as the plain JSON types of a report.

    A number keeps its type where the JSON number written again says exactly the same and can be read; where a binary
    float would lose digits, or a reader refuse them, it becomes a string with all of them. Half a character, which JSON
    can write and no report can store, becomes a question mark.
    """
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, int) and value.bit_length() > LONGEST_BITS:
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
    """A venue's code, when it is an integer of any use."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= LONGEST_BITS
    return value if whole else None


def replace_surrogates(text: str) -> str:
    """The same text, a question mark in the place of each lone surrogate: UTF-8 can't write one."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def decimal_text(value: Any) -> str | None:
    """A venue's number, quoted or not, as a plain decimal string; None for null and for nothing. Zero is ``0``, however
    it is written.

    Raises:
        TypeError, ValueError, ArithmeticError: when it is no number of a size that a venue sends.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError("not a number")
    # Decimal() itself also reads blanks, underscores and the digits of other scripts.
    text = str(value) if not isinstance(value, int) or value.bit_length() <= LONGEST_BITS else ""
    if len(text) > LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise ValueError("not a number of a size that a venue sends")
    number = Decimal(text)
    if not number:
        return "0"
    if abs(number.adjusted()) > 40:
        raise ValueError("not a number of a size that a venue sends")
    return plain_notation(number)


def one_line(text: object, limit: int = 200) -> str:
    """A venue's words made fit for one line of a report or a log."""
    return printable(replace_surrogates(str(text)), limit)
