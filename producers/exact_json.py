"""JSON whose numbers keep every digit: what a binary float can't hold comes as a Decimal, and leaves as it came.

``json`` reads ``284578000.00000004`` as a float that is another number, and writes it as that. Here a number with a
fraction or an exponent is a float only where its shortest form says the same: then it is what was written, and Celery,
which reckons with the times in its own messages, gets what it expects. Any other is a :class:`~decimal.Decimal`.
"""

import json
import re
import secrets
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_DIGITS = 4300
"""Of an integer: as many as Python reads by default, in a time that matters to nobody (``sys.int_info``)."""


class ConflictingValues(list[Any]):
    """The values of a name that one object says more than once, and not with the same value: nobody knows which counts.

    A list, so that it can be written again and told apart, and is refused where an argument takes none.
    """


def decoder(hook: Callable[[dict[str, Any]], Any] = lambda value: value) -> json.JSONDecoder:
    """A decoder that makes of each object what ``hook`` makes of it."""
    return json.JSONDecoder(
        parse_float=_fraction, parse_int=_integer, object_pairs_hook=lambda pairs: hook(_object(pairs))
    )


class Encoder(json.JSONEncoder):
    """Writes a Decimal as a JSON number with the same digits; use it with :func:`dumps`."""

    def default(self, o: Any) -> Any:
        """What JSON has no type for."""
        return f"{_MARK}{o}{_MARK}" if isinstance(o, Decimal) and o.is_finite() else super().default(o)


def loads(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    return _DECODER.decode(text)


def dumps(value: Any, encoder: type[Encoder] = Encoder, **options: Any) -> str:
    """The JSON text of a value.

    Raises:
        ValueError, TypeError: it can't be written.
    """
    text = json.dumps(value, cls=encoder, **options)
    return _MARKED.sub(r"\1", text) if _MARK in text else text


def exact_value(value: Any) -> Any:
    """A float that was read here as a Decimal: the digits that were written. Anything else stays."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def _fraction(text: str) -> float | Decimal:
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal itself can hold
        return Decimal("Infinity")
    near = float(text)
    return near if Decimal(repr(near)) == exact else exact


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= MAX_DIGITS else Decimal(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        said: dict[str, list[Any]] = {}
        for name, item in pairs:
            said.setdefault(name, []).append(item)
        value |= {name: ConflictingValues(items) for name, items in said.items() if not _alike(items)}
    return value


def _alike(items: list[Any]) -> bool:
    first, *others = items
    return all(type(each) is type(first) and each == first for each in others)


# Python's encoder writes digits for its own numbers alone. No sender can know the mark, which each process makes anew.
_MARK = f"number-{secrets.token_hex(16)}-"
_MARKED = re.compile(f'"{_MARK}([^"]*){_MARK}"')
_DECODER = decoder()
