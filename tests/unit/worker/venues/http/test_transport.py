"""Whether any byte of a request was sent, over real sockets, plain and TLS."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.raw_http_server import OK, answer, peer, post, read_request, reset
from tests.unit.worker.venues.http.outcomes import assert_lost, assert_not_sent, assert_received
from worker.venues.http import outgoing
from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest
from worker.venues.http.connections import CountingConnection
from worker.venues.http.outgoing import MAX_SIGNATURES, SIGNATURE_MAX_AGE_SECONDS, USER_AGENT, SentBytes
from worker.venues.http.pools import ReservingPool
from worker.venues.http.transport import Transport

LIMITS = HttpLimits(connect_timeout=20, read_timeout=20, max_idle=60, max_response_bytes=1000)
UNVERIFIED = NoResponse(bytes_left=False, message="no connection to the venue: TLS failed")


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport that takes short responses only."""
    made = Transport(LIMITS)
    yield made
    made.close()


def withdrawal(url: str) -> SignedRequest:
    """A request that must not be sent twice."""
    return SignedRequest("POST", url + "/auth/withdraw", {}, b"qty=1")


def read_and_reset(connection: socket.socket) -> None:
    """Read a request, then reset the connection."""
    read_request(connection)
    reset(connection)


def test_a_response_is_complete_and_the_connection_is_kept(transport: Transport) -> None:
    """Status and body, twice over one connection."""
    with peer(answer(OK, times=2)) as server:
        first, second = post(transport, server.url), post(transport, server.url)
    assert isinstance(first, Response)
    assert (first.status, first.body) == (200, b"{}")
    assert second == first
    assert server.accepted == 1


def test_the_bytes_sent_are_the_bytes_signed(transport: Transport) -> None:
    """Head and body arrive in one piece, and no content coding is requested."""
    received: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        received.append(connection.recv(65536))
        connection.sendall(OK)

    with peer(serve) as server:
        post(transport, server.url, b"pair=A&qty=0.00001")
    assert received[0].endswith(b"\r\n\r\npair=A&qty=0.00001")
    assert b"accept-encoding: identity" in received[0].lower()


def test_nothing_is_signed_without_a_connection(transport: Transport) -> None:
    """The venue refuses the connection, its name can't be resolved, or its URL is wrong, as after a slip in a
    setting."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for url, message in (
        (closed, "connection refused"),
        ("http://no-such-host.invalid", "its name can't be resolved"),
        ("https://venue.invalid:99999", ""),
        ("https://*.invalid", ""),
        ("https://ve nue.invalid", ""),
    ):
        result = transport.send(url, lambda: pytest.fail("signed without a connection"))
        assert_not_sent(result, f"no connection to the venue: {message}")
        assert "127.0.0.1" not in str(result)


def test_a_connect_timeout_sends_nothing() -> None:
    """A listener with a full backlog accepts no connection."""
    impatient = Transport(HttpLimits(connect_timeout=0.2))
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        result = post(impatient, f"http://127.0.0.1:{port}")
        for each in waiting:
            each.close()
    assert result == NoResponse(bytes_left=False, message="no connection to the venue: connecting took too long")


def test_failed_tls_sends_nothing(
    transport: Transport, server_tls: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port does not speak TLS, or the certificate is not among the bundled ones, whatever the environment
    trusts."""
    context, certificate = server_tls
    with peer(lambda c: (c.recv(1), c.sendall(b"what?\r\n"), None)[2]) as plain:
        assert post(transport, plain.url.replace("http:", "https:")) == UNVERIFIED
    with peer(answer(OK), tls=context) as unknown:
        assert post(transport, unknown.url) == UNVERIFIED
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    with peer(answer(OK), tls=context) as trusted_by_the_environment:
        assert post(Transport(LIMITS), trusted_by_the_environment.url) == UNVERIFIED


def test_tls_with_a_trusted_certificate_works(server_tls: tuple[ssl.SSLContext, str]) -> None:
    """Bytes are counted over TLS as well."""
    context, certificate = server_tls
    trusting = Transport(LIMITS, ca_file=certificate)
    with peer(answer(OK, times=2), tls=context) as server:
        assert_received(post(trusting, server.url), post(trusting, server.url))
        assert server.accepted == 1
    with peer(read_and_reset, tls=context) as server:
        assert_lost(post(trusting, server.url))


def test_an_idle_connection_that_the_venue_closed_is_replaced(transport: Transport) -> None:
    """This is noticed before the request is signed."""
    closed = threading.Event()

    def first(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)
        reset(connection)
        closed.set()

    with peer(first, answer(OK)) as server:
        assert_received(post(transport, server.url))
        assert closed.wait(50)
        assert_received(post(transport, server.url))
    assert server.accepted == 2


def test_a_reset_before_the_first_byte_proves_that_nothing_was_sent(transport: Transport) -> None:
    """The reset arrives while the request is signed, after the check for a closed connection: the first ``send``
    fails."""
    signing, was_reset = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)
        signing.wait(50)
        reset(connection)
        was_reset.set()

    with peer(serve) as server:
        assert_received(post(transport, server.url))

        def make_request() -> SignedRequest:
            signing.set()
            assert was_reset.wait(50)
            return withdrawal(server.url)

        result = transport.send(server.url, make_request)
    assert_not_sent(result, "the connection broke before anything was sent")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (None, "the reply was lost: connection reset"),
        (b"", "the reply was lost"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "the reply was lost: the response ended half-way"),
        (b"\x00\x01nonsense\r\n\r\n", "the reply was lost: malformed response"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000, "a response of more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "the reply was lost: malformed response"),
    ],
    ids=["reset", "closed", "half", "no HTTP", "too large", "broken chunks"],
)
def test_an_incomplete_response_is_lost(transport: Transport, reply: bytes | None, message: str) -> None:
    """Whatever is wrong with the response, the request was sent and may have been executed."""
    with peer(read_and_reset if reply is None else answer(reply)) as server:
        assert_lost(post(transport, server.url), message)


@pytest.mark.parametrize("trickle", [None, b"x: ", b"content-length: 900\r\n\r\n"], ids=["silence", "head", "body"])
def test_the_time_limit_is_for_the_whole_response(trickle: bytes | None) -> None:
    """It also ends a response of which a byte arrives now and then."""
    done, transport = threading.Event(), Transport(HttpLimits(read_timeout=0.5))

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        if trickle is not None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + trickle)
        while not done.wait(0.05):
            connection.sendall(b"" if trickle is None else b"x")

    with peer(serve) as server:
        result = post(transport, server.url)
        done.set()
    assert_lost(result, "the reply was lost: no answer in time")


def test_the_time_limit_of_a_response_does_not_apply_to_the_next_request(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is non-blocking again before the next request is sent."""
    timeouts: list[float | None] = []
    send_request = CountingConnection.send_request

    def record(connection: CountingConnection, sent: SentBytes) -> requests.PreparedRequest:
        timeouts.append(connection.sock.gettimeout())
        return send_request(connection, sent)

    monkeypatch.setattr(CountingConnection, "send_request", record)
    with peer(answer(OK, times=2)) as server:
        assert_received(post(transport, server.url), post(transport, server.url, b"a=" + b"1" * 3_000_000))
        assert server.accepted == 1
    assert timeouts == [0, 0]


def test_a_connection_that_was_idle_for_too_long_is_not_used() -> None:
    """A request never meets a connection that the venue is about to close."""
    impatient = Transport(HttpLimits(max_idle=0.0))
    with peer(answer(OK), answer(OK)) as server:
        assert_received(post(impatient, server.url), post(impatient, server.url))
        assert server.accepted == 2


def test_redirects_are_not_followed(transport: Transport) -> None:
    """A signed request is sent only to the address that it was signed for."""
    with peer(answer(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")) as server:
        result = post(transport, server.url)
    assert isinstance(result, Response)
    assert result.status == 302


def test_interim_responses_are_skipped(transport: Transport) -> None:
    """After 102 and 103 the response is still to come (RFC 9110, 15.2), and must not be left to the next request."""
    interim = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    asked = threading.Event()

    def serve(connection: socket.socket) -> None:
        for number in (b"1", b"2"):
            read_request(connection)
            connection.sendall(interim)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + number)
        asked.set()

    with peer(serve) as server:
        results = [post(transport, server.url) for _ in range(2)]
        assert asked.wait(50)
    assert [(each.status, each.body) for each in results if isinstance(each, Response)] == [(200, b"1"), (200, b"2")]
    assert server.accepted == 1


def test_a_connection_that_switches_protocols_is_not_used_again(transport: Transport) -> None:
    """Whatever else arrives on it is not the response to the next request."""
    switched = answer(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", times=2)
    with peer(switched, answer(OK)) as server:
        results = [post(transport, server.url) for _ in range(2)]
    assert [each.status for each in results if isinstance(each, Response)] == [101, 200]


def test_netrc_and_proxies_of_the_environment_are_ignored(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither adds a header or changes the way."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    received: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        received.append(read_request(connection))
        connection.sendall(OK)

    with peer(serve) as server:
        assert_received(post(transport, server.url))
    assert b"authorization" not in received[0].lower()


class NumberedRequests:
    """A factory whose requests contain how many were made, and that is too slow for the first ``slow`` of them."""

    def __init__(self, url: str, slow: int) -> None:
        self.url, self.slow, self.made = url, slow, 0

    def __call__(self) -> SignedRequest:
        """Make the next request."""
        self.made += 1
        request = SignedRequest("POST", self.url + "/auth/close", {}, b"n=" + b"1" * self.made)
        ends_at = time.monotonic() + 2 * SIGNATURE_MAX_AGE_SECONDS
        while self.made <= self.slow and time.monotonic() < ends_at:
            pass
        return request


@pytest.mark.parametrize(("slow", "least"), [(2, 3), (1000, MAX_SIGNATURES)])
def test_a_request_with_an_old_signature_is_signed_anew(transport: Transport, slow: int, least: int) -> None:
    """Only the last one is sent, completely. If the machine is always too slow, it is sent nevertheless."""
    received: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        for _ in range(2):
            received.append(read_request(connection))
            connection.sendall(OK)

    with peer(serve) as server:
        assert_received(post(transport, server.url))
        make_request = NumberedRequests(server.url, slow)
        assert_received(transport.send(server.url, make_request))
        assert server.accepted == 1
    assert least <= make_request.made <= MAX_SIGNATURES
    head, _, body = received[1].partition(b"\r\n\r\n")
    assert body == b"n=" + b"1" * make_request.made
    assert head.count(b"POST ") == 1


@pytest.mark.parametrize("signatures", [0, 1])
def test_an_error_while_signing_is_passed_on_and_nothing_is_sent(transport: Transport, signatures: int) -> None:
    """For instance because the deadline has passed, also while signing anew. Even an OSError is not taken for a failure
    of the network, and the connection stays usable."""
    received: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        received.append(read_request(connection))
        connection.sendall(OK)

    with peer(serve, answer(OK)) as server:
        slow = NumberedRequests(server.url, 1)

        def make_request() -> SignedRequest:
            if slow.made == signatures:
                raise BrokenPipeError("not the network's, this one")
            return slow()

        with pytest.raises(BrokenPipeError, match="not the network's"):
            transport.send(server.url, make_request)
        assert_received(post(transport, server.url))
    assert b"n=" not in b"".join(received)
    assert server.accepted == 1


def test_a_connection_is_given_back_once_and_closed_after_a_failure(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads on one connection would read each other's responses; and what comes late on a connection whose
    response was lost must not be read as that to the next request."""
    given: list[tuple[CountingConnection, bool]] = []
    give_back = ReservingPool.give_back

    def record(pool: ReservingPool, connection: CountingConnection) -> None:
        given.append((connection, connection.sock is not None))
        give_back(pool, connection)

    def half(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        connection.recv(1)

    monkeypatch.setattr(ReservingPool, "give_back", record)
    with peer(answer(OK), half, answer(OK)) as server:
        assert_received(post(transport, server.url))
        transport.close()
        assert_lost(post(transport, server.url))
        assert_received(post(transport, server.url))
        assert server.accepted == 3
    assert [is_open for _, is_open in given] == [True, False, True]


@pytest.mark.parametrize("body", [b"pair=USD_BTC_PERP&qty=0.5", b"", None])
@pytest.mark.parametrize(
    "base_url", ["https://api.everstrike.io", "http://127.0.0.1:8080", "https://VENUE.test:443/v1"]
)
def test_a_request_is_prepared_as_requests_itself_would(base_url: str, body: bytes | None) -> None:
    """The product does it by hand, which is faster."""
    method, headers = ("GET", {"a": "b"}) if body is None else ("POST", {"a": "b"})
    url = f"{base_url}/position?pair=USD_BTC_PERP"
    theirs = requests.Request(method, url, data=body, headers={**headers, "user-agent": USER_AGENT}).prepare()
    ours = outgoing.to_prepared_request(SignedRequest(method, url, headers, body))
    for name in ("method", "url", "headers", "hooks"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.body or b"") == (theirs.body or b"")
