"""Which bodies are read as JSON: none that would take seconds to parse or that is larger than venues send."""

import json
import sys
from collections.abc import Iterator

import pytest

from producers.exact_json import MAX_DIGITS
from worker.venues.json_values import MAX_ITEMS, UNREADABLE, read_json

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    """A worker raises Python's limit for the digits of a number, for its messages."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(100_000)
    yield
    sys.set_int_max_str_digits(before)


def filled(piece: bytes, last: bytes = b"1") -> bytes:
    """A list of as many pieces as fit into the largest body."""
    return b"[" + piece * ((MIB - 10) // len(piece)) + last + b"]"


BEYOND = {
    "a number of all digits": b"9" * MIB,
    "one digit too many": b"9" * (MAX_DIGITS + 1),
    "in a fraction": b'{"qty":0.' + b"1" * (MAX_DIGITS + 1) + b"}",
    "in an exponent": b"[1e" + b"0" * (MAX_DIGITS + 1) + b"1]",
    "in a text": b'{"qty":"' + b"9" * (MAX_DIGITS + 1) + b'"}',
    "in UTF-16": ("[" + "9" * (MAX_DIGITS + 1) + "]").encode("utf-16"),
    "many long ones": filled(b"9" * 99_000 + b","),
    "lists": filled(b"[],"),
    "objects": filled(b"{},"),
    "names": b"{" + b",".join(b'"%d":1' % number for number in range(MAX_ITEMS + 1)) + b"}",
    "one item too many": b"[" + b"1," * MAX_ITEMS + b"1]",
    "lists in lists": b"[" * (MIB // 2) + b"]" * (MIB // 2),
}


@pytest.mark.parametrize("name", BEYOND)
def test_more_than_any_venue_sends_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This is checked before the body is parsed."""
    monkeypatch.setattr("worker.venues.json_values._decoder", None)
    assert read_json(BEYOND[name]) is UNREADABLE


READ = {
    "the longest number": b"[" + b"9" * MAX_DIGITS + b"]",
    "the longest fraction": b"[0." + b"1" * (MAX_DIGITS - 2) + b"]",
    "as many items as may be": b"[" + b"1," * (MAX_ITEMS - 2) + b"1]",
    "one long text": b'["' + b"a" * (MIB - 10) + b'"]',
    "many numbers": b"[" + b"123456789.123456789," * 40_000 + b"1]",
    "blanks": b" " * (MIB - 2) + b"{}",
    "a long list of orders": json.dumps(
        [{"id": f"order-{n}", "qty": "0.5", "status": "ACTIVE"} for n in range(9000)]
    ).encode(),
}


@pytest.mark.parametrize("name", READ)
def test_what_a_venue_might_send_is_read(name: str) -> None:
    """Up to the limits."""
    assert read_json(READ[name]) is not UNREADABLE
