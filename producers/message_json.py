"""Celery's JSON serializer replaced by :mod:`producers.exact_json`, so that no amount in a message becomes a float."""

from decimal import Decimal
from typing import Any

from kombu import serialization
from kombu.utils import json as kombu_json

from producers import exact_json


def use() -> None:
    """Register the serializer for this process: for commands, results, and tasks that follow a command."""
    serialization.register("json", dumps, loads, content_type="application/json", content_encoding="utf-8")


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """Decode a message. Values that kombu wraps (``{"__type__": "decimal", "__value__": "1.5"}``) are unwrapped where
    possible.

    Raises:
        ValueError, RecursionError: the text is not JSON.
    """
    if isinstance(text, memoryview):
        text = text.tobytes()
    return _read(text if isinstance(text, str) else text.decode("utf-8"))


def dumps(value: Any) -> str:
    """Encode a message as kombu does, except for a Decimal, which kombu would wrap.

    Raises:
        ValueError, TypeError: the value cannot be encoded.
    """
    return exact_json.dumps(value, _Encoder)


class _Encoder(exact_json.Encoder, kombu_json.JSONEncoder):  # type: ignore[misc] # kombu publishes no types
    """Encodes what kombu encodes, and Decimals as numbers."""


def _unwrapped(value: dict[str, Any]) -> Any:
    if value.keys() != {"__type__", "__value__"}:
        return value
    try:
        unwrapped = kombu_json.object_hook(value)
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        return value
    return exact_json.bounded_number(unwrapped) if isinstance(unwrapped, Decimal) else unwrapped


_read = exact_json.decoder(_unwrapped, "__type__")
