"""JSON whose numbers keep every digit: a number that a binary float cannot hold is read and written as a Decimal.

Python's ``json`` reads ``284578000.00000004`` as a float, which is another number, and writes that one. This module
reads a number with a fraction or an exponent as a float only if the float's shortest form is equal to what was written.
Celery, which computes with the times in its messages, gets floats as usual. All other numbers become
:class:`~decimal.Decimal`.
"""

import json
import re
import secrets
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

MAX_DIGITS = 4300
"""Digits of a number, written out without exponent: as many as Python converts to an integer by default
(``sys.int_info``), which takes negligible time. A longer number is read as infinity, because whoever converted
``1e999999999`` to an integer would be busy for minutes."""
MAX_CONTAINERS = 50_000
"""Lists and objects in one JSON text. Each takes about a hundred bytes of memory, and two characters of the text."""


class ConflictingValues(list[Any]):
    """The different values of a name that occurs more than once in an object: it is not known which one is meant.

    A list, so that it can be written again, can be told apart, and is refused by arguments that take no list.
    """


def decoder(hook: Callable[[dict[str, Any]], Any] | None = None, marked: str | None = None) -> Callable[[str], Any]:
    """A function that reads a JSON text as :func:`loads` does, and passes each object that has a member ``marked``
    through ``hook``."""

    def whole(pairs: list[tuple[str, Any]]) -> Any:
        value = dict(pairs)
        if len(value) != len(pairs):
            value |= _conflicts(pairs)
        return hook(value) if hook is not None and marked in value else value

    read = json.JSONDecoder(parse_float=_fraction, parse_int=_integer, object_pairs_hook=whole).decode
    # No number in a short text is too long, and Python's scanner reads an integer without a call.
    read_short = json.JSONDecoder(parse_float=_fraction, object_pairs_hook=whole).decode
    return lambda text: read_short(text) if len(text) <= MAX_DIGITS else read(text)


class Encoder(json.JSONEncoder):
    """Encodes a Decimal as a JSON number with the same digits; use it with :func:`dumps`."""

    def default(self, o: Any) -> Any:
        """Encode a value that JSON has no type for."""
        return f"{_MARK}{o}{_MARK}" if isinstance(o, Decimal) and o.is_finite() else super().default(o)


def loads(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError, RecursionError: the text is not JSON.
    """
    return _read(text)


def dumps(value: Any, encoder: Callable[..., Encoder] = Encoder, **options: Any) -> str:
    """The JSON text of a value.

    Raises:
        ValueError, TypeError: the value cannot be encoded.
    """
    text = (_made(encoder) if not options else encoder(**options)).encode(value)
    return _MARKED.sub(r"\1", text) if _MARK in text else text


@cache
def _made(encoder: Callable[..., Encoder]) -> Encoder:
    """One encoder without options for all calls, as json keeps one of its own class."""
    return encoder()


def check_bounds(text: str | bytes, max_length: int, max_containers: int = MAX_CONTAINERS) -> None:
    """Check a JSON text that somebody else has written before it is parsed.

    Raises:
        ValueError: it is longer than ``max_length`` (characters or bytes), or has more lists and objects than
            ``max_containers``. Brackets within strings are counted as well.
    """
    if len(text) > max_length:
        raise ValueError(f"it is longer than {max_length:,}")
    brackets = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
    if len(text) > max_containers and sum(map(text.count, brackets)) > max_containers:  # type: ignore[arg-type]
        raise ValueError(f"it has more than {max_containers:,} lists and objects")


def bounded_number(number: Decimal) -> Decimal:
    """The number, or infinity when it has more than ``MAX_DIGITS`` digits written out without exponent."""
    if not number.is_finite() or (abs(number.adjusted()) <= MAX_DIGITS and len(number.as_tuple().digits) <= MAX_DIGITS):
        return number
    return Decimal("Infinity")


def exact_value(value: Any) -> Any:
    """A float that this module read, as a Decimal with the digits that were written. Other values are returned as
    is."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def _fraction(text: str) -> float | Decimal:
    if len(text) > MAX_DIGITS:
        return Decimal("Infinity")
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent that Decimal cannot hold
        return Decimal("Infinity")
    near = float(text)
    return near if Decimal(repr(near)) == exact else bounded_number(exact)


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= MAX_DIGITS else Decimal("Infinity")


def _conflicts(pairs: list[tuple[str, Any]]) -> dict[str, ConflictingValues]:
    values: dict[str, list[Any]] = {}
    for name, item in pairs:
        values.setdefault(name, []).append(item)
    return {name: ConflictingValues(items) for name, items in values.items() if not _all_equal(items)}


def _all_equal(items: list[Any]) -> bool:
    first, *others = items
    return all(type(each) is type(first) and each == first for each in others)


# Python's encoder writes numbers of its own types only, so a Decimal goes through it as a marked string. Each process
# makes its own mark, which no sender can know.
_MARK = f"number-{secrets.token_hex(16)}-"
_MARKED = re.compile(f'"{_MARK}([^"]*){_MARK}"')
_read = decoder()
