"""JSON whose numbers keep every digit: what a binary float can't hold comes as a Decimal, and leaves as it came.

``json`` reads ``284578000.00000004`` as a float that is another number, and writes it as that. Here a number with a
fraction or an exponent is a float only where its shortest form says the same: then it is what was written, and Celery,
which reckons with the times in its own messages, gets what it expects. Any other is a :class:`~decimal.Decimal`.
"""

import json
import re
import secrets
from decimal import Decimal, InvalidOperation
from typing import Any

from kombu import serialization
from kombu.utils import json as kombu_json

MOST_DIGITS = 4300
"""Of an integer: as many as Python reads by default, in a time that matters to nobody (``sys.int_info``)."""


class SaidTwice(list[Any]):
    """The values of a name that one object says more than once, and not with the same value: nobody knows which counts.

    A list, so that it can be written again and told apart, and is refused where an argument takes none.
    """


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """A JSON text. Wrapped values of Celery's (``{"__type__": "decimal", "__value__": "1.5"}``) become what they stand
    for, where they can.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    if isinstance(text, memoryview):
        text = text.tobytes()
    return _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8"))


def dumps(value: Any, **options: Any) -> str:
    """As kombu writes it, but for a Decimal, which becomes a JSON number with the same digits.

    Raises:
        ValueError, TypeError: it can't be written.
    """
    text: str = kombu_json.dumps(value, cls=_Encoder, **options)
    return _MARKED.sub(r"\1", text) if _MARK in text else text


def use() -> None:
    """Let this program's Celery read and write messages so, results and whatever follows a command too."""
    serialization.register("json", dumps, loads, content_type="application/json", content_encoding="utf-8")


def as_written(value: Any) -> Any:
    """A float that :func:`loads` has read as a Decimal: the digits that were written. Anything else stays."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def _fraction(text: str) -> float | Decimal:
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal itself can hold
        return Decimal("Infinity")
    near = float(text)
    return near if Decimal(repr(near)) == exact else exact


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= MOST_DIGITS else Decimal(text)


def _object(pairs: list[tuple[str, Any]]) -> Any:
    value = dict(pairs)
    if len(value) != len(pairs):
        said: dict[str, list[Any]] = {}
        for name, item in pairs:
            said.setdefault(name, []).append(item)
        value |= {name: SaidTwice(items) for name, items in said.items() if not _alike(items)}
    if value.keys() != {"__type__", "__value__"}:
        return value
    try:
        return kombu_json.object_hook(value)
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        return value


def _alike(items: list[Any]) -> bool:
    first, *others = items
    return all(type(each) is type(first) and each == first for each in others)


class _Encoder(kombu_json.JSONEncoder):  # type: ignore[misc] # kombu publishes no types
    def default(self, o: Any) -> Any:
        """What JSON has no type for."""
        return f"{_MARK}{o}{_MARK}" if isinstance(o, Decimal) and o.is_finite() else super().default(o)


# Python's encoder writes digits for its own numbers alone. No sender can know the mark, which each process makes anew.
_MARK = f"number-{secrets.token_hex(16)}-"
_MARKED = re.compile(f'"{_MARK}([^"]*){_MARK}"')
_DECODER = json.JSONDecoder(parse_float=_fraction, parse_int=_integer, object_pairs_hook=_object)
