"""Which connection a request may be sent on: one on which nothing is, and nothing was, that it did not ask for."""

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.certificates import self_signed
from tests.support.raw_http_server import OK, answer, peer, post, read_request, reset
from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest
from worker.venues.http.grammar import NOT_REUSABLE, make_head
from worker.venues.http.transport import Transport

STRAY = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray"
EARLY = (
    "the connection broke before anything was sent: the connection was closed, or something came, before the request"
)


@pytest.fixture
def server_tls(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS, and the file that a client trusts it by."""
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, str(cert)


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def way(
    request: pytest.FixtureRequest, server_tls: tuple[ssl.SSLContext, str]
) -> Iterator[tuple[Transport, ssl.SSLContext | None]]:
    """A transport and the server's side of a connection, over which bytes come in several ways."""
    context, trusted = server_tls
    if request.param == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    transport = Transport(HttpLimits(max_idle=60), ca_file=trusted)
    yield transport, None if request.param == "plain" else context
    transport.close()


@pytest.mark.parametrize(
    "surplus", [b"X", STRAY, b" " * 40_000 + STRAY, b"\r\n"], ids=["a byte", "an answer", "much", "CR LF"]
)
@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "in pieces"])
def test_what_follows_an_answer_ends_the_connection(
    way: tuple[Transport, ssl.SSLContext | None], surplus: bytes, together: bool
) -> None:
    """Whether it is in the same segment, in the same TLS record, deciphered already or not, or still to be read."""
    transport, tls = way
    came = threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        with suppress(OSError):
            # Who closes what it has not read resets it, perhaps while this is still sending.
            for piece in [OK + surplus] if together else [OK, surplus]:
                connection.sendall(piece)
        came.set()
        # Stays open: that it is closed must not be what keeps the next request from it.
        connection.recv(1)

    with peer(serve, answer(OK), tls=tls) as server:
        first = post(transport, server.url)
        assert came.wait(5)
        second = post(transport, server.url)
        assert server.accepted == 2
    assert isinstance(first, Response)
    assert isinstance(second, Response)
    assert first.body == second.body == b"{}"


def test_what_comes_while_a_request_is_signed_keeps_it_from_leaving(
    way: tuple[Transport, ssl.SSLContext | None],
) -> None:
    """The look at the pooled connection was before; this one is the last thing before the first byte."""
    transport, tls = way
    signing, came, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[bytes] = []

    def serve(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(OK)
        signing.wait(5)
        connection.sendall(STRAY)
        came.set()
        with suppress(ConnectionResetError):
            seen.append(read_request(connection))
        ended.set()

    with peer(serve, answer(OK), tls=tls) as server:
        assert isinstance(post(transport, server.url), Response)

        def prepare() -> SignedRequest:
            signing.set()
            assert came.wait(5)
            return SignedRequest("POST", server.url + "/auth/withdraw", {}, b"qty=1")

        result = transport.send(server.url, prepare)
        again = post(transport, server.url)
        assert ended.wait(5)
    assert isinstance(result, NoResponse)
    assert not result.bytes_left
    assert result.message.startswith(EARLY)
    assert isinstance(again, Response)
    assert again.body == b"{}"
    assert b"".join(seen) == b""


def test_what_comes_on_a_new_connection_keeps_a_request_from_leaving(
    way: tuple[Transport, ssl.SSLContext | None],
) -> None:
    """Nobody has asked anything yet. TLS 1.3's tickets, which come then too, are nothing: other tests would fail."""
    transport, tls = way
    came = threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(STRAY)
        came.set()
        read_request(connection)

    with peer(serve, answer(OK), tls=tls) as server:

        def prepare() -> SignedRequest:
            assert came.wait(5)
            return SignedRequest("POST", server.url + "/auth/withdraw", {}, b"qty=1")

        result = transport.send(server.url, prepare)
        again = post(transport, server.url)
    assert isinstance(result, NoResponse)
    assert not result.bytes_left
    assert isinstance(again, Response)


def test_an_answer_that_begins_before_the_request_is_whole_is_none(
    way: tuple[Transport, ssl.SSLContext | None],
) -> None:
    """It can't be to a request that nobody has read, even if all of it is read in the end; but that has left."""
    transport, tls = way

    def serve(connection: ssl.SSLSocket) -> None:
        connection.recv(1)
        connection.sendall(STRAY)
        while connection.recv(1_000_000):
            pass

    with peer(serve, answer(OK), tls=tls) as server:
        result = post(transport, server.url, b"a=" + b"1" * 30_000_000)
        again = post(transport, server.url)
    assert isinstance(result, NoResponse)
    assert result.bytes_left
    assert result.message.endswith("before the request was sent")
    assert isinstance(again, Response)
    assert again.body == b"{}"


def test_a_request_that_could_not_leave_has_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the moment after the last look something comes, and the connection is reset. Sending fails; urllib3 passes
    over that, and would read what came as the answer."""
    transport = Transport(HttpLimits(max_idle=60))
    signing, was_reset = threading.Event(), threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(OK)
        signing.wait(5)
        connection.sendall(STRAY)
        reset(connection)
        was_reset.set()

    def prepare() -> SignedRequest:
        signing.set()
        assert was_reset.wait(5)
        return SignedRequest("POST", server.url + "/auth/withdraw", {}, b"qty=1")

    monkeypatch.setattr("worker.venues.http.connections.is_silent", lambda _: True)
    with peer(serve) as server:
        assert isinstance(post(transport, server.url), Response)
        result = transport.send(server.url, prepare)
    assert isinstance(result, NoResponse)
    assert not result.bytes_left


def test_what_left_over_tls_is_counted_record_by_record(server_tls: tuple[ssl.SSLContext, str]) -> None:
    """OpenSSL tells nothing of the records that left before the one that failed: of a long request whose first half a
    peer has read, "never left" would be untrue."""
    context, trusted = server_tls
    read: list[bytes] = []

    def half(connection: ssl.SSLSocket) -> None:
        read.append(connection.recv(10))
        reset(connection)

    with peer(half, tls=context) as server:
        result = post(Transport(ca_file=trusted), server.url, b"a=" + b"1" * 30_000_000)
    assert read
    assert isinstance(result, NoResponse)
    assert result.bytes_left


def test_an_end_that_tls_did_not_announce_is_no_end_of_an_answer(server_tls: tuple[ssl.SSLContext, str]) -> None:
    """An answer that ends with its connection may have been cut short by anybody (RFC 9112, 9.8)."""
    context, trusted = server_tls
    transport = Transport(ca_file=trusted)
    until_end = b"HTTP/1.1 200 OK\r\n\r\n{}"

    def cut(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(until_end)

    def announced(connection: ssl.SSLSocket) -> None:
        read_request(connection)
        connection.sendall(until_end)
        connection.unwrap()

    with peer(cut, announced, tls=context) as server:
        lost, whole = post(transport, server.url), post(transport, server.url)
    assert isinstance(lost, NoResponse)
    assert lost.bytes_left
    assert isinstance(whole, Response)
    assert whole.body == b"{}"


def idle_seconds(minor: int, *fields: tuple[str, str], status: int = 200) -> float:
    """Of a connection after such an answer."""
    return make_head(minor, status, [("Content-Length", "2"), *fields]).max_idle_seconds


NEVER = NOT_REUSABLE


@pytest.mark.parametrize(
    ("minor", "fields", "seconds"),
    [
        (1, [], float("inf")),
        (1, [("Connection", "keep-alive")], float("inf")),
        (1, [("connection", "Close")], NEVER),
        (1, [("Connection", "foo, CLOSE ,bar")], NEVER),
        (1, [("Connection", "keep-alive"), ("Connection", "close")], NEVER),
        (1, [("Connection", "closed")], float("inf")),
        (0, [], NEVER),
        (0, [("Connection", "keep-alive")], NEVER),
        (1, [("Keep-Alive", "timeout=5")], 4),
        (1, [("Keep-Alive", "timeout=5, max=100")], 4),
        (1, [("keep-alive", "max=100,Timeout=3")], 2),
        (1, [("Keep-Alive", "timeout=60"), ("Keep-Alive", "timeout=2")], 1),
        (1, [("Keep-Alive", "timeout = 3 , max")], NEVER),
        (1, [("Keep-Alive", " timeout\t= 3 ")], 2),
        (1, [("Keep-Alive", "timeout")], NEVER),
        (1, [("Keep-Alive", "timeout=1")], NEVER),
        (1, [("Keep-Alive", "timeout=0")], NEVER),
        (1, [("Keep-Alive", "timeout=-5")], NEVER),
        (1, [("Keep-Alive", "timeout=soon")], NEVER),
        (1, [("Keep-Alive", "timeout=\xb2")], NEVER),
        (1, [("Keep-Alive", "timeout=" + "9" * 9999)], NEVER),
        (1, [("Keep-Alive", "timeout=60, max=0")], NEVER),
        (1, [("Keep-Alive", "")], float("inf")),
        (1, [("Keep-Alive", "300")], float("inf")),
    ],
)
def test_how_long_a_connection_may_be_idle_is_the_venues_word(
    minor: int, fields: list[tuple[str, str]], seconds: float
) -> None:
    """Less a second, in which a request may travel and clocks may differ; what can't be read is not relied upon."""
    assert idle_seconds(minor, *fields) == seconds


@pytest.mark.parametrize("status", [101, 204, 304])
def test_an_answer_without_a_body_that_speaks_of_one_ends_the_connection(status: int) -> None:
    """The body might come all the same, and be read as an answer."""
    assert idle_seconds(1, status=status) == NEVER


@pytest.mark.parametrize("announced", ["timeout=1", "timeout=5, max=0", "timeout=x"])
def test_an_announced_end_of_a_connection_is_heeded(announced: str) -> None:
    """However long ours would be."""
    said = b"HTTP/1.1 200 OK\r\nkeep-alive: " + announced.encode() + b"\r\ncontent-length: 2\r\n\r\n{}"
    transport = Transport(HttpLimits(max_idle=60))
    with peer(answer(said, times=2), answer(said)) as server:
        assert [type(post(transport, server.url)) for _ in range(2)] == [Response, Response]
        assert server.accepted == 2


def test_a_connection_is_idle_no_longer_than_was_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is turned on, so that nobody waits."""
    said = OK.replace(b"\r\n\r\n", b"\r\nkeep-alive: timeout=30\r\n\r\n")
    transport = Transport(HttpLimits(max_idle=60))
    url = ""
    with peer(answer(said, times=3), answer(said)) as server:
        url = server.url
        post(transport, url)
        connections = transport._adapter.pool(url)
        for idle, accepted in ((28, 1), (29.5, 2)):
            reserved = connections.reserve(lambda: pytest.fail("not asked"))  # type: ignore[attr-defined]
            connections.return_unused()
            reserved.last_used -= idle
            assert isinstance(post(transport, url), Response)
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
def test_no_library_logs_anything_of_a_request_or_an_answer(
    reply: bytes,
    asked: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At whatever level, even where somebody asks a library for all; nor on the terminal, as http.client does."""
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger=asked)
    transport = Transport()
    with peer(answer(reply)) as server:
        url = f"{server.url}/order?id=an-order-of-somebody&key={KEY}"
        result = transport.send(url, lambda: SignedRequest("POST", url, {"x-api-key": KEY}, f"key={KEY}".encode()))
    told = caplog.text + "".join(capfd.readouterr()) + (result.message if isinstance(result, NoResponse) else "")
    assert "somebody" not in told
    assert "/order" not in told
