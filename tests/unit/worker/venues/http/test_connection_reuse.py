"""Which connection a request may be sent on: one on which nothing has arrived that does not belong to a response."""

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from tests.support.raw_http_server import OK, Peer, answer, peer, post, read_request, reset
from tests.unit.worker.venues.http.outcomes import assert_lost, assert_not_sent, assert_received
from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest
from worker.venues.http.grammar import NOT_REUSABLE, make_head
from worker.venues.http.pools import Pools
from worker.venues.http.transport import Transport

STRAY = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray"
EARLY = (
    "the connection broke before anything was sent: the connection was closed, or something came, before the request"
)

Way = tuple[Transport, ssl.SSLContext | None]


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def way(request: pytest.FixtureRequest, server_tls: tuple[ssl.SSLContext, str]) -> Iterator[Way]:
    """A transport, and the TLS context of the server if there is TLS."""
    context, certificate = server_tls
    if request.param == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    transport = Transport(HttpLimits(max_idle=60), ca_file=certificate)
    yield transport, None if request.param == "plain" else context
    transport.close()


def send_slowly(
    transport: Transport, server: Peer, until: threading.Event, signing: threading.Event | None = None
) -> Response | NoResponse:
    """Send a withdrawal whose signing sets the event ``signing`` and takes until the event ``until`` is set."""

    def make_request() -> SignedRequest:
        if signing is not None:
            signing.set()
        assert until.wait(50)
        return SignedRequest("POST", server.url + "/auth/withdraw", {}, b"qty=1")

    return transport.send(server.url, make_request)


@pytest.mark.parametrize(
    "surplus", [b"X", STRAY, b" " * 40_000 + STRAY, b"\r\n"], ids=["a byte", "a response", "much", "CR LF"]
)
@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "in pieces"])
def test_bytes_after_a_response_end_the_connection(way: Way, surplus: bytes, together: bool) -> None:
    """They may be in the same segment or TLS record as the response, deciphered already, or still to be received."""
    transport, tls = way
    sent = threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        with suppress(OSError):
            # A client that closes the connection with unread bytes resets it, perhaps during this.
            for piece in [OK + surplus] if together else [OK, surplus]:
                connection.sendall(piece)
        sent.set()
        # The connection stays open, because its end would also keep the next request from using it.
        connection.recv(1)

    with peer(serve, answer(OK), tls=tls) as server:
        first = post(transport, server.url)
        assert sent.wait(50)
        assert_received(first, post(transport, server.url))
        assert server.accepted == 2


def test_bytes_that_arrive_while_a_request_is_signed_keep_it_from_being_sent(way: Way) -> None:
    """The check of the pooled connection was earlier; the last check is directly before the first byte."""
    transport, tls = way
    signing, arrived, ended = threading.Event(), threading.Event(), threading.Event()
    received: list[bytes] = []

    def serve(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(OK)
        signing.wait(50)
        connection.sendall(STRAY)
        arrived.set()
        with suppress(ConnectionResetError):
            received.append(read_request(connection))
        ended.set()

    with peer(serve, answer(OK), tls=tls) as server:
        assert_received(post(transport, server.url))
        assert_not_sent(send_slowly(transport, server, arrived, signing), EARLY)
        assert_received(post(transport, server.url))
        assert ended.wait(50)
    assert b"".join(received) == b""


def test_bytes_on_a_new_connection_keep_a_request_from_being_sent(way: Way) -> None:
    """Nothing has been requested yet. The session tickets of TLS 1.3 do not count, or other tests would fail."""
    transport, tls = way
    sent = threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(STRAY)
        sent.set()
        read_request(connection)

    with peer(serve, answer(OK), tls=tls) as server:
        assert_not_sent(send_slowly(transport, server, sent))
        assert_received(post(transport, server.url))


def test_a_response_that_begins_before_the_request_is_complete_does_not_count(way: Way) -> None:
    """It can't be the response to a request that the server has not read; but the request has been sent."""
    transport, tls = way

    def serve(connection: ssl.SSLSocket) -> None:
        connection.recv(1)
        connection.sendall(STRAY)
        while connection.recv(1_000_000):
            pass

    with peer(serve, answer(OK), tls=tls) as server:
        result = post(transport, server.url, b"a=" + b"1" * 30_000_000)
        assert_lost(result)
        assert "before the request was sent" in str(result)
        assert_received(post(transport, server.url))


def test_the_connection_used_last_is_lent_first_and_no_more_are_kept_than_the_limit() -> None:
    """Each is lent to one thread at a time. Those that were not used for longest become too old first."""
    pools = Pools(HttpLimits(max_idle=60, pool_size=2), DEFAULT_CA_BUNDLE_PATH)
    with socket.create_server(("127.0.0.1", 0)) as server:
        pool = pools.pool(f"http://127.0.0.1:{server.getsockname()[1]}")
        first, second, third = (pool.reserve() for _ in range(3))
        for each in (first, second, third):
            pool.give_back(each)
        assert [each.sock is not None for each in (first, second, third)] == [True, True, False]
        assert [pool.reserve(), pool.reserve()] == [second, first]
        fourth = pool.reserve()
        assert fourth not in (first, second)
        for each in (second, first, fourth):
            pool.give_back(each)
    pools.close()


def test_a_request_that_could_not_be_sent_has_no_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last check something arrives, and the connection is reset: what has arrived is not its response."""
    transport = Transport(HttpLimits(max_idle=60))
    signing, was_reset = threading.Event(), threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(OK)
        signing.wait(50)
        connection.sendall(STRAY)
        reset(connection)
        was_reset.set()

    monkeypatch.setattr("worker.venues.http.connections.is_silent", lambda _: True)
    with peer(serve) as server:
        assert_received(post(transport, server.url))
        assert_not_sent(send_slowly(transport, server, was_reset, signing))


def test_bytes_sent_over_tls_are_counted_record_by_record(server_tls: tuple[ssl.SSLContext, str]) -> None:
    """OpenSSL does not report the records sent before one that failed. Of a long request whose first half the server
    has read, "nothing was sent" would be false."""
    context, certificate = server_tls
    received: list[bytes] = []

    def read_half(connection: ssl.SSLSocket) -> None:
        received.append(connection.recv(10))
        reset(connection)

    with peer(read_half, tls=context) as server:
        assert_lost(post(Transport(ca_file=certificate), server.url, b"a=" + b"1" * 30_000_000))
    assert received


def test_an_end_that_tls_did_not_announce_does_not_end_a_response(server_tls: tuple[ssl.SSLContext, str]) -> None:
    """A response that ends with its connection may have been cut short by anybody (RFC 9112, 9.8)."""
    context, certificate = server_tls
    transport = Transport(ca_file=certificate)

    def cut(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")

    def announced(connection: ssl.SSLSocket) -> None:
        cut(connection)
        connection.unwrap()

    with peer(cut, announced, tls=context) as server:
        assert_lost(post(transport, server.url))
        assert_received(post(transport, server.url))


def max_idle_seconds(minor: int, *fields: tuple[str, str], status: int = 200) -> float:
    """How long a connection may be idle after such a response."""
    return make_head(minor, status, [("Content-Length", "2"), *fields]).max_idle_seconds


@pytest.mark.parametrize(
    ("minor", "fields", "seconds"),
    [
        (1, [], float("inf")),
        (1, [("Connection", "keep-alive")], float("inf")),
        (1, [("connection", "Close")], NOT_REUSABLE),
        (1, [("Connection", "foo, CLOSE ,bar")], NOT_REUSABLE),
        (1, [("Connection", "keep-alive"), ("Connection", "close")], NOT_REUSABLE),
        (1, [("Connection", "closed")], float("inf")),
        (0, [], NOT_REUSABLE),
        (0, [("Connection", "keep-alive")], NOT_REUSABLE),
        (1, [("Keep-Alive", "timeout=5")], 4),
        (1, [("Keep-Alive", "timeout=5, max=100")], 4),
        (1, [("keep-alive", "max=100,Timeout=3")], 2),
        (1, [("Keep-Alive", "timeout=60"), ("Keep-Alive", "timeout=2")], 1),
        (1, [("Keep-Alive", "timeout = 3 , max")], NOT_REUSABLE),
        (1, [("Keep-Alive", " timeout\t= 3 ")], 2),
        (1, [("Keep-Alive", "timeout")], NOT_REUSABLE),
        (1, [("Keep-Alive", "timeout=1")], NOT_REUSABLE),
        (1, [("Keep-Alive", "timeout=0")], NOT_REUSABLE),
        (1, [("Keep-Alive", "timeout=-5")], NOT_REUSABLE),
        (1, [("Keep-Alive", "timeout=soon")], NOT_REUSABLE),
        (1, [("Keep-Alive", "timeout=\xb2")], NOT_REUSABLE),
        (1, [("Keep-Alive", "timeout=" + "9" * 9999)], NOT_REUSABLE),
        (1, [("Keep-Alive", "timeout=60, max=0")], NOT_REUSABLE),
        (1, [("Keep-Alive", "")], float("inf")),
        (1, [("Keep-Alive", "300")], float("inf")),
    ],
)
def test_the_venue_announces_how_long_a_connection_may_be_idle(
    minor: int, fields: list[tuple[str, str]], seconds: float
) -> None:
    """A second is subtracted for the time that a request travels; an unreadable value means that it is not reused."""
    assert max_idle_seconds(minor, *fields) == seconds


@pytest.mark.parametrize("status", [101, 204, 304])
def test_a_response_without_a_body_that_announces_one_ends_the_connection(status: int) -> None:
    """The body might be sent nevertheless, and be read as the next response."""
    assert max_idle_seconds(1, status=status) == NOT_REUSABLE


@pytest.mark.parametrize("announced", ["timeout=1", "timeout=5, max=0", "timeout=x"])
def test_an_announced_end_of_a_connection_is_respected(announced: str) -> None:
    """Even if this side would keep the connection longer."""
    reply = b"HTTP/1.1 200 OK\r\nkeep-alive: " + announced.encode() + b"\r\ncontent-length: 2\r\n\r\n{}"
    transport = Transport(HttpLimits(max_idle=60))
    with peer(answer(reply, times=2), answer(reply)) as server:
        assert_received(post(transport, server.url), post(transport, server.url))
        assert server.accepted == 2


def test_a_connection_is_used_no_longer_than_the_venue_announced() -> None:
    """The time of its last use is moved back, instead of waiting."""
    reply = OK.replace(b"\r\n\r\n", b"\r\nkeep-alive: timeout=30\r\n\r\n")
    transport = Transport(HttpLimits(max_idle=60))
    with peer(answer(reply, times=3), answer(reply)) as server:
        url = server.url
        post(transport, url)
        pool = transport._pools.pool(url)
        for idle, accepted in ((28, 1), (29.5, 2)):
            reserved = pool.reserve()
            pool.give_back(reserved)
            reserved.usable_until -= idle
            assert_received(post(transport, url))
            assert server.accepted == accepted


KEY = "key-0451-of-somebody"
ECHOES = [
    b"HTTP/1.1 200 OK\r\nRequest Id: 7\r\nX-Debug-Api-Key: " + KEY.encode() + b"\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 " + KEY.encode() + b"\r\nX-Key: " + KEY.encode() + b"\r\ncontent-length: 2\r\n\r\n{}",
    KEY.encode() + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: " + KEY.encode() + b"\r\n\r\n{}",
    b"HTTP/1.1 302 Found\r\nlocation: /" + KEY.encode() + b"\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 503 X\r\nretry-after: " + KEY.encode() + b"\r\ntransfer-encoding: chunked\r\n\r\n" + KEY.encode(),
    b"",
]


@pytest.mark.parametrize("reply", ECHOES)
@pytest.mark.parametrize("asked", ["", "urllib3", "urllib3.connectionpool", "http.client", "requests"])
def test_no_library_logs_anything_of_a_request_or_a_response(
    reply: bytes,
    asked: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At any level, even if a library is told to log everything; and nothing is printed, as http.client does."""
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger=asked)
    transport = Transport()
    with peer(answer(reply)) as server:
        url = f"{server.url}/order?id=an-order-of-somebody&key={KEY}"
        result = transport.send(url, lambda: SignedRequest("POST", url, {"x-api-key": KEY}, f"key={KEY}".encode()))
    shown = caplog.text + "".join(capfd.readouterr()) + (result.message if isinstance(result, NoResponse) else "")
    assert "somebody" not in shown
    assert "/order" not in shown
