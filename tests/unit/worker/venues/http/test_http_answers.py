"""Thousands of odd and malformed responses, each sent by a real server to the real transport.

Each is read as the grammar says, or not at all. None makes the transport raise or hang, and the next request always
gets its own response.
"""

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from select import select

import h11
import pytest

from tests.unit.worker.venues.http import http_oracle
from tests.unit.worker.venues.http.http_answers import KINDS
from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest
from worker.venues.http.transport import Transport

PATIENCE = 0.01
"""How many seconds the server waits before it closes a connection after an incomplete response. A longer wait finds
more connections that are wrongly reused; a shorter one never reports a wrong one."""
TRANSPORTS = 8
"""How many transports ask at once."""


class OddServer:
    """Responds to ``POST /odd/N`` with the Nth response of a list, and to ``POST /plain/N`` with N."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while (asked := re.match(rb"POST /(\w+)/(\d+) ", connection.recv(65_536))) is not None:
                    number = int(asked[2])
                    if asked[1] == b"plain":
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(asked[2]), number))
                        continue
                    connection.sendall(self.answers[number])
                    if http_oracle.read(self.answers[number], ended=False) is None:
                        # It stays open for a moment, so that the client could wrongly reuse it.
                        select([connection], [], [], PATIENCE)
                        connection.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()


@pytest.fixture(scope="module")
def server() -> Iterator[OddServer]:
    """One server for all tests."""
    running = OddServer()
    yield running
    running.close()


def ask(transport: Transport, url: str) -> Response | NoResponse:
    """Send a request, and repeat it while nothing was sent."""
    while True:
        found = transport.send(url, lambda: SignedRequest("POST", url, {}, b"a=1"))
        if isinstance(found, Response) or found.bytes_left:
            return found


def what_is_wrong(
    found: Response | NoResponse, expected: http_oracle.Parsed | None, after: Response | NoResponse, own: bytes
) -> str:
    """How the reading of a response is wrong; empty if it is right."""
    if expected is None and found != NoResponse(
        bytes_left=True, message=found.message if isinstance(found, NoResponse) else ""
    ):
        return f"read as {found}"
    if expected is not None and not (
        isinstance(found, Response) and (found.status, found.body) == (expected.status, expected.body)
    ):
        return f"not read: {found}"
    if not isinstance(after, Response) or (after.status, after.body) != (200, own):
        return f"the next request got {after}"
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_each_response_is_read_exactly_or_not_at_all(server: OddServer, kind: str) -> None:
    """As an independent parser says; and no byte of it reaches the next request."""
    server.answers = list(KINDS[kind]())

    def problems(numbers: range) -> list[tuple[bytes, str]]:
        transport, wrong = Transport(HttpLimits(read_timeout=5, max_idle=60)), []
        for number in numbers:
            data = server.answers[number]
            found = ask(transport, f"{server.url}/odd/{number}")
            after = ask(transport, f"{server.url}/plain/{number}")
            if problem := what_is_wrong(found, http_oracle.read(data), after, b"%d" % number):
                wrong.append((data[:200], problem))
        transport.close()
        return wrong

    # Each transport has its own connections; what takes time is the server's patience.
    with ThreadPoolExecutor(TRANSPORTS) as pool:
        parts = [range(first, len(server.answers), TRANSPORTS) for first in range(TRANSPORTS)]
        wrong = [problem for found in pool.map(problems, parts) for problem in found]
    assert not wrong, f"{len(wrong)} of {len(server.answers)}: {wrong[:10]}"


def test_there_are_well_over_a_thousand_responses_of_both_sorts() -> None:
    """Well-formed and malformed ones; otherwise the tests would prove little."""
    answers = {answer for kind in KINDS.values() for answer in kind()}
    good = sum(http_oracle.read(answer) is not None for answer in answers)
    assert len(answers) > 2000
    assert 500 < good < len(answers) - 1000


def read_by_h11(data: bytes) -> tuple[int, bytes]:
    """The status and body as h11 reads them."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)
    reader.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    ended, status, body = False, 0, b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            assert not ended
            reader.receive_data(b"")
            ended = True
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, body


def test_h11_reads_accepted_responses_in_the_same_way() -> None:
    """h11 is less strict and accepts all of them, with two exceptions: blanks before the extension of a chunk, which
    RFC 9112, 7.1.1, permits, and a transfer coding in a trailer. After 101 it waits for more than the response."""
    beyond = re.compile(rb" ;a|\r\n0\r\nTransfer-Encoding")
    for kind in KINDS.values():
        for data in kind():
            parsed = http_oracle.read(data)
            if parsed is not None and parsed.status != 101 and not beyond.search(data):
                assert read_by_h11(data) == (parsed.status, parsed.body), data[:300]
