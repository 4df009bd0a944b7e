"""The transport's one question: did anything of the request leave? Over real sockets, plain and TLS."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.certificates import self_signed
from tests.support.raw_http_server import OK, answer, peer, post, read_request, reset
from worker.venues.http import outgoing
from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest
from worker.venues.http.outgoing import MAX_SIGNATURES, SIGNATURE_MAX_AGE_SECONDS, USER_AGENT
from worker.venues.http.pools import ReservingPool
from worker.venues.http.transport import Transport

LIMITS = HttpLimits(connect_timeout=2, read_timeout=0.5, max_idle=60, max_response_bytes=1000)


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport with short limits."""
    made = Transport(LIMITS)
    yield made
    made.close()


def test_an_answer_comes_whole(transport: Transport) -> None:
    """Status, headers and body of a plain exchange; the connection is kept for the next."""
    with peer(answer(OK, times=2)) as server:
        first, second = post(transport, server.url), post(transport, server.url)
    assert isinstance(first, Response)
    assert (first.status, first.body) == (200, b"{}")
    assert second == first
    assert server.accepted == 1


def test_the_bytes_sent_are_the_bytes_signed(transport: Transport) -> None:
    """Head and body arrive as prepared, in one piece."""
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(OK)

    with peer(serve) as server:
        post(transport, server.url, b"pair=A&qty=0.00001")
    assert seen[0].endswith(b"\r\n\r\npair=A&qty=0.00001")
    assert b"accept-encoding: identity" in seen[0].lower()


def test_nothing_leaves_without_a_connection(transport: Transport) -> None:
    """Refused, unresolvable: never left, in words without an address; nothing was even signed."""
    prepared: list[int] = []

    def prepare() -> SignedRequest:
        prepared.append(1)
        return SignedRequest("POST", "http://x", {})

    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    refused = transport.send(f"http://127.0.0.1:{port}", prepare)
    unresolved = transport.send("http://no-such-host.invalid", prepare)
    assert refused == NoResponse(bytes_left=False, message="no connection to the venue: connection refused")
    assert unresolved == NoResponse(bytes_left=False, message="no connection to the venue: its name can't be resolved")
    assert prepared == []


@pytest.mark.parametrize("url", ["https://venue.invalid:99999", "https://*.invalid", "https://ve nue.invalid"])
def test_an_address_that_is_none_never_left(transport: Transport, url: str) -> None:
    """As a slip in a setting makes it: that nothing has left is certain, and no fault hides it."""
    result = transport.send(url, lambda: pytest.fail("signed for nowhere"))
    assert isinstance(result, NoResponse)
    assert not result.bytes_left


def test_a_connect_timeout_never_left() -> None:
    """A listener whose backlog is full lets nobody in."""
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


def test_tls_that_fails_never_left(transport: Transport, tmp_path: Path) -> None:
    """A plain port behind https, and a certificate that nobody vouches for."""
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with peer(lambda c: (c.recv(1), c.sendall(b"what?\r\n"), None)[2]) as plain:
        spoken_plain = post(transport, plain.url.replace("http:", "https:"))
    with peer(answer(OK), tls=context) as unknown:
        unverified = post(transport, unknown.url)
    assert spoken_plain == NoResponse(bytes_left=False, message="no connection to the venue: TLS failed")
    assert unverified == NoResponse(bytes_left=False, message="no connection to the venue: TLS failed")


def test_tls_with_a_trusted_certificate_works(tmp_path: Path) -> None:
    """The watched connection speaks TLS as well, and counts what it hands over."""
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    trusting = Transport(LIMITS, ca_file=str(cert))
    with peer(answer(OK, times=2), tls=context) as server:
        assert [type(post(trusting, server.url)) for _ in range(2)] == [Response, Response]
        assert server.accepted == 1
    with peer(lambda c: (read_request(c), reset(c))[1], tls=context) as server:
        lost = post(trusting, server.url)
    assert isinstance(lost, NoResponse)
    assert lost.bytes_left


def test_the_environment_says_not_whom_to_trust(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundled certificates count from the first connection on, on every machine alike."""
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with peer(answer(OK), tls=context) as server:
        unverified = post(transport, server.url)
    assert unverified == NoResponse(bytes_left=False, message="no connection to the venue: TLS failed")


def test_an_idle_connection_that_the_peer_closed_is_replaced(transport: Transport) -> None:
    """Closed while it was idle: seen before anything is signed, and the next one is used."""
    closed = threading.Event()

    def first(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)
        reset(connection)
        closed.set()

    with peer(first, answer(OK)) as server:
        assert isinstance(post(transport, server.url), Response)
        assert closed.wait(5)
        assert isinstance(post(transport, server.url), Response)
    assert server.accepted == 2


def test_a_reset_before_the_first_byte_never_left(transport: Transport) -> None:
    """The race that the check for a closed connection can't win: the reset arrives between the check and the send.

    Here it arrives while the request is being signed. The first ``send`` fails, nothing was handed over, and that is
    proof enough to send again.
    """
    signing, was_reset = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)
        signing.wait(5)
        reset(connection)
        was_reset.set()

    with peer(serve) as server:
        assert isinstance(post(transport, server.url), Response)

        def prepare() -> SignedRequest:
            signing.set()
            assert was_reset.wait(5)
            return SignedRequest("POST", server.url + "/auth/withdraw", {}, b"qty=1")

        result = transport.send(server.url, prepare)
    assert isinstance(result, NoResponse)
    assert not result.bytes_left
    assert result.message.startswith("the connection broke before anything was sent")


def test_a_reset_after_the_first_byte_is_lost(transport: Transport) -> None:
    """The same reset, a moment later: the peer has read the request, so it may have been executed."""
    with peer(lambda c: (read_request(c), reset(c))[1]) as server:
        result = post(transport, server.url)
    assert isinstance(result, NoResponse)
    assert result.bytes_left
    assert result.message == "the reply was lost: connection reset"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "the reply was lost"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "the reply was lost: the response ended half-way"),
        (b"\x00\x01nonsense\r\n\r\n", "the reply was lost"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000, "a response of more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "the reply was lost"),
    ],
    ids=["closed", "half", "no HTTP", "too large", "broken chunks"],
)
def test_a_reply_that_can_not_be_had_whole_is_lost(transport: Transport, reply: bytes, words: str) -> None:
    """Whatever is wrong with the reply, the request has left."""
    with peer(answer(reply)) as server:
        result = post(transport, server.url)
    assert isinstance(result, NoResponse)
    assert result.bytes_left
    assert result.message.startswith(words)


def test_silence_is_lost(transport: Transport) -> None:
    """No answer in time: nobody knows."""
    done = threading.Event()
    with peer(lambda c: (read_request(c), done.wait(10), None)[2]) as server:
        result = post(transport, server.url)
        done.set()
    assert result == NoResponse(bytes_left=True, message="the reply was lost: no answer in time")


@pytest.mark.parametrize("part", ["head", "body"])
def test_an_answer_that_trickles_is_bounded_as_a_whole(transport: Transport, part: str) -> None:
    """A byte now and then never meets a limit for each byte; the limit is for the whole answer."""
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + (b"content-length: 900\r\n\r\n" if part == "body" else b"x: "))
        while not done.wait(0.05):
            connection.sendall(b"x")

    with peer(serve) as server:
        result = post(transport, server.url)
        done.set()
    assert isinstance(result, NoResponse)
    assert result.bytes_left


def test_a_short_remainder_of_an_old_limit_does_not_cut_the_next_request() -> None:
    """The time limit of one answer must not stay on the socket for the next request."""
    transport = Transport(HttpLimits(read_timeout=0.3, max_idle=60))
    release = threading.Event()

    def serve(connection: socket.socket) -> None:
        for _ in range(2):
            read_request(connection)
            connection.sendall(OK)
        release.set()

    with peer(serve) as server:
        assert isinstance(post(transport, server.url), Response)
        assert isinstance(post(transport, server.url, b"a=" + b"1" * 3_000_000), Response)
        assert release.wait(5)


def test_a_connection_idle_for_too_long_is_not_used() -> None:
    """An order never meets a connection that the venue is about to close."""
    fresh = Transport(HttpLimits(max_idle=0.0))
    with peer(answer(OK), answer(OK)) as server:
        post(fresh, server.url)
        post(fresh, server.url)
        assert server.accepted == 2


def test_redirects_are_not_followed(transport: Transport) -> None:
    """A signed request goes where it was meant to go and nowhere else."""
    with peer(answer(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")) as server:
        result = post(transport, server.url)
    assert isinstance(result, Response)
    assert result.status == 302


def test_what_comes_before_an_answer_is_no_answer(transport: Transport) -> None:
    """After 102 and 103 the answer is still to come (RFC 9110, 15.2); taken for the answer, they would leave it to the
    next request on that connection."""
    asked = threading.Event()

    def serve(connection: socket.socket) -> None:
        for number in (b"1", b"2"):
            read_request(connection)
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + number)
        asked.set()

    with peer(serve) as server:
        answers = [post(transport, server.url) for _ in range(2)]
        assert asked.wait(5)
    assert [(each.status, each.body) for each in answers if isinstance(each, Response)] == [(200, b"1"), (200, b"2")]
    assert server.accepted == 1


def test_a_connection_that_switches_protocols_is_not_used_again(transport: Transport) -> None:
    """Nobody asked for that; whatever else comes on it is no answer to the next request."""
    switched = answer(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", times=2)
    with peer(switched, answer(OK)) as server:
        first, second = post(transport, server.url), post(transport, server.url)
    assert isinstance(first, Response)
    assert isinstance(second, Response)
    assert (first.status, second.status) == (101, 200)


def test_netrc_and_proxies_of_the_environment_are_ignored(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No header of somebody else's making, no detour."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(OK)

    with peer(serve) as server:
        assert isinstance(post(transport, server.url), Response)
    assert b"authorization" not in seen[0].lower()


def test_what_prepare_raises_passes_and_the_connection_stays(transport: Transport) -> None:
    """A deadline that passes while connecting: nothing is sent, nothing is wasted."""

    class Late(Exception):
        pass

    def prepare() -> SignedRequest:
        raise Late

    with peer(answer(OK)) as server:
        with pytest.raises(Late):
            transport.send(server.url, prepare)
        assert isinstance(post(transport, server.url), Response)
        assert server.accepted == 1


class Numbered:
    """Makes a request that says how often one was made, and takes its time for the first ``slow``."""

    def __init__(self, url: str, slow: int) -> None:
        self.url, self.slow, self.made = url, slow, 0

    def __call__(self) -> SignedRequest:
        """The next one."""
        self.made += 1
        request = SignedRequest("POST", self.url + "/auth/close", {}, b"n=" + b"1" * self.made)
        ends_at = time.monotonic() + 2 * SIGNATURE_MAX_AGE_SECONDS
        while self.made <= self.slow and time.monotonic() < ends_at:
            pass
        return request


@pytest.mark.parametrize(("slow", "least"), [(2, 3), (1000, MAX_SIGNATURES)])
def test_an_old_signature_is_made_anew(transport: Transport, slow: int, least: int) -> None:
    """A thread that was not let run between signing and sending signs again; one request leaves, the last, whole. On a
    machine that is always too slow it is sent all the same."""
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        for _ in range(2):
            seen.append(read_request(connection))
            connection.sendall(OK)

    with peer(serve) as server:
        assert isinstance(post(transport, server.url), Response)
        prepare = Numbered(server.url, slow)
        assert isinstance(transport.send(server.url, prepare), Response)
        assert server.accepted == 1
    assert least <= prepare.made <= MAX_SIGNATURES
    head, _, body = seen[1].partition(b"\r\n\r\n")
    assert body == b"n=" + b"1" * prepare.made
    assert head.count(b"POST ") == 1


def test_what_stops_the_second_signature_passes_and_nothing_leaves(transport: Transport) -> None:
    """A deadline that passes in just that moment, whatever kind of error says so."""
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(read_request(connection))

    with peer(serve, answer(OK)) as server:
        slow = Numbered(server.url, 1)

        def prepare() -> SignedRequest:
            if slow.made:
                raise BrokenPipeError("not the network's, this one")
            return slow()

        with pytest.raises(BrokenPipeError, match="not the network's"):
            transport.send(server.url, prepare)
        assert isinstance(post(transport, server.url), Response)
    assert seen == [b""]


def test_a_lost_reply_stays_lost_when_another_thread_has_the_connection(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """urllib3 gives the place of a connection whose answer broke off back to the pool before the exchange is told:
    whoever reserves it in that moment must not make "nothing left" of a request that did, which would be sent a second
    time."""

    def half(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        reset(connection)

    reserved: list[object] = []
    put = ReservingPool._put_conn

    def put_and_lose(pool: ReservingPool, connection: object) -> None:
        put(pool, connection)
        if not reserved:
            other = threading.Thread(target=lambda: reserved.append(pool.reserve(SignedRequest)))
            other.start()
            other.join()

    monkeypatch.setattr(ReservingPool, "_put_conn", put_and_lose)
    with peer(half, half) as server:
        lost = post(transport, server.url)
    assert reserved, "a connection was reserved again before the exchange ended"
    assert isinstance(lost, NoResponse)
    assert lost.bytes_left


@pytest.mark.parametrize("body", [b"pair=USD_BTC_PERP&qty=0.5", b"", None])
@pytest.mark.parametrize(
    "base_url", ["https://api.everstrike.io", "http://127.0.0.1:8080", "https://VENUE.test:443/v1"]
)
def test_a_signed_request_is_sent_as_requests_itself_would_prepare_it(base_url: str, body: bytes | None) -> None:
    """It is put together by hand, for speed; on the wire nobody can tell."""
    method, headers = ("GET", {"a": "b"}) if body is None else ("POST", {"a": "b"})
    url = f"{base_url}/position?pair=USD_BTC_PERP"
    theirs = requests.Request(method, url, data=body, headers={**headers, "user-agent": USER_AGENT}).prepare()
    ours = outgoing.to_prepared_request(SignedRequest(method, url, headers, body))
    for name in ("method", "url", "headers", "hooks"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.body or b"") == (theirs.body or b"")
