"""Requests are sent byte for byte as ccxt has signed them, or not at all."""

import itertools

import pytest
import requests

from worker.venues.ccxt.binding import BuiltRequest
from worker.venues.ccxt.requests import NotAsAsked, is_reduce_only, to_signed_request
from worker.venues.http.base import SignedRequest
from worker.venues.http.outgoing import to_prepared_request

ORIGIN = "https://api.exchange.com"
PIECES = ("a", "0", ".", "/", "?", "&", "=", "+", " ", "%", "%2F", "%2f", "%41", "[", "é")


def to_send(url: str, method: str = "GET", body: str | None = None, address: str = ORIGIN) -> SignedRequest:
    return to_signed_request(BuiltRequest(method, url, {"a": "b"}, body), address, {"c": "d"})


def test_what_is_sent_is_what_was_signed() -> None:
    """The transport writes some URLs in another way; they are refused."""
    sent = 0
    for pieces in itertools.product(PIECES, repeat=3):
        url = f"{ORIGIN}/v1{''.join(pieces)}"
        try:
            request = to_send(url)
        except NotAsAsked:
            continue
        assert requests.Request("GET", url).prepare().url == request.url == url
        sent += 1
    assert sent > 500


@pytest.mark.parametrize("query", ["", "?symbol=BTC-USDT&time=2026-01-01T00%3A00%3A00.000Z", "?a=[1]", "?a=%5B1%5D"])
def test_usual_urls_are_sent(query: str) -> None:
    if "[" in query:
        with pytest.raises(NotAsAsked):
            to_send(f"{ORIGIN}/v1/orders{query}")
    else:
        assert to_send(f"{ORIGIN}/v1/orders{query}", address="http://127.0.0.1:1").url == (
            f"http://127.0.0.1:1/v1/orders{query}"
        )


@pytest.mark.parametrize(
    ("method", "body", "sent"), [("GET", None, None), ("POST", None, b""), ("POST", "é", "é".encode())]
)
def test_a_request_has_the_headers_and_the_bytes_of_its_body(method: str, body: str | None, sent: bytes | None) -> None:
    request = to_send(f"{ORIGIN}/v1", method, body)
    assert (request.headers, request.body) == ({"a": "b", "c": "d"}, sent)
    assert to_prepared_request(request).headers.get("Content-Length") == (None if sent is None else str(len(sent)))


@pytest.mark.parametrize(
    ("query", "body", "reduces"),
    [
        ("reduceOnly=true", None, True),
        ("", '{"order":{"reduceOnly":"YES"}}', True),
        ("", '[{"reduce_only":true}]', True),
        ("reduceOnly=false", None, False),
        ("", '{"reduceOnly":false}', False),
        ("", '{"close":true}', False),
    ],
)
def test_what_says_that_it_only_reduces(query: str, body: str | None, reduces: bool) -> None:
    assert is_reduce_only(BuiltRequest("POST", f"{ORIGIN}/v1?{query}", {}, body)) is reduces
