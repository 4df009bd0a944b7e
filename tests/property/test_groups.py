"""The group of a message is the same at the server and in a worker, whatever its sender wrote."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.support.servers import Server
from worker.broker.groups import group_of
from worker.broker.scripts import read_script

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("main", "spare", "a-1")
GROUP = read_script("worker.broker", "groups.lua").source + "return group_of(ARGV[1], ARGV[2])"


@pytest.fixture(scope="module")
def server() -> Iterator[redis.Redis]:
    with Server() as running:
        yield redis.Redis(port=running.port)


def both(server: redis.Redis, raw: bytes) -> str:
    """The group that both find."""
    at_server: Any = server.eval(GROUP, 0, raw, f" {' '.join(NAMES)} ")  # type: ignore[arg-type, unused-ignore]
    found = group_of(raw, NAMES)
    assert at_server.decode("latin-1") == found
    return found


def raw(body: bytes, **headers: str) -> bytes:
    return json.dumps({"body": b64encode(body).decode(), "headers": headers}).encode()


FRAGMENTS = st.sampled_from(
    [
        *(b'"account"', b'"accoun', b'account"', b"ccount", b"acc", b":", b" ", b"\t\r\n ", b'"', b'"main"', b'"MAIN"'),
        *(b'"?"', b'"main spare"', b'"spare', b'"gone"', b'""', b"{", b"[", b'\\"', b"x", b"\xc3", b'"m\xc4"'),
        b'"account": "a-1"',
    ]
)
BODIES = st.lists(st.one_of(FRAGMENTS, st.binary(max_size=4))).map(b"".join)


@given(body=BODIES)
def test_of_any_body(server: redis.Redis, body: bytes) -> None:
    both(server, raw(body))


@given(before=st.integers(3900, 4100), body=BODIES, spaces=st.integers(0, 140))
def test_of_a_long_one(server: redis.Redis, before: int, body: bytes, spaces: int) -> None:
    both(server, raw(b"x" * before + b'"account"' + b" " * spaces + b':"main"' + body))


@given(text=st.binary(max_size=60), more=BODIES)
def test_of_what_is_no_message(server: redis.Redis, text: bytes, more: bytes) -> None:
    for each in (text, b'{"body" \n:"' + text, raw(more)[:-20] + text, b'"body":"' + b64encode(more).rstrip(b"=")[:-1]):
        both(server, each)


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize(
    ("body", "group"),
    [
        (b'[[], {"account": "main", "order_id": "1"}, {}]', "main"),
        (b'[[], {"order_id": "1", "account":"Main"}, {}]', "main"),
        (b'[[], {"account": "made-up"}, {}]', "?"),
        (b'[[], {"account": 5}, {}]', "?"),
        (b'[[], {"text": "\\"account\\": \\"main\\"", "account": "spare"}, {}]', "spare"),
        (b'[[], {"account": "main spare"}, {}]', "?"),
        (b"[[], {}, {}]", "?"),
        (b'"account" "account": "a-1"', "a-1"),
        (b'"account" ' * 2 + b'"account": "main"', "?"),
    ],
)
def test_of_a_command(server: redis.Redis, body: bytes, group: str, shift: int) -> None:
    """Wherever among three bytes, which base64 makes four characters of, the name begins."""
    assert both(server, raw(b" " * shift + body)) == group


def test_work_is_bounded(server: redis.Redis) -> None:
    """A body that is nothing but names takes no longer than one that has none."""
    for body in (
        b'"account"' * 7000,
        b"ccount" * 10_000,
        b'"account":' + b" " * 40_000,
        b'"account": "' + b"m" * 40_000,
    ):
        assert both(server, raw(body)[:65_536]) == "?"
    assert both(server, b'"body":' + b" " * 60_000) == "?"
    assert both(server, b"x" * 10 + raw(b'"account": "main"') + b" " * 65_536) == "?"
