"""Celery's messages read and written by :mod:`producers.exact_json`, so that no amount in one goes through a float."""

from typing import Any

from kombu import serialization
from kombu.utils import json as kombu_json

from producers import exact_json


def use() -> None:
    """Let this program's Celery read and write messages so, results and whatever follows a command too."""
    serialization.register("json", dumps, loads, content_type="application/json", content_encoding="utf-8")


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """A message's content. Wrapped values of kombu's (``{"__type__": "decimal", "__value__": "1.5"}``) become what they
    stand for, where they can.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    if isinstance(text, memoryview):
        text = text.tobytes()
    return _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8"))


def dumps(value: Any) -> str:
    """As kombu writes it, but for a Decimal, which kombu would wrap.

    Raises:
        ValueError, TypeError: it can't be written.
    """
    return exact_json.dumps(value, _Encoder)


class _Encoder(exact_json.Encoder, kombu_json.JSONEncoder):  # type: ignore[misc] # kombu publishes no types
    """Of Python's types as of kombu's."""


def _unwrapped(value: dict[str, Any]) -> Any:
    if value.keys() != {"__type__", "__value__"}:
        return value
    try:
        return kombu_json.object_hook(value)
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        return value


_DECODER = exact_json.decoder(_unwrapped)
